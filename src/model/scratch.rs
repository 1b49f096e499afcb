//! Buffers of one forward pass, sized for the largest pass so far. Only lists of tasks are allocated in every pass, not rows.

use super::Segment;
use super::arch::{Architecture, Mixture};
use super::experts::Routes;
use crate::bytes::ask_for;
use crate::cache::KvPool;
use crate::error::Result;
use crate::kernels::{KeySpan, Prepared};
use crate::tensor::{Rows, RowsMut};
use std::ops::Range;

/// Rows that go through the feed-forward part at a time. Its buffers are the widest of all; a canvas of thousands of rows
/// is processed in pieces of this many (each piece streams the weights once, and is compute-bound anyway).
pub(super) const FFN_ROWS: usize = 512;

/// A row-major matrix of activations with memory of its own.
#[derive(Default)]
pub(super) struct Mat {
    data: Vec<f32>,
    width: usize,
}

impl Mat {
    /// Makes it `[rows, width]`. What it holds afterwards means nothing.
    pub(super) fn resize(&mut self, rows: usize, width: usize) {
        self.width = width;
        self.data.resize(rows * width, 0.0);
    }

    /// Makes it the same as another one.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.resize(other.rows().len(), other.width);
        self.data.copy_from_slice(&other.data);
    }

    /// All rows; none if the matrix was never resized.
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.data, self.width.max(1))
    }

    /// All rows, to be written.
    pub(super) fn rows_mut(&mut self) -> RowsMut<'_> {
        RowsMut::new(&mut self.data, self.width)
    }

    /// Some consecutive rows.
    pub(super) fn part(&self, rows: &Range<usize>) -> Rows<'_> {
        Rows::new(&self.data[rows.start * self.width..rows.end * self.width], self.width)
    }

    /// Some consecutive rows, to be written.
    pub(super) fn part_mut(&mut self, rows: &Range<usize>) -> RowsMut<'_> {
        RowsMut::new(&mut self.data[rows.start * self.width..rows.end * self.width], self.width)
    }

    /// The rows `bounds[0]..bounds[1]`, `bounds[1]..bounds[2]` and so on. `bounds` begin with 0 and end with the number of
    /// rows.
    pub(super) fn cut_mut(&mut self, bounds: &[usize]) -> impl Iterator<Item = RowsMut<'_>> {
        let (mut rest, width) = (&mut *self.data, self.width);
        bounds.windows(2).map(move |bound| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut((bound[1] - bound[0]) * width);
            rest = after;
            RowsMut::new(part, width)
        })
    }

    /// Pieces of at most `rows` rows.
    pub(super) fn pieces_mut(&mut self, rows: usize) -> impl Iterator<Item = RowsMut<'_>> {
        self.data.chunks_mut(rows * self.width).map(|piece| RowsMut::new(piece, self.width))
    }
}

/// Working buffers of a pass.
#[derive(Default)]
pub struct Scratch {
    /// Residual stream, `[rows, hidden]`.
    pub(super) x: Mat,
    /// Output of a norm, then of a branch, `[rows, hidden]`.
    pub(super) h: Mat,
    /// Queries, `[rows, n_heads * head_dim]`.
    pub(super) q: Mat,
    /// Keys, `[rows, n_kv_heads * head_dim]`.
    pub(super) k: Mat,
    /// Values, `[rows, n_kv_heads * head_dim]`.
    pub(super) v: Mat,
    /// What the rows see, in row order.
    pub(super) spans: Vec<KeySpan>,
    /// Page tables of the segments, one after the other.
    pub(super) tables: Vec<u32>,
    /// Output of attention before its projection, `[rows, n_heads * head_dim]`.
    pub(super) heads: Mat,
    /// Gate, then its product with `up`, `[FFN_ROWS at most, ffn]`, or for every expert that they chose.
    pub(super) gate: Mat,
    /// Up projection, in the shape of `gate`.
    pub(super) up: Mat,
    /// Which rows go through which experts.
    pub(super) routes: Routes,
    /// The input of a GEMM in the forms that kernels read.
    pub(super) prepared: Prepared,
}

impl Scratch {
    /// Makes every buffer exactly as large as a pass of `rows` rows needs.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory) if there is not enough for it.
    pub(super) fn resize(&mut self, arch: &Architecture, rows: usize) -> Result<()> {
        let dims = &arch.dims;
        let ffn_rows = rows.min(FFN_ROWS);
        if rows * dims.hidden > self.x.data.capacity() {
            // The prepared input of the widest GEMM comes on top, twice where a matrix unit needs a form of its own.
            let prepared = 2 * (rows * dims.hidden.max(dims.q_width())).max(ffn_rows * dims.ffn);
            let buffers =
                rows * 2 * (dims.hidden + dims.q_width() + dims.kv_width()) + 2 * ffn_rows * dims.ffn;
            let experts =
                arch.mixture.as_ref().map_or(0, |mixture| Routes::floats(mixture, rows, dims.hidden));
            let floats = buffers + prepared + experts;
            ask_for(format!("a pass over {rows} positions"), floats * size_of::<f32>())?;
        }
        self.x.resize(rows, dims.hidden);
        self.h.resize(rows, dims.hidden);
        self.q.resize(rows, dims.q_width());
        self.k.resize(rows, dims.kv_width());
        self.v.resize(rows, dims.kv_width());
        self.heads.resize(rows, dims.q_width());
        self.gate.resize(ffn_rows, dims.ffn);
        self.up.resize(ffn_rows, dims.ffn);
        Ok(())
    }

    /// Opens the positions of `batch` for staging, and notes what its rows see and where that lies.
    ///
    /// # Errors
    /// [`Error::Capacity`](crate::Error::Capacity) if a slot has no room.
    ///
    /// # Panics
    /// As [`super::Transformer::forward`].
    pub(super) fn place(
        &mut self,
        mixture: Option<&Mixture>,
        cache: &mut KvPool,
        batch: &[Segment<'_>],
    ) -> Result<()> {
        self.spans.clear();
        self.tables.clear();
        let mut done = 0;
        for (i, &Segment { slot, first, ids, visible, experts }) in batch.iter().enumerate() {
            assert!(!ids.is_empty() && visible.rows() == ids.len(), "visibility for another segment");
            assert!(batch[..i].iter().all(|other| other.slot != slot), "two segments with one slot");
            experts.check(mixture, ids.len());
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
