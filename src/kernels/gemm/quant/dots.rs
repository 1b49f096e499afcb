//! The sums of one step with int8 activations: exact, in integers.

use super::super::pack::{Stats, StepRows};
use super::BySmmla;
use super::{Codes, LINE, MicroKernel, PanelGemm};
use crate::kernels::simd::{DotOp, Dots, F32s, PairDots, Shape};
use crate::quant::{MAX_STEP, PANEL_ROWS};

impl DotOp for PanelGemm<'_, i8> {
    type Out = ();

    #[inline(always)]
    fn run<D: Dots>(mut self, d: D) {
        Self::run(&mut self, ByDots(d));
    }

    #[inline(always)]
    fn run_matrix<P: PairDots>(mut self, mm: P) {
        Self::run(&mut self, BySmmla(mm));
    }
}

/// Elements of k in a round of the loop. Whole steps, unrolled, need long displacements, and the front end falls behind.
const ROUND: usize = 16;

#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct ByDots<D>(pub(super) D);

impl<D: Dots> MicroKernel<i8> for ByDots<D> {
    type Float = D::Float;
    const SHAPES: &'static [Shape] = D::SHAPES;
    const CENTRED: bool = true;
    const UNPACK_FROM: [usize; 2] = [D::UNPACK_FROM, usize::MAX];
    type Unpacked<C: Codes> = C::Bytes;
    type Sum = D::I;

    #[inline(always)]
    fn float(self) -> D::Float {
        self.0.float()
    }

    #[inline(always)]
    fn scaled(self, sum: D::I, stats: &Stats) -> <D::Float as F32s>::V {
        let (Self(d), s) = (self, self.float());
        s.mul(d.to_f32(sum), s.splat(stats.scale))
    }

    #[inline(always)]
    unsafe fn sums<C: Codes, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<i8>,
        len: usize,
    ) -> [[D::I; N]; M] {
        let Self(d) = self;
        if C::run::<D>() == MAX_STEP {
            // SAFETY: the caller's contract.
            return unsafe { run::<D, C, M, N>(d, w, x, 0, len) };
        }
        let mut total = [[d.zero(); N]; M];
        let (mut at, mut number) = (0, 0);
        while at < len {
            let part = C::run::<D>().min(len - at);
            let mut w = w;
            for b in 0..N {
                // SAFETY: `at` is less than `len`, the caller's contract.
                w[b] = unsafe { w[b].add(at / C::PER_LINE * LINE) };
            }
            // SAFETY: as above.
            let sums =
                unsafe { run::<D, C, M, N>(d, w, StepRows { data: x.data.add(at * M), ..x }, number, part) };
            for a in 0..M {
                for b in 0..N {
                    total[a][b] = d.add(total[a][b], sums[a][b]);
                }
            }
            at += part;
            number += 1;
        }
        total
    }

    #[inline(always)]
    unsafe fn unpack<C: Codes>(self, from: *const u8, lines: usize, to: *mut u8) {
        let Self(d) = self;
        let vector = D::Float::LANES * 4;
        for line in 0..lines {
            for part in 0..PANEL_ROWS / D::Float::LANES {
                // SAFETY: a part of a line, and of two lines of bytes, the caller's contract.
                unsafe {
                    let codes = d.load(from.add(line * LINE + part * vector));
                    let to = to.add(2 * line * LINE + part * vector);
                    d.store(d.low(codes), to);
                    d.store(d.high(codes), to.add(LINE));
                }
            }
        }
    }
}

/// The sums of run number `number` of a step, over `len` elements of k.
///
/// # Safety
/// As [`MicroKernel::sums`].
#[inline(always)]
unsafe fn run<D: Dots, C: Codes, const M: usize, const N: usize>(
    d: D,
    mut w: [*const u8; N],
    x: StepRows<i8>,
    number: usize,
    len: usize,
) -> [[D::I; N]; M] {
    let mut sums = [[C::open(d, &Stats::default(), 0); N]; M];
    for a in 0..M {
        // SAFETY: `x` has the stats of M rows.
        sums[a] = [C::open(d, unsafe { &*x.stats.add(a) }, number); N];
    }
    let mut x = x.data;
    for _ in 0..len / ROUND {
        for line in 0..ROUND / C::PER_LINE {
            let mut codes = [[d.zero(); N]; 2];
            for b in 0..N {
                // SAFETY: the codes of `len` elements are there, the caller's contract.
                let [first, second] = C::factors(d, unsafe { d.load(w[b].add(line * LINE)) });
                (codes[0][b], codes[1][b]) = (first, second);
            }
            for four in 0..C::PER_LINE / 4 {
                for a in 0..M {
                    let at = (line * C::PER_LINE / 4 + four) * 4 * M + 4 * a;
                    // SAFETY: four elements of row a < M, in a round of ROUND elements.
                    let x = unsafe { d.splat4(x.add(at)) };
                    C::dot(d, &mut sums[a], &codes[four], x);
                }
                C::pin(d, &mut sums);
            }
        }
        // SAFETY: a round further, or the end of the run.
        unsafe {
            x = x.add(ROUND * M);
            for b in 0..N {
                w[b] = w[b].add(ROUND / C::PER_LINE * LINE);
            }
        }
    }
    let mut closed = [[d.zero(); N]; M];
    for a in 0..M {
        for b in 0..N {
            closed[a][b] = C::close(d, sums[a][b]);
        }
    }
    closed
}
