//! int8 activations: whole steps of k in integers, exactly; then each step adds to one chain of floats per output, the same
//! as in [`quant`](crate::kernels::gemm::quant), so that the bits are those of all integer units.
//!
//! int8 codes are right operands as they lie. int4 codes are unpacked, and while the matrix unit works on a step the vector
//! units unpack the next one and scale the sums of the previous one.

use super::super::pack::StepRows;
use super::super::quant::{Codes, Int4, Int8};
use super::super::stack::StackBuffer;
use super::weights::OpenPanel;
use super::{AmxGemm, BLOCK_LANES, BLOCK_ROWS, output, store_outputs, tile_rows, zero_outputs};
use crate::kernels::simd::{AmxOp, AmxTiles, Dots, F32s, TILE_LANES, TILE_ROW, TILE_SIDE, Tile, TileConfig};
use crate::quant::{Code, PANEL_ROWS, Panels};

/// Lanes of the unpacked codes of a step: of one panel, and of two.
const STEP_LANES: usize = 2 * TILE_LANES;
const BOTH_LANES: usize = 2 * STEP_LANES;

impl AmxOp for AmxGemm<'_, Panels<'_>, i8> {
    #[inline(always)]
    fn run<U: AmxTiles>(mut self, amx: U) {
        match self.w.quant().code {
            Code::Int8 => self.all::<Int8>(amx),
            Code::Int4 => self.all::<Int4>(amx),
        }
    }
}

/// What a block works with.
struct Step {
    x: StepRows<i8>,
    /// From row to row, in elements.
    stride: usize,
    /// First element of k.
    at: usize,
}

impl AmxGemm<'_, Panels<'_>, i8> {
    #[inline(always)]
    fn all<C: Codes>(&mut self, amx: impl AmxTiles) {
        let range = self.out.range();
        let mut column = range.start;
        while column < range.end {
            let two_panels = column + PANEL_ROWS < range.end;
            let mut row = 0;
            while row < self.x.rows() {
                match (self.x.rows() - row > TILE_SIDE, two_panels) {
                    (false, false) => self.block::<C, 1, 1>(amx, row, column),
                    (false, true) => self.block::<C, 1, 2>(amx, row, column),
                    (true, false) => self.block::<C, 2, 1>(amx, row, column),
                    (true, true) => self.block::<C, 2, 2>(amx, row, column),
                }
                row += BLOCK_ROWS;
            }
            column += 2 * PANEL_ROWS;
        }
    }

