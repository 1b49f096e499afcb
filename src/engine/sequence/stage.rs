//! Where a [`super::Sequence`] is in its loop: [`Stage`], the pass that it requests, the active block.

use crate::engine::event::PassKind;
use crate::sampler::{Canvas, Quota};
use std::ops::Range;

/// Where a sequence is in its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Blocks of the prompt have to be computed.
    Prefill,
    /// The block that begins at this position comes next.
    Begin(usize),
    /// The first token of the block is known from the commit of the one before.
    Carried(usize),
    /// Masks of the active block are left.
    Denoise,
    /// The active block is finished, and the caller was told.
    Finished,
    /// The active block is stored, if it has to be.
    Stored,
    Done,
}

/// A requested forward pass.
pub(super) struct Ask {
    pub(super) kind: PassKind,
    /// Positions to compute.
    pub(super) rows: Range<usize>,
    /// Whether the caller was told.
    pub(super) told: bool,
}

/// The block that is being denoised.
pub(super) struct Block {
    pub(super) range: Range<usize>,
    /// What is denoised now: the block, or a sub-block of it.
    pub(super) region: Range<usize>,
    pub(super) quota: Quota,
    /// Masks in it when it was begun.
    pub(super) masks: usize,
    /// The first mask when the block was begun.
    pub(super) first_mask: usize,
    /// Whether a pass over the whole block was made.
    pub(super) staged: bool,
    /// Whether the last step revealed a stop id.
    pub(super) stop_revealed: bool,
    /// Passes over the block since it had no masks left.
    pub(super) reconsidered: usize,
    /// Whether the last pass found no mask and changed nothing: its keys and values are those of the finished block.
    pub(super) quiet: bool,
}

impl Block {
    pub(super) fn new(range: Range<usize>, region: Range<usize>, quota: Quota, canvas: &Canvas) -> Self {
        Self {
            region,
            quota,
            masks: canvas.masks(range.clone()).count(),
            first_mask: canvas.first_mask(range.clone()),
            staged: false,
            stop_revealed: false,
            reconsidered: 0,
            quiet: false,
            range,
        }
    }
}

/// An event that was not told yet.
pub(super) enum News {
    Revealed,
    Block,
}
