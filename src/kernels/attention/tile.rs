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

use super::mix::{Mix, Onto};
use super::{Head, Queries};
use crate::kernels::exp::exp;
use crate::kernels::gemm::{Decode, TiledGemm, WeightRow, sweep};
use crate::kernels::simd::{F32s, MAX_LANES, Tile, TileOp};
use std::ops::Range;

/// Keys in a tile at most: long enough that what is done once a tile (maxima, sums, rescaling) is a few percent.
pub(super) const KEYS: usize = 96;
/// Tiles have a multiple of this many keys, if there are as many: a common multiple of the widths of score tiles.
pub(super) const KEY_STEP: usize = 24;
/// Bytes of keys or of values in a tile: all queries pass over them in an L1 of 32 KiB.
const TILE_BYTES: usize = 24 << 10;
/// (row, query head) pairs in a task at most: keys and values come from L2 or beyond once a task.
pub(super) const QUERIES: usize = 32;

const _: () = assert!(
    KEYS.is_multiple_of(MAX_LANES) && QUERIES.is_multiple_of(MAX_LANES),
    "scores and maxima are walked by whole vectors"
);

/// Keys in a tile: depends on sizes and types alone, so that every call cuts the keys at the same places.
fn keys_in_tile<K, V>(head_dim: usize) -> usize {
    let row = head_dim * size_of::<K>().max(size_of::<V>());
    (TILE_BYTES / row / KEY_STEP * KEY_STEP).clamp(KEY_STEP, KEYS)
}

/// Some queries against all the keys that they see.
pub(super) struct Task<'a, K, V> {
    pub(super) queries: Queries<'a>,
    /// Where the head lies in `keys` and `values`.
    pub(super) head: Head<'a>,
    /// Positions of the keys that the queries see.
    pub(super) seen: Range<usize>,
    /// All pages of the layer.
    pub(super) keys: &'a [K],
    /// All pages of the layer.
    pub(super) values: &'a [V],
}

/// The state of the online softmax, and the scores of one tile of keys.
pub(super) struct State {
    /// `[QUERIES, KEYS]`: scores, then their exponentials.
    pub(super) scores: [[f32; KEYS]; QUERIES],
    /// Largest score so far.
    max: [f32; QUERIES],
    /// Sum of the exponentials so far.
    sum: [f32; QUERIES],
    /// What the accumulated output must be multiplied by, since the maximum has grown.
    pub(super) rescale: [f32; QUERIES],
}

impl<K, V> TileOp for Task<'_, K, V>
where
    WeightRow<K>: Decode,
    WeightRow<V>: Decode,
{
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(self, s: S) {
        let Self { queries, head, seen, keys, values } = self;
        let head_dim = queries.head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut state = State {
            scores: [[0.0; KEYS]; QUERIES],
            max: [f32::NEG_INFINITY; QUERIES],
            sum: [0.0; QUERIES],
            rescale: [0.0; QUERIES],
        };
        let in_tile = keys_in_tile::<K, V>(head_dim);
        let mut first = seen.start;
        while first < seen.end {
            let tile = first..(first + in_tile).min(seen.end);
            // A tile may cross into other pages; its scores are computed, and its values added, page by page.
            let mut at = 0;
            while at < tile.len() {
                let (keys, n) = head.rows(keys, first + at..tile.end);
                let mut scores = Scores { queries: &queries, keys, at, scores: &mut state.scores };
                sweep(s, &mut scores, queries.len, n, head_dim);
                at += n;
            }
            state.softmax(s, queries.len, tile.len(), scale);
            let mut at = 0;
            while at < tile.len() {
                let (values, n) = head.rows(values, first + at..tile.end);
                let onto = match (at, first == seen.start) {
                    (0, true) => Onto::Nothing,
                    (0, false) => Onto::EarlierTiles,
                    _ => Onto::ThisTile,
                };
                Mix { queries: &queries, values, state: &state, at, onto }.run(s);
                at += n;
            }
            first = tile.end;
        }
        for i in 0..queries.len {
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
    /// Where the keys begin in the tile.
    at: usize,
    scores: &'a mut [[f32; KEYS]; QUERIES],
}

// SAFETY: both methods slice `head_dim` elements, the k of the sweep.
unsafe impl<K> TiledGemm for Scores<'_, '_, K>
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
        // Four sums at a time: all queries of a key, then of the next.
        let mut at = 0;
        while at < M * N {
            let mut four = [s.splat(0.0); 4];
            for t in at..(at + 4).min(M * N) {
                four[t - at] = acc[t % M][t / M];
            }
            let sums = s.sum4(four);
            for t in at..(at + 4).min(M * N) {
                self.scores[i + t % M][self.at + j + t / M] = sums[t - at];
            }
            at += 4;
        }
    }
}

impl State {
    /// Turns `n` scores of each of the first `queries` queries into exponentials; brings maxima and sums up to date.
    #[inline(always)]
    fn softmax<S: F32s>(&mut self, s: S, queries: usize, n: usize, scale: f32) {
        // Lanes beyond the tile get no weight.
        let padded = n.next_multiple_of(S::LANES);
        let scales = s.splat(scale);
        let old = self.max;
        for i in 0..queries {
            let scores = &mut self.scores[i][..padded];
            scores[n..].fill(f32::NEG_INFINITY);
            let mut top = s.splat(old[i]);
            for scores in scores.chunks_exact(S::LANES) {
                top = s.max(s.load(scores), top);
            }
            self.max[i] = s.top(top);
        }
        // All queries at once: one exp has a long latency.
        let mut i = 0;
        while i < queries {
            let grown = s.sub(s.load(&old[i..]), s.load(&self.max[i..]));
            let rescale = exp(s, s.mul(grown, scales));
            s.store(rescale, &mut self.rescale[i..]);
            s.store(s.mul(s.load(&self.sum[i..]), rescale), &mut self.sum[i..]);
            i += S::LANES;
        }
        for i in 0..queries {
            let max = s.splat(self.max[i]);
            let mut sum = s.splat(0.0);
            for scores in self.scores[i][..padded].chunks_exact_mut(S::LANES) {
                let p = exp(s, s.mul(s.sub(s.load(scores), max), scales));
                sum = s.add(sum, p);
                s.store(p, scores);
            }
            self.sum[i] += s.sum(sum);
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
