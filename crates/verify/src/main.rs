//! Compares this engine with recorded reference data: logits, hidden states, cached passes, decoding loops step by step.

mod words;

use clap::Parser;
use diffulex::cache::KvDtype;
use diffulex::exec::Threads;
use diffulex::{Error, Result};
use diffulex_cli::{self as cli, CpuArgs, Idle};
use diffulex_verify::{self as verify, Options, Outcome, Verdict};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Compare the engine with recorded reference data.
///
/// Every DIR holds golden.json and golden.safetensors, and the model that they were recorded from (config.json, weights,
/// tokenizer). Exit code: 0 if every entry agrees, 1 if any does not or is not understood, 2 for input that cannot be read.
#[derive(Parser)]
#[command(name = "diffulex-verify", version = cli::version(), long_version = cli::long_version(), allow_negative_numbers = true)]
struct Args {
    /// Golden directories
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Largest absolute difference of a number that passes
    #[arg(long, default_value_t = 1e-3)]
    tolerance: f32,
    /// Element type of cached keys and values
    #[arg(long, value_parser = cli::kv(), default_value = "f32")]
    kv: KvDtype,
    /// Print one JSON array of {entry, kind, passed, max_abs, top1}, with `reason` (why it failed), `skipped` (why), `near_ties`
    /// (which, with both scores) and `directory` (if several DIRs are given) where they apply
    #[arg(long)]
    json: bool,
    /// Print failures and the summary only
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    machine: CpuArgs,
}

fn main() -> ExitCode {
    let args = cli::parse::<Args>(&[Idle::With("json", &["quiet"])]);
    cli::run(|| run(&args))
}

fn run(args: &Args) -> Result<ExitCode> {
    if !(args.tolerance.is_finite() && args.tolerance > 0.0) {
        return Err(Error::option(
            "tolerance",
            format!("{} given, a number above 0 expected", args.tolerance),
        ));
    }
    let options = Options {
        tolerance: args.tolerance,
        level: args.machine.level()?,
        exec: Arc::new(Threads::new(args.machine.threads())),
        kv: args.kv,
        text: Some(words::open),
    };
    let (mut rows, mut summary) = (Vec::new(), Summary::default());
    for dir in &args.dirs {
        for outcome in verify::run(dir, &options)? {
            summary.add(&outcome);
            if args.json {
                rows.push(row(dir, &outcome, args.dirs.len() > 1));
            } else if !args.quiet || !outcome.passed() {
                cli::print(&line(dir, &outcome))?;
            }
        }
    }
    if summary.entries == 0 {
        return Err(Error::format(args.dirs[0].display(), "the recording holds no entry"));
    }
    if args.json {
        cli::print(&format!("{:#}\n", Value::Array(rows)))?;
    } else {
        let level = options.level.name();
        cli::print(&format!("{summary}, level {level}, {} threads\n", args.machine.threads()))?;
    }
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts over all directories.
#[derive(Default)]
struct Summary {
    entries: usize,
    failed: usize,
    skipped: usize,
    tied: usize,
    max_abs: f32,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.entries += 1;
        self.failed += usize::from(!outcome.passed());
        self.skipped += usize::from(matches!(outcome.verdict, Verdict::Skipped(_)));
        self.tied += usize::from(matches!(outcome.verdict, Verdict::Tied(_)));
        self.max_abs = self.max_abs.max(outcome.max_abs.unwrap_or(0.0));
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { entries, failed, skipped, tied, max_abs } = self;
        let passed = entries - failed - skipped - tied;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped, ")?;
        if *tied > 0 {
            write!(f, "{tied} passed except for near ties, ")?;
        }
        write!(f, "max abs error {max_abs:.2e}")
    }
}

fn line(dir: &Path, outcome: &Outcome) -> String {
    let (word, why) = match &outcome.verdict {
        Verdict::Passed => ("ok", ""),
        Verdict::Failed(why) => ("FAILED", why.as_str()),
        Verdict::Tied(which) => ("tied", which.as_str()),
        Verdict::Skipped(why) => ("skipped", why.as_str()),
    };
    let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
    let mut line = format!("{word:8}{name}  {}  [{}]", outcome.entry, outcome.kind);
    if let Some(max_abs) = outcome.max_abs {
        line += &format!("  max abs {max_abs:.2e}");
    }
    if let Some(top1) = outcome.top1 {
        line += &format!("  agreement {:.1} %", 100.0 * top1);
    }
    if !why.is_empty() {
        line += &format!("  {why}");
    }
    line + "\n"
}

/// JSON has no infinity: a difference that is not finite becomes null, and the entry has failed.
fn row(dir: &Path, outcome: &Outcome, name_directory: bool) -> Value {
    let mut row = json!({
        "entry": outcome.entry,
        "kind": outcome.kind,
        "passed": outcome.passed(),
        "max_abs": outcome.max_abs.filter(|x| x.is_finite()),
        "top1": outcome.top1,
    });
    match &outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed(why) => row["reason"] = json!(why),
        Verdict::Tied(which) => row["near_ties"] = json!(which),
        Verdict::Skipped(why) => row["skipped"] = json!(why),
    }
    if name_directory {
        row["directory"] = json!(dir.display().to_string());
    }
    row
}
