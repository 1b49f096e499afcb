//! GEMM with weights of floats, which lie row after row: f32 arithmetic in dot form.
//!
//! A task reads its weight rows once from memory, in bands of [`NR`] rows.
//!
//! - Up to [`direct_rows`] rows it is memory-bound: weights are decoded in registers as they stream in.
//! - With more rows it is compute-bound: a band is decoded once into a buffer that stays in L1, and all rows of x pass
//!   over it.
//!
//! Both go in blocks of [`KC`] elements of k, so that x stays in L1 too. Accumulators rest in memory between blocks as
//! whole vectors, which rounds nothing, so both ways give the same bits.
//!
//! # Source
//! The loop nest is that of Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, with the packing
//! of one operand replaced by decoding and that of the other left out.

mod decode;
mod prefetch;
mod tile;

pub(crate) use decode::{Decode, WeightRow};
pub(crate) use tile::{NR, TiledGemm, load, sums, sweep};

use super::stack::StackBuffer;
use crate::exec::Columns;
use crate::kernels::simd::{MAX_LANES, Tile, TileOp};
use crate::tensor::Rows;
use prefetch::Ahead;
use tile::vectors;

/// Rows up to which weights are decoded in registers: some passes over a band in L2 are cheaper than the buffer. How many was
/// measured on Zen 3 (16 registers: with 12 rows a fifth faster, with 16 a tenth, with 32 slower) and Zen 4 (32 registers).
pub(super) const fn direct_rows(wide: bool) -> usize {
    if wide { 8 } else { 16 }
}

/// Elements of k that a decoded band holds: with 12 rows 24 KiB, which leaves room for a tile of x
/// in an L1 of 32 KiB. Measured on Zen 4: half of it costs a tenth (tiles too short), twice as much gains nothing.
pub(super) const KC: usize = 512;
/// Numbers in x that leave room for the weights in an L1 of 32 KiB: up to this size x is read whole for every tile of weights.
const X_IN_L1: usize = 4096;
/// Rows of x that pass over a decoded band: decoding is a few percent of the work, and the accumulators stay in L2.
pub(super) const MC: usize = 64;

/// The columns of the output that one task computes.
pub(super) struct FloatGemm<'a, T> {
    pub(super) x: Rows<'a>,
    /// All weight rows.
    pub(super) w: &'a [T],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: Columns<'a>,
}

impl<T> TileOp for FloatGemm<'_, T>
where
    WeightRow<T>: Decode,
{
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(mut self, s: S) {
        let columns = self.out.range();
        let mut first = columns.start;
        while first < columns.end {
            let band = Band { first, n: NR.min(columns.end - first) };
            self.band(s, band);
            first += NR;
        }
    }
}

/// Weight rows `first .. first + n`.
#[derive(Clone, Copy)]
struct Band {
    first: usize,
    n: usize,
}

impl<T> FloatGemm<'_, T>
where
    WeightRow<T>: Decode,
{
    /// Elements `at .. at + len` of weight row `j`.
    #[inline(always)]
    fn weights(&self, j: usize, at: usize, len: usize) -> &[T] {
        &self.w[j * self.x.width() + at..][..len]
    }

    /// Blocks of rows and of k. Up to [`direct_rows`] rows decode in registers, more pass over a decoded block.
    #[inline(always)]
    fn band<S: Tile>(&mut self, s: S, band: Band) {
        let (m, k) = (self.x.len(), self.x.width());
        let block_k = if m * k <= X_IN_L1 { k.max(1) } else { KC };
        let mut decoded = StackBuffer::<{ NR * KC }>::new();
        let mut resting = StackBuffer::<{ MC * NR * MAX_LANES }>::new();
        let mut row = 0;
        while row < m {
            let rows = MC.min(m - row);
            let mut at = 0;
            while at < k {
                let direct = m <= direct_rows(S::WIDE);
                let len = if direct { block_k } else { KC }.min(k - at);
                let last = at + len == k;
                let block = KcBlock { piece: self, band, row, at, len, last, resting: resting.get(0) };
                if direct {
                    sweep(s, &mut Swept { block, weights: Streamed }, rows, band.n, len);
                } else {
                    for j in 0..band.n {
                        decode_row(s, block.piece.weights(band.first + j, at, len), decoded.get(j * KC));
                    }
                    let ahead = Ahead::of(&block, rows, vectors::<S>(rows, band.n, len));
                    let weights = Decoded { w: decoded.get(0), ahead };
                    sweep(s, &mut Swept { block, weights }, rows, band.n, len);
                }
                at += len;
            }
            row += rows;
        }
    }

    /// Writes finished outputs: rows `i ..`, columns `j ..`.
    #[inline(always)]
    fn put<S: Tile, const M: usize, const N: usize>(
        &mut self,
        s: S,
        i: usize,
        j: usize,
        acc: [[S::V; N]; M],
    ) {
        let start = self.out.range().start;
        let sums = sums(s, &acc);
        for a in 0..M {
            let out = &mut self.out.row_mut(i + a)[j - start..][..N];
            out.copy_from_slice(&sums[a]);
            if let Some(bias) = self.bias {
                let bias = &bias[j..][..N];
                for b in 0..N {
                    out[b] += bias[b];
                }
            }
        }
    }
}

