//! Attention with an online softmax over tiles of keys, and grouped queries.
//!
//! ```text
//! out = softmax(q K^T / sqrt(head_dim)) V        query head j uses K/V head j / (n_heads / n_kv_heads)
//! ```
//!
//! A task takes one K/V head and up to [`QUERIES`] of the (row, query head) pairs that share it and see the same keys; the
//! tile loop is in `tile.rs`, its second GEMM in `mix.rs`. For few queries keys and values are decoded in registers, for
//! many queries once into L1. Nothing of the size of the sequence is ever stored, and a query's result depends on its key
//! range alone.
//!
//! Keys and values are stored in pages, and a table says which pages hold the positions of a sequence. Tiles are cut by
//! position and never by page, so neither the size of a page nor the order of the table changes a bit.
//!
//! # Source
//! Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018; tiling as in Dao et al., "FlashAttention", 2022.

mod mix;
mod tile;

use super::level::Level;
use crate::dtype::F16;
use crate::exec::Executor;
use crate::tensor::{Rows, RowsMut};
use std::ops::Range;
use tile::{QUERIES, Task};

/// K or V rows of one layer, `[pages, n_kv_heads, page, head_dim]`, dense.
#[derive(Clone, Copy, Debug)]
pub enum KvRows<'a> {
    /// Exact mode.
    F32(&'a [f32]),
    /// Half the memory.
    F16(&'a [F16]),
}

impl KvRows<'_> {
    fn len(self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::F16(x) => x.len(),
        }
    }

    /// Element `i`, for inspection.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(self, i: usize) -> f32 {
        match self {
            Self::F32(x) => x[i],
            Self::F16(x) => x[i].to_f32(),
        }
    }
}

/// Consecutive query rows of one sequence that see the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpan {
    /// Query rows, counted from the first row of the call.
    pub rows: Range<usize>,
    /// Visible keys, as positions of the sequence.
    pub keys: Range<usize>,
    /// Where the page table of the sequence begins in [`Attention::tables`].
    pub table: usize,
}

/// The arguments of [`Kernels::attention`](super::Kernels::attention).
pub struct Attention<'a> {
    /// Queries after RoPE, `[rows, n_heads * head_dim]`.
    pub q: Rows<'a>,
    /// Keys after RoPE.
    pub keys: KvRows<'a>,
    /// Values.
    pub values: KvRows<'a>,
    /// Positions in a page.
    pub page: usize,
    /// Page tables of the sequences, one after the other: entry `i` of a table is the page of the positions from `i * page` on.
    pub tables: &'a [u32],
    /// Query heads: a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Numbers in a head.
    pub head_dim: usize,
    /// Runs of rows, in order and without gaps, that together cover all rows; each sees at least one key.
    pub spans: &'a [KeySpan],
    /// `[rows, n_heads * head_dim]`
    pub out: RowsMut<'a>,
}

impl Attention<'_> {
    fn check(&self) {
        let Self { page, tables, n_heads, n_kv_heads, head_dim, .. } = *self;
        assert!(
            n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
            "{n_heads} heads on {n_kv_heads} k/v heads"
        );
        assert_eq!(self.q.width(), n_heads * head_dim, "attention: width of q");
        assert_eq!(self.out.width(), n_heads * head_dim, "attention: width of out");
        assert_eq!(self.q.len(), self.out.len(), "attention: rows of q and rows of out");
        let in_page = n_kv_heads * page * head_dim;
        assert!(
            in_page > 0 && self.keys.len().is_multiple_of(in_page),
            "attention: keys are not whole pages"
        );
        assert_eq!(self.keys.len(), self.values.len(), "attention: sizes of keys and values");
        let pages = self.keys.len() / in_page;
        assert!(tables.iter().all(|&at| (at as usize) < pages), "attention: a table names a page of {pages}");
        let mut next = 0;
        for KeySpan { rows, keys, table } in self.spans {
            assert!(rows.start == next && rows.end >= next, "attention: spans have a gap before {rows:?}");
            let held = tables.len().saturating_sub(*table) * page;
            assert!(keys.start < keys.end && keys.end <= held, "attention: keys {keys:?} of {held}");
            next = rows.end;
        }
        assert_eq!(next, self.q.len(), "attention: spans cover all rows");
    }
}

/// The output, shared by tasks, each of which writes its own (row, head) segments.
struct Output(*mut f32);

// SAFETY: `attention` gives every (row, head) pair to one task only.
unsafe impl Sync for Output {}

