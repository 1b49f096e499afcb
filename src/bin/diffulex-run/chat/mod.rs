//! A conversation: every turn is a question, which the model answers with all previous turns in its prompt, or a command.
//!
//! One session of the engine lives as long as the conversation, so what a turn has in common with the one before is not
//! computed again where the model's attention allows that.

mod assist;
mod command;
mod conversation;
mod input;
mod settings;
mod stats;

use crate::answer;
use crate::args::{Cli, OutputArgs};
use crate::cli::{self, INTERRUPTED, decoding, demo};
use crate::display::{self, CanvasChoice};
use crate::patience::{self, Questions};
use crate::{info, report};
use command::Command;
use conversation::{Conversation, Saved, Turn};
use diffulex::engine::{Session, StopReason};
use diffulex::text_model::{Answer, DEFAULT_MAX_TOKENS, Setup};
use diffulex::{Error, Model, Result};
use input::Input;
use serde_json::{Value, json};
use settings::Settings;
use stats::Counting;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

/// Words that are commands elsewhere.
const MEANT: [&str; 5] = ["exit", "quit", "bye", "help", "?"];

/// Whether the options, or a terminal without a prompt, mean a conversation.
pub(crate) fn is_asked_for(args: &Cli) -> bool {
    let prompt = &args.prompt;
    let given = prompt.prompt.is_some() || prompt.prompt_file.is_some() || prompt.ids.is_some();
    let given = given || prompt.suffix.is_some();
    let once = given || prompt.raw || args.output.json || args.output.trace.is_some();
    prompt.chat || !once && std::io::stdin().is_terminal()
}

/// Runs the conversation until the user ends it.
///
/// # Errors
/// Options that do not suit the model, a model without a chat template, input that is not text, output that cannot be
/// written. What is wrong with a single turn or command is noted and does not end the session.
pub(crate) fn run(args: &Cli, model: &Model, is_demo: bool) -> Result<ExitCode> {
    let mut chat = Chat::new(args, model)?;
    let mut input = Input::open()?;
    if !args.output.quiet {
        greet(model, is_demo);
    }
    let new = chat.setup.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    patience::announce(args, model, &chat.setup, Questions { count: 1, parallel: 1, prompt: 0, new });
    if args.output.verbose {
        cli::note(&info::text(&chat.describe()));
    }
    while let Some(text) = input.next()? {
        if matches!(input, Input::Terminal(_)) && MEANT.contains(&text.trim()) {
            cli::note("(/quit ends the session, /help lists the commands; this goes to the model)");
        }
        match chat.take(&text)? {
            Flow::Next => {}
            Flow::End => break,
            Flow::Interrupted if matches!(input, Input::Terminal(_)) => cli::note("(stopped)"),
            // Otherwise nobody is there to ask the next question.
            Flow::Interrupted => return Ok(ExitCode::from(INTERRUPTED)),
        }
    }
    // At a terminal the user has read what failed.
    let failed = chat.failed && !matches!(input, Input::Terminal(_));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn greet(model: &Model, is_demo: bool) {
    if is_demo {
        cli::note(demo::NOTICE);
        cli::note(&format!("Try: {}", demo::SUGGESTIONS.join("  ")));
    }
    let engine = &model.engine;
    cli::note(&format!(
        "{}: {}, {}, {} threads\n/help lists the commands",
        model.origin,
        engine.arch().family,
        report::kernels(model),
        engine.threads()
    ));
}

/// What follows a turn.
enum Flow {
    Next,
    /// An answer was stopped.
    Interrupted,
    End,
}

/// A conversation in progress.
struct Chat<'a> {
    model: &'a Model,
    session: Session<'a>,
    settings: Settings,
    /// What follows from the settings.
    setup: Setup,
    output: OutputArgs,
    conversation: Conversation,
    /// How the last answer was decoded.
    last: Option<Setup>,
    /// Whether a turn or a command failed.
    failed: bool,
}

impl<'a> Chat<'a> {
    fn new(args: &Cli, model: &'a Model) -> Result<Self> {
        let missing =
            |what: &str| Error::format(&model.origin, format!("{what}, which a conversation needs"));
        if model.tokenizer.is_none() {
            return Err(missing("no tokenizer"));
        }
        if model.template.is_none() {
            return Err(missing("no chat template (--prompt works without one)"));
        }
        let settings = Settings { decoding: args.decoding.clone(), length: args.length.clone() };
        Ok(Self {
            model,
            session: model.engine.session()?,
            setup: settings.resolve(model)?,
            settings,
            output: args.output.clone(),
            conversation: Conversation { system: args.prompt.system.clone(), ..Conversation::default() },
            last: None,
            failed: false,
        })
    }

    /// Says that a turn or a command failed; the session continues.
    fn fail(&mut self, what: &str) {
        self.failed = true;
        cli::note(&format!("error: {what}"));
    }

    /// Takes what was typed.
    ///
    /// # Errors
    /// Only what the session cannot continue after.
    fn take(&mut self, text: &str) -> Result<Flow> {
        if input::is_command(text) {
            return match command::parse(text) {
                Ok(command) => self.apply(command),
                Err(reason) => {
                    self.fail(&reason);
                    Ok(Flow::Next)
                }
            };
        }
        let question = input::message(text);
        if question.is_empty() { Ok(Flow::Next) } else { self.ask(self.conversation.turns.len(), question) }
    }

