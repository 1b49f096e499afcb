//! Products with weights of floats, which lie row after row: f32 arithmetic in dot form.
//!
//! A task reads its weight rows once from memory, in panels of [`PANEL`] rows.
//!
//! - Up to [`direct_rows`] rows the product waits for memory: weights are decoded in registers as they stream in.
//! - With more rows it is bound by arithmetic: a panel is decoded once into a buffer that stays in L1, and all rows of x pass
//!   over it.
//!
//! Both go in blocks of [`BLOCK_K`] elements of k, so that x stays in L1 too. Accumulators rest in memory between blocks as
//! whole vectors, which rounds nothing, so all ways give the same bits.
//!
//! # Source
//! The loop nest is that of Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, with the packing
//! of one operand replaced by decoding and that of the other left out.

mod decode;
mod prefetch;
mod tile;

pub(crate) use decode::{Decode, WeightRow};
pub(crate) use tile::{PANEL, Product, load, sweep};

use super::stack::StackBuffer;
use crate::exec::Columns;
use crate::kernels::simd::{MAX_LANES, Tile, TileOp};
use crate::tensor::Rows;
use prefetch::Ahead;

/// Rows up to which weights are decoded in registers: some passes over a panel in L2 are cheaper than the buffer. How many was
/// measured on Zen 3 (16 registers: with 12 rows a fifth faster, with 16 a tenth, with 32 slower) and Zen 4 (32 registers).
const fn direct_rows<S: Tile>() -> usize {
    if S::WIDE { 8 } else { 16 }
}

/// Elements of k that a decoded panel holds: with 12 rows 24 KiB, which leaves room for a tile of x
/// in an L1 of 32 KiB. Measured on Zen 4: half of it costs a tenth (tiles too short), twice as much gains nothing.
const BLOCK_K: usize = 512;
/// Numbers in x that leave room for the weights in an L1 of 32 KiB: so many are read whole for every tile of weights.
const X_IN_L1: usize = 4096;
/// Rows of x that pass over a decoded panel: decoding is a few percent of the work, and the accumulators stay in L2.
const BLOCK_M: usize = 64;

/// The columns of the output that one task computes.
pub(super) struct Piece<'a, T> {
    pub(super) x: Rows<'a>,
    /// All weight rows.
    pub(super) w: &'a [T],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: Columns<'a>,
}

impl<T> TileOp for Piece<'_, T>
where
    WeightRow<T>: Decode,
{
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(mut self, s: S) {
        let columns = self.out.range();
        let mut first = columns.start;
        while first < columns.end {
            let panel = Panel { first, n: PANEL.min(columns.end - first) };
            self.panel(s, panel);
            first += PANEL;
        }
    }
}

/// Weight rows `first .. first + n`.
#[derive(Clone, Copy)]
struct Panel {
    first: usize,
    n: usize,
}

