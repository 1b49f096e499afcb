//! `--decisions`: how often a trained model decides correctly, how well it is calibrated, and how fast it is, compared with asking it by chat.

use crate::args::Cli;
use diffulex::engine::Reader;
use diffulex::text_model::decide::{Decision, Prepared, Verdict};
use diffulex::{Control, Error, Model, Policy, Request, Result};
use diffulex_cli::decide::{Questions, State, decision};
use diffulex_cli::input::some;
use diffulex_cli::{self as cli, ModelArgs};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Decisions in shared forward passes, for the second rate.
const TOGETHER: usize = 32;
/// The most new tokens of an answer by chat.
const MAX_TOKENS: usize = 32;
/// Parts of the range of probabilities, in each of which they are compared with how often they were right.
const BINS: usize = 10;

/// A line of the file: the keys of `diffulex-run --decide`, and what is right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(default, deserialize_with = "some")]
    task: Option<String>,
    state: State,
    questions: Questions,
    #[serde(default, deserialize_with = "some")]
    prompt: Option<String>,
    #[serde(default, deserialize_with = "some")]
    passes: Option<u64>,
    /// The label of every question.
    expect: BTreeMap<String, String>,
}

/// A decision, and what is right.
struct Known {
    task: String,
    decision: Decision,
    /// For every question the place of its label.
    expect: Vec<usize>,
}

/// Right answers, and their probabilities.
#[derive(Default)]
struct Score {
    asked: usize,
    right: usize,
    by_chat: usize,
    /// Of the answers: their probability, and whether they are right.
    answers: Vec<(f64, bool)>,
    /// Sum of the squared distances of all probabilities from the right answer.
    brier: f64,
}

/// Decides everything, prints the table.
pub(crate) fn run(args: &Cli, file: &Path) -> Result<()> {
    let missing = || {
        Error::option("weights", "none given, a checkpoint expected: only a trained model decides rightly")
    };
    let path = args.model.weights.as_deref().ok_or_else(missing)?;
    let known = read(file)?;
    let options = ModelArgs { mask_id: args.model.mask_id, kv: Some(args.model.kv), ..ModelArgs::default() };
    let model = options.open(path, &args.machine)?;
    let policy = args.decoding.overrides.policy(&model.engine)?;
    let prepared = known.iter().map(|own| model.prepare(&own.decision)).collect::<Result<Vec<Prepared>>>()?;
    let mut reader = Reader::new(&model.engine)?;
    let mut time = |together: usize| -> Result<(Vec<Vec<Verdict>>, f64)> {
        let (start, mut verdicts) = (Instant::now(), Vec::new());
        for group in prepared.chunks(together) {
            verdicts.extend(model.decide(&mut reader, &policy, group)?);
        }
        Ok((verdicts, start.elapsed().as_secs_f64()))
    };
    // Pages that the first run leaves in the cache would make the second one faster: groups come first.
    let (together, group_time) = time(TOGETHER)?;
    let (verdicts, single_time) = time(1)?;
    assert!(together == verdicts, "decisions depend on their neighbours");
    let start = Instant::now();
    let answers = prepared.iter().map(|own| chat(&model, &policy, own)).collect::<Result<Vec<_>>>()?;
    let chat_time = start.elapsed().as_secs_f64();
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    for ((own, verdicts), answer) in known.iter().zip(&verdicts).zip(&answers) {
        for name in [own.task.as_str(), "all"] {
            scores.entry(name).or_default().add(own, verdicts, answer);
        }
    }
    let together = format!("decided {TOGETHER} together");
    let rates = [("decided alone", single_time), (&*together, group_time), ("asked by chat", chat_time)];
    let asked = scores["all"].asked as f64;
    if args.json {
        let tasks: serde_json::Map<_, _> =
            scores.iter().map(|(name, score)| ((*name).to_string(), score.json())).collect();
        let rates: serde_json::Map<_, _> =
            rates.iter().map(|(name, time)| ((*name).to_string(), json!(asked / time))).collect();
        let report = json!({ "model": path.display().to_string(), "tasks": tasks, "per_second": rates });
        cli::print(&format!("{report:#}\n"))?;
        return Ok(());
    }
    let mut table = format!(
        "{:12}{:>6}{:>9}{:>9}{:>8}{:>8}{:>8}\n",
        "task", "asked", "right %", "chat %", "sure %", "ECE", "Brier"
    );
    scores.iter().for_each(|(name, score)| table += &score.line(name));
    for (name, time) in rates {
        table += &format!("{name:20} {:>9.1} questions/s\n", asked / time);
    }
    cli::print(&table)?;
    Ok(())
}

