//! [`Model::answer`]: a prompt goes through the decoding loop, its text to a callback.

use super::{Model, Prompt, TextStream};
use crate::engine::{Control, Event, Generating, Generation, Request, Session, Standard, StopReason};
use crate::error::{Error, Result};
use crate::sampler::{Grammar, Policy};
use crate::tensor::TokenId;
use std::sync::Arc;

/// New tokens at most, unless the caller says otherwise.
pub const DEFAULT_MAX_TOKENS: usize = 128;

/// How answers are decoded: everything but the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// How to decode.
    pub policy: Policy,
    /// Ids that end the text and are not part of it.
    pub stop_ids: Vec<TokenId>,
    /// Strings that end the text and are not part of it.
    pub stop: Vec<String>,
    /// Seed of every random number.
    pub seed: u64,
    /// The grammar that the whole answer has to match.
    pub grammar: Option<Bound>,
    /// How many of the most probable tokens of every position events tell.
    pub alternatives: usize,
    /// New tokens at most. `None`: [`DEFAULT_MAX_TOKENS`], or none at all if the prompt has gaps to fill in.
    pub max_tokens: Option<usize>,
}

/// A grammar that answers share.
#[derive(Clone)]
pub struct Bound(pub Arc<dyn Grammar>);

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bound(..)")
    }
}

impl PartialEq for Bound {
    /// Whether it is the same grammar, not merely an equal one.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Setup {
    /// New tokens after the prompt, at most; `fills_gaps` as [`Model::fills_gaps`] says.
    pub fn new_tokens(&self, prompt: &Prompt, fills_gaps: bool) -> usize {
        // Before a suffix, the number of tokens is the length of the gap.
        let given = self.max_tokens.filter(|_| prompt.gap.is_none());
        given.unwrap_or(if fills_gaps { 0 } else { DEFAULT_MAX_TOKENS })
    }
}

/// A finished answer.
pub struct Answer {
    /// Its text; with the prompt around it if `<mask:N>` was filled in, and only what fills the gap before a suffix.
    pub text: String,
    /// The end of `text` that came with no event.
    pub rest: String,
    /// What was decoded.
    pub generation: Generation,
    /// How it was decoded.
    pub policy: Policy,
    /// New tokens up to the end of the text, after every stop.
    pub counted: usize,
    /// Whether a stop string ended the text.
    pub stopped_by_string: bool,
}

impl Answer {
    /// Why it ended, in words.
    pub fn reason(&self) -> &'static str {
        match self.generation.stop {
            _ if self.stopped_by_string => "stop string",
            StopReason::Stop(_) => "stop id",
            StopReason::Length => "length",
            StopReason::Cancelled => "cancelled",
        }
    }

    /// New tokens for each pass that made tokens.
    pub fn per_forward(&self) -> f64 {
        self.counted as f64 / self.generation.decode_passes().max(1) as f64
    }

    /// New tokens per second of decoding.
    pub fn per_second(&self) -> f64 {
        self.counted as f64 / self.generation.timings.decode.as_secs_f64().max(1e-9)
    }
}

impl Model {
    /// How the checkpoint is decoded unless the caller says otherwise.
    pub fn setup(&self) -> Setup {
        let (policy, stop_ids) = (self.engine.default_policy(), self.engine.stop().to_vec());
        Setup {
            policy,
            stop_ids,
            stop: Vec::new(),
            seed: 0,
            grammar: None,
            alternatives: 0,
            max_tokens: None,
        }
    }

