//! Compares the engine with a directory of recorded reference data: forward passes, hidden states, cached passes, decoding
//! loops step by step, sampler vectors, chat templates. The format is documented in tests/golden/README.md.
//!
//! Every entry of a directory becomes an [`Outcome`]. An entry that this code does not know is a failure: a
//! recording that was not compared must not look like a success.
#![forbid(unsafe_code)]

mod forward;
mod passes;
mod recorded;
mod recording;
mod sampler;
mod scripts;
mod text;
mod ties;
mod traces;

pub use recording::Recording;
pub use text::{OpenText, Text};

use diffulex::cache::KvDtype;
use diffulex::engine::{Engine, ModelFiles};
use diffulex::error::{Error, Result};
use diffulex::exec::Executor;
use diffulex::json::Value;
use diffulex::kernels::{Activations, Level};
use diffulex::weights::{Checkpoint, Storage, Weights};
use std::path::Path;
use std::sync::Arc;

/// Recordings are shorter than this, in positions.
const MAX_CONTEXT: usize = 4096;

/// How to compare.
#[derive(Clone)]
pub struct Options {
    /// Largest absolute difference of a logit that passes.
    pub tolerance: f32,
    /// The kernels.
    pub level: Level,
    /// The threads.
    pub exec: Arc<dyn Executor + Send + Sync>,
    /// Element type of cached keys and values.
    pub kv: KvDtype,
    /// Opens the tokenizer of a checkpoint. Without it entries with text are skipped, and say so.
    pub text: Option<OpenText>,
}

/// The outcome of one entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Name of the entry in the recording.
    pub entry: String,
    /// What kind of entry it is.
    pub kind: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// Largest absolute difference, for entries that compare numbers.
    pub max_abs: Option<f32>,
    /// Share of rows (or states, or ids) that agree, from 0 to 1.
    pub top1: Option<f64>,
}

/// Result of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything agreed.
    Passed,
    /// Something did not; what.
    Failed(String),
    /// Everything agreed except choices between scores that are equal within the rounding of the reference; which, with the scores. The
    /// comparison continued from the recorded state.
    Tied(String),
    /// Not compared, for a reason that the format allows.
    Skipped(String),
}

impl Outcome {
    pub(crate) fn new(
        entry: impl Into<String>,
        kind: &'static str,
        check: std::result::Result<(), String>,
    ) -> Self {
        let verdict = check.map_or_else(Verdict::Failed, |()| Verdict::Passed);
        Self { entry: entry.into(), kind, verdict, max_abs: None, top1: None }
    }

    pub(crate) fn skipped(entry: impl Into<String>, kind: &'static str, why: impl Into<String>) -> Self {
        Self { entry: entry.into(), kind, verdict: Verdict::Skipped(why.into()), max_abs: None, top1: None }
    }

    /// Whether the entry does not count as a failure.
    pub fn passed(&self) -> bool {
        !matches!(self.verdict, Verdict::Failed(_))
    }
}

/// Top-level keys of a recording that describe it and hold nothing to compare.
const DESCRIPTIONS: [&str; 16] = [
    "format",
    "family",
    "variant",
    "weights_dtype",
    "compute_dtype",
    "versions",
    "special_ids",
    "mask_token_id",
    "eos_token_id",
    "tokenizer_size",
    "vocab_size",
    "vocab",
    "forward_block",
    "provenance",
    "tensors",
    "command",
];

/// Compares every entry of the recording in `dir`.
///
/// # Errors
/// If the recording or the model cannot be opened. What merely disagrees is an [`Outcome`].
pub fn run(dir: &Path, options: &Options) -> Result<Vec<Outcome>> {
    let recording = Recording::open(dir)?;
    check_model(&recording, dir)?;
    let mut outcomes = Vec::new();
    if recording.has_model() {
        let text = options.text.map(|open| open(dir)).transpose()?;
        let engine = open_engine(&recording, dir, options, text.as_ref())?;
        forward::run(&recording, &engine, options, &mut outcomes);
        traces::run(&recording, &engine, &mut outcomes);
        text::run(&recording, &engine, text.as_ref(), &mut outcomes);
    }
    sampler::run(&recording, options, &mut outcomes);
    for (key, _) in recording.manifest().entries().unwrap_or(&[]) {
        if !DESCRIPTIONS.contains(&key.as_str()) && !recording.was_read(key) {
            outcomes.push(Outcome::new(
                key,
                "unknown",
                Err("an entry of a kind that is not understood".into()),
            ));
        }
    }
    for name in recording.unread_tensors() {
        if outcomes.iter().any(|outcome| !outcome.passed() && claims(&recording, outcome, &name)) {
            continue;
        }
        outcomes.push(Outcome::new(
            name,
            "unknown",
            Err("a tensor that belongs to no entry that is understood".into()),
        ));
    }
    Ok(outcomes)
}

/// Whether a tensor belongs to an entry that failed before reading it: by the entry's name, or by a name that it contains.
fn claims(recording: &Recording, outcome: &Outcome, tensor: &str) -> bool {
    let under =
        |name: &str| tensor == name || tensor.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    fn holds(value: &Value, under: &dyn Fn(&str) -> bool) -> bool {
        match value {
            Value::String(text) => under(text),
            Value::Array(items) => items.iter().any(|item| holds(item, under)),
            Value::Object(entries) => entries.iter().any(|(_, value)| holds(value, under)),
            _ => false,
        }
    }
    let named = |entry: &&Value| {
        ["name", "case"].iter().any(|key| entry.get(key).and_then(Value::as_str) == Some(&outcome.entry))
    };
    let lists =
        recording.manifest().entries().unwrap_or(&[]).iter().filter_map(|(_, value)| value.as_array());
    under(&outcome.entry)
        || under(outcome.kind)
        || lists.flatten().find(named).is_some_and(|entry| holds(entry, &under))
}

/// A recording of a model without the model is input that cannot be read, not one that disagrees.
fn check_model(recording: &Recording, dir: &Path) -> Result<()> {
    let needs = ["forward", "cache_scripts", "traces", "end_to_end"];
    match needs.iter().find(|key| recording.manifest().get(key).is_some()) {
        Some(key) if !recording.has_model() => Err(Error::format(
            dir.display(),
            format!("`{key}` is recorded, but no config.json of the model was found next to golden.json"),
        )),
        _ => Ok(()),
    }
}

fn open_engine(recording: &Recording, dir: &Path, options: &Options, text: Option<&Text>) -> Result<Engine> {
    let checkpoint = Checkpoint::locate(dir)?;
    if checkpoint.weights == Weights::File(dir.join("golden.safetensors")) {
        return Err(Error::format(dir.display(), "no weights of the model next to golden.safetensors"));
    }
    let files = ModelFiles::read(&checkpoint)?;
    // A context that is enough for recordings; the real limit of the models would only cost memory.
    let context = files.arch.dims.max_pos.min(MAX_CONTEXT);
    let mut builder = Engine::builder()
        .level(options.level)
        // Recordings are f32; a level with a matrix unit would round to bf16.
        .activations(Activations::F32)
        .executor(Arc::clone(&options.exec))
        .kv(options.kv)
        .context(context)
        .storage(Storage::Map);
    if checkpoint.tokenizer.is_some() {
        let mask = match text {
            Some(text) => text.mask,
            // Only the recording names the mask that its code used.
            None => recording.mask(),
        };
        builder = builder.tokenizer_mask(mask);
    }
    builder.load(files, &checkpoint.open(Storage::Map)?)
}
