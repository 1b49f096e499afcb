//! What a decoding loop tells its caller while it runs.

use crate::sampler::{Candidate, Canvas, Edit, Kept};
use std::collections::BTreeMap;
use std::ops::Range;

/// Why a forward pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Keys and values of the prompt.
    Prefill,
    /// Candidates for masks.
    Denoise,
    /// Keys and values of a finished block.
    Commit,
}

/// The most probable tokens by position, most probable first.
pub type Alternatives = BTreeMap<usize, Vec<Kept>>;

/// Something that happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A forward pass begins. The canvas is what it will see.
    Pass {
        /// Why.
        kind: PassKind,
        /// How many passes were made before this one.
        index: usize,
        /// Positions that are computed.
        rows: &'a Range<usize>,
        /// Positions whose keys and values come from the cache.
        cached: usize,
        /// The sequence.
        canvas: &'a Canvas,
    },
    /// Masks became tokens, and tokens changed.
    Revealed {
        /// Which, with their scores.
        tokens: &'a [Candidate],
        /// Revealed tokens that changed. Empty unless the policy edits; then both lists are empty after a pass that changed nothing.
        edits: &'a [Edit],
        /// Everything that was drawn for masked positions in this step, what stays masked included. Empty for a token that no
        /// step drew (the first one of a block, where the commit of the block before predicts it).
        candidates: &'a [Candidate],
        /// By position, the most probable tokens of the latest draw there, if [`super::Request::alternatives`] wants some: of the
        /// distribution that the score of the token comes from. Nothing for tokens that no policy drew: those that a grammar
        /// forces, and the first one of a block where it is the most probable one whatever the policy draws.
        alternatives: &'a Alternatives,
        /// The sequence with them.
        canvas: &'a Canvas,
    },
    /// A block is finished: its tokens never change.
    Block {
        /// Its positions.
        range: &'a Range<usize>,
        /// The sequence.
        canvas: &'a Canvas,
    },
}

/// What the caller wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Continue.
    Continue,
    /// End the generation with what there is.
    Stop,
}
