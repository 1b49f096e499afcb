//! One answer: a prompt goes through the decoding loop, its events to whoever watches.

use crate::args::LengthArgs;
use crate::cli::{self, Opened};
use crate::display::Display;
use crate::prompt::{self, Prompt};
use crate::transcript::{Ending, Transcript};
use diffulex::engine::{Session, StopReason};
use diffulex::{Control, Engine, Event, Generation, Policy, Request, Result};

/// New tokens unless the user says otherwise.
pub(crate) const DEFAULT_MAX_TOKENS: usize = 128;

/// How answers are decoded: everything but the prompt.
#[derive(Clone, PartialEq)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) ending: Ending,
    pub(crate) seed: u64,
    /// `None`: [`DEFAULT_MAX_TOKENS`], or none at all if the prompt has gaps to fill in.
    pub(crate) max_tokens: Option<usize>,
}

impl Setup {
    /// What the options say, with `policy`.
    ///
    /// # Errors
    /// For stop ids that the model does not have.
    pub(crate) fn new(args: &LengthArgs, policy: Policy, engine: &Engine) -> Result<Self> {
        let ids = match (&args.stop_id[..], args.ignore_eos) {
            (_, true) => &[][..],
            ([], false) => engine.stop(),
            (ids, false) => ids,
        };
        prompt::check_ids("stop-id", ids, engine)?;
        let ending = Ending { ids: ids.to_vec(), strings: args.stop.clone() };
        Ok(Self { policy, ending, seed: args.seed, max_tokens: args.max_tokens })
    }

    /// New tokens after the prompt, at most; `infills` if it has gaps.
    pub(crate) fn new_tokens(&self, prompt: &Prompt, infills: bool) -> usize {
        // Before a suffix, the number of tokens is the length of the gap.
        let given = self.max_tokens.filter(|_| prompt.gap.is_none());
        given.unwrap_or(if infills { 0 } else { DEFAULT_MAX_TOKENS })
    }
}

/// A finished answer.
pub(crate) struct Answer {
    /// Its text; with the prompt around it if `<mask:N>` was filled in.
    pub(crate) text: String,
    pub(crate) generation: Generation,
    /// How it was decoded.
    pub(crate) policy: Policy,
    /// New tokens up to the end of the text, after every stop.
    pub(crate) counted: usize,
    pub(crate) stopped_by_string: bool,
}

impl Answer {
    /// Why it ended, in words.
    pub(crate) fn reason(&self) -> &'static str {
        match self.generation.stop {
            _ if self.stopped_by_string => "stop string",
            StopReason::Stop(_) => "stop id",
            StopReason::Length => "length",
            StopReason::Cancelled => "cancelled",
        }
    }

    /// New tokens for each pass that made tokens.
    pub(crate) fn per_forward(&self) -> f64 {
        self.counted as f64 / self.generation.decode_passes().max(1) as f64
    }

    /// New tokens per second of decoding.
    pub(crate) fn per_second(&self) -> f64 {
        self.counted as f64 / self.generation.timings.decode.as_secs_f64().max(1e-9)
    }
}

/// Whether gaps of the prompt are filled in.
///
/// # Errors
/// If the model has no mask.
pub(crate) fn infills(opened: &Opened, prompt: &Prompt) -> Result<bool> {
    Ok(prompt.ids.contains(&opened.engine.mask()?))
}

/// Answers `prompt`. Ctrl-C ends the answer with what there is.
///
/// # Errors
/// A request that the model cannot serve, a NaN, text that cannot be written.
pub(crate) fn answer(
    session: &mut Session<'_>,
    opened: &Opened,
    setup: &Setup,
    prompt: &Prompt,
    display: &mut dyn Display,
) -> Result<Answer> {
    let infills = infills(opened, prompt)?;
    let max_new = setup.new_tokens(prompt, infills);
    let request = Request {
        stop: &setup.ending.ids,
        seed: setup.seed,
        ..Request::new(&prompt.ids, max_new, &setup.policy)
    };
    let mut transcript = Transcript::new(opened, prompt.as_ids, prompt.ids.len(), &setup.ending, max_new);
    // The decoding loop looks at it before every forward pass.
    cli::catch_interrupt();
    let generation = session.generate(&request, &mut |event| watch(&event, &mut transcript, display))?;
    opened.in_use.check()?;
    let rest = if infills {
        transcript.whole(&generation, prompt.gap.clone())?
    } else {
        transcript.finish(&generation)?
    };
    display.finish(&rest)?;
    Ok(Answer {
        text: transcript.text().to_string(),
        generation,
        policy: setup.policy.clone(),
        counted: transcript.counted(),
        stopped_by_string: transcript.stopped(),
    })
}

fn watch(event: &Event<'_>, transcript: &mut Transcript<'_>, display: &mut dyn Display) -> Result<Control> {
    let settled = match event {
        Event::Revealed { canvas, .. } => transcript.advance(canvas)?,
        _ => String::new(),
    };
    let control = display.show(event, &settled)?;
    Ok(if transcript.stopped() || cli::interrupted() { Control::Stop } else { control })
}
