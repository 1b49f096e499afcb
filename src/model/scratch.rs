//! Buffers of one forward pass, sized by the largest pass so far, so that a denoise step does not allocate.

use super::Segment;
use super::arch::Dims;
use crate::bytes::ask_for;
use crate::cache::KvPool;
use crate::error::Result;
use crate::kernels::{KeySpan, Prepared};

/// Rows that go through the feed-forward part at a time. Its buffers are the widest of all; a canvas of thousands of rows
/// is worked off in pieces of this many (each piece streams the weights once, and is bound by arithmetic anyway).
pub(super) const MLP_ROWS: usize = 512;

/// Working buffers. Every field is row-major, rows first.
#[derive(Default)]
pub struct Scratch {
    /// Residual stream, `[rows, hidden]`.
    pub(super) x: Vec<f32>,
    /// Output of a norm, then of a branch, `[rows, hidden]`.
    pub(super) h: Vec<f32>,
    /// Queries, `[rows, n_heads * head_dim]`.
    pub(super) q: Vec<f32>,
    /// Keys, `[rows, n_kv_heads * head_dim]`.
    pub(super) k: Vec<f32>,
    /// Values, `[rows, n_kv_heads * head_dim]`.
    pub(super) v: Vec<f32>,
    /// What the rows see, in row order.
    pub(super) spans: Vec<KeySpan>,
    /// Page tables of the segments, one after the other.
    pub(super) tables: Vec<u32>,
    /// Output of attention before its projection, `[rows, n_heads * head_dim]`.
    pub(super) heads: Vec<f32>,
    /// Gate, then the product with `up`, `[MLP_ROWS at most, ffn]`.
    pub(super) gate: Vec<f32>,
    /// Up projection, `[MLP_ROWS at most, ffn]`.
    pub(super) up: Vec<f32>,
    /// The input of a product in the forms that kernels read.
    pub(super) prepared: Prepared,
}

impl Scratch {
    /// Makes every buffer exactly as large as a pass of `rows` rows needs.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory) if there is not enough for it.
    pub(super) fn resize(&mut self, dims: &Dims, rows: usize) -> Result<()> {
        let mlp_rows = rows.min(MLP_ROWS);
        if rows * dims.hidden > self.x.capacity() {
            // The prepared input of the widest product comes on top, twice where a matrix unit wants a form of its own.
            let prepared = 2 * (rows * dims.hidden.max(dims.q_width())).max(mlp_rows * dims.ffn);
            let buffers =
                rows * 2 * (dims.hidden + dims.q_width() + dims.kv_width()) + 2 * mlp_rows * dims.ffn;
            ask_for(format!("a pass over {rows} positions"), (buffers + prepared) * size_of::<f32>())?;
        }
        for (buffer, len) in [
            (&mut self.x, rows * dims.hidden),
            (&mut self.h, rows * dims.hidden),
            (&mut self.q, rows * dims.q_width()),
            (&mut self.k, rows * dims.kv_width()),
            (&mut self.v, rows * dims.kv_width()),
            (&mut self.heads, rows * dims.q_width()),
            (&mut self.gate, mlp_rows * dims.ffn),
            (&mut self.up, mlp_rows * dims.ffn),
        ] {
            buffer.resize(len, 0.0);
        }
        Ok(())
    }

    /// Opens the positions of `batch` for staging, and notes what its rows see and where that lies.
    ///
    /// # Errors
    /// [`Error::Capacity`](crate::Error::Capacity) if a slot has no room.
    ///
    /// # Panics
    /// As [`super::Transformer::forward`].
    pub(super) fn place(&mut self, cache: &mut KvPool, batch: &[Segment<'_>]) -> Result<()> {
        self.spans.clear();
        self.tables.clear();
        let mut done = 0;
        for (i, &Segment { slot, first, ids, visible }) in batch.iter().enumerate() {
            assert!(!ids.is_empty() && visible.rows() == ids.len(), "visibility for another segment");
            assert!(batch[..i].iter().all(|other| other.slot != slot), "two segments with one slot");
            cache.begin(slot, first..first + ids.len())?;
            assert!(visible.end() <= cache.filled(slot), "keys up to {} are not there yet", visible.end());
            let table = self.tables.len();
            self.tables.extend_from_slice(cache.table(slot));
            self.spans.extend(visible.spans().iter().map(|span| KeySpan {
                rows: done + span.rows.start..done + span.rows.end,
                keys: span.keys.clone(),
                table,
            }));
            done += ids.len();
        }
        Ok(())
    }
}
