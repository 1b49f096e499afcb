//! `out = x W^T + bias`: how the product is cut for memory, caches and threads.
//!
//! ```text
//! out[i, j] = Σ_k x[i, k] w[j, k] + bias[j]         x: [m, k]   w: [n, k]   out: [m, n]
//! ```
//!
//! The columns are split over the executor; a task owns a run of columns and reads its weight rows once from memory, in
//! panels of [`PANEL`] rows.
//!
//! - Up to [`DIRECT_ROWS`] rows the product waits for memory: weights are decoded in registers as they stream in.
//! - With more rows it is bound by arithmetic: a panel is decoded once into a buffer that stays in L1, [`BLOCK_K`] elements
//!   of k at a time, and all rows of x pass over it. Accumulators rest in memory between blocks of k as whole vectors, which
//!   rounds nothing, so both paths give the same bits.
//!
//! # Source
//! The loop nest is that of Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, with the packing
//! of one operand replaced by decoding and that of the other left out.

mod decode;
mod fma;

pub(crate) use decode::{Decode, WeightRow};
pub(crate) use fma::{PANEL, Product, load, sweep};

use super::cpu::Level;
use super::simd::{MAX_LANES, Tile, TileOp};
use crate::exec::{Columns, Executor, split_columns};
use crate::quant::{Elements, Matrix};
use crate::tensor::{Rows, RowsMut};
use std::mem::MaybeUninit;

/// Rows up to which weights are decoded in registers: two passes over a panel in L2 are cheaper than the buffer.
const DIRECT_ROWS: usize = 8;
/// Elements of k that a decoded panel holds: with 12 rows 24 KiB, which leaves room for a tile of x
/// in an L1 of 32 KiB. Measured on Zen 4: half of it costs a tenth (tiles too short), twice as much gains nothing.
const BLOCK_K: usize = 512;
/// Rows of x that pass over a decoded panel: decoding is a few percent of the work, and the accumulators stay in L2.
const BLOCK_M: usize = 64;
/// Tasks a thread: enough to even out threads that started late or run slower, few enough to stay in long streams.
const TASKS_PER_THREAD: usize = 4;

/// The arguments of [`gemm`].
pub(crate) struct Gemm<'a> {
    pub(crate) x: Rows<'a>,
    pub(crate) w: &'a Matrix,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) out: RowsMut<'a>,
}

/// Runs the product on `exec`.
pub(crate) fn gemm(level: Level, exec: &dyn Executor, args: Gemm<'_>) {
    let Gemm { x, w, bias, mut out } = args;
    assert_eq!(x.width(), w.k(), "gemm: width of x and k of the weight");
    assert_eq!(out.width(), w.n(), "gemm: width of out and n of the weight");
    assert_eq!(x.len(), out.len(), "gemm: rows of x and rows of out");
    assert!(bias.is_none_or(|bias| bias.len() == w.n()), "gemm: length of the bias and n of the weight");
    if x.is_empty() {
        return;
    }
    let width = out.width();
    let panels = width.div_ceil(PANEL).div_ceil(exec.width() * TASKS_PER_THREAD);
    split_columns(exec, out.data_mut(), width, panels * PANEL, |out| match w.elements() {
        Elements::F32(w) => level.run_tile(Piece { x, w, bias, out }),
        Elements::Bf16(w) => level.run_tile(Piece { x, w, bias, out }),
        Elements::F16(w) => level.run_tile(Piece { x, w, bias, out }),
    });
}

