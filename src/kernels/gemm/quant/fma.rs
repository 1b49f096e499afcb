//! The sums of one step with f32 activations: codes are widened in registers.

use super::super::pack::{Stats, StepRows};
use super::{Ahead, Codes, End, LINE, MicroKernel, PanelGemm, ROUND};
use crate::kernels::simd::{Part, Shape, Tile, TileOp};
use crate::quant::PANEL_ROWS;

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
    const UNPACK_FROM: [usize; 2] = S::UNPACK_FROM;
    type Unpacked<C: Codes> = C::Widened;
    type Sum = S::V;

    #[inline(always)]
    fn float(self) -> S {
        self.0
    }

    #[inline(always)]
    unsafe fn part<P: Part>(self, part: P) {
        // SAFETY: the caller's contract.
        unsafe { self.0.part(part) }
    }

    #[inline(always)]
    fn scaled(self, sum: S::V, _: &Stats) -> S::V {
        sum
    }

    #[inline(always)]
    unsafe fn step<C: Codes, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<f32>,
        len: usize,
        end: &End<N>,
        ahead: &mut Ahead,
    ) {
        let Self(s) = self;
        let mut acc = [[s.splat(0.0); N]; M];
        for eight in 0..len / 8 {
            if eight * 8 % ROUND == 0 {
                ahead.round(s);
            }
            for e in 0..8 {
                let (line, j, k) = C::place(e);
                let line = (eight * 8 / C::PER_LINE + line) * LINE;
                let mut v = [s.splat(0.0); N];
                for b in 0..N {
                    // SAFETY: a line of the codes of `len` elements, the caller's contract.
                    v[b] = C::widen(s, unsafe { s.load_codes(w[b].add(line)) }, j);
                }
                for a in 0..M {
                    // SAFETY: element eight * 8 + k < len of row a < M.
                    let x = s.splat(unsafe { *x.data.add((eight * 8 + k) * M + a) });
                    for b in 0..N {
                        acc[a][b] = s.mul_add(x, v[b], acc[a][b]);
                    }
                }
            }
        }
        // SAFETY: the caller's contract.
        unsafe { end.add::<f32, Self, C, M>(self, &acc) };
    }

    #[inline(always)]
    unsafe fn unpack<C: Codes>(self, from: *const u8, lines: usize, to: *mut u8) {
        let Self(s) = self;
        for eight in 0..lines * C::PER_LINE / 8 {
            for part in 0..PANEL_ROWS / S::LANES {
                for e in 0..8 {
                    let (line, j, k) = C::place(e);
                    let line = (eight * 8 / C::PER_LINE + line) * LINE;
                    let part = part * S::LANES * 4;
                    // SAFETY: a part of a line of codes, and of one of numbers, the caller's contract.
                    unsafe {
                        let v = C::widen(s, s.load_codes(from.add(line + part)), j);
                        s.store_f32(v, to.add((eight * 8 + k) * LINE + part).cast());
                    }
                }
            }
        }
    }
}
