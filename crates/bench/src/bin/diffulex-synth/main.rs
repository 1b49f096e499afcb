//! `diffulex-synth`: writes checkpoints of the published shapes, or tiny ones, with random weights.
//!
//! For measuring speed and memory, and for trying the programs, without a download. The files are those of a real checkpoint:
//! configurations, a tokenizer that works, a chat template, weights. What such a model says is noise.
#![forbid(unsafe_code)]

mod vocabulary;

use clap::Parser;
use diffulex::model::{Recipe, Slot};
use diffulex::quant::Format;
use diffulex::weights::writer::{TensorSpec, write_checkpoint};
use diffulex::{Error, Result};
use diffulex_bench::random;
use diffulex_cli::presets::{Family, PRESETS, Preset};
use diffulex_cli::readable;
use diffulex_cli::{self as cli, DEFAULT_GROUP, FormatName, Idle, Layout, OutputDirectory};
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
    /// Format of the weights: bf16, f16 or f32; int8 or int4, also int4:GROUP and the like, as diffulex-quantize would write them
    #[arg(long, value_name = "FORMAT", default_value = "bf16")]
    dtype: FormatName,
    /// Weights depend on this number and on nothing else
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of layers, instead of the preset's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    layers: Option<u16>,
    /// Largest size of one file of floats, such as 5GB or 200MiB [default: 5GB]; quantized weights are in one file
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_shard_size: Option<u64>,
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

/// The name of an element type in `config.json`. Quantized weights count as made from bf16.
fn torch_name(format: Format) -> &'static str {
    match format {
        Format::F16 => "float16",
        Format::F32 => "float32",
        _ => "bfloat16",
    }
}

/// Largest size of one file of floats.
const SHARD: u64 = 5_000_000_000;

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

/// Every tensor of a model whose weights are in `format`. What is then not quantized is bf16.
fn layout(slots: &[Slot], format: Format) -> Result<Layout> {
    let recipe = Recipe::from(format);
    let floats = if format.is_quantized() { Format::Bf16 } else { format };
    Layout::new(slots.iter().map(|slot| {
        let own = slot.format(recipe.format, recipe.lm_head);
        (slot, if own.is_quantized() { own } else { floats })
    }))
}

fn total_bytes(tensors: &[TensorSpec]) -> u64 {
    tensors.iter().map(|tensor| tensor.bytes() as u64).sum()
}

fn list() -> Result<()> {
    let mut text =
        format!("{:<16} {:>11} {:>9}  layers, hidden, heads/kv, vocab\n", "preset", "parameters", "bf16");
    for preset in PRESETS {
        let bytes = total_bytes(&layout(&preset.architecture()?.tensors(), Format::Bf16)?.specs);
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
    let format = options.dtype.resolve(DEFAULT_GROUP, false)?;
    let max_shard = match options.max_shard_size {
        Some(_) if format.is_quantized() => {
            let reason = format!("given, but {format} weights are in one file");
            return Err(Error::option("max-shard-size", reason));
        }
        // One map says which tensors of a file are quantized.
        None if format.is_quantized() => u64::MAX,
        size => size.unwrap_or(SHARD),
    };
    let slots = preset.architecture()?.tensors();
    let Layout { specs, stored, metadata } = layout(&slots, format)?;
    let of: HashMap<_, _> =
        slots.iter().zip(stored).map(|(slot, stored)| (slot.name.as_str(), (slot, stored))).collect();
    let replaces = |name: &str| is_of_a_checkpoint(name);
    let replaces = options.force.then_some(&replaces as &dyn Fn(&str) -> bool);
    let output = OutputDirectory::prepare(dir, replaces, "; --force replaces a checkpoint in it")?;
    cli::catch_interrupt();
    let total = total_bytes(&specs);
    let mut progress = Progress { total, done: 0, count: 0, shown: std::io::stderr().is_terminal() };
    let to = output.staging();
    let written = write_checkpoint(to, &specs, max_shard, &[metadata], &mut |spec, bytes| {
        if cli::interrupted() {
            return Err(Error::io(dir, std::io::ErrorKind::Interrupted.into()));
        }
        match of[spec.name.as_str()] {
            (_, Some(stored)) => random::fill_panels(options.seed, &spec.name, stored, bytes),
            (slot, None) => random::fill(options.seed, slot, spec.dtype, bytes),
        }
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
    write_json(to, "config.json", &preset.config(torch_name(format)))?;
    // Last, so that a directory with a configuration is complete.
    output.publish("config.json")?;
    let (tensors, files) = (specs.len(), files.len());
    cli::print(&format!("{}: {tensors} tensors, {} in {files} file(s)\n", dir.display(), readable(total)))
        .map(drop)
}

/// Whether a file of this name is one of a checkpoint. There may also be half-written weights under a temporary name.
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

/// One line on the terminal that shows the progress of the weights.
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
            // Progress that cannot be shown is not a reason to stop.
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