/// The columns of the output that one task computes.
struct Piece<'a, T> {
    x: Rows<'a>,
    /// All weight rows.
    w: &'a [T],
    bias: Option<&'a [f32]>,
    out: Columns<'a>,
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
            if self.x.len() <= DIRECT_ROWS {
                self.direct(s, panel);
            } else {
                self.blocked(s, panel);
            }
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

    /// All rows over all of k, decoding in registers.
    #[inline(always)]
    fn direct<S: Tile>(&mut self, s: S, panel: Panel) {
        let (m, k) = (self.x.len(), self.x.width());
        sweep(s, &mut Direct { piece: self, panel }, m, panel.n, k);
    }

    /// Blocks of rows and of k, over a panel decoded once for each.
    #[inline(always)]
    fn blocked<S: Tile>(&mut self, s: S, panel: Panel) {
        let (m, k) = (self.x.len(), self.x.width());
        let mut decoded = Scratch::<{ PANEL * BLOCK_K }>::new();
        let mut resting = Scratch::<{ BLOCK_M * PANEL * MAX_LANES }>::new();
        let mut row = 0;
        while row < m {
            let rows = BLOCK_M.min(m - row);
            let mut at = 0;
            while at < k {
                let len = BLOCK_K.min(k - at);
                for j in 0..panel.n {
                    decode_row(s, self.weights(panel.first + j, at, len), decoded.get(j * BLOCK_K));
                }
                let (decoded, resting) = (decoded.get(0), resting.get(0));
                let last = at + len == k;
                let mut block = Block { piece: self, panel, row, at, len, last, decoded, resting };
                sweep(s, &mut block, rows, panel.n, len);
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

/// Scratch on the stack, not zeroed: it would cost more than the product of a small piece.
#[repr(align(64))]
struct Scratch<const LEN: usize>([MaybeUninit<f32>; LEN]);

impl<const LEN: usize> Scratch<LEN> {
    #[inline(always)]
    fn new() -> Self {
        Self([MaybeUninit::uninit(); LEN])
    }

    /// A pointer to element `at` and all behind it.
    #[inline(always)]
    fn get(&mut self, at: usize) -> *mut f32 {
        self.0[at..].as_mut_ptr().cast()
    }
}

/// The product of [`Piece::direct`].
struct Direct<'a, 'b, T> {
    piece: &'a mut Piece<'b, T>,
    panel: Panel,
}

// SAFETY: `x` returns rows of x, which have k elements, and `w` slices k elements.
unsafe impl<T> Product for Direct<'_, '_, T>
where
    WeightRow<T>: Decode,
{
    type Row = WeightRow<T>;

    #[inline(always)]
    fn x(&self, i: usize) -> WeightRow<f32> {
        WeightRow::new(self.piece.x.row(i))
    }
    #[inline(always)]
    fn w(&self, j: usize) -> WeightRow<T> {
        WeightRow::new(self.piece.weights(self.panel.first + j, 0, self.piece.x.width()))
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
        self.piece.put(s, i, self.panel.first + j, acc);
    }
}

/// The product of one block in [`Piece::blocked`].
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
    /// `[PANEL, BLOCK_K]`
    decoded: *mut f32,
    /// `[BLOCK_M, PANEL, MAX_LANES]`
    resting: *mut f32,
}

impl<T> Block<'_, '_, T> {
    /// Where the accumulators of the tile `(i .. i + M, j .. j + N)` rest; rows are `PANEL * MAX_LANES` apart.
    #[inline(always)]
    fn rest<const M: usize, const N: usize>(&self, i: usize, j: usize) -> *mut f32 {
        assert!(i + M <= BLOCK_M && j + N <= PANEL, "accumulators outside the block");
        // SAFETY: i < BLOCK_M and j < PANEL, so the first vector lies inside `resting`.
        unsafe { self.resting.add((i * PANEL + j) * MAX_LANES) }
    }
}

// SAFETY: `x` slices `len` elements, and rows of `decoded` have BLOCK_K >= len elements, written by `decode_row`.
unsafe impl<T> Product for Block<'_, '_, T>
where
    WeightRow<T>: Decode,
{
    type Row = WeightRow<f32>;

    #[inline(always)]
    fn x(&self, i: usize) -> WeightRow<f32> {
        WeightRow::new(&self.piece.x.row(self.row + i)[self.at..][..self.len])
    }
    #[inline(always)]
    fn w(&self, j: usize) -> WeightRow<f32> {
        assert!(j < PANEL, "row outside the panel");
        // SAFETY: j < PANEL rows of BLOCK_K elements, of which `decode_row` wrote the first `len`.
        WeightRow::new(unsafe { std::slice::from_raw_parts(self.decoded.add(j * BLOCK_K), self.len) })
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
