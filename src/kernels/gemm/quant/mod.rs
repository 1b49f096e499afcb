//! GEMM with panels of quantized weights, the same loops for f32 and int8 activations.
//!
//! ```text
//! out[i, j] = Σ_steps scale[j] Σ_k x[i, k] code[j, k] + minimum[j] Σ_k x[i, k]      (+ bias[j])
//! ```
//!
//! A lane is an output row, so nothing is summed across lanes. A micro-kernel computes a tile of `M` rows of x against `N`
//! strips, a strip being as many rows of weights as a vector has lanes. Within a step of k sums are unscaled; each step then adds
//! to one chain per output, which rests in an f32 accumulator in L1. The chain is the same for every shape of tile, so the bits
//! of an output do not depend on the rows computed with it.
//!
//! From the outside in, the loops are: blocks of [`MC`] rows of x, which stay in L2; groups of strips; with many rows, blocks of
//! k whose codes are unpacked once into L1; tiles of x; steps of k. Every step prefetches its share of the next group's
//! panels, so that memory works while the units multiply.

mod codes;
mod dots;
mod end;
mod fma;
mod plan;
#[cfg_attr(
    not(target_arch = "aarch64"),
    allow(dead_code, reason = "nothing runs a kernel for a unit that is absent")
)]
mod smmla;
mod tile;

use codes::LINE;
pub(super) use codes::{Codes, Int4, Int8};
use dots::ByDots;
use end::End;
use plan::{Ahead, Depth, ROUND, Strip, strips, tallest};
use smmla::BySmmla;
use tile::Tiles;

use super::pack::{PackedRows, RowTile, Stats, StepRows};
use super::stack::StackBuffer;
use crate::exec::Columns;
use crate::kernels::simd::{F32s, Part, Shape, Tile};
use crate::quant::{Code, PANEL_ROWS, Panels};
use std::marker::PhantomData;
use std::ops::Range;

/// Rows of x in a block: with 6144 elements of k they are 0.9 MB of int8, which leaves room for panels in an L2 of 2 MB.
pub(super) const MC: usize = 144;
/// Accumulators: a block of rows against the two panels that a group has at most if there is more than one tile. A single tile
/// has fewer rows and more strips.
const ACCUMULATORS: usize = MC * 2 * PANEL_ROWS;
/// Bytes of unpacked codes that leave room for a tile of x in an L1 of 32 KiB.
pub(super) const UNPACKED_BYTES: usize = 16 * 1024;

/// Some columns of a GEMM with panels. `X`: an element of x.
pub(super) struct PanelGemm<'a, X> {
    pub(super) w: Panels<'a>,
    pub(super) x: PackedRows<'a, X>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: Columns<'a>,
}

/// The sums of one step: what differs between kinds of activations and instructions.
pub(super) trait MicroKernel<X>: Copy {
    /// The token of the f32 vectors that hold the sums.
    type Float: Tile;
    /// The tiles that there are.
    const SHAPES: &'static [Shape];
    /// Whether sums of int4 codes are those of codes from -8 to 7. Otherwise of 0 to 15.
    const CENTRED: bool;
    /// Tiles from which on unpacking int4 and int8 codes once is cheaper than in every tile, if ever.
    const UNPACK_FROM: [usize; 2];
    /// What codes are unpacked to.
    type Unpacked<C: Codes>: Codes;

    /// A vector of sums.
    type Sum: Copy;

    /// The token.
    fn float(self) -> Self::Float;

    /// Runs a part in code compiled for the instructions of the micro-kernel.
    ///
    /// # Safety
    /// As [`Part::run`].
    unsafe fn part<P: Part>(self, part: P);

    /// Sums as numbers in units of x.
    fn scaled(self, sum: Self::Sum, stats: &Stats) -> <Self::Float as F32s>::V;

    /// Adds `Σ x code` over `len` elements of k to the accumulators, as `end` says, for `M` rows and `N` strips of codes.
    ///
    /// # Safety
    /// `x` holds a tile of `M` rows and `len` elements, a multiple of 32; at every `w` are the codes of a strip for that many. What `end`
    /// points to is there for `M` rows and `N` strips. Along the way it prefetches the lines of `ahead`.
    unsafe fn step<C: Codes, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<X>,
        len: usize,
        end: &End<N>,
        ahead: &mut Ahead,
    );

    /// Unpacks `lines` lines of codes: one or several groups of eight elements.
    ///
    /// # Safety
    /// `from` is valid for reads of `lines` lines, `to` for writes of as many as [`Self::Unpacked`] has for their elements.
    unsafe fn unpack<C: Codes>(self, from: *const u8, lines: usize, to: *mut u8);
}

