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
use crate::kernels::gemm::{Decode, StackBuffer, TiledGemm, WeightRow, load, sums, sweep};
use crate::kernels::simd::{F32s, MAX_LANES, Tile, TileOp};
use std::ops::Range;

/// Keys in a tile at most: long enough that what is done once per tile (maxima, sums, rescaling) is a few percent.
pub(super) const KEYS: usize = 96;
/// Tiles have a multiple of this many keys, if there are that many: a common multiple of the widths of score tiles.
pub(super) const KEY_STEP: usize = 24;
/// Bytes of keys or of values in a tile: all queries pass over them in an L1 of 32 KiB.
const TILE_BYTES: usize = 24 << 10;
/// (row, query head) pairs in a task at most: keys and values come from L2 or beyond once per task.
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
        let Self { queries, seen, .. } = &self;
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
            self.scores(s, &tile, &mut state);
            state.softmax(s, queries.len, tile.len(), scale);
            self.mix(s, &tile, &state);
            first = tile.end;
        }
        for i in 0..queries.len {
            // SAFETY: `head_dim` numbers that this task alone writes, initialized by the first tile.
            let out = unsafe { std::slice::from_raw_parts_mut(queries.out(i), head_dim) };
            normalize(s, out, state.sum[i]);
        }
    }
}

impl<K, V> Task<'_, K, V>
where
    WeightRow<K>: Decode,
    WeightRow<V>: Decode,
{
    /// The scores of a tile. It may cross into other pages; scores are computed page by page.
    #[inline(always)]
    fn scores<S: Tile>(&self, s: S, tile: &Range<usize>, state: &mut State) {
        let (queries, head_dim) = (&self.queries, self.queries.head_dim);
        let mut buffer = DecodedRows::new();
        let mut at = 0;
        while at < tile.len() {
            let (keys, n) = self.head.rows(self.keys, tile.start + at..tile.end);
            match rows_to_decode::<K>(queries) {
                None => {
                    let mut scores = Scores { queries, keys, at, scores: &mut state.scores };
                    sweep(s, &mut scores, queries.len, n, head_dim);
                }
                Some(rows) => {
                    for (i, keys) in keys.chunks(rows * head_dim).enumerate() {
                        let (keys, at) = (decode(s, keys, &mut buffer), at + i * rows);
                        let mut scores = Scores { queries, keys, at, scores: &mut state.scores };
                        sweep(s, &mut scores, queries.len, keys.len() / head_dim, head_dim);
                    }
                }
            }
            at += n;
        }
    }

    /// Adds the values of a tile to the outputs, page by page.
    #[inline(always)]
    fn mix<S: Tile>(&self, s: S, tile: &Range<usize>, state: &State) {
        let queries = &self.queries;
        let mut buffer = DecodedRows::new();
        let mut onto = if tile.start == self.seen.start { Onto::Nothing } else { Onto::EarlierTiles };
        let mut at = 0;
        while at < tile.len() {
            let (values, n) = self.head.rows(self.values, tile.start + at..tile.end);
            match rows_to_decode::<V>(queries) {
                None => Mix { queries, values, state, at, onto }.run(s),
                Some(rows) => {
                    for (i, values) in values.chunks(rows * queries.head_dim).enumerate() {
                        let (values, at) = (decode(s, values, &mut buffer), at + i * rows);
                        Mix { queries, values, state, at, onto }.run(s);
                        onto = Onto::ThisTile;
                    }
                }
            }
            onto = Onto::ThisTile;
            at += n;
        }
    }
}

/// Numbers of keys or values that lie in L1 as f32 while all queries of a task pass over them: 24 KiB.
const DECODED: usize = 6 << 10;
type DecodedRows = StackBuffer<{ DECODED + MAX_LANES }>;

/// Queries from which on decoding once is cheaper than in every tile of queries.
const DECODE_FROM: usize = 12;

/// Keys or values to decode at a time, if that is worth it.
#[inline(always)]
fn rows_to_decode<T>(queries: &Queries<'_>) -> Option<usize> {
    let rows = DECODED / queries.head_dim / KEY_STEP * KEY_STEP;
    (size_of::<T>() < size_of::<f32>() && queries.len >= DECODE_FROM && rows > 0).then_some(rows)
}

/// The rows `x` as f32.
///
/// # Panics
/// If they do not fit the buffer.
#[inline(always)]
fn decode<'a, S: Tile, T>(s: S, x: &[T], buffer: &'a mut DecodedRows) -> &'a [f32]
where
    WeightRow<T>: Decode,
{
    assert!(x.len() <= DECODED, "{} numbers in a buffer of {DECODED}", x.len());
    let (row, out) = (WeightRow::new(x), buffer.get(0));
    let mut i = 0;
    while i < x.len() {
        // SAFETY: reads what there is; the buffer has room for a whole vector after its last number.
        unsafe { s.store_f32(load(s, row, i, S::LANES.min(x.len() - i)), out.add(i)) };
        i += S::LANES;
    }
    // SAFETY: written above.
    unsafe { std::slice::from_raw_parts(out, x.len()) }
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
        let sums = sums(s, &acc);
        for b in 0..N {
            for a in 0..M {
                self.scores[i + a][self.at + j + b] = sums[a][b];
            }
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
