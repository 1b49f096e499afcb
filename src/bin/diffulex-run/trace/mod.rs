//! `--trace`: every step of a generation in a file, as JSON or as a page that shows it.
//!
//! The format is described in docs/trace.md; [`VERSION`] counts its incompatible changes. A page is `page.html` with the same
//! JSON inside, and with its style and its script.

mod recorder;

use crate::cli::{self, decoding};
use crate::display::Display;
use diffulex::engine::PassKind;
use diffulex::sampler::{Candidate, Edit};
use diffulex::tensor::TokenId;
use diffulex::text::Tokenizer;
use diffulex::text_model::{Answer, Prompt, Setup};
use diffulex::{Control, Error, Event, Model, Result};
use recorder::{CANDIDATES, Pass, Recorder};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Version of the format.
const VERSION: u32 = 1;
/// The page, and where in it the trace goes.
const PAGE: &str = include_str!("page.html");
const PLACE: &str = "{{trace}}";
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Json,
    Page,
}

/// A trace that is being recorded.
pub(crate) struct Trace {
    path: PathBuf,
    form: Form,
    recorder: Recorder,
}

impl Trace {
    /// A trace that will be at `path`.
    ///
    /// # Errors
    /// [`Error::Option`] for a name that ends in neither .json nor .html, [`Error::Io`] if the file cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let form = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Form::Json,
            Some("html") => Form::Page,
            _ => {
                let what = format!("`{}` given, a name that ends in .json or .html expected", path.display());
                return Err(Error::option("trace", what));
            }
        };
        // A file that cannot be written is found now.
        cli::replaceable(path)?;
        Ok(Self { path: path.into(), form, recorder: Recorder::default() })
    }

    /// A display that records what it passes on.
    pub(crate) fn watch<'a>(&'a mut self, display: &'a mut dyn Display) -> impl Display + 'a {
        Watched { recorder: &mut self.recorder, display }
    }

    /// Writes the trace of a finished answer; `summary` is what `--json` prints.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn finish(
        self,
        model: &Model,
        setup: &Setup,
        prompt: &Prompt,
        answer: &Answer,
        summary: &Value,
    ) -> Result<()> {
        let mut words = Words { tokenizer: model.tokenizer.as_deref(), known: HashMap::new() };
        let head = head(model, setup, prompt, answer, &mut words);
        let passes = &self.recorder.passes;
        cli::replace(&self.path, |out| match self.form {
            Form::Json => write_json(out, &head, passes, summary, &mut words),
            Form::Page => {
                let mut json = Vec::new();
                write_json(&mut json, &head, passes, summary, &mut words)?;
                write_page(out, &json)
            }
        })
    }
}

struct Watched<'a> {
    recorder: &'a mut Recorder,
    display: &'a mut dyn Display,
}

impl Display for Watched<'_> {
    fn show(&mut self, event: &Event<'_>, settled: &str) -> Result<Control> {
        self.recorder.note(event, Instant::now());
        let control = self.display.show(event, settled);
        self.recorder.start_clock(event);
        control
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        self.recorder.stop_clock(Instant::now());
        self.display.finish(rest)
    }
}

/// The text of each token, decoded once.
struct Words<'a> {
    tokenizer: Option<&'a dyn Tokenizer>,
    known: HashMap<TokenId, String>,
}

impl Words<'_> {
    /// The text of a token by itself, which may be a part of a character (U+FFFD). Absent without a tokenizer.
    fn of(&mut self, id: TokenId) -> Option<&str> {
        let tokenizer = self.tokenizer?;
        let text = self.known.entry(id).or_insert_with(|| tokenizer.decode(&[id], false).unwrap_or_default());
        Some(text)
    }

    fn candidates(&mut self, candidates: &[Candidate]) -> Value {
        let one = |c: &Candidate| json!({ "pos": c.pos, "token": c.token, "text": self.of(c.token), "score": rounded(c.score) });
        candidates.iter().map(one).collect()
    }
}