    /// The outputs of `A` tiles of x from row `row` on, and of `B` panels from column `column` on.
    #[inline(always)]
    fn block<C: Codes, const A: usize, const B: usize>(
        &mut self,
        amx: impl AmxTiles,
        row: usize,
        column: usize,
    ) {
        let count = BLOCK_ROWS.min(self.x.rows() - row);
        let rows = tile_rows(count);
        let (padded, step) = (self.w.quant().padded_k(self.w.k()), self.x.step);
        let depth = step.min(TILE_ROW);
        let panels: [OpenPanel<'_>; B] =
            std::array::from_fn(|b| OpenPanel::new(&self.w, column / PANEL_ROWS + b));
        let mut acc = StackBuffer::<BLOCK_LANES>::new();
        let mut sums = StackBuffer::<{ 2 * BLOCK_LANES }>::new();
        let mut codes = StackBuffer::<{ 2 * BOTH_LANES }>::new();
        let (acc, sums, codes) = (acc.get(0), sums.get(0), codes.get(0));
        let s = amx.float();
        for i in 0..BLOCK_LANES / TILE_SIDE {
            // SAFETY: row i of the tiles of a block.
            unsafe { s.store_f32(s.splat(0.0), acc.add(i * TILE_SIDE)) };
        }
        amx.configure(&TileConfig::blocks(rows, depth));
        let mut now = Step { x: self.x.rows_from(row, count), stride: step, at: 0 };
        let (mut parity, mut before) = (0, None);
        // SAFETY: room for the codes of two panels.
        unsafe { unpack::<C, B>(amx, &panels, 0, step.min(padded), codes) };
        while now.at < padded {
            let len = step.min(padded - now.at);
            let next = Step { x: self.x.next(now.x), stride: step, at: now.at + len };
            // SAFETY: `codes` has room for two steps, `sums` for two blocks, parity is 0 or 1; `x` has `count` rows, those of
            // the configured tiles; the codes of this step were unpacked before, and every panel has `padded` elements.
            unsafe {
                let this = sums.add(parity * BLOCK_LANES);
                multiply::<C, A, B>(amx, &panels, &now, len, codes.add(parity * BOTH_LANES), this);
                parity ^= 1;
                if next.at < padded {
                    let len = step.min(padded - next.at);
                    unpack::<C, B>(amx, &panels, next.at, len, codes.add(parity * BOTH_LANES));
                }
                if let Some(before) = &before {
                    scale::<C, A, B>(amx, &panels, before, rows, sums.add(parity * BLOCK_LANES), acc);
                }
            }
            before = Some(now);
            now = next;
        }
        if let Some(before) = &before {
            // SAFETY: as above; these are the sums of the last step.
            unsafe {
                scale::<C, A, B>(amx, &panels, before, rows, sums.add((parity ^ 1) * BLOCK_LANES), acc);
            };
        }
        // SAFETY: `acc` holds the outputs of a block.
        unsafe { self.put(amx, row, column, B, acc) };
    }
}

/// Unpacks the int4 codes of `len` elements from `at` on into bytes, in tiles; int8 codes stay where they are.
///
/// # Safety
/// `to` is valid for writes of `BOTH_LANES` lanes.
///
/// # Panics
/// If a panel does not have these codes, or `len` is more than a step.
#[inline(always)]
unsafe fn unpack<C: Codes, const B: usize>(
    amx: impl AmxTiles,
    panels: &[OpenPanel<'_>; B],
    at: usize,
    len: usize,
    to: *mut f32,
) {
    if !C::INT4 {
        return;
    }
    assert!(len / 4 * TILE_SIDE <= STEP_LANES, "a step of {len}");
    for b in 0..B {
        // A line is 8 k of all rows: two rows of a tile.
        let lines = len / 8;
        let codes = &panels[b].codes[at / 8 * TILE_ROW..][..lines * TILE_ROW];
        for line in 0..lines {
            // SAFETY: a line of `codes`; two rows of at most STEP_LANES lanes for each panel, checked above.
            unsafe {
                let to = to.add(b * STEP_LANES + 2 * line * TILE_SIDE);
                amx.unpack(codes.as_ptr().add(line * TILE_ROW), to.cast());
            }
        }
    }
}

/// `Σ x code` over the `len` elements of a step, into `sums`.
///
/// # Safety
/// Tiles are configured for the rows of `x`; `codes` holds the unpacked codes of the step, if they are int4; `sums` is valid
/// for writes of a block.
///
/// # Panics
/// If a panel does not have these codes.
#[inline(always)]
unsafe fn multiply<C: Codes, const A: usize, const B: usize>(
    amx: impl AmxTiles,
    panels: &[OpenPanel<'_>; B],
    now: &Step,
    len: usize,
    codes: *const f32,
    sums: *mut f32,
) {
    let mut w = [codes.cast::<u8>(); B];
    for b in 0..B {
        // SAFETY: room for the codes of two panels, the caller's contract.
        w[b] = unsafe { codes.add(b * STEP_LANES) }.cast();
        if !C::INT4 {
            w[b] = panels[b].codes[now.at * PANEL_ROWS..][..len * PANEL_ROWS].as_ptr();
        }
    }
    zero_outputs(amx);
    let mut k = 0;
    while k < len {
        // SAFETY: a tile reads up to 64 k of a step, which has `len`, a multiple of that; rows are `stride` apart. Left tiles
        // have as many rows as were configured, the caller's contract.
        unsafe {
            let x = now.x.data.add(k).cast::<u8>();
            amx.load::<4>(x, now.stride);
            amx.load::<6>(w[0].add(k * PANEL_ROWS), TILE_ROW);
            amx.dot_int8::<0, 4, 6>();
            if B == 2 {
                amx.load::<7>(w[B - 1].add(k * PANEL_ROWS), TILE_ROW);
                amx.dot_int8::<1, 4, 7>();
            }
            if A == 2 {
                amx.load::<5>(x.add(TILE_SIDE * now.stride), now.stride);
                amx.dot_int8::<2, 5, 6>();
                if B == 2 {
                    amx.dot_int8::<3, 5, 7>();
                }
            }
        }
        k += TILE_ROW;
    }
    // SAFETY: room for the sums of a block, the caller's contract.
    unsafe { store_outputs::<A, B>(amx, sums) };
}

/// Adds the scaled sums of a step to `acc`.
///
/// # Safety
/// `sums` and `acc` hold the outputs of a block, `before` the stats of `rows`.
#[inline(always)]
unsafe fn scale<C: Codes, const A: usize, const B: usize>(
    amx: impl AmxTiles,
    panels: &[OpenPanel<'_>; B],
    before: &Step,
    rows: [usize; 2],
    sums: *const f32,
    acc: *mut f32,
) {
    let (s, d) = (amx.float(), amx.dots());
    for b in 0..B {
        let scales = panels[b].scales(s, before.at);
        let minima = panels[b].centred_minima(s, before.at, scales);
        for a in 0..A {
            for i in 0..rows[a] {
                let at = output(a, b) + i * TILE_SIDE;
                // SAFETY: row i < 16 of a tile of the block, and of the stats; the caller's contract.
                unsafe {
                    let stats = &*before.x.stats.add(a * TILE_SIDE + i);
                    let mut sum = d.load(sums.add(at).cast());
                    if C::INT4 {
                        sum = d.add(sum, d.close(d.begin_int4(stats.begin_int4)));
                    }
                    let sum = s.mul(d.to_f32(sum), s.splat(stats.scale));
                    let mut v = s.mul_add(sum, scales, s.load_f32(acc.add(at)));
                    if let Some(minima) = minima {
                        v = s.mul_add(s.splat(stats.sum), minima, v);
                    }
                    s.store_f32(v, acc.add(at));
                }
            }
        }
    }
}
