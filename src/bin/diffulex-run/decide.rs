//! `--decide`: questions about states, answered with the probability of every answer.

use crate::args::Cli;
use crate::batch::id;
use crate::cli;
use crate::cli::decide::{Questions, State, answers, decision};
use crate::cli::input::{self, some};
use diffulex::engine::Reader;
use diffulex::text_model::decide::Decision;
use diffulex::{Error, Model, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// Decisions that are answered in common forward passes.
const TOGETHER: usize = 32;

/// The keys of a decision.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(default, deserialize_with = "id")]
    id: Option<Value>,
    state: State,
    questions: Questions,
    #[serde(default, deserialize_with = "some")]
    prompt: Option<String>,
    #[serde(default, deserialize_with = "some")]
    passes: Option<u64>,
}

/// The decisions of a file.
pub(crate) struct Decisions {
    file: String,
    /// Whether the file is a single object, not one on each line.
    is_whole: bool,
    /// With the number of the line.
    all: Vec<(usize, Option<Value>, Decision)>,
}

impl Decisions {
    /// # Errors
    /// A file that cannot be read, and anything in it that is not a decision.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = if path == Path::new("-") { input::STDIN.to_string() } else { path.display().to_string() };
        let text = input::utf8(&file, input::bytes(path)?)?;
        let lines: Vec<(usize, &str)> =
            (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
        let Some((_, first)) = lines.first() else {
            return Err(Error::format(file, "no decision in it, a JSON object expected"));
        };
        let is_whole = lines.len() == 1 || serde_json::from_str::<IgnoredAny>(first).is_err();
        let mut decisions = Self { file, is_whole, all: Vec::new() };
        if is_whole {
            serde_json::from_str::<IgnoredAny>(&text)
                .map_err(|error| Error::format(&decisions.file, format!("malformed JSON: {error}")))?;
        }
        for (number, line) in if is_whole { vec![(1, &*text)] } else { lines } {
            let (id, decision) = parse(line).map_err(|what| decisions.wrong(number, what))?;
            decisions.all.push((number, id, decision));
        }
        Ok(decisions)
    }

    fn wrong(&self, number: usize, what: impl Display) -> Error {
        let place = if self.is_whole { String::new() } else { format!("line {number}: ") };
        Error::format(&self.file, format!("{place}{what}"))
    }

    /// Answers all of them.
    ///
    /// # Errors
    /// Anything that is wrong with one of them, before the first is answered.
    pub(crate) fn run(self, args: &Cli, model: &Model) -> Result<ExitCode> {
        let policy = args.decoding.overrides.policy(&model.engine)?;
        let mut prepared = Vec::with_capacity(self.all.len());
        for (number, id, decision) in &self.all {
            let own = model.prepare(decision).map_err(|error| self.wrong(*number, error))?;
            prepared.push((id, own));
        }
        let mut reader = Reader::new(&model.engine)?;
        for group in prepared.chunks(TOGETHER) {
            let decisions: Vec<_> = group.iter().map(|(_, own)| own.clone()).collect();
            let verdicts = model.decide(&mut reader, &policy, &decisions)?;
            for ((id, own), verdicts) in group.iter().zip(&verdicts) {
                let mut whole = answers(own, verdicts);
                if let Some(id) = id {
                    whole.shift_insert(0, "id".into(), id.clone());
                }
                let whole = Value::Object(whole);
                let text = if self.is_whole { format!("{whole:#}\n") } else { format!("{whole}\n") };
                if !cli::print(&text)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn parse(json: &str) -> std::result::Result<(Option<Value>, Decision), String> {
    let Record { id, state, questions, prompt, passes } = input::json_line(json.as_bytes())?;
    let decision = decision(state, questions, prompt, passes).map_err(|error| error.to_string())?;
    Ok((id, decision))
}
