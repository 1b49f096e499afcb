//! Attention with an online softmax over tiles of keys, and grouped queries.
//!
//! ```text
//! out = softmax(q K^T / sqrt(head_dim)) V        query head j uses K/V head j / (n_heads / n_kv_heads)
//! ```
//!
//! A task takes one K/V head and up to [`QUERIES`] of the (row, query head) pairs that share it and see the same keys. Keys
//! come in tiles of [`KEYS`]: scores by the tile loop of GEMM (K rows are the weights), then for each query the running
//! maximum, the sum and the rescaling of what was accumulated, then `P V` with the accumulators in registers. Nothing of the
//! size of the sequence is ever stored.
//!
//! A query's result depends on its key range alone: tiles start at its first key, and every score, sum and output element
//! is one chain in the order of the keys.
//!
//! # Source
//! Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018; tiling as in Dao et al., "FlashAttention", 2022.

use super::cpu::Level;
use super::exp::exp;
use super::gemm::{Decode, Product, WeightRow, sweep};
use super::simd::{F32s, Tile, TileOp};
use crate::dtype::F16;
use crate::exec::Executor;
use crate::tensor::{Rows, RowsMut};
use std::ops::Range;

/// Keys in a tile: a multiple of every vector length and tile width; K and V tiles of 128 f16 fit into L1 together.
const KEYS: usize = 48;
/// (row, query head) pairs in a task: their outputs fit into L1 beside a K/V tile.
const QUERIES: usize = 16;

/// K or V rows of one layer: head-major, `[n_kv_heads, capacity, head_dim]`, dense.
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
}

/// Consecutive query rows that see the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpan {
    /// Query rows, counted from the first row of the call.
    pub rows: Range<usize>,
    /// Visible keys, as positions in the K/V rows.
    pub keys: Range<usize>,
}

/// The arguments of [`Kernels::attention`](super::Kernels::attention).
pub struct Attention<'a> {
    /// Queries after RoPE, `[rows, n_heads * head_dim]`.
    pub q: Rows<'a>,
    /// Keys after RoPE.
    pub keys: KvRows<'a>,
    /// Values.
    pub values: KvRows<'a>,
    /// Positions that `keys` and `values` have room for.
    pub capacity: usize,
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
        let Self { capacity, n_heads, n_kv_heads, head_dim, .. } = *self;
        assert!(
            n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
            "{n_heads} heads on {n_kv_heads} k/v heads"
        );
        assert_eq!(self.q.width(), n_heads * head_dim, "attention: width of q");
        assert_eq!(self.out.width(), n_heads * head_dim, "attention: width of out");
        assert_eq!(self.q.len(), self.out.len(), "attention: rows of q and rows of out");
        assert_eq!(self.keys.len(), n_kv_heads * capacity * head_dim, "attention: size of keys");
        assert_eq!(self.values.len(), n_kv_heads * capacity * head_dim, "attention: size of values");
        let mut next = 0;
        for KeySpan { rows, keys } in self.spans {
            assert!(rows.start == next && rows.end >= next, "attention: spans have a gap before {rows:?}");
            assert!(keys.start < keys.end && keys.end <= capacity, "attention: keys {keys:?} of {capacity}");
            next = rows.end;
        }
        assert_eq!(next, self.q.len(), "attention: spans cover all rows");
    }
}

/// The output, shared by tasks that each write other (row, head) segments of it.
struct Output(*mut f32);

// SAFETY: `attention` gives every (row, head) pair to one task only.
unsafe impl Sync for Output {}

/// Runs attention on `exec`.
pub(crate) fn attention(level: Level, exec: &dyn Executor, mut args: Attention<'_>) {
    args.check();
    let output = Output(args.out.data_mut().as_mut_ptr());
    let Attention { q, keys, values, capacity, n_heads, n_kv_heads, head_dim, spans, .. } = args;
    let group = n_heads / n_kv_heads;
    let tasks_of = |span: &KeySpan| (span.rows.len() * group).div_ceil(QUERIES);
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
        let queries = rest * QUERIES..(span.rows.len() * group).min((rest + 1) * QUERIES);
        let head = kv_head * capacity * head_dim;
        let seen = head + span.keys.start * head_dim..head + span.keys.end * head_dim;
        let queries = Queries {
            q,
            output: &output,
            group,
            head: kv_head * group,
            row: span.rows.start,
            queries,
            head_dim,
        };
        match (keys, values) {
            (KvRows::F32(k), KvRows::F32(v)) => {
                level.run_tile(Task { queries, keys: &k[seen.clone()], values: &v[seen] });
            }
            (KvRows::F16(k), KvRows::F16(v)) => {
                level.run_tile(Task { queries, keys: &k[seen.clone()], values: &v[seen] });
            }
            (KvRows::F32(k), KvRows::F16(v)) => {
                level.run_tile(Task { queries, keys: &k[seen.clone()], values: &v[seen] });
            }
            (KvRows::F16(k), KvRows::F32(v)) => {
                level.run_tile(Task { queries, keys: &k[seen.clone()], values: &v[seen] });
            }
        }
    });
}

