//! The static key/value memory: [`KvPool`].
//!
//! All memory is allocated once, as pages of [`PAGE`] positions. A *slot* is the memory of one sequence: the pages that hold its
//! positions. A forward pass *stages* the rows of the positions that it computes; *commit* declares staged rows final;
//! *rewind* forgets rows after a committed length. One buffer serves every plan:
//!
//! | plan | committed | staged |
//! |---|---|---|
//! | block-causal | finished blocks | the active block, again in every denoise step |
//! | sub-block cache | finished blocks | the active block once, then only a sub-block of it |
//! | prefix (approximate) | positions before the active block | the rest of the canvas |
//! | dual (approximate) | nothing | the whole canvas once, then only the active block |
//! | none | nothing | the whole canvas every step |
//!
//! Rows that no pass has staged cannot be attended to: an empty row would take part in the softmax with a key of zero.
//!
//! Committed pages of block-causal sequences can be shared: [`KvPool::open_after`] finds what earlier or concurrent sequences
//! with the same beginning have computed (`pages.rs`). That is exact, because the bits of a key depend on nothing but the ids
//! up to the end of its block.
#![forbid(unsafe_code)]

mod pages;
mod slots;
mod store;
mod visible;

pub use slots::{KvPool, SlotId};
pub use store::{KvDtype, KvShape, PAGE};
pub use visible::{Attention, Blocks, Span, Visible};
