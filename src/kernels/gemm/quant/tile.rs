//! [`Tiles`]: the loops over tiles of x and steps of k.

use super::codes::LINE;
use super::plan::{Ahead, Depth, Strip, fits};
use super::{Codes, End, MicroKernel, PanelGemm};
use crate::kernels::gemm::pack::RowTile;
use crate::kernels::simd::{F32s, Part};
use crate::quant::PANEL_ROWS;
use std::marker::PhantomData;
use std::ops::Range;

/// Some tiles of x against `G` times `N` strips of codes `C`, over some steps.
pub(super) struct Tiles<'a, 'g, X, A, C, const N: usize, const G: usize> {
    pub(super) gemm: &'a PanelGemm<'g, X>,
    pub(super) a: A,
    pub(super) tiles: Range<usize>,
    /// They hold the codes of the steps.
    pub(super) strips: [[Strip; N]; G],
    pub(super) depth: &'a Depth,
    /// `[G][rows][N][lanes]` accumulators for each tile.
    pub(super) acc: *mut f32,
    pub(super) ahead: &'a mut Ahead,
    pub(super) codes: PhantomData<C>,
}

impl<X, A: MicroKernel<X>, C: Codes, const N: usize, const G: usize> Part for Tiles<'_, '_, X, A, C, N, G> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { gemm, a, tiles, strips, depth, mut acc, ahead, .. } = self;
        macro_rules! tile {
            ($height:expr, $t:expr, $strips:expr, $($m:literal)+) => {
                match $height {
                    $($m if const { fits(A::SHAPES, C::INT4, C::UNPACKED, $m, N) } => {
                        gemm.tile::<A, C, $m, N>(a, $t, $strips, depth, acc, ahead);
                    })+
                    height => unreachable!("a tile of {height} rows and {N} strips"),
                }
            };
        }
        for t in tiles {
            let RowTile { height, .. } = gemm.x.tiles[t];
            for strips in strips {
                // SAFETY: the caller's contract.
                unsafe {
                    tile!(height, t, strips, 1 2 3 4 6 8 12 16);
                    acc = acc.add(height * N * A::Float::LANES);
                }
            }
        }
    }
}

impl<X> PanelGemm<'_, X> {
    /// Tile `t` of `M` rows against `N` strips, over some steps.
    ///
    /// # Safety
    /// `acc` has `[M][N][lanes]` accumulators; the strips hold the codes of the steps.
    #[inline(always)]
    unsafe fn tile<A: MicroKernel<X>, C: Codes, const M: usize, const N: usize>(
        &self,
        a: A,
        t: usize,
        strips: [Strip; N],
        depth: &Depth,
        acc: *mut f32,
        ahead: &mut Ahead,
    ) {
        let (quant, k) = (self.w.quant(), self.w.k());
        let (padded, step) = (quant.padded_k(k), self.x.step);
        let minima = quant.zero_points.then_some(quant.groups(k) * PANEL_ROWS);
        let bytes = step / C::PER_LINE * LINE;
        let (mut x, mut codes) =
            (self.x.at(t, depth.steps.start), (depth.steps.start - depth.origin) * bytes);
        // Groups are whole steps, apart from a row that ends with a part of one. Counted, as a division in every step would hold up what follows it.
        let steps_per_group = quant.group_len(k).div_ceil(step);
        let mut scales = depth.steps.start / steps_per_group * PANEL_ROWS;
        let mut left = steps_per_group - depth.steps.start % steps_per_group;
        let mut rest = padded - depth.steps.start * step;
        for _ in depth.steps.clone() {
            let len = step.min(rest);
            rest -= len;
            let mut w = [strips[0].codes; N];
            for b in 0..N {
                // SAFETY: the strip holds the codes of this step, the caller's contract.
                w[b] = unsafe { strips[b].codes.add(codes) };
            }
            let mut end = End { scales: [strips[0].scales; N], minima, stats: x.stats, acc };
            for b in 0..N {
                // SAFETY: the group has a scale for every row of the panel.
                end.scales[b] = unsafe { strips[b].scales.add(scales) };
            }
            ahead.start(a.float());
            // SAFETY: `x` is this step of a tile of M rows; the codes are there, the caller's contract; so are the accumulators, and
            // the group has a scale, and a minimum if there are zero points, for every row of the panel.
            unsafe { a.step::<C, M, N>(w, x, len, &end, ahead) };
            (x, codes) = (self.x.next(x), codes + bytes);
            left -= 1;
            if left == 0 {
                (scales, left) = (scales + PANEL_ROWS, steps_per_group);
            }
        }
    }
}
