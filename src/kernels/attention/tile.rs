//! The loop over tiles of keys: scores, online softmax, `P V`.
//!
//! ```text
//! s = q K_t^T / sqrt(head_dim)      m' = max(m, s)      p = e^(s - m')      c = e^(m - m')
//! sum = c sum + Σ p                 out = c out + p V_t                     at the end: out / sum
//! ```
//!
//! Scores come from the tile loop of GEMM (K rows are the weights). Tiles start at the first key that the queries see, and
//! every score, sum and output element is one chain in the order of the keys, so nothing depends on which queries share a
//! task.

use super::Queries;
use crate::kernels::exp::exp;
use crate::kernels::gemm::{Decode, Product, WeightRow, sweep};
use crate::kernels::simd::{F32s, Tile, TileOp};

/// Keys in a tile: a multiple of every vector length and tile width; K and V tiles of 128 f16 fit into L1 together.
const KEYS: usize = 48;
/// (row, query head) pairs in a task: their outputs fit into L1 beside a K/V tile.
pub(super) const QUERIES: usize = 16;

/// Some queries against all the keys that they see.
pub(super) struct Task<'a, K, V> {
    pub(super) queries: Queries<'a>,
    /// `[keys, head_dim]`
    pub(super) keys: &'a [K],
    /// `[keys, head_dim]`
    pub(super) values: &'a [V],
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
    fn stride(&self) -> Option<usize> {
        None
    }

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
                self.columns::<S, 4, 4>(s, i);
            } else {
                self.columns::<S, 4, 2>(s, i);
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
