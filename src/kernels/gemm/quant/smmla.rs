//! The sums of one step of int8 activations by SMMLA, the product of 2 by 8 and 8 by 2 bytes.
//!
//! Rows of x go in pairs against pairs of rows of weights. In the panels a lane is a row of weights, so 8 k of two rows are
//! what zipping two vectors of codes gives: the low and high halves of int4, two runs of int8. x is packed in runs of 8, so that
//! a pair of rows is one vector.

use super::{Ahead, ByDots, Codes, End, LINE, MicroKernel, ROUND};
use crate::kernels::gemm::pack::{Stats, StepRows};
use crate::kernels::simd::{Dots, F32s, PairDots, Part, Shape};

/// By SMMLA.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct BySmmla<P>(pub(super) P);

impl<P: PairDots> MicroKernel<i8> for BySmmla<P> {
    type Float = <P::Dots as Dots>::Float;
    const SHAPES: &'static [Shape] = P::SHAPES;
    const CENTRED: bool = true;
    const UNPACK_FROM: [usize; 2] = [usize::MAX; 2];
    type Unpacked<C: Codes> = C::Bytes;
    type Sum = P::I;

    #[inline(always)]
    fn float(self) -> Self::Float {
        self.0.dots().float()
    }

    #[inline(always)]
    unsafe fn part<T: Part>(self, part: T) {
        // SAFETY: the caller's contract.
        unsafe { self.0.part(part) }
    }

    #[inline(always)]
    fn scaled(self, sum: Self::Sum, stats: &Stats) -> <Self::Float as F32s>::V {
        ByDots(self.0.dots()).scaled(sum, stats)
    }

    #[inline(always)]
    unsafe fn step<C: Codes, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<i8>,
        len: usize,
        end: &End<N>,
        ahead: &mut Ahead,
    ) {
        let (mm, d) = (self.0, self.0.dots());
        if M == 1 {
            // Half of each product would be wasted. Runs of a single row are the same in fours and in eights.
            // SAFETY: the caller's contract.
            return unsafe { ByDots(d).step::<C, M, N>(w, x, len, end, ahead) };
        }
        // Room for 4 pairs, the tallest tile.
        let mut acc = [[[d.zero(); 2]; N]; 4];
        for eight in 0..len / 8 {
            if eight * 8 % ROUND == 0 {
                ahead.round(self.float());
            }
            let mut codes = [[d.zero(); 2]; N];
            for b in 0..N {
                // SAFETY: the codes of `len` elements are there, the caller's contract.
                codes[b] = unsafe { pairs::<C, P>(mm, w[b], eight) };
            }
            for pair in 0..M.div_ceil(2) {
                // An odd row is its own partner.
                let (first, second) = (2 * pair, (2 * pair + 1).min(M - 1));
                // SAFETY: both are less than M, and eight * 8 + 8 <= len.
                let x = unsafe {
                    let x = x.data.add(eight * 8 * M);
                    mm.load_pair(x.add(first * 8), x.add(second * 8))
                };
                for b in 0..N {
                    for half in 0..2 {
                        acc[pair][b][half] = mm.mmla(acc[pair][b][half], x, codes[b][half]);
                    }
                }
            }
        }
        let mut sums = [[d.zero(); N]; M];
        for a in 0..M {
            for b in 0..N {
                sums[a][b] = mm.rows(acc[a / 2][b])[a % 2];
                if C::INT4 {
                    // SAFETY: `x` has the stats of M rows, the caller's contract.
                    sums[a][b] =
                        d.add(sums[a][b], d.close(d.begin_int4(unsafe { (*x.stats.add(a)).begin_int4 })));
                }
            }
        }
        // SAFETY: the caller's contract.
        unsafe { end.add::<i8, Self, C, M>(self, &sums) };
    }

    unsafe fn unpack<C: Codes>(self, from: *const u8, lines: usize, to: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { ByDots(self.0.dots()).unpack::<C>(from, lines, to) }
    }
}

/// Run number `eight` of 8 k of a strip, as factors.
///
/// # Safety
/// The codes of that run lie at `w`.
#[inline(always)]
unsafe fn pairs<C: Codes, P: PairDots>(mm: P, w: *const u8, eight: usize) -> [P::I; 2] {
    let d = mm.dots();
    if C::PER_LINE == 8 {
        // SAFETY: a line of int4 codes has 8 k, the caller's contract.
        let [low, high] = C::factors(d, unsafe { d.load(w.add(eight * LINE)) });
        mm.pairs(low, high)
    } else {
        // SAFETY: two lines of bytes have 8 k, the caller's contract.
        unsafe { mm.pairs(d.load(w.add(2 * eight * LINE)), d.load(w.add((2 * eight + 1) * LINE))) }
    }
}
