//! `diffulex-synth`: writes checkpoints of the published shapes, or tiny ones, with random weights.
//!
//! For measuring speed and memory, and for trying the programs, without a download. The files are those of a real checkpoint:
//! configurations, a tokenizer that works, a chat template, weights. What such a model says is noise.
#![forbid(unsafe_code)]

mod vocabulary;

use clap::Parser;
use diffulex::dtype::DType;
use diffulex::model::{Architecture, Slot};
use diffulex::weights::writer::{TensorSpec, write_checkpoint};
use diffulex::{Error, Result};
use diffulex_bench::random;
use diffulex_cli::presets::{Family, PRESETS, Preset};
use diffulex_cli::readable;
use diffulex_cli::{self as cli, Idle, OutputDirectory};
use std::collections::HashMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write a checkpoint of a published shape with random weights
#[derive(Parser, Debug)]
#[command(name = "diffulex-synth", version = cli::version(), long_version = cli::long_version())]
struct Options {
    /// What to write; --list shows the choices
    #[arg(value_parser = preset, required_unless_present = "list")]
    preset: Option<Preset>,
    /// Directory to write into; made if it does not exist
    #[arg(short, long, value_name = "DIR", required_unless_present = "list")]
    output: Option<PathBuf>,
    /// Element type of the weights: bf16, f16 or f32
    #[arg(long, default_value = "bf16", value_parser = dtype)]
    dtype: DType,
    /// Weights depend on this number and on nothing else
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of layers, instead of the preset's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    layers: Option<u16>,
    /// Largest size of one weight file, such as 5GB or 200MiB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    max_shard_size: u64,
    /// Write into a directory that is not empty; an earlier checkpoint in it is removed
    #[arg(long)]
    force: bool,
    /// Show the presets and their sizes
    #[arg(long)]
    list: bool,
}

/// Files that a checkpoint may consist of, apart from its weights. An old one must not outlive its checkpoint.
const FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

fn main() -> ExitCode {
    let options = cli::parse::<Options>(&[Idle::AllBut("list", &[])]);
    cli::run(|| {
        let outcome = match (&options.preset, &options.output) {
            (Some(preset), Some(dir)) if !options.list => generate(&options, preset, dir),
            _ => list(),
        };
        cli::unless_interrupted(outcome.map(|()| ExitCode::SUCCESS))
    })
}

fn preset(name: &str) -> std::result::Result<Preset, String> {
    // The parser says which argument it is.
    Preset::named(name).map_err(|error| match error {
        Error::Option { reason, .. } => reason,
        other => other.to_string(),
    })
}

fn dtype(name: &str) -> std::result::Result<DType, String> {
    match name {
        "bf16" => Ok(DType::Bf16),
        "f16" => Ok(DType::F16),
        "f32" => Ok(DType::F32),
        _ => Err("expected bf16, f16 or f32".to_owned()),
    }
}

/// The name of an element type in `config.json`.
fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "float16",
        DType::F32 => "float32",
        _ => "bfloat16",
    }
}

/// Reads a size such as `5GB`, `1.5GiB` or `4096`, in bytes.
fn size(text: &str) -> std::result::Result<u64, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("unknown unit `{unit}`, expected B, KB, MB, GB, KiB, MiB or GiB")),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number * factor >= 1.0 => Ok((number * factor) as u64),
        _ => Err("expected a positive number and a unit".to_owned()),
    }
}

/// Every tensor of a model.
fn tensors(architecture: &Architecture, dtype: DType) -> Vec<TensorSpec> {
    let spec = |slot: Slot| TensorSpec { name: slot.name, dtype, shape: slot.shape };
    architecture.tensors().into_iter().map(spec).collect()
}

fn total_bytes(tensors: &[TensorSpec]) -> u64 {
    tensors.iter().map(|tensor| tensor.bytes() as u64).sum()
}