/// Runs attention on `exec`.
pub(crate) fn attention(level: Level, exec: &dyn Executor, mut args: Attention<'_>) {
    args.check();
    let output = Output(args.out.data_mut().as_mut_ptr());
    let Attention { q, keys, values, page, tables, n_heads, n_kv_heads, head_dim, spans, .. } = args;
    let group = n_heads / n_kv_heads;
    let per_task = pairs_per_task(exec.width(), n_kv_heads, group, spans);
    let tasks_of = |span: &KeySpan| (span.rows.len() * group).div_ceil(per_task);
    let tasks_per_head: usize = spans.iter().map(tasks_of).sum();
    exec.run(n_kv_heads * tasks_per_head, &|task| {
        // Tasks of one head come one after the other, while its keys are in the cache.
        let (kv_head, mut rest) = (task / tasks_per_head, task % tasks_per_head);
        let mut span = spans.iter();
        let span = loop {
            let span = span.next().expect("the tasks of all spans were counted above");
            if rest < tasks_of(span) {
                break span;
            }
            rest -= tasks_of(span);
        };
        let pairs = rest * per_task..(span.rows.len() * group).min((rest + 1) * per_task);
        let mut queries =
            Queries { q: q.data(), output: &output, at: [0; QUERIES], len: pairs.len(), head_dim };
        for (at, pair) in queries.at.iter_mut().zip(pairs) {
            let (row, head) = (span.rows.start + pair / group, kv_head * group + pair % group);
            *at = row * q.width() + head * head_dim;
        }
        let head = Head {
            tables: &tables[span.table..],
            page,
            head_dim,
            stride: n_kv_heads * page * head_dim,
            first: kv_head * page * head_dim,
        };
        let seen = span.keys.clone();
        match (keys, values) {
            (KvRows::F32(keys), KvRows::F32(values)) => {
                level.run_tile(Task { queries, head, seen, keys, values });
            }
            (KvRows::F16(keys), KvRows::F16(values)) => {
                level.run_tile(Task { queries, head, seen, keys, values });
            }
            (KvRows::F32(keys), KvRows::F16(values)) => {
                level.run_tile(Task { queries, head, seen, keys, values });
            }
            (KvRows::F16(keys), KvRows::F32(values)) => {
                level.run_tile(Task { queries, head, seen, keys, values });
            }
        }
    });
}

/// (row, query head) pairs in a task, so that the thread with the most work finishes soonest; results do not depend on it.
///
/// Large tasks read keys and values for many pairs at once, small ones leave no thread idle.
fn pairs_per_task(threads: usize, n_kv_heads: usize, group: usize, spans: &[KeySpan]) -> usize {
    /// What a task costs in addition to its pairs: reading and decoding take as long as the arithmetic of about two.
    const READING: usize = 2;
    let largest = spans.iter().map(|span| span.rows.len() * group).max().unwrap_or(0);
    let time = |&per_task: &usize| {
        let tasks: usize = spans.iter().map(|span| (span.rows.len() * group).div_ceil(per_task)).sum();
        (n_kv_heads * tasks).div_ceil(threads) * (per_task.min(largest) + READING)
    };
    (1..=QUERIES).rev().min_by_key(time).expect("a task has at least one pair")
}

/// Where one K/V head of one sequence lies in the pages of a layer.
#[derive(Clone, Copy)]
struct Head<'a> {
    /// The page table of the sequence, and whatever follows it.
    tables: &'a [u32],
    /// Positions in a page.
    page: usize,
    head_dim: usize,
    /// Numbers in a page, all heads.
    stride: usize,
    /// Numbers before the head in every page.
    first: usize,
}

impl Head<'_> {
    /// The rows of the positions `range` as far as they lie in one page, and how many those are.
    #[inline(always)]
    fn rows<'a, T>(&self, data: &'a [T], range: Range<usize>) -> (&'a [T], usize) {
        let (page, inside) = (range.start / self.page, range.start % self.page);
        let n = range.len().min(self.page - inside);
        let at = self.tables[page] as usize * self.stride + self.first + inside * self.head_dim;
        (&data[at..][..n * self.head_dim], n)
    }
}

/// The (row, query head) pairs of a task.
struct Queries<'a> {
    /// All queries.
    q: &'a [f32],
    output: &'a Output,
    /// Where the head of each pair starts in `q`, and in the output, which has the same shape.
    at: [usize; QUERIES],
    /// Number of pairs.
    len: usize,
    head_dim: usize,
}

impl Queries<'_> {
    /// The query of pair `i`.
    #[inline(always)]
    fn q(&self, i: usize) -> &[f32] {
        &self.q[self.at[..self.len][i]..][..self.head_dim]
    }

    /// The output of pair `i`: `head_dim` numbers that no other task touches.
    #[inline(always)]
    fn out(&self, i: usize) -> *mut f32 {
        let inside = self.q(i).as_ptr();
        // SAFETY: `q` and the output have the same shape (`check`), and `q(i)` lies inside the former.
        unsafe { self.output.0.offset(inside.offset_from(self.q.as_ptr())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_large_unless_threads_would_idle() {
        let span = |rows| [KeySpan { rows: 0..rows, keys: 0..100, table: 0 }];
        assert_eq!(pairs_per_task(2, 8, 2, &span(1024)), QUERIES, "a canvas has work for all");
        assert!(pairs_per_task(2, 8, 2, &span(4)) >= 8, "two threads share 8 heads evenly");
        assert_eq!(pairs_per_task(2, 1, 7, &span(1)), 4, "two threads share a group of 7");
        assert_eq!(pairs_per_task(8, 1, 7, &span(1)), 1, "more threads than pairs");
        assert_eq!(pairs_per_task(2, 8, 2, &[]), QUERIES, "nothing to cut");
    }
}

/// Where a kernel changes what it does: sizes for tests.
#[cfg(test)]
pub(super) mod edges {
    use super::tile;

    pub(crate) const KEYS: [usize; 2] = [tile::KEY_STEP, tile::KEYS];
    pub(crate) const QUERIES: usize = tile::QUERIES;
}