/// Decodes `x` to f32, followed by zeros up to a whole vector.
///
/// # Panics
/// If there are more than `KC` elements.
#[inline(always)]
fn decode_row<S: Tile, T>(s: S, x: &[T], out: *mut f32)
where
    WeightRow<T>: Decode,
{
    assert!(x.len() <= KC, "a block of k is longer than the buffer");
    let row = WeightRow::new(x);
    let whole = x.len() / S::LANES * S::LANES;
    let mut i = 0;
    while i < whole {
        // SAFETY: i + LANES <= x.len() <= KC, the room of a row in `decoded`.
        unsafe { s.store_f32(row.load(s, i), out.add(i)) };
        i += S::LANES;
    }
    if i < x.len() {
        // SAFETY: reads what is left; KC is a multiple of LANES, so a whole vector fits.
        unsafe { s.store_f32(row.load_partial(s, i, x.len() - i), out.add(i)) };
    }
}

/// All rows of a block of rows over a block of k.
struct KcBlock<'a, 'b, T> {
    piece: &'a mut FloatGemm<'b, T>,
    band: Band,
    /// First row of x.
    row: usize,
    /// First element of k.
    at: usize,
    /// Elements of k.
    len: usize,
    /// Whether k ends with this block.
    last: bool,
    /// `[MC, NR, MAX_LANES]`
    resting: *mut f32,
}

impl<T> KcBlock<'_, '_, T>
where
    WeightRow<T>: Decode,
{
    /// `len` elements of row `i` of x.
    #[inline(always)]
    fn x(&self, i: usize) -> WeightRow<f32> {
        WeightRow::new(&self.piece.x.row(self.row + i)[self.at..][..self.len])
    }

    /// Where the accumulators of the tile `(i .. i + M, j .. j + N)` rest; rows are `NR * MAX_LANES` apart.
    #[inline(always)]
    fn rest<const M: usize, const N: usize>(&self, i: usize, j: usize) -> *mut f32 {
        assert!(i + M <= MC && j + N <= NR, "accumulators outside the block");
        // SAFETY: i < MC and j < NR, so the first vector lies inside `resting`.
        unsafe { self.resting.add((i * NR + j) * MAX_LANES) }
    }

    #[inline(always)]
    fn begin<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize, j: usize) -> [[S::V; N]; M] {
        let mut acc = [[s.splat(0.0); N]; M];
        if self.at > 0 {
            let rest = self.rest::<M, N>(i, j);
            for a in 0..M {
                for b in 0..N {
                    // SAFETY: `rest` checked the tile; the block before this one wrote it.
                    acc[a][b] = unsafe { s.load_f32(rest.add((a * NR + b) * MAX_LANES)) };
                }
            }
        }
        acc
    }

    #[inline(always)]
    fn end<S: Tile, const M: usize, const N: usize>(
        &mut self,
        s: S,
        i: usize,
        j: usize,
        acc: [[S::V; N]; M],
    ) {
        if self.last {
            return self.piece.put(s, self.row + i, self.band.first + j, acc);
        }
        let rest = self.rest::<M, N>(i, j);
        for a in 0..M {
            for b in 0..N {
                // SAFETY: `rest` checked the tile.
                unsafe { s.store_f32(acc[a][b], rest.add((a * NR + b) * MAX_LANES)) };
            }
        }
    }
}