    fn apply(&mut self, command: Command) -> Result<Flow> {
        let before = self.describe();
        let done = match command {
            Command::Quit => return Ok(Flow::End),
            Command::Retry => return self.retry(),
            Command::Help => Ok(command::help()),
            Command::Config => Ok(info::text(&before).trim_end().to_string()),
            Command::Save(path) => self.save(&path).map(|()| format!("saved {}", path.display())),
            Command::Clear => {
                let system = self.conversation.system.take();
                self.conversation = Conversation { system, ..Conversation::default() };
                self.last = None;
                Ok(self.since(&before))
            }
            Command::Load(path) => {
                let turns = |chat: &Self| format!("{} turns loaded\n", chat.conversation.turns.len());
                self.load(&path).map(|()| turns(self) + &self.since(&before))
            }
            Command::Set(change) => {
                let changed = self.settings.with(change).and_then(|settings| self.change(settings));
                changed.map(|()| self.since(&before))
            }
            Command::Stats(on) => {
                self.output.quiet = !on;
                Ok(self.since(&before))
            }
            Command::Canvas(on) => {
                self.output.canvas = if on { CanvasChoice::On } else { CanvasChoice::Off };
                Ok(self.since(&before))
            }
        };
        match done {
            Ok(text) => cli::note(&text),
            Err(error) => self.fail(&error.to_string()),
        }
        Ok(Flow::Next)
    }

    /// Puts settings in force, all or nothing.
    fn change(&mut self, settings: Settings) -> Result<()> {
        self.setup = settings.resolve(self.model)?;
        self.settings = settings;
        Ok(())
    }

    fn save(&self, path: &Path) -> Result<()> {
        let family = self.model.engine.arch().family;
        Saved::new(family, self.settings.clone(), self.conversation.clone()).write(path)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let saved = Saved::read(path)?;
        self.change(saved.settings)?;
        self.conversation = saved.conversation;
        self.last = None;
        let family = self.model.engine.arch().family;
        if saved.family != family {
            cli::note(&format!("note: it was saved from {}; this model is {family}", saved.family));
        }
        Ok(())
    }

    fn retry(&mut self) -> Result<Flow> {
        let Some(turn) = self.conversation.turns.last() else {
            self.fail("/retry: nothing was asked yet");
            return Ok(Flow::Next);
        };
        let alike =
            self.last.as_ref().is_some_and(|last| *last == Setup { seed: last.seed, ..self.setup.clone() });
        if alike && !turn.cut && !self.setup.policy.is_random() {
            cli::note(
                "decoding is greedy: the answer would be the same; /temp 0.7 leaves something to chance",
            );
            return Ok(Flow::Next);
        }
        let question = turn.question.clone();
        self.ask(self.conversation.turns.len() - 1, question)
    }

    /// Answers a question after the first `turns` turns; the others are forgotten when that worked.
    ///
    /// # Errors
    /// Output that cannot be written.
    fn ask(&mut self, turns: usize, question: String) -> Result<Flow> {
        let seed = self.settings.length.seed.wrapping_add(self.conversation.asked);
        let setup = Setup { seed, ..self.setup.clone() };
        // From here on, not only from the first pass on: a long conversation takes a while to encode.
        cli::catch_interrupt();
        let answered = self.answer(turns, &question, &setup);
        let interrupted = cli::release_interrupt();
        let answer = match answered {
            Ok(answer) => answer,
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) => {
                // With weights that changed, every other answer would fail, too.
                self.model.in_use.check()?;
                let helps = match error {
                    Error::Capacity { .. } => {
                        ": /clear forgets the conversation, /max lowers the number of new tokens, --context N gives more room"
                    }
                    _ => "",
                };
                self.fail(&format!("{error}; the turn is not added{helps}"));
                return Ok(Flow::Next);
            }
        };
        let cut = answer.generation.stop == StopReason::Cancelled && !answer.stopped_by_string;
        self.conversation.turns.truncate(turns);
        self.conversation.turns.push(Turn { question, answer: answer.text, cut });
        self.conversation.asked += 1;
        self.last = Some(setup);
        Ok(match (cut, interrupted) {
            (true, true) => Flow::Interrupted,
            // Nobody reads the answers any more.
            (true, false) => Flow::End,
            (false, _) => Flow::Next,
        })
    }

    fn answer(&mut self, turns: usize, question: &str, setup: &Setup) -> Result<Answer> {
        let prompt = self.model.conversation(&self.conversation.messages(turns, question))?;
        let inner = display::choose(&self.output, self.model, setup, &prompt)?;
        let mut display = Counting { inner, kept: None };
        let answer = answer::answer(&mut self.session, self.model, setup, &prompt, &mut display)?;
        if !self.output.quiet {
            cli::note(&stats::line(&answer, prompt.ids.len(), display.kept.unwrap_or(0)));
        }
        Ok(answer)
    }

    /// What differs from `before`, as lines.
    fn since(&self, before: &Value) -> String {
        let after = self.describe();
        let entries = after.as_object().into_iter().flatten();
        let changed = entries.filter(|(key, value)| before.get(key) != Some(value));
        let changed: serde_json::Map<_, _> =
            changed.map(|(key, value)| (key.clone(), value.clone())).collect();
        if changed.is_empty() {
            return "nothing changed".to_string();
        }
        info::text(&Value::Object(changed)).trim_end().to_string()
    }

    /// Everything that can be changed, as JSON.
    fn describe(&self) -> Value {
        let mut all = json!({
            "system": self.conversation.system,
            "turns": self.conversation.turns.len(),
            "max_tokens": self.setup.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            "seed": self.settings.length.seed,
            "stop_strings": self.setup.stop,
            "stats": if self.output.quiet { "off" } else { "on" },
            "canvas": format!("{:?}", self.output.canvas).to_lowercase(),
            "context": self.model.engine.context(),
        });
        let Setup { policy, stop_ids, .. } = &self.setup;
        if let (Some(all), Value::Object(decoding)) =
            (all.as_object_mut(), decoding::describe(policy, stop_ids, &self.model.engine))
        {
            all.extend(decoding);
        }
        all
    }
}