/// The (row, query head) pairs of a task. Pair `p` of a span is row `p / group`, head `p % group`.
struct Queries<'a> {
    q: Rows<'a>,
    output: &'a Output,
    group: usize,
    /// First query head of the group.
    head: usize,
    /// First row of the span.
    row: usize,
    /// Pairs, relative to the span.
    queries: Range<usize>,
    head_dim: usize,
}

impl Queries<'_> {
    /// Number of pairs.
    #[inline(always)]
    fn len(&self) -> usize {
        self.queries.len()
    }

    /// The row of pair `i`, and where its head starts in it.
    #[inline(always)]
    fn place(&self, i: usize) -> (usize, usize) {
        let pair = self.queries.start + i;
        (self.row + pair / self.group, (self.head + pair % self.group) * self.head_dim)
    }

    /// The query of pair `i`.
    #[inline(always)]
    fn q(&self, i: usize) -> &[f32] {
        let (row, at) = self.place(i);
        &self.q.row(row)[at..][..self.head_dim]
    }

    /// The output of pair `i`: `head_dim` numbers that no other task touches.
    #[inline(always)]
    fn out(&self, i: usize) -> *mut f32 {
        assert!(i < self.queries.len(), "pair outside the task");
        let (row, at) = self.place(i);
        // SAFETY: `q` and the output have the same shape (`check`), and `q(i)` lies inside the former.
        unsafe { self.output.0.add(row * self.q.width() + at) }
    }
}

/// Some queries against all the keys that they see.
struct Task<'a, K, V> {
    queries: Queries<'a>,
    /// `[keys, head_dim]`
    keys: &'a [K],
    /// `[keys, head_dim]`
    values: &'a [V],
}

/// The state of the online softmax, and the scores of one tile of keys.
struct State {
    /// `[QUERIES, KEYS]`: scores, then their exponentials.
    scores: [[f32; KEYS]; QUERIES],
    /// Largest score so far.
    max: [f32; QUERIES],
    /// Sum of the exponentials so far.
    sum: [f32; QUERIES],
    /// What the accumulated output must be multiplied by, since the maximum has grown.
    rescale: [f32; QUERIES],
}

impl<K, V> TileOp for Task<'_, K, V>
where
    WeightRow<K>: Decode,
    WeightRow<V>: Decode,
{
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(self, s: S) {
        let Self { queries, keys, values } = self;
        let head_dim = queries.head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut state = State {
            scores: [[0.0; KEYS]; QUERIES],
            max: [f32::NEG_INFINITY; QUERIES],
            sum: [0.0; QUERIES],
            rescale: [0.0; QUERIES],
        };
        let count = keys.len() / head_dim;
        let mut first = 0;
        while first < count {
            let tile = first * head_dim..(first + KEYS).min(count) * head_dim;
            let n = tile.len() / head_dim;
            let mut scores =
                Scores { queries: &queries, keys: &keys[tile.clone()], scores: &mut state.scores };
            sweep(s, &mut scores, queries.len(), n, head_dim);
            for i in 0..queries.len() {
                state.softmax(s, i, n, scale);
            }
            let mix = Mix { queries: &queries, values: &values[tile], state: &state, n, fresh: first == 0 };
            mix.run(s);
            first += KEYS;
        }
        for i in 0..queries.len() {
            // SAFETY: `head_dim` numbers that this task alone writes, initialized by the first tile.
            let out = unsafe { std::slice::from_raw_parts_mut(queries.out(i), head_dim) };
            normalize(s, out, state.sum[i]);
        }
    }
}

/// `q K^T` of one tile of keys, for [`sweep`].
struct Scores<'a, 'b, K> {
    queries: &'a Queries<'b>,
    /// `[n, head_dim]`
    keys: &'a [K],
    scores: &'a mut [[f32; KEYS]; QUERIES],
}

// SAFETY: both methods slice `head_dim` elements, the k of the sweep.
unsafe impl<K> Product for Scores<'_, '_, K>
where
    WeightRow<K>: Decode,
{
    type Row = WeightRow<K>;

    #[inline(always)]
    fn x(&self, i: usize) -> WeightRow<f32> {
        WeightRow::new(self.queries.q(i))
    }
    #[inline(always)]
    fn w(&self, j: usize) -> WeightRow<K> {
        WeightRow::new(&self.keys[j * self.queries.head_dim..][..self.queries.head_dim])
    }
    #[inline(always)]
    fn begin<S: Tile, const M: usize, const N: usize>(&self, s: S, _: usize, _: usize) -> [[S::V; N]; M] {
        [[s.splat(0.0); N]; M]
    }
    #[inline(always)]
    fn end<S: Tile, const M: usize, const N: usize>(
        &mut self,
        s: S,
        i: usize,
        j: usize,
        acc: [[S::V; N]; M],
    ) {
        for a in 0..M {
            let scores = &mut self.scores[i + a][j..][..N];
            for b in 0..N {
                scores[b] = s.sum(acc[a][b]);
            }
        }
    }
}

