//! Reads tensor by tensor, encodes, writes.

use crate::cli::{self, Layout};
use crate::output::{self, companions};
use diffulex::engine::ModelFiles;
use diffulex::exec::Threads;
use diffulex::model::{Planned, Recipe};
use diffulex::quant::{Loss, Matrix};
use diffulex::tensor::TensorView;
use diffulex::weights::writer::{TensorSpec, write_checkpoint};
use diffulex::weights::{Checkpoint, SafeTensors, Storage, TensorSource};
use diffulex::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// A tensor that was written.
pub(crate) struct Written {
    pub(crate) planned: Planned,
    /// Bytes in the source and in the output.
    pub(crate) bytes: [u64; 2],
    pub(crate) loss: Loss,
}

/// What was written.
pub(crate) struct Conversion {
    pub(crate) tensors: Vec<Written>,
    pub(crate) time: Duration,
    /// Largest resident set so far, in bytes, where the system tells: mapped pages of the source included.
    pub(crate) peak_memory: Option<u64>,
}

/// A tensor of floats as a matrix; a vector is a row.
pub(crate) fn matrix(source: &dyn TensorSource, name: &str) -> Result<Matrix> {
    let view = source.tensor(name)?;
    let shape = if view.shape().len() == 1 { vec![1, view.elements()] } else { view.shape().to_vec() };
    let view = TensorView::new(view.dtype(), shape, view.bytes().clone());
    Ok(view.as_ref().and_then(Matrix::from_tensor).expect("the plan was made for floats"))
}

/// Encodes one tensor after the other.
struct Encoder<'a> {
    files: &'a Checkpoint,
    /// The source where it cannot be mapped: then all of it is in memory.
    read: Option<SafeTensors>,
    planned: HashMap<&'a str, &'a Planned>,
    exec: Threads,
    written: Vec<Written>,
    progress: ProgressBar,
}

impl Encoder<'_> {
    fn fill(&mut self, spec: &TensorSpec, out: &mut [u8]) -> Result<()> {
        if cli::interrupted() {
            let source = std::io::Error::from(std::io::ErrorKind::Interrupted);
            return Err(Error::io(self.files.directory(), source));
        }
        let planned = self.planned[spec.name.as_str()];
        let matrix = match &self.read {
            Some(source) => matrix(source, &spec.name)?,
            // Mapped anew for every tensor, so that the pages of the previous one are released.
            None => matrix(&self.files.open(Storage::Map)?, &spec.name)?,
        };
        let loss = matrix.encode_into(&spec.name, planned.to, out, &self.exec)?;
        let bytes = [matrix.bytes() as u64, out.len() as u64];
        self.progress.inc(bytes[0]);
        self.written.push(Written { planned: planned.clone(), bytes, loss });
        Ok(())
    }
}

fn progress(total: u64) -> ProgressBar {
    // Shows nothing where stderr is not a terminal.
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    bar.set_style(style.expect("a valid template"));
    bar
}

/// Writes the checkpoint `files` into `dir` by `recipe`.
pub(crate) fn convert(files: &Checkpoint, dir: &Path, recipe: &Recipe, threads: usize) -> Result<Conversion> {
    let start = Instant::now();
    let arch = ModelFiles::read(files)?.arch;
    let source = files.open(Storage::Map)?;
    let plan = recipe.plan(&arch, &source)?;
    let Layout { specs, metadata, .. } = Layout::new(plan.iter().map(|planned| (&planned.slot, planned.to)))?;
    let companions = companions(files.directory())?;
    let size = |path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let weights: u64 = specs.iter().map(|spec| spec.bytes() as u64).sum();
    let bytes = weights + metadata.1.len() as u64 + companions.iter().map(size).sum::<u64>();
    let output = output::prepare(dir, files.directory(), bytes)?;
    output::copy(&companions, output.staging())?;
    let total: usize = plan.iter().map(|p| p.slot.elements() * p.from.bytes(1, 1).unwrap_or(1)).sum();
    let mut encoder = Encoder {
        files,
        read: (!source.is_mapped()).then_some(source),
        planned: plan.iter().map(|planned| (planned.slot.name.as_str(), planned)).collect(),
        exec: Threads::new(threads),
        written: Vec::new(),
        progress: progress(total as u64),
    };
    let fill = &mut |spec: &TensorSpec, out: &mut [u8]| encoder.fill(spec, out);
    let written = write_checkpoint(output.staging(), &specs, u64::MAX, &[metadata], fill);
    encoder.progress.finish_and_clear();
    written?;
    // Last, so that a directory with weights is complete.
    output.publish("model.safetensors")?;
    Ok(Conversion { tensors: encoder.written, time: start.elapsed(), peak_memory: cli::memory::peak() })
}
