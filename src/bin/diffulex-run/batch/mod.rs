//! `--prompts FILE --output FILE`: many prompts, one answer per line, continued where an earlier run was interrupted.

mod input;
mod output;

use crate::answer;
use crate::args::Cli;
use crate::cli::demo;
use crate::cli::{self, INTERRUPTED, Progress, memory};
use crate::patience::{self, Questions};
use clap::Args;
use diffulex::engine::{Control, Limits, SequenceId};
use diffulex::text::chat::Message;
use diffulex::text_model::{Answer, Batch as Answers, DEFAULT_MAX_TOKENS, Setup};
use diffulex::{Error, Model, Result};
pub(crate) use input::id;
use input::{Line, Words};
use output::{Earlier, Output};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Many prompts at once.
#[derive(Args)]
#[command(next_help_heading = "Batch")]
pub(crate) struct BatchArgs {
    /// Answer every line of a file: JSON objects with `prompt` or `messages`, and if wanted `id`, `system`, `max_tokens`,
    /// `seed`, `stop`; `-` is stdin
    #[arg(long, value_name = "FILE", requires = "output")]
    prompts: Option<PathBuf>,
    /// Where the answers go, one JSON object per line; what is there from an earlier run is kept, and the rest is done; `-` is
    /// stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begin the output anew
    #[arg(long)]
    overwrite: bool,
    /// Prompts that are answered at a time, in common forward passes; answers are the same for every number. Default: as many as
    /// memory allows, at most 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: Option<u16>,
    /// Leave the answers in the order in which they finished
    #[arg(long)]
    unordered: bool,
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
    /// Where the answers go.
    pub(crate) fn output(&self) -> &Option<PathBuf> {
        &self.output
    }

    /// The batch that the options name, if they name one.
    ///
    /// # Errors
    /// Files that cannot be read or written, duplicate ids, an output that belongs to another input.
    pub(crate) fn prepare(&self) -> Result<Option<Batch>> {
        let (Some(prompts), Some(output)) = (&self.prompts, &self.output) else { return Ok(None) };
        let same = |path: &PathBuf| path.canonicalize().ok();
        if same(output).is_some_and(|output| same(prompts) == Some(output)) {
            return Err(Error::option("output", "it is the file of the prompts, another one expected"));
        }
        if self.overwrite && input::is_stream(output) {
            return Err(Error::option("overwrite", "standard output has no earlier answers"));
        }
        let lines = input::read(prompts)?;
        let earlier = match self.overwrite {
            true => Earlier::Overwritten,
            false if input::is_stream(prompts) => Earlier::Refused,
            false => Earlier::Continued,
        };
        let output = Output::open(output, &lines, earlier, !self.unordered)?;
        Ok(Some(Batch { lines, output }))
    }

    /// How many of `prompts` prompts are answered at a time.
    fn parallel(&self, model: &Model, prompts: usize) -> usize {
        let wanted = self.parallel.map_or_else(|| memory::sequences(&model.engine), usize::from);
        wanted.clamp(1, prompts.max(1))
    }
}

