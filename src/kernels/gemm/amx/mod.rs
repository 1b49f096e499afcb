//! GEMM on the matrix unit of AMX.
//!
//! Rows of x are the left operand, as they lie; 16 rows of weights are the right one: a row of such a tile is a run of k for
//! all of them, which is the order of [`Panels`](crate::quant::Panels). A block is up to 32 rows of x against one or two
//! panels, so each tile that is loaded is used twice. Its outputs are four tiles, `[2 x][2 panels]`.
//!
//! Every output is a chain over k in ascending order whose links do not depend on the shape of the block, nor on what else is
//! in it. So here, too, the bits of an output row do not depend on the other rows.

mod bf16;
mod int8;
mod weights;

pub(super) use weights::{Bf16Rows, TILE_K};

use super::pack::PackedRows;
use crate::exec::Columns;
use crate::kernels::simd::{AmxTiles, F32s, TILE_LANES, TILE_SIDE, Tile};

/// Some columns of a GEMM. `X`: an element of x.
pub(super) struct AmxGemm<'a, W, X> {
    pub(super) w: W,
    pub(super) x: PackedRows<'a, X>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: Columns<'a>,
}

/// Rows of x in a block.
const BLOCK_ROWS: usize = 2 * TILE_SIDE;
/// Numbers in the outputs of a block.
const BLOCK_LANES: usize = 4 * TILE_LANES;

/// Where the tile of outputs of left tile `a` and right tile `b` starts in those of a block.
const fn output(a: usize, b: usize) -> usize {
    (2 * a + b) * TILE_LANES
}

/// The rows of both left tiles of a block of `rows` rows.
fn tile_rows(rows: usize) -> [usize; 2] {
    [rows.min(TILE_SIDE), rows.saturating_sub(TILE_SIDE)]
}

/// Zeroes the tiles of outputs.
#[inline(always)]
fn zero_outputs(amx: impl AmxTiles) {
    amx.zero::<0>();
    amx.zero::<1>();
    amx.zero::<2>();
    amx.zero::<3>();
}

/// Stores the tiles of outputs of `A` left tiles and `B` right ones.
///
/// # Safety
/// `to` is valid for writes of the outputs of a block.
#[inline(always)]
unsafe fn store_outputs<const A: usize, const B: usize>(amx: impl AmxTiles, to: *mut f32) {
    // SAFETY: four tiles, the caller's contract.
    unsafe {
        amx.store::<0>(to.add(output(0, 0)).cast());
        if B == 2 {
            amx.store::<1>(to.add(output(0, 1)).cast());
        }
        if A == 2 {
            amx.store::<2>(to.add(output(1, 0)).cast());
        }
        if A == 2 && B == 2 {
            amx.store::<3>(to.add(output(1, 1)).cast());
        }
    }
}

impl<W, X> AmxGemm<'_, W, X> {
    /// Writes the outputs of a block, those that exist: rows `row ..`, columns `column ..`, of `panels` panels.
    ///
    /// # Safety
    /// `c` holds the outputs of a block.
    #[inline(always)]
    unsafe fn put(&mut self, amx: impl AmxTiles, row: usize, column: usize, panels: usize, c: *const f32) {
        let (s, range) = (amx.float(), self.out.range());
        for i in 0..BLOCK_ROWS.min(self.x.rows() - row) {
            for b in 0..panels {
                let column = column + b * TILE_SIDE;
                let len = TILE_SIDE.min(range.end - column);
                // SAFETY: i is less than the rows of a block, so this is a row of one of its tiles, the caller's contract.
                let mut v =
                    unsafe { s.load_f32(c.add(output(i / TILE_SIDE, b) + i % TILE_SIDE * TILE_SIDE)) };
                if let Some(bias) = self.bias {
                    v = s.add(v, s.load_partial(&bias[column..][..len]));
                }
                let out = &mut self.out.row_mut(row + i)[column - range.start..][..len];
                if len == TILE_SIDE { s.store(v, out) } else { s.store_partial(v, out) }
            }
        }
    }
}