/// Where a sweep finds the weights of a block.
///
/// # Safety
/// `row(block, j)` has `block.len` elements for every `j < block.band.n`.
unsafe trait Weights<T>
where
    WeightRow<T>: Decode,
{
    type Row: Decode;

    /// Weight row `j` of the band.
    fn row(&self, block: &KcBlock<'_, '_, T>, j: usize) -> Self::Row;

    /// As [`TiledGemm::stride`].
    fn stride(&self, block: &KcBlock<'_, '_, T>) -> Option<usize>;

    /// As [`TiledGemm::before`].
    fn before<S: Tile>(&mut self, s: S);
}

/// As they lie in the matrix, to be decoded in registers.
struct Streamed;

// SAFETY: the row is a slice of `len` elements.
unsafe impl<T> Weights<T> for Streamed
where
    WeightRow<T>: Decode,
{
    type Row = WeightRow<T>;

    #[inline(always)]
    fn row(&self, block: &KcBlock<'_, '_, T>, j: usize) -> WeightRow<T> {
        let KcBlock { piece, band, at, len, .. } = block;
        WeightRow::new(piece.weights(band.first + j, *at, *len))
    }

    #[inline(always)]
    fn stride(&self, block: &KcBlock<'_, '_, T>) -> Option<usize> {
        Some(block.piece.x.width())
    }

    #[inline(always)]
    fn before<S: Tile>(&mut self, _: S) {}
}

/// Decoded beforehand to `w`, `[NR, KC]`, by `decode_row`.
struct Decoded {
    w: *mut f32,
    ahead: Ahead,
}

// SAFETY: rows of the decoded band have KC >= len elements.
unsafe impl<T> Weights<T> for Decoded
where
    WeightRow<T>: Decode,
{
    type Row = WeightRow<f32>;

    #[inline(always)]
    fn row(&self, block: &KcBlock<'_, '_, T>, j: usize) -> WeightRow<f32> {
        assert!(j < NR, "row outside the band");
        // SAFETY: j < NR rows of KC elements, of which `decode_row` wrote the first `len`.
        WeightRow::new(unsafe { std::slice::from_raw_parts(self.w.add(j * KC), block.len) })
    }

    #[inline(always)]
    fn stride(&self, _: &KcBlock<'_, '_, T>) -> Option<usize> {
        None
    }

    #[inline(always)]
    fn before<S: Tile>(&mut self, s: S) {
        self.ahead.ask(s);
    }
}

/// A block and its weights, as [`sweep`] takes them.
struct Swept<'a, 'b, T, W> {
    block: KcBlock<'a, 'b, T>,
    weights: W,
}

// SAFETY: `x` slices `len` elements, the k of the sweep, and `Weights` promises as many.
unsafe impl<T, W: Weights<T>> TiledGemm for Swept<'_, '_, T, W>
where
    WeightRow<T>: Decode,
{
    type Row = W::Row;

    #[inline(always)]
    fn before<S: Tile>(&mut self, s: S) {
        self.weights.before(s);
    }

    #[inline(always)]
    fn x(&self, i: usize) -> WeightRow<f32> {
        self.block.x(i)
    }

    #[inline(always)]
    fn w(&self, j: usize) -> W::Row {
        self.weights.row(&self.block, j)
    }

    #[inline(always)]
    fn stride(&self) -> Option<usize> {
        self.weights.stride(&self.block)
    }

    #[inline(always)]
    fn begin<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize, j: usize) -> [[S::V; N]; M] {
        self.block.begin(s, i, j)
    }

    #[inline(always)]
    fn end<S: Tile, const M: usize, const N: usize>(
        &mut self,
        s: S,
        i: usize,
        j: usize,
        acc: [[S::V; N]; M],
    ) {
        self.block.end(s, i, j, acc);
    }
}
