//! `--prompts FILE --output FILE`: many prompts, one answer a line, continued where an earlier run was broken off.

mod input;
mod output;

use crate::answer;
use crate::args::Cli;
use crate::cli::{self, INTERRUPTED, Progress};
use crate::demo;
use crate::display::Silent;
use crate::report::seconds;
use clap::Args;
use diffulex::engine::Session;
use diffulex::text::chat::Message;
use diffulex::text_model::{Answer, Prompt, Setup};
use diffulex::{Error, Model, Result};
use input::{Line, Task, Words};
use output::Output;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Many prompts at once.
#[derive(Args)]
#[command(next_help_heading = "Batch")]
pub(crate) struct BatchArgs {
    /// Answer every line of a file: JSON objects with `prompt` or `messages`, and if wanted `id`, `system`, `max_tokens`,
    /// `seed`, `stop`; `-` is stdin
    #[arg(
        long,
        value_name = "FILE",
        requires = "output",
        conflicts_with_all = ["prompt", "prompt_file", "ids", "json", "info", "doctor", "list_strategies"]
    )]
    prompts: Option<PathBuf>,
    /// Where the answers go, one JSON object a line; what is there from an earlier run is kept, and the rest done; `-` is
    /// stdout
    #[arg(long, short, value_name = "FILE", requires = "prompts")]
    output: Option<PathBuf>,
    /// Begin the output anew
    #[arg(long, requires = "prompts")]
    overwrite: bool,
}

/// Prompts that were read, and the file that takes their answers.
pub(crate) struct Batch {
    lines: Vec<Line>,
    output: Output,
}

/// How it went.
#[derive(Default)]
struct Counts {
    answered: usize,
    failed: usize,
    skipped: usize,
}

impl BatchArgs {
    /// The batch that the options name, if they name one.
    ///
    /// # Errors
    /// Files that cannot be read or written, ids that stand twice, an output that belongs to another input.
    pub(crate) fn prepare(&self) -> Result<Option<Batch>> {
        let (Some(prompts), Some(output)) = (&self.prompts, &self.output) else { return Ok(None) };
        let same = |path: &PathBuf| path.canonicalize().ok();
        if same(output).is_some_and(|output| same(prompts) == Some(output)) {
            return Err(Error::option("output", "it is the file of the prompts, another one expected"));
        }
        let lines = input::read(prompts)?;
        let resume = !self.overwrite && !input::is_stream(prompts);
        let output = Output::open(output, &lines, self.overwrite, resume)?;
        Ok(Some(Batch { lines, output }))
    }
}

impl Batch {
    /// Answers what has no answer yet. The exit code is 1 if a line failed.
    ///
    /// # Errors
    /// Options that make no sense, or an output that cannot be written. What is wrong with a line is recorded there.
    pub(crate) fn run(mut self, args: &Cli, model: &Model) -> Result<ExitCode> {
        let policy = args.decoding.overrides.policy(&model.engine)?;
        let setup = answer::setup(&args.length, policy, model)?;
        if args.model.weights.is_none() && !args.output.quiet {
            cli::note(demo::NOTICE);
        }
        let mut session = model.engine.session()?;
        let mut counts = Counts::default();
        let progress = Progress::start("", args.output.quiet);
        cli::catch_interrupt();
        for (index, line) in self.lines.iter().enumerate() {
            if self.output.has(index) {
                counts.skipped += 1;
                continue;
            }
            progress.message(format!("prompt {} of {}", index + 1, self.lines.len()));
            let outcome = match &line.task {
                Ok(task) => {
                    answer_to(task, args, model, &setup, &mut session).map_err(|error| error.to_string())
                }
                Err(reason) => Err(reason.clone()),
            };
            if cli::interrupted() {
                break;
            }
            let record = match &outcome {
                Ok((answer, prompt)) => record(&line.id, answer, prompt),
                Err(reason) => json!({ "id": line.id, "error": reason }),
            };
            counts.answered += usize::from(outcome.is_ok());
            counts.failed += usize::from(outcome.is_err());
            if !self.output.append(index, &record)? {
                break;
            }
        }
        drop(progress);
        self.output.finish()?;
        let total = self.lines.len();
        if !args.output.quiet || counts.failed > 0 {
            cli::note(&counts.text(total));
        }
        Ok(match counts.failed {
            _ if cli::interrupted() => ExitCode::from(INTERRUPTED),
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

impl Counts {
    fn text(&self, total: usize) -> String {
        let Self { answered, failed, skipped } = self;
        let open = total - answered - failed - skipped;
        let mut text = format!("{total} prompts: {answered} answered, {failed} failed");
        for (count, what) in [(*skipped, "were there already"), (open, "not begun")] {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text
    }
}

/// The answer to one line, with the options of the command line where the line says nothing.
fn answer_to(
    task: &Task,
    args: &Cli,
    model: &Model,
    setup: &Setup,
    session: &mut Session<'_>,
) -> Result<(Answer, Prompt)> {
    let system = task.system.as_deref().or(args.prompt.system.as_deref());
    let prompt = match &task.words {
        Words::Prompt(text) => model.prompt_with(text, system, args.prompt.raw)?,
        Words::Messages(messages) => {
            let own = messages.first().is_some_and(|first| first.role == "system");
            let system = system.filter(|_| !own).map(|text| Message::new("system", text));
            let messages: Vec<_> = system.into_iter().chain(messages.iter().cloned()).collect();
            model.conversation(&messages)?
        }
    };
    let setup = Setup {
        policy: setup.policy.clone(),
        stop_ids: setup.stop_ids.clone(),
        stop: task.stop.clone().unwrap_or_else(|| setup.stop.clone()),
        seed: task.seed.unwrap_or(setup.seed),
        max_tokens: task.max_tokens.or(setup.max_tokens),
    };
    let answer = answer::answer(session, model, &setup, &prompt, &mut Silent)?;
    Ok((answer, prompt))
}

fn record(id: &Value, answer: &Answer, prompt: &Prompt) -> Value {
    let timings = answer.generation.timings;
    json!({
        "id": id,
        "text": answer.text,
        "finish_reason": answer.reason(),
        "nfe": answer.generation.nfe,
        "prompt_tokens": prompt.ids.len(),
        "new_tokens": answer.counted,
        "tokens_per_forward": answer.per_forward(),
        "seconds": { "prefill": seconds(timings.prefill), "decode": seconds(timings.decode) },
    })
}
