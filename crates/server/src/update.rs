//! What the engine's thread reports to a request.

use diffulex::Error;
use diffulex::engine::Alternatives;
use diffulex::tensor::TokenId;
use diffulex::text_model::Answer;
use diffulex::text_model::decide::Verdict;
use std::ops::Range;
use std::sync::Arc;

/// A token that replaced a mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revealed {
    pub(crate) position: usize,
    pub(crate) id: TokenId,
    /// How sure the model was, as the policy measures it.
    pub(crate) score: f64,
}

/// A token that replaced another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edited {
    pub(crate) now: Revealed,
    pub(crate) before: TokenId,
}

/// A finished answer, and what a request may want to know about it.
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) prompt_tokens: usize,
    /// Prompt tokens whose keys and values were there before.
    pub(crate) cached: usize,
    /// How sure the model was of every position of the canvas when it was revealed.
    pub(crate) scores: Vec<Option<f64>>,
    /// The most probable tokens of positions when they were revealed, if they are wanted.
    pub(crate) alternatives: Alternatives,
}

/// Something that happened to a request.
pub(crate) enum Update {
    /// A forward pass begins; only for requests that want every step.
    Pass { kind: &'static str, index: usize, rows: Range<usize>, cached: usize },
    /// Masks became tokens, and tokens others; only for requests that want every step.
    Revealed(Vec<Revealed>, Vec<Edited>),
    /// A block is finished; only for requests that want every step.
    Block(Range<usize>),
    /// Text became final.
    Text(String),
    /// The last update of an answer.
    Done(Box<Outcome>),
    /// The last update of a decision, with the forward passes that it took part in.
    Decided(Vec<Verdict>, usize),
    /// The last update of a request that failed.
    Failed(Arc<Error>),
    /// The last update of a request that took too long, or was cut because the server is shutting down.
    TimedOut,
    /// The last update of a request whose engine is gone; made by the receiver.
    Gone,
}