fn list() -> Result<()> {
    let mut text =
        format!("{:<16} {:>11} {:>9}  layers, hidden, heads/kv, vocab\n", "preset", "parameters", "bf16");
    for preset in PRESETS {
        let bytes = total_bytes(&tensors(&preset.architecture()?, DType::Bf16));
        text += &format!(
            "{:<16} {:>9.1} M {:>9}  {}, {}, {}/{}, {}\n",
            preset.name,
            bytes as f64 / 2e6,
            readable(bytes),
            preset.layers,
            preset.hidden,
            preset.n_heads,
            preset.n_kv_heads,
            preset.vocab
        );
    }
    cli::print(&text).map(drop)
}

fn generate(options: &Options, preset: &Preset, dir: &Path) -> Result<()> {
    let mut preset = *preset;
    preset.layers = options.layers.map_or(preset.layers, usize::from);
    let architecture = preset.architecture()?;
    let tensors = tensors(&architecture, options.dtype);
    let slots: HashMap<_, _> =
        architecture.tensors().into_iter().map(|slot| (slot.name.clone(), slot)).collect();
    let replaces = |name: &str| is_of_a_checkpoint(name);
    let replaces = options.force.then_some(&replaces as &dyn Fn(&str) -> bool);
    let output = OutputDirectory::prepare(dir, replaces, "; --force replaces a checkpoint in it")?;
    cli::catch_interrupt();
    let total = total_bytes(&tensors);
    let mut progress = Progress { total, done: 0, count: 0, shown: std::io::stderr().is_terminal() };
    let metadata = [("format".to_owned(), "pt".to_owned())];
    let to = output.staging();
    let written = write_checkpoint(to, &tensors, options.max_shard_size, &metadata, &mut |spec, bytes| {
        if cli::interrupted() {
            return Err(Error::io(dir, std::io::ErrorKind::Interrupted.into()));
        }
        random::fill(options.seed, &slots[&spec.name], spec.dtype, bytes);
        progress.step(bytes.len());
        Ok(())
    });
    progress.clear();
    let files = written.inspect_err(|error| {
        if matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull) {
            cli::note(&format!("note: the weights need {} of free space", readable(total)));
        }
    })?;

    let vocabulary =
        vocabulary::tokenizer_json(preset.words, &preset.specials(), preset.family != Family::Llada);
    write_json(to, "tokenizer.json", &vocabulary)?;
    write_json(to, "tokenizer_config.json", &preset.tokenizer_config())?;
    if let Some(generation) = preset.generation_config() {
        write_json(to, "generation_config.json", &generation)?;
    }
    if let Some(template) = preset.template_file() {
        write(to, "chat_template.jinja", &template)?;
    }
    write_json(to, "config.json", &preset.config(torch_name(options.dtype)))?;
    // Last, so that a directory with a configuration is complete.
    output.publish("config.json")?;
    let (tensors, files) = (tensors.len(), files.len());
    cli::print(&format!("{}: {tensors} tensors, {} in {files} file(s)\n", dir.display(), readable(total)))
        .map(drop)
}

/// Whether a file of this name is one of a checkpoint. Weights may also be left half written, under a temporary name.
fn is_of_a_checkpoint(name: &str) -> bool {
    let weights = name.trim_start_matches('.').starts_with("model")
        && [".safetensors", ".safetensors.index.json", ".partial"].iter().any(|end| name.ends_with(end));
    weights || FILES.contains(&name)
}

fn write_json(dir: &Path, name: &str, value: &serde_json::Value) -> Result<()> {
    write(dir, name, &format!("{value:#}\n"))
}

fn write(dir: &Path, name: &str, contents: &str) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, contents).map_err(|e| Error::io(&path, e))
}

/// One line on the terminal that says how far the weights are.
struct Progress {
    total: u64,
    done: u64,
    count: usize,
    shown: bool,
}

impl Progress {
    fn step(&mut self, bytes: usize) {
        self.done += bytes as u64;
        self.count += 1;
        if self.shown {
            let (count, done, total) = (self.count, readable(self.done), readable(self.total));
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{count} tensors, {done} of {total} ");
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests;