/// Six digits after the point: what a reader can tell apart, in a file of reasonable size.
fn rounded(x: f64) -> f64 {
    format!("{x:.6}").parse().unwrap_or(x)
}

/// Everything but the passes and the summary.
fn head(model: &Model, setup: &Setup, prompt: &Prompt, answer: &Answer, words: &mut Words<'_>) -> Value {
    let (engine, generation) = (&model.engine, &answer.generation);
    let texts: Vec<_> = prompt.ids.iter().map(|&id| words.of(id).map(str::to_string)).collect();
    let text = words.tokenizer.and_then(|tokenizer| tokenizer.decode(&prompt.ids, false).ok());
    json!({
        "format": "diffulex-trace",
        "version": VERSION,
        "program": format!("diffulex-run {}", env!("CARGO_PKG_VERSION")),
        "model": model.origin,
        "family": engine.arch().family,
        "attention": if answer.policy.cache.keeps_blocks() { "block-causal" } else { "bidirectional" },
        "level": engine.kernels().level().name(),
        "seed": setup.seed,
        "decoding": decoding::describe(&answer.policy, &setup.stop_ids, engine),
        "prompt": { "ids": prompt.ids, "texts": texts, "text": text },
        "length": generation.canvas.len(),
        // Whole blocks are decoded; the answer ends with its last token.
        "answer_end": prompt.ids.len() + generation.tokens.len().min(answer.counted),
        "candidates_per_pass": CANDIDATES,
    })
}

fn pass_json(pass: &Pass, words: &mut Words<'_>) -> Value {
    let mut value = json!({
        "index": pass.index,
        "kind": match pass.kind {
            PassKind::Prefill => "prefill",
            PassKind::Denoise => "denoise",
            PassKind::Commit => "commit",
        },
        "rows": [pass.rows.start, pass.rows.end],
        "cached": pass.cached,
        "ms": rounded(pass.time.as_secs_f64() * 1e3),
        "revealed": words.candidates(&pass.revealed),
        "candidates": words.candidates(&pass.candidates),
    });
    if !pass.edits.is_empty() {
        let one = |e: &Edit| json!({ "pos": e.pos, "before": e.before, "token": e.token, "text": words.of(e.token), "score": rounded(e.score) });
        value["edits"] = pass.edits.iter().map(one).collect();
    }
    if pass.left_out > 0 {
        value["candidates_left_out"] = pass.left_out.into();
    }
    if let Some(block) = &pass.block {
        value["block"] = json!([block.start, block.end]);
    }
    value
}

/// One object, a line for each pass. Only one pass at a time is held as a tree of values.
fn write_json(
    out: &mut dyn Write,
    head: &Value,
    passes: &[Pass],
    summary: &Value,
    words: &mut Words<'_>,
) -> std::io::Result<()> {
    out.write_all(b"{\n")?;
    for (key, value) in head.as_object().into_iter().flatten() {
        writeln!(out, "{}: {value},", Value::from(key.as_str()))?;
    }
    out.write_all(b"\"passes\": [")?;
    for (i, pass) in passes.iter().enumerate() {
        write!(out, "{}\n{}", if i > 0 { "," } else { "" }, pass_json(pass, words))?;
    }
    writeln!(out, "\n],\n\"summary\": {summary}\n}}")
}

/// The page with the trace in a script element of type application/json.
fn write_page(out: &mut dyn Write, json: &[u8]) -> std::io::Result<()> {
    let page = PAGE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    let (before, after) = page.split_once(PLACE).expect("the page has a place for the trace");
    out.write_all(before.as_bytes())?;
    // `<` occurs in JSON within strings only: escaped there, nothing can end the script element.
    for piece in json.split_inclusive(|&byte| byte == b'<') {
        match piece.strip_suffix(b"<") {
            Some(text) => {
                out.write_all(text)?;
                out.write_all(b"\\u003c")?;
            }
            None => out.write_all(piece)?,
        }
    }
    out.write_all(after.as_bytes())
}