impl<X> PanelGemm<'_, X> {
    /// Computes all columns.
    #[inline(always)]
    pub(super) fn run<A: MicroKernel<X>>(&mut self, a: A) {
        match self.w.quant().code {
            Code::Int8 => self.blocks::<A, Int8>(a),
            Code::Int4 => self.blocks::<A, Int4>(a),
        }
    }

    /// All columns, a block of rows of x at a time.
    #[inline(always)]
    fn blocks<A: MicroKernel<X>, C: Codes>(&mut self, a: A) {
        let mut first = 0;
        while first < self.x.tiles.len() {
            let (mut end, mut rows) = (first, 0);
            while end < self.x.tiles.len() && rows + self.x.tiles[end].height <= MC {
                rows += self.x.tiles[end].height;
                end += 1;
            }
            let tiles = first..end;
            // Among several tiles all have the strips of the tallest one.
            let height = if self.x.tiles.len() == 1 { self.x.tiles[0].height } else { tallest(A::SHAPES) };
            match strips::<C>(A::SHAPES, height) {
                8 => self.groups::<A, C, 8, 1>(a, tiles),
                4 => self.groups::<A, C, 4, 1>(a, tiles),
                2 => self.groups::<A, C, 2, 1>(a, tiles),
                // Two panels for each tile of x, which is in L1 then, and whole pairs of lines to write; of a single tile one, whose codes
                // are a single stream.
                1 if self.x.tiles.len() > 1 => self.groups::<A, C, 1, 2>(a, tiles),
                1 => self.groups::<A, C, 1, 1>(a, tiles),
                strips => unreachable!("tiles of {strips} strips"),
            }
            first = end;
        }
    }

    /// A block of rows against all columns, `G` times `N` strips at a time.
    #[inline(always)]
    fn groups<A: MicroKernel<X>, C: Codes, const N: usize, const G: usize>(
        &mut self,
        a: A,
        tiles: Range<usize>,
    ) {
        let columns = self.out.range();
        for column in columns.step_by(G * N * A::Float::LANES) {
            self.group::<A, C, N, G>(a, tiles.clone(), column);
        }
    }

    /// A block of rows against `G` times `N` strips from column `column` on: `N` are those of a tile. Where the columns end, the first
    /// strip takes the place of those that are missing, and what they give is not written.
    #[inline(always)]
    fn group<A: MicroKernel<X>, C: Codes, const N: usize, const G: usize>(
        &mut self,
        a: A,
        tiles: Range<usize>,
        column: usize,
    ) {
        let s = a.float();
        let width = G * N * A::Float::LANES;
        let mut accumulators = StackBuffer::<ACCUMULATORS>::new();
        let acc = accumulators.get(0);
        let heights: usize = self.x.tiles[tiles.clone()].iter().map(|tile| tile.height).sum();
        assert!(heights * width <= ACCUMULATORS, "{heights} rows of {width} accumulators");
        for i in 0..heights * G * N {
            // SAFETY: vector i of as many as were just checked to fit.
            unsafe { s.store_f32(s.splat(0.0), acc.add(i * A::Float::LANES)) };
        }
        let mut strips = [[self.strip(column); N]; G];
        for b in 1..G * N {
            strips[b / N][b % N] = self.strip(self.or_first(column + b * A::Float::LANES, column));
        }
        let steps = self.w.quant().padded_k(self.w.k()).div_ceil(self.x.step);
        let mut ahead = self.ahead(column + width, width, steps * tiles.len() * G);
        // SAFETY: there are accumulators for all rows, and the strips hold all steps.
        unsafe {
            let unpack_from = A::UNPACK_FROM[if C::INT4 { 0 } else { 1 }];
            if const { A::UNPACK_FROM[if C::INT4 { 0 } else { 1 }] < usize::MAX }
                && tiles.len() >= unpack_from
            {
                self.unpacked::<A, C, N, G>(a, tiles.clone(), (column, strips), acc, &mut ahead);
            } else {
                let depth = Depth { steps: 0..steps, origin: 0 };
                self.tiles::<A, C, N, G>(a, tiles.clone(), strips, &depth, acc, &mut ahead);
            }
            self.put::<A::Float, N, G>(s, tiles, column, acc);
        }
    }

    /// A block of rows against `N` strips, whose codes are unpacked into L1 a block of k at a time.
    ///
    /// # Safety
    /// As [`Self::tiles`] with all steps.
    #[inline(always)]
    unsafe fn unpacked<A: MicroKernel<X>, C: Codes, const N: usize, const G: usize>(
        &self,
        a: A,
        tiles: Range<usize>,
        (column, mut strips): (usize, [[Strip; N]; G]),
        acc: *mut f32,
        ahead: &mut Ahead,
    ) {
        let (step, padded) = (self.x.step, self.w.quant().padded_k(self.w.k()));
        let panels = (G * N * A::Float::LANES).div_ceil(PANEL_ROWS);
        let bytes = LINE / A::Unpacked::<C>::PER_LINE;
        let block = UNPACKED_BYTES / (bytes * panels) / step * step;
        let mut buffer = StackBuffer::<{ UNPACKED_BYTES / size_of::<f32>() }>::new();
        let mut at = 0;
        while at < padded {
            let len = block.min(padded - at);
            for panel in 0..panels {
                let first = column / PANEL_ROWS * PANEL_ROWS;
                let from = self.strip(self.or_first(first + panel * PANEL_ROWS, first)).codes;
                // SAFETY: the panel has the codes of `len` elements from `at` on; `panels` blocks fit the buffer.
                unsafe {
                    let to = buffer.get(0).cast::<u8>().add(panel * len * bytes);
                    a.unpack::<C>(from.add(at / C::PER_LINE * LINE), len / C::PER_LINE, to);
                }
            }
            for b in 0..G * N {
                let column = column % PANEL_ROWS + b * A::Float::LANES;
                let place = column / PANEL_ROWS * len * bytes + column % PANEL_ROWS * 4;
                // SAFETY: a lane of the first line of one of the panels in the buffer.
                strips[b / N][b % N].codes = unsafe { buffer.get(0).cast::<u8>().add(place) };
            }
            let depth = Depth { steps: at / step..(at + len).div_ceil(step), origin: at / step };
            // SAFETY: the buffer holds these steps; the rest is the caller's contract.
            unsafe { self.tiles::<A, A::Unpacked<C>, N, G>(a, tiles.clone(), strips, &depth, acc, ahead) };
            at += len;
        }
    }

    /// A block of rows against `N` strips, over some steps.
    ///
    /// # Safety
    /// `acc` has accumulators for all rows of the tiles, `[G][rows][N][lanes]` for each; the strips hold the codes of the steps.
    #[inline(always)]
    unsafe fn tiles<A: MicroKernel<X>, C: Codes, const N: usize, const G: usize>(
        &self,
        a: A,
        tiles: Range<usize>,
        strips: [[Strip; N]; G],
        depth: &Depth,
        acc: *mut f32,
        ahead: &mut Ahead,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            a.part(Tiles::<X, A, C, N, G> {
                gemm: self,
                a,
                tiles,
                strips,
                depth,
                acc,
                ahead,
                codes: PhantomData,
            });
        }
    }

    /// Writes the outputs of a group, those that exist.
    ///
    /// # Safety
    /// `acc` holds `[G][rows][N][lanes]` accumulators for each of the tiles.
    #[inline(always)]
    unsafe fn put<S: Tile, const N: usize, const G: usize>(
        &mut self,
        s: S,
        tiles: Range<usize>,
        column: usize,
        mut acc: *const f32,
    ) {
        let range = self.out.range();
        for t in tiles {
            let RowTile { first, rows, height } = self.x.tiles[t];
            for row in 0..rows {
                for b in 0..G * N {
                    let column = column + b * S::LANES;
                    if column >= range.end {
                        continue;
                    }
                    let at = (b / N * height + row) * N + b % N;
                    // SAFETY: row < height, the caller's contract.
                    let mut v = unsafe { s.load_f32(acc.add(at * S::LANES)) };
                    let len = S::LANES.min(range.end - column);
                    if let Some(bias) = self.bias {
                        v = s.add(v, s.load_partial(&bias[column..][..len]));
                    }
                    let out = &mut self.out.row_mut(first + row)[column - range.start..][..len];
                    if len == S::LANES { s.store(v, out) } else { s.store_partial(v, out) }
                }
            }
            // SAFETY: the accumulators of the next tile, or their end; the caller's contract.
            acc = unsafe { acc.add(height * G * N * S::LANES) };
        }
    }
}
