//! The sums of one step with f32 activations: codes are widened in registers.

use super::super::pack::{Stats, StepRows};
use super::{Codes, LINE, MicroKernel, PanelGemm};
use crate::kernels::simd::{Shape, Tile, TileOp};

impl TileOp for PanelGemm<'_, f32> {
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(mut self, s: S) {
        Self::run(&mut self, ByFma(s));
    }
}

#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct ByFma<S>(S);

impl<S: Tile> MicroKernel<f32> for ByFma<S> {
    type Float = S;
    const SHAPES: &'static [Shape] = S::SHAPES;
    const CENTRED: bool = false;
    const UNPACK_FROM: usize = usize::MAX;
    type Sum = S::V;

    #[inline(always)]
    fn float(self) -> S {
        self.0
    }

    #[inline(always)]
    fn scaled(self, sum: S::V, _: &Stats) -> S::V {
        sum
    }

    #[inline(always)]
    unsafe fn sums<C: Codes, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<f32>,
        len: usize,
    ) -> [[S::V; N]; M] {
        let Self(s) = self;
        let mut acc = [[s.splat(0.0); N]; M];
        for line in 0..len / C::PER_LINE {
            // SAFETY: the codes of `len` elements are there, the caller's contract.
            let mut codes = [unsafe { s.load_codes(w[0].add(line * LINE)) }; N];
            for b in 1..N {
                // SAFETY: as above.
                codes[b] = unsafe { s.load_codes(w[b].add(line * LINE)) };
            }
            // SAFETY: PER_LINE elements of M rows, of which there are `len`.
            let x = unsafe { x.data.add(line * C::PER_LINE * M) };
            for j in 0..C::PER_LINE {
                let mut v = [s.splat(0.0); N];
                let mut k = 0;
                for b in 0..N {
                    (k, v[b]) = C::widen(s, codes[b], j);
                }
                for a in 0..M {
                    // SAFETY: element k < PER_LINE of row a < M.
                    let x = s.splat(unsafe { *x.add(k * M + a) });
                    for b in 0..N {
                        acc[a][b] = s.mul_add(x, v[b], acc[a][b]);
                    }
                }
            }
        }
        acc
    }

    unsafe fn unpack(self, _: *const u8, _: usize, _: *mut u8) {
        unreachable!("codes for f32 activations are widened in registers")
    }
}