impl State {
    /// Turns the `n` scores of query `i` into exponentials and brings its maximum and sum up to date.
    #[inline(always)]
    fn softmax<S: F32s>(&mut self, s: S, i: usize, n: usize, scale: f32) {
        let scores = &mut self.scores[i];
        // Lanes beyond the tile get no weight.
        let padded = n.next_multiple_of(S::LANES);
        scores[n..padded].fill(f32::NEG_INFINITY);
        let mut top = s.splat(self.max[i]);
        let mut j = 0;
        while j < padded {
            top = s.max(s.load(&scores[j..]), top);
            j += S::LANES;
        }
        let (max, scales) = (s.top(top), s.splat(scale));
        let maxes = s.splat(max);
        let mut sum = s.splat(0.0);
        let mut j = 0;
        while j < padded {
            let p = exp(s, s.mul(s.sub(s.load(&scores[j..]), maxes), scales));
            sum = s.add(sum, p);
            s.store(p, &mut scores[j..]);
            j += S::LANES;
        }
        let rescale = s.top(exp(s, s.splat((self.max[i] - max) * scale)));
        self.rescale[i] = rescale;
        self.sum[i] = self.sum[i] * rescale + s.sum(sum);
        self.max[i] = max;
    }
}

/// `out = out * rescale + P V` of one tile of keys.
struct Mix<'a, 'b, V> {
    queries: &'a Queries<'b>,
    /// `[n, head_dim]`
    values: &'a [V],
    state: &'a State,
    n: usize,
    /// Whether the output holds nothing yet.
    fresh: bool,
}

impl<V> Mix<'_, '_, V>
where
    WeightRow<V>: Decode,
{
    #[inline(always)]
    fn run<S: Tile>(&self, s: S) {
        let mut i = 0;
        while i + 4 <= self.queries.len() {
            if S::WIDE {
                self.columns::<S, 4, 4>(s, i)
            } else {
                self.columns::<S, 4, 2>(s, i)
            }
            i += 4;
        }
        while i < self.queries.len() {
            self.columns::<S, 1, 8>(s, i);
            i += 1;
        }
    }

    /// `M` queries, all columns, `N` vectors at a time.
    #[inline(always)]
    fn columns<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize) {
        let head_dim = self.queries.head_dim;
        let mut at = 0;
        while at + N * S::LANES <= head_dim {
            self.tile::<S, M, N>(s, i, at, S::LANES);
            at += N * S::LANES;
        }
        while at < head_dim {
            let len = S::LANES.min(head_dim - at);
            self.tile::<S, M, 1>(s, i, at, len);
            at += len;
        }
    }

    /// Columns `at ..` of queries `i .. i + M`: `N` vectors of `len` columns each (`len < LANES` only if `N` is 1).
    #[inline(always)]
    fn tile<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize, at: usize, len: usize) {
        let head_dim = self.queries.head_dim;
        assert!(at + (N - 1) * S::LANES + len <= head_dim && len <= S::LANES, "columns outside the head");
        let mut acc = [[s.splat(0.0); N]; M];
        if !self.fresh {
            for a in 0..M {
                // SAFETY: `head_dim` numbers that this task alone touches, initialized by the first tile.
                let out = unsafe { std::slice::from_raw_parts(self.queries.out(i + a), head_dim) };
                for b in 0..N {
                    let old = &out[at + b * S::LANES..][..len];
                    let old = if len == S::LANES { s.load(old) } else { s.load_partial(old) };
                    acc[a][b] = s.mul(old, s.splat(self.state.rescale[i + a]));
                }
            }
        }
        for j in 0..self.n {
            let row = WeightRow::new(&self.values[j * head_dim..][..head_dim]);
            for b in 0..N {
                let from = at + b * S::LANES;
                // SAFETY: from + len <= head_dim, asserted above.
                let v = unsafe {
                    if len == S::LANES { row.load(s, from) } else { row.load_partial(s, from, len) }
                };
                for a in 0..M {
                    acc[a][b] = s.mul_add(s.splat(self.state.scores[i + a][j]), v, acc[a][b]);
                }
            }
        }
        for a in 0..M {
            // SAFETY: as above.
            let out = unsafe { std::slice::from_raw_parts_mut(self.queries.out(i + a), head_dim) };
            for b in 0..N {
                let new = &mut out[at + b * S::LANES..][..len];
                if len == S::LANES { s.store(acc[a][b], new) } else { s.store_partial(acc[a][b], new) }
            }
        }
    }
}

/// `out /= sum`
#[inline(always)]
fn normalize<S: F32s>(s: S, out: &mut [f32], sum: f32) {
    let sums = s.splat(sum);
    let mut i = 0;
    while i + S::LANES <= out.len() {
        let v = s.div(s.load(&out[i..]), sums);
        s.store(v, &mut out[i..]);
        i += S::LANES;
    }
    if i < out.len() {
        let v = s.div(s.load_partial(&out[i..]), sums);
        s.store_partial(v, &mut out[i..]);
    }
}
