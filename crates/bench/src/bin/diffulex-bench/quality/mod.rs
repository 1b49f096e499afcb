//! `--quality`: how many questions a model answers correctly, and in how many forward passes, by format of the weights, by rule of
//! unmasking and by cache plan.

mod grid;
mod question;

pub(crate) use grid::Grid;

use crate::args::Cli;
use diffulex::engine::PassKind;
use diffulex::{Control, Error, Event, Model, Request, Result};
use diffulex_cli::{self as cli, MachineArgs, ModelArgs};
use grid::Setting;
use question::Question;
use serde_json::{Value, json};
use std::path::Path;

/// The result of a setting.
#[derive(Default)]
struct Score {
    /// For each task: right answers and questions.
    tasks: Vec<(usize, usize)>,
    tokens: usize,
    /// Passes that produced tokens, without those over prompts.
    passes: usize,
    /// Positions that these computed.
    rows: usize,
    /// Distinct experts that a block read, by pass, on average over the blocks.
    experts: f64,
}

/// Asks every question under every setting and prints the table.
pub(crate) fn run(args: &Cli, grid: Grid) -> Result<()> {
    let missing =
        || Error::option("weights", "none given, a checkpoint expected: only a trained model has answers");
    let path = args.model.weights.as_deref().ok_or_else(missing)?;
    let (questions, tasks) = questions(args, path)?;
    let open = |setting: &Setting| {
        let model = ModelArgs {
            mask_id: args.model.mask_id,
            kv: Some(args.model.kv),
            quantize: setting.quantize,
            ..ModelArgs::default()
        };
        let activations = setting.activations.name().to_string();
        model.open(path, &MachineArgs { activations, ..args.machine.clone() })
    };
    let arch = ModelArgs::default().open(path, &args.machine)?.engine.arch().clone();
    let mut rows = Vec::new();
    if !args.json {
        cli::print(&header(&tasks, arch.mixture.is_some()))?;
    }
    for setting in grid::settings(grid, &arch, &args.decoding.overrides) {
        let score = ask(&open(&setting)?, &setting, &questions, &tasks)?;
        if args.json {
            rows.push(score.json(&setting, &tasks));
        } else {
            cli::print(&score.line(&setting, &tasks))?;
        }
    }
    if args.json {
        let report =
            json!({ "model": path.display().to_string(), "questions": questions.len(), "settings": rows });
        cli::print(&format!("{report:#}\n"))?;
    }
    Ok(())
}

/// The questions, at most the requested number of each task, and the tasks in their order.
fn questions(args: &Cli, weights: &Path) -> Result<(Vec<Question>, Vec<String>)> {
    let directory = if weights.is_dir() { weights } else { weights.parent().unwrap_or(Path::new(".")) };
    let beside = directory.join("quality.jsonl");
    let mut questions = question::read(args.quality.questions.as_deref().unwrap_or(&beside))?;
    let mut tasks: Vec<(String, usize)> = Vec::new();
    questions.retain(|question| {
        let at = tasks.iter().position(|(task, _)| *task == question.task).unwrap_or_else(|| {
            tasks.push((question.task.clone(), 0));
            tasks.len() - 1
        });
        tasks[at].1 += 1;
        args.quality.limit.is_none_or(|limit| tasks[at].1 <= limit.get())
    });
    Ok((questions, tasks.into_iter().map(|(task, _)| task).collect()))
}

fn ask(model: &Model, setting: &Setting, questions: &[Question], tasks: &[String]) -> Result<Score> {
    let engine = &model.engine;
    let policy = setting.decoding.policy(engine)?;
    let mut score = Score { tasks: vec![(0, 0); tasks.len()], ..Score::default() };
    let mut session = engine.session()?;
    for question in questions {
        let prompt = question.prompt(model)?;
        let max_new = if question.is_text() { 0 } else { question.max_tokens };
        let request = Request { stop: engine.stop(), ..Request::new(&prompt, max_new, &policy) };
        let generation = session.generate(&request, &mut |event| {
            if let Event::Pass { kind: PassKind::Denoise | PassKind::Commit, rows, .. } = event {
                score.rows += rows.len();
            }
            Ok(Control::Continue)
        })?;
        let ids = if question.is_text() { &generation.canvas } else { &generation.tokens };
        let answer = model.tokenizer()?.decode(ids, true)?;
        let task = tasks.iter().position(|task| *task == question.task).unwrap_or_default();
        score.tasks[task].0 += usize::from(question.accepts(&answer));
        score.tasks[task].1 += 1;
        score.tokens += generation.new_tokens();
        score.passes += generation.decode_passes();
        let mean = generation.experts.iter().sum::<f64>() / generation.experts.len().max(1) as f64;
        score.experts += mean * generation.decode_passes() as f64;
    }
    Ok(score)
}

impl Score {
    fn accuracy(&self) -> f64 {
        let (right, asked) = self.tasks.iter().fold((0, 0), |sum, task| (sum.0 + task.0, sum.1 + task.1));
        percent((right, asked))
    }

    fn per_forward(&self) -> f64 {
        self.tokens as f64 / self.passes.max(1) as f64
    }

    fn of_passes(&self, sum: f64) -> f64 {
        sum / self.passes.max(1) as f64
    }

    fn line(&self, setting: &Setting, tasks: &[String]) -> String {
        let width = |task: &String| task.len().max(5);
        let cells: String = self
            .tasks
            .iter()
            .zip(tasks)
            .map(|(&task, name)| format!("  {:>1$.0}", percent(task), width(name)))
            .collect();
        let (all, rate, rows) = (self.accuracy(), self.per_forward(), self.of_passes(self.rows as f64));
        let experts = self.of_passes(self.experts);
        let experts = if experts > 0.0 { format!("  {experts:>7.1}") } else { String::new() };
        let passes = self.passes;
        format!("{:24}{cells}  {all:>6.1}  {rate:>14.2}  {passes:>6}  {rows:>12.1}{experts}\n", setting.name)
    }

    fn json(&self, setting: &Setting, tasks: &[String]) -> Value {
        let by_task: serde_json::Map<_, _> =
            tasks.iter().zip(&self.tasks).map(|(name, &task)| (name.clone(), json!(percent(task)))).collect();
        json!({
            "setting": setting.name,
            "accuracy": self.accuracy(),
            "tasks": by_task,
            "tokens_per_forward": self.per_forward(),
            "nfe": self.passes,
            "rows_per_forward": self.of_passes(self.rows as f64),
            "experts": self.of_passes(self.experts),
            "new_tokens": self.tokens,
        })
    }
}

fn percent((right, asked): (usize, usize)) -> f64 {
    100.0 * right as f64 / asked.max(1) as f64
}

fn header(tasks: &[String], experts: bool) -> String {
    let cells: String = tasks.iter().map(|task| format!("  {task:>5}")).collect();
    let experts = if experts { "  experts" } else { "" };
    let end = format!("{:>14}  {:>6}  {:>12}{experts}", "tokens/forward", "nfe", "rows/forward");
    format!("{:24}{cells}  {:>6}  {end}\n", "right answers in %", "all")
}
