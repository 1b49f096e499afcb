//! `--info` for a checkpoint that cannot run: everything that is missing, not only what was noticed first.

use crate::args::Cli;
use crate::cli::{self, BAD_INPUT, ModelArgs, hub};
use diffulex::weights::{Checkpoint, Storage, TensorSource};
use diffulex::{Architecture, Error, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Names that the report for people lists; the JSON has them all.
const LISTED: usize = 10;

/// What keeps a checkpoint from running.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    missing_shards: Vec<String>,
    missing_tensors: Vec<String>,
}

/// Prints what the checkpoint lacks, for people or as JSON. `error` is why it did not open.
///
/// # Errors
/// `error` itself if it is not about a checkpoint, or a full disk when stdout is a file.
pub(crate) fn report(args: &Cli, error: Error) -> Result<ExitCode> {
    let Some(path) = args.model.weights.as_deref().filter(|_| !matches!(error, Error::Option { .. })) else {
        return Err(error);
    };
    let mut findings = Findings::default();
    if let Ok(path) = hub::resolve(path)
        && path.exists()
    {
        findings.look_at(&args.model, &path);
    }
    findings.add(error.to_string());
    cli::print(&findings.render(path, args.output.json))?;
    Ok(ExitCode::from(BAD_INPUT))
}

impl Findings {
    /// Adds a problem, unless a known one already says the same.
    fn add(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn look_at(&mut self, args: &ModelArgs, path: &Path) {
        let dir = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let config = args.config.clone().unwrap_or_else(|| dir.join("config.json"));
        let arch = match config.is_file() {
            true => Architecture::from_file(&config).map_err(|error| self.add(error.to_string())).ok(),
            false => {
                self.add(format!("{}: not there, it says what the model is", config.display()));
                None
            }
        };
        let given = args.tokenizer.as_ref().is_some_and(|path| path.is_file());
        let there = |names: &[&str]| names.iter().all(|name| dir.join(name).is_file());
        if !given && !there(&["tokenizer.json"]) && !there(&["vocab.json", "merges.txt"]) {
            let what = "no tokenizer.json, nor vocab.json with merges.txt: only --ids would work";
            self.add(format!("{}: {what}", dir.display()));
        }
        let files = match Checkpoint::locate(path) {
            Ok(files) => files,
            Err(error) => return self.add(error.to_string()),
        };
        match files.missing_shards() {
            Ok(missing) => self.missing_shards = missing,
            Err(error) => return self.add(error.to_string()),
        }
        if !self.missing_shards.is_empty() {
            return;
        }
        match (files.open(Storage::Map), arch) {
            (Ok(source), Some(arch)) => {
                let there = source.names();
                let expected = arch.tensors().into_iter().map(|slot| slot.name);
                self.missing_tensors = expected.filter(|name| !there.contains(name)).collect();
            }
            (Err(error), _) => self.add(error.to_string()),
            (Ok(_), None) => {}
        }
    }

    fn render(&self, path: &Path, as_json: bool) -> String {
        let Self { problems, missing_shards, missing_tensors } = self;
        let model = path.display().to_string();
        if as_json {
            let json: Value = json!({
                "model": model,
                "runs": false,
                "problems": problems,
                "missing_shards": missing_shards,
                "missing_tensors": missing_tensors,
            });
            return format!("{json:#}\n");
        }
        let mut text = format!("model: {model}\nruns: no\n");
        for problem in problems {
            text += &format!("problem: {problem}\n");
        }
        for (what, names) in [("shards", missing_shards), ("tensors", missing_tensors)] {
            if !names.is_empty() {
                let more = names.len().saturating_sub(LISTED);
                let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
                let listed = names[..names.len() - more].join(", ");
                text += &format!("missing {what}: {} ({listed}{rest})\n", names.len());
            }
        }
        cli::safe(&text).into_owned()
    }
}
