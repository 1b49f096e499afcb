//! `--quality`: how many questions a model answers rightly, and in how many forward passes, by format of the weights, by rule of
//! unmasking and by cache plan.

mod grid;
mod question;

pub(crate) use grid::Grid;

use crate::args::Cli;
use diffulex::{Control, Error, Model, Request, Result};
use diffulex_cli::{self as cli, MachineArgs, ModelArgs};
use grid::Setting;
use question::Question;
use serde_json::{Value, json};
use std::path::Path;

/// What a setting came to.
#[derive(Default)]
struct Score {
    /// For each task: right answers and questions.
    tasks: Vec<(usize, usize)>,
    tokens: usize,
    /// Passes that made tokens, those over prompts apart.
    passes: usize,
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
    let attention = ModelArgs::default().open(path, &args.machine)?.engine.arch().attention;
    let mut rows = Vec::new();
    if !args.json {
        cli::print(&header(&tasks))?;
    }
    for setting in grid::settings(grid, attention, &args.decoding.overrides) {
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

/// The questions, at most as many of each task as asked for, and the tasks in their order.
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
        let generation = session.generate(&request, &mut |_| Ok(Control::Continue))?;
        let ids = if question.is_text() { &generation.canvas } else { &generation.tokens };
        let answer = model.tokenizer()?.decode(ids, true)?;
        let task = tasks.iter().position(|task| *task == question.task).unwrap_or_default();
        score.tasks[task].0 += usize::from(question.accepts(&answer));
        score.tasks[task].1 += 1;
        score.tokens += generation.new_tokens();
        score.passes += generation.decode_passes();
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

    fn line(&self, setting: &Setting, tasks: &[String]) -> String {
        let width = |task: &String| task.len().max(5);
        let cells: String = self
            .tasks
            .iter()
            .zip(tasks)
            .map(|(&task, name)| format!("  {:>1$.0}", percent(task), width(name)))
            .collect();
        let (all, rate) = (self.accuracy(), self.per_forward());
        format!("{:24}{cells}  {all:>6.1}  {rate:>14.2}  {:>6}\n", setting.name, self.passes)
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
            "new_tokens": self.tokens,
        })
    }
}

fn percent((right, asked): (usize, usize)) -> f64 {
    100.0 * right as f64 / asked.max(1) as f64
}

fn header(tasks: &[String]) -> String {
    let cells: String = tasks.iter().map(|task| format!("  {task:>5}")).collect();
    format!("{:24}{cells}  {:>6}  {:>14}  {:>6}\n", "right answers in %", "all", "tokens/forward", "nfe")
}
