//! What goes into a generation and what comes out of it.

use super::rules::{Rules, Standard};
use crate::sampler::{CachePlan, Grammar, Policy};
use crate::tensor::TokenId;
use std::ops::Range;
use std::time::Duration;

/// What to generate.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Token ids. Masks among them are filled in (infilling).
    pub prompt: &'a [TokenId],
    /// Positions to generate after the prompt, at most. 0 is allowed if the prompt holds masks.
    pub max_new: usize,
    /// How to decode.
    pub policy: &'a Policy,
    /// Ids that end the text.
    pub stop: &'a [TokenId],
    /// Seed of every random number.
    pub seed: u64,
    /// Positions at the start of the prompt that may not be attended to.
    pub padding: usize,
    /// What the caller decides differently from this engine: [`super::Choose`] for a rule of its own instead of [`Policy::unmask`].
    pub rules: &'a dyn Rules,
    /// What the answer has to be. It ends with a stop id when it is complete.
    pub grammar: Option<&'a dyn Grammar>,
    /// How many of the most probable tokens of a position [`super::Event::Revealed`] tells.
    pub alternatives: usize,
}

impl<'a> Request<'a> {
    /// A request with the model's own end (no stop ids), seed 0 and no padding.
    pub fn new(prompt: &'a [TokenId], max_new: usize, policy: &'a Policy) -> Self {
        Self {
            prompt,
            max_new,
            policy,
            stop: &[],
            seed: 0,
            padding: 0,
            rules: &Standard,
            grammar: None,
            alternatives: 0,
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Everything requested was generated.
    Length,
    /// A stop id was generated.
    Stop(TokenId),
    /// The caller requested it.
    Cancelled,
}

/// Where the time went. What the caller does with events is not counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Passes over the prompt.
    pub prefill: Duration,
    /// Everything else.
    pub decode: Duration,
}

/// A finished generation.
#[derive(Clone, Debug)]
pub struct Generation {
    /// New tokens, up to the first stop id (without it) or the first position that is still masked.
    pub tokens: Vec<TokenId>,
    /// The whole sequence, prompt included; masks where nothing was generated.
    pub canvas: Vec<TokenId>,
    /// Masked runs of the prompt that were filled in, as positions of the canvas.
    pub filled: Vec<Range<usize>>,
    /// Token for the position after the canvas, where the last commit predicted one.
    pub carried: Option<TokenId>,
    /// How often a revealed token changed.
    pub edited: usize,
    /// Forward passes, prefill included. A pass with guidance counts once.
    pub nfe: usize,
    /// Forward passes over the prompt.
    pub prefill_passes: usize,
    /// Distinct experts that a pass read, for each block with experts, on average over the passes that made tokens; of a batch, all
    /// sequences count. Empty for a model without experts.
    pub experts: Vec<f64>,
    /// Why it ended.
    pub stop: StopReason,
    /// What was kept between steps.
    pub cache: CachePlan,
    /// Where the time went.
    pub timings: Timings,
}

impl Generation {
    /// New tokens after the stop cut, those filled into the prompt included.
    pub fn new_tokens(&self) -> usize {
        self.tokens.len() + self.filled.iter().map(Range::len).sum::<usize>()
    }

    /// Passes that made tokens: denoising and committing ones.
    pub fn decode_passes(&self) -> usize {
        self.nfe - self.prefill_passes
    }

    /// New tokens per denoising or committing pass.
    pub fn tokens_per_forward(&self) -> f64 {
        self.new_tokens() as f64 / self.decode_passes().max(1) as f64
    }

    /// New tokens per second of decoding, prefill apart.
    pub fn tokens_per_second(&self) -> f64 {
        self.new_tokens() as f64 / self.timings.decode.as_secs_f64().max(1e-9)
    }
}