    /// Answers `prompt` in a session of its own, with what the checkpoint says.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn ask(&self, prompt: &Prompt) -> Result<Answer> {
        let mut session = self.engine.session()?;
        self.answer(&mut session, prompt, &self.setup(), &mut |_, _| Ok(Control::Continue))
    }

    /// Answers `prompt`. `on_event` is called for every event with the text that became final by it, may end the answer with what there
    /// is, and may fail it.
    ///
    /// # Errors
    /// As [`Session::generate`], what the tokenizer cannot decode, an error of `on_event`, and files that changed while their
    /// weights were mapped.
    pub fn answer(
        &self,
        session: &mut Session<'_>,
        prompt: &Prompt,
        setup: &Setup,
        on_event: &mut dyn FnMut(&Event<'_>, &str) -> Result<Control>,
    ) -> Result<Answer> {
        let mut answering = self.begin(session, prompt.clone(), setup.clone())?;
        loop {
            if let Some(answer) = self.step(session, &mut answering, on_event)? {
                return Ok(answer);
            }
        }
    }

    /// Begins an answer for [`Self::step`], which is [`Self::answer`] for callers with a loop of their own.
    ///
    /// # Errors
    /// Those of [`Self::answer`] that come before any work.
    pub fn begin(&self, session: &mut Session<'_>, prompt: Prompt, setup: Setup) -> Result<Answering<'_>> {
        let reply = Reply::new(self, &prompt, &setup)?;
        let generating = session.begin(&reply.request(&prompt, &setup), &Standard)?;
        Ok(Answering { prompt, setup, reply, generating })
    }

    /// Makes the forward pass that an answer waits for, and tells `on_event` the outcome, as [`Session::step`] does. Returns the
    /// answer when it is finished.
    ///
    /// # Errors
    /// As [`Self::answer`]. The answer is over then.
    ///
    /// # Panics
    /// If the answer was begun in another session, or another one was begun after it.
    pub fn step(
        &self,
        session: &mut Session<'_>,
        answering: &mut Answering<'_>,
        on_event: &mut dyn FnMut(&Event<'_>, &str) -> Result<Control>,
    ) -> Result<Option<Answer>> {
        let Answering { prompt, setup, reply, generating } = answering;
        let generation = session.step(generating, &mut |event| {
            let settled = reply.push(&event)?;
            let control = on_event(&event, &settled)?;
            Ok(if reply.stopped() { Control::Stop } else { control })
        })?;
        generation.map(|generation| reply.finish(self, prompt, setup, generation)).transpose()
    }
}

/// An answer that its caller advances one pass at a time; see [`Model::begin`].
pub struct Answering<'m> {
    prompt: Prompt,
    setup: Setup,
    reply: Reply<'m>,
    generating: Generating<'static>,
}

impl Answering<'_> {
    /// Ends it with what there is: the next [`Model::step`] hands out the answer.
    pub fn cancel(&mut self) {
        self.generating.cancel();
    }
}

/// An answer in progress: the parts that do not depend on who runs the decoding loop.
pub(super) struct Reply<'m> {
    stream: TextStream<'m>,
    fills_gaps: bool,
    max_new: usize,
}

impl<'m> Reply<'m> {
    /// # Errors
    /// If the model has no mask, and stop strings where none could be found.
    pub(super) fn new(model: &'m Model, prompt: &Prompt, setup: &Setup) -> Result<Self> {
        let fills_gaps = model.fills_gaps(prompt)?;
        let max_new = setup.new_tokens(prompt, fills_gaps);
        let tokenizer = model.tokenizer.as_deref().filter(|_| !prompt.as_ids);
        let nowhere = match () {
            () if setup.stop.is_empty() => None,
            () if setup.grammar.is_some() => Some("an answer with a grammar ends when it is complete"),
            () if prompt.as_ids => Some("the answer is written as ids, in which no string can be found"),
            () if max_new == 0 => {
                Some("only gaps are filled in, whose length is given, and no text follows that could end")
            }
            () => None,
        };
        if let Some(reason) = nowhere {
            return Err(Error::option("stop", reason));
        }
        Ok(Self { stream: TextStream::new(tokenizer, setup, max_new), fills_gaps, max_new })
    }

    /// What to decode.
    pub(super) fn request<'r>(&self, prompt: &'r Prompt, setup: &'r Setup) -> Request<'r> {
        Request {
            stop: &setup.stop_ids,
            seed: setup.seed,
            grammar: setup.grammar.as_ref().map(|bound| &*bound.0 as &dyn Grammar),
            alternatives: setup.alternatives,
            ..Request::new(&prompt.ids, self.max_new, &setup.policy)
        }
    }

    /// The text that became final by an event.
    ///
    /// # Errors
    /// What the tokenizer cannot decode.
    pub(super) fn push(&mut self, event: &Event<'_>) -> Result<String> {
        match event {
            // Where a policy edits, only the end of a block makes its tokens final.
            Event::Revealed { canvas, .. } | Event::Block { canvas, .. } => self.stream.push(canvas),
            _ => Ok(String::new()),
        }
    }

    /// Whether a stop string ended the text.
    pub(super) fn stopped(&self) -> bool {
        self.stream.stopped()
    }

    /// # Errors
    /// What the tokenizer cannot decode, and files that changed while their weights were mapped.
    pub(super) fn finish(
        &mut self,
        model: &Model,
        prompt: &Prompt,
        setup: &Setup,
        generation: Generation,
    ) -> Result<Answer> {
        model.in_use.check()?;
        let rest = match self.fills_gaps {
            true => self.stream.filled(&generation, prompt)?,
            false => self.stream.finish(&generation)?,
        };
        Ok(Answer {
            text: self.stream.text().to_string(),
            rest,
            generation,
            policy: setup.policy.clone(),
            counted: self.stream.counted(),
            stopped_by_string: self.stream.stopped(),
        })
    }
}