/// # Errors
/// A file that cannot be read, and lines that are not decisions.
fn read(path: &Path) -> Result<Vec<Known>> {
    let file = path.display();
    let text = cli::input::read(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let known = |(number, line): (usize, &str)| {
        parse(line).map_err(|what| Error::format(&file, format!("line {number}: {what}")))
    };
    let all: Vec<_> = lines.map(known).collect::<Result<_>>()?;
    if all.is_empty() {
        return Err(Error::format(file, "no decision in it, at least one line expected"));
    }
    Ok(all)
}

fn parse(line: &str) -> std::result::Result<Known, String> {
    let record: Record = cli::input::json_line(line.as_bytes())?;
    let decision = decision(record.state, record.questions, record.prompt, record.passes);
    let decision = decision.map_err(|error| error.to_string())?;
    let place = |question: &diffulex::text_model::decide::Question| {
        let label = record.expect.get(&question.name);
        let label = label.ok_or_else(|| format!("key `expect`: nothing for `{}`", question.name))?;
        let place = question.kind.labels().iter().position(|other| other == label);
        place.ok_or_else(|| {
            format!("key `expect.{}`: `{label}` found, one of its answers expected", question.name)
        })
    };
    let expect = decision.questions.iter().map(place).collect::<std::result::Result<_, _>>()?;
    if record.expect.len() > decision.questions.len() {
        return Err("key `expect`: an answer without a question".into());
    }
    Ok(Known { task: record.task.unwrap_or_else(|| "decisions".into()), decision, expect })
}

/// What the model says to the same prompt.
fn chat(model: &Model, policy: &Policy, own: &Prepared) -> Result<String> {
    let engine = &model.engine;
    let max_new = MAX_TOKENS.min(engine.context().saturating_sub(own.prompt().len()));
    let request = Request { stop: engine.stop(), ..Request::new(own.prompt(), max_new, policy) };
    let generation = engine.session()?.generate(&request, &mut |_| Ok(Control::Continue))?;
    model.tokenizer()?.decode(&generation.tokens, true)
}

impl Score {
    fn add(&mut self, own: &Known, verdicts: &[Verdict], answer: &str) {
        for ((question, verdict), &expect) in own.decision.questions.iter().zip(verdicts).zip(&own.expect) {
            self.asked += 1;
            let right = verdict.best == expect;
            self.right += usize::from(right);
            self.answers.push((verdict.probabilities[verdict.best], right));
            let each = verdict.probabilities.iter().enumerate();
            self.brier += each.map(|(at, p)| (p - f64::from(u8::from(at == expect))).powi(2)).sum::<f64>();
            let words = format!("{}{}", question.lead(), verdict.labels[expect]);
            let goes_on = |rest: &str| rest.chars().next().is_some_and(char::is_alphanumeric);
            let said = answer.split_once(&words).is_some_and(|(_, rest)| !goes_on(rest));
            self.by_chat += usize::from(said);
        }
    }

    fn percent(&self, count: usize) -> f64 {
        100.0 * count as f64 / self.asked.max(1) as f64
    }

    /// The mean probability of the answers.
    fn sure(&self) -> f64 {
        self.answers.iter().map(|(p, _)| p).sum::<f64>() / self.asked.max(1) as f64
    }

    /// The expected calibration error: how much more or less often the answers of a part of the range are right than their
    /// probability says, weighted by the number of answers in each part.
    fn calibration_error(&self) -> f64 {
        let mut bins = [(0.0, 0.0); BINS];
        for &(p, right) in &self.answers {
            let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
            bin.0 += p;
            bin.1 += f64::from(u8::from(right));
        }
        bins.iter().map(|(p, right)| (p - right).abs()).sum::<f64>() / self.asked.max(1) as f64
    }

    fn line(&self, name: &str) -> String {
        format!(
            "{name:12}{:>6}{:>9.1}{:>9.1}{:>8.1}{:>8.3}{:>8.3}\n",
            self.asked,
            self.percent(self.right),
            self.percent(self.by_chat),
            100.0 * self.sure(),
            self.calibration_error(),
            self.brier / self.asked.max(1) as f64,
        )
    }

    fn json(&self) -> Value {
        json!({
            "asked": self.asked, "accuracy": self.percent(self.right), "chat_accuracy": self.percent(self.by_chat),
            "mean_probability": self.sure(), "calibration_error": self.calibration_error(),
            "brier": self.brier / self.asked.max(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_one_of_the_answers() {
        let line = |expect: &str| {
            format!(
                r#"{{"state": "x", "questions": {{"q": {{"options": ["a", "b"]}}}}, "expect": {expect}}}"#
            )
        };
        assert_eq!(parse(&line(r#"{"q": "b"}"#)).unwrap().expect, [1]);
        for (expect, reason) in [
            ("{}", "nothing for `q`"),
            (r#"{"q": "c"}"#, "`c` found, one of its answers"),
            (r#"{"q": "a", "r": "a"}"#, "an answer without a question"),
        ] {
            let error = parse(&line(expect)).err().unwrap_or_default();
            assert!(error.contains(reason), "{expect}: {error}");
        }
    }

    #[test]
    fn the_calibration_error_is_the_distance_by_parts() {
        let answers = vec![(0.95, true), (0.95, true), (0.95, false), (0.55, true)];
        let score = Score { asked: 4, answers, ..Score::default() };
        let expected = ((3.0 * 0.95 - 2.0) + (1.0 - 0.55)) / 4.0;
        assert!((score.calibration_error() - expected).abs() < 1e-12);
    }
}