impl<T> Piece<'_, T>
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
    fn panel<S: Tile>(&mut self, s: S, panel: Panel) {
        let (m, k) = (self.x.len(), self.x.width());
        let block_k = if m * k <= X_IN_L1 { k.max(1) } else { BLOCK_K };
        let mut decoded = StackBuffer::<{ PANEL * BLOCK_K }>::new();
        let mut resting = StackBuffer::<{ BLOCK_M * PANEL * MAX_LANES }>::new();
        let mut row = 0;
        while row < m {
            let rows = BLOCK_M.min(m - row);
            let mut at = 0;
            while at < k {
                let direct = m <= direct_rows::<S>();
                let len = if direct { block_k } else { BLOCK_K }.min(k - at);
                let last = at + len == k;
                let block = Block { piece: self, panel, row, at, len, last, resting: resting.get(0) };
                if direct {
                    sweep(s, &mut Swept { block, weights: Streamed }, rows, panel.n, len);
                } else {
                    for j in 0..panel.n {
                        decode_row(
                            s,
                            block.piece.weights(panel.first + j, at, len),
                            decoded.get(j * BLOCK_K),
                        );
                    }
                    let ahead = Ahead::of(&block, rows);
                    let weights = Decoded { w: decoded.get(0), ahead };
                    sweep(s, &mut Swept { block, weights }, rows, panel.n, len);
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
        for a in 0..M {
            let out = &mut self.out.row_mut(i + a)[j - start..][..N];
            for b in 0..N {
                out[b] = s.sum(acc[a][b]);
            }
            if let Some(bias) = self.bias {
                let bias = &bias[j..][..N];
                for b in 0..N {
                    out[b] += bias[b];
                }
            }
        }
    }
}

/// Decodes `x` to f32, zeros up to a whole vector behind it.
///
/// # Panics
/// If there are more than `BLOCK_K` elements.
#[inline(always)]
fn decode_row<S: Tile, T>(s: S, x: &[T], out: *mut f32)
where
    WeightRow<T>: Decode,
{
    assert!(x.len() <= BLOCK_K, "a block of k is longer than the buffer");
    let row = WeightRow::new(x);
    let whole = x.len() / S::LANES * S::LANES;
    let mut i = 0;
    while i < whole {
        // SAFETY: i + LANES <= x.len() <= BLOCK_K, the room of a row in `decoded`.
        unsafe { s.store_f32(row.load(s, i), out.add(i)) };
        i += S::LANES;
    }
    if i < x.len() {
        // SAFETY: reads what is left; BLOCK_K is a multiple of LANES, so a whole vector fits.
        unsafe { s.store_f32(row.load_partial(s, i, x.len() - i), out.add(i)) };
    }
}

/// All rows of a block of rows over a block of k.
struct Block<'a, 'b, T> {
    piece: &'a mut Piece<'b, T>,
    panel: Panel,
    /// First row of x.
    row: usize,
    /// First element of k.
    at: usize,
    /// Elements of k.
    len: usize,
    /// Whether k ends with this block.
    last: bool,
    /// `[BLOCK_M, PANEL, MAX_LANES]`
    resting: *mut f32,
}

impl<T> Block<'_, '_, T>
where
    WeightRow<T>: Decode,
{
    /// `len` elements of row `i` of x.
    #[inline(always)]
    fn x(&self, i: usize) -> WeightRow<f32> {
        WeightRow::new(&self.piece.x.row(self.row + i)[self.at..][..self.len])
    }

    /// Where the accumulators of the tile `(i .. i + M, j .. j + N)` rest; rows are `PANEL * MAX_LANES` apart.
    #[inline(always)]
    fn rest<const M: usize, const N: usize>(&self, i: usize, j: usize) -> *mut f32 {
        assert!(i + M <= BLOCK_M && j + N <= PANEL, "accumulators outside the block");
        // SAFETY: i < BLOCK_M and j < PANEL, so the first vector lies inside `resting`.
        unsafe { self.resting.add((i * PANEL + j) * MAX_LANES) }
    }

    #[inline(always)]
    fn begin<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize, j: usize) -> [[S::V; N]; M] {
        let mut acc = [[s.splat(0.0); N]; M];
        if self.at > 0 {
            let rest = self.rest::<M, N>(i, j);
            for a in 0..M {
                for b in 0..N {
                    // SAFETY: `rest` checked the tile; the block before this one wrote it.
                    acc[a][b] = unsafe { s.load_f32(rest.add((a * PANEL + b) * MAX_LANES)) };
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
            return self.piece.put(s, self.row + i, self.panel.first + j, acc);
        }
        let rest = self.rest::<M, N>(i, j);
        for a in 0..M {
            for b in 0..N {
                // SAFETY: `rest` checked the tile.
                unsafe { s.store_f32(acc[a][b], rest.add((a * PANEL + b) * MAX_LANES)) };
            }
        }
    }
}

/// Where a sweep finds the weights of a block.
///
/// # Safety
/// `row(block, j)` has `block.len` elements for every `j < block.panel.n`.
unsafe trait Weights<T>
where
    WeightRow<T>: Decode,
{
    type Row: Decode;

    /// Weight row `j` of the panel.
    fn row(&self, block: &Block<'_, '_, T>, j: usize) -> Self::Row;

    /// As [`Product::stride`].
    fn stride(&self, block: &Block<'_, '_, T>) -> Option<usize>;

    /// Told after each tile of `m` rows and `n` columns.
    fn used<S: Tile>(&mut self, s: S, block: &Block<'_, '_, T>, m: usize, n: usize);
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
    fn row(&self, block: &Block<'_, '_, T>, j: usize) -> WeightRow<T> {
        let Block { piece, panel, at, len, .. } = block;
        WeightRow::new(piece.weights(panel.first + j, *at, *len))
    }

    #[inline(always)]
    fn stride(&self, block: &Block<'_, '_, T>) -> Option<usize> {
        Some(block.piece.x.width())
    }

    #[inline(always)]
    fn used<S: Tile>(&mut self, _: S, _: &Block<'_, '_, T>, _: usize, _: usize) {}
}

/// Decoded before to `w`, `[PANEL, BLOCK_K]`, by `decode_row`.
struct Decoded {
    w: *mut f32,
    ahead: Ahead,
}

// SAFETY: rows of the decoded panel have BLOCK_K >= len elements.
unsafe impl<T> Weights<T> for Decoded
where
    WeightRow<T>: Decode,
{
    type Row = WeightRow<f32>;

    #[inline(always)]
    fn row(&self, block: &Block<'_, '_, T>, j: usize) -> WeightRow<f32> {
        assert!(j < PANEL, "row outside the panel");
        // SAFETY: j < PANEL rows of BLOCK_K elements, of which `decode_row` wrote the first `len`.
        WeightRow::new(unsafe { std::slice::from_raw_parts(self.w.add(j * BLOCK_K), block.len) })
    }

    #[inline(always)]
    fn stride(&self, _: &Block<'_, '_, T>) -> Option<usize> {
        None
    }

    #[inline(always)]
    fn used<S: Tile>(&mut self, s: S, block: &Block<'_, '_, T>, m: usize, n: usize) {
        self.ahead.ask(s, block.piece, [m, n, block.panel.n]);
    }
}

/// A block and its weights, as [`sweep`] takes them.
struct Swept<'a, 'b, T, W> {
    block: Block<'a, 'b, T>,
    weights: W,
}

// SAFETY: `x` slices `len` elements, the k of the sweep, and `Weights` promises as many.
unsafe impl<T, W: Weights<T>> Product for Swept<'_, '_, T, W>
where
    WeightRow<T>: Decode,
{
    type Row = W::Row;

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
        self.weights.used(s, &self.block, M, N);
        self.block.end(s, i, j, acc);
    }
}