impl Batch {
    /// Answers what has no answer yet. The exit code is 1 if a line failed.
    ///
    /// # Errors
    /// Invalid options, or an output that cannot be written. What is wrong with a line is recorded there.
    pub(crate) fn run(mut self, args: &Cli, model: &Model) -> Result<ExitCode> {
        let policy = args.decoding.overrides.policy(&model.engine)?;
        let setup = answer::setup(&args.length, policy, model)?;
        if args.model.weights.is_none() && !args.output.quiet {
            cli::note(demo::NOTICE);
        }
        let parallel = args.batch.parallel(model, self.lines.len());
        let count = (0..self.lines.len()).filter(|&index| !self.output.has(index)).count();
        let new = setup.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        let questions = Questions { count, parallel: parallel.min(count), prompt: 0, new };
        patience::announce(args, model, &setup, questions);
        let mut answers = model.batch(Limits::for_engine(&model.engine, parallel))?;
        self.output.begin()?;
        let mut counts = Counts::default();
        let progress = Progress::start("", args.output.quiet);
        cli::catch_interrupt();
        let mut open = HashMap::new();
        let mut lines = self.lines.iter().enumerate();
        while !cli::interrupted() {
            while answers.open() < parallel {
                let Some((index, line)) = lines.next() else { break };
                if self.output.has(index) {
                    counts.skipped += 1;
                    continue;
                }
                match begin(&mut answers, line, args, model, &setup) {
                    Ok((id, tokens)) => drop(open.insert(id, (index, tokens))),
                    Err(reason) => self.output.take(index, counts.failure(&line.id, &reason))?,
                }
            }
            progress.message(format!("{} of {} prompts", counts.done(), self.lines.len()));
            if answers.open() == 0 || self.output.is_closed() {
                break;
            }
            let answered = answers
                .step(&mut |_, _, _| Ok(if cli::interrupted() { Control::Stop } else { Control::Continue }));
            // What an interrupt cut short is not an answer.
            for answered in answered.into_iter().filter(|_| !cli::interrupted()) {
                let (index, tokens) = open.remove(&answered.id).expect("every answer was begun");
                let id = &self.lines[index].id;
                let record = match answered.result {
                    Ok(answer) => counts.success(id, &answer, tokens),
                    Err(error) => {
                        // With weights that changed, every other answer would fail, too.
                        model.in_use.check()?;
                        counts.failure(id, &error.to_string())
                    }
                };
                self.output.take(index, record)?;
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
    fn done(&self) -> usize {
        self.answered + self.failed + self.skipped
    }

    fn failure(&mut self, id: &Value, reason: &str) -> Value {
        self.failed += 1;
        json!({ "id": id, "error": reason })
    }

    /// Nothing in it depends on the other prompts: neither time, nor passes over parts of the prompt that others have computed.
    fn success(&mut self, id: &Value, answer: &Answer, prompt_tokens: usize) -> Value {
        self.answered += 1;
        json!({
            "id": id,
            "text": answer.text,
            "finish_reason": answer.reason(),
            "nfe": answer.generation.decode_passes(),
            "prompt_tokens": prompt_tokens,
            "new_tokens": answer.counted,
            "tokens_per_forward": answer.per_forward(),
        })
    }

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

/// Begins the answer to one line, with the options of the command line where the line says nothing. Returns its id, and the
/// number of prompt tokens.
fn begin(
    answers: &mut Answers<'_>,
    line: &Line,
    args: &Cli,
    model: &Model,
    setup: &Setup,
) -> std::result::Result<(SequenceId, usize), String> {
    let task = line.task.as_ref().map_err(Clone::clone)?;
    let mut begun = || -> Result<(SequenceId, usize)> {
        let system = task.system.as_deref().or(args.prompt.system.as_deref());
        let prompt = match &task.words {
            Words::Messages(_) if args.prompt.raw => {
                let reason = "given, which leaves the chat template out; `messages` are of no use without it";
                return Err(Error::option("raw", reason));
            }
            Words::Prompt(text) => model.prompt_with(text, system, args.prompt.raw)?,
            Words::Messages(messages) => {
                let own = messages.iter().any(|message| message.role == "system");
                if own && task.system.is_some() {
                    let reason = "key `system` and a message of the system are both there, one expected";
                    return Err(Error::option("prompts", reason));
                }
                let system = system.filter(|_| !own).map(|text| Message::new("system", text));
                let messages: Vec<_> = system.into_iter().chain(messages.iter().cloned()).collect();
                model.conversation(&messages)?
            }
        };
        let mut setup = Setup {
            policy: setup.policy.clone(),
            stop_ids: setup.stop_ids.clone(),
            stop: task.stop.clone().unwrap_or_else(|| setup.stop.clone()),
            seed: task.seed.unwrap_or(setup.seed),
            grammar: setup.grammar.clone(),
            alternatives: setup.alternatives,
            max_tokens: task.max_tokens.or(setup.max_tokens),
        };
        // What the command line says for all lines is left out where it does not apply.
        if task.stop.is_none() && setup.new_tokens(&prompt, model.fills_gaps(&prompt)?) == 0 {
            setup.stop.clear();
        }
        let tokens = prompt.ids.len();
        Ok((answers.add(prompt, setup)?, tokens))
    };
    begun().map_err(|error| error.to_string())
}
