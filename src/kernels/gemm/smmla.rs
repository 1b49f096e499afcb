//! The sums of one step of int8 activations by SMMLA, the product of 2 by 8 and 8 by 2 bytes.
//!
//! Rows of x go in pairs against pairs of rows of weights. In the panels a lane is a row of weights, so 8 k of two rows are
//! what zipping two vectors of codes gives: the low and high halves of int4, two runs of int8.

use super::codes::{ByDots, LINE, scaled};
use super::panels::StepSums;
use super::prepare::StepRows;
use crate::kernels::simd::{Dots, F32s, Neon, NeonDot, NeonI8mm};

/// Pairs of rows of x in the tallest tile.
const PAIRS: usize = 4;

#[derive(Clone, Copy)]
pub(super) struct BySmmla(pub(super) NeonI8mm);

impl StepSums<i8> for BySmmla {
    type Float = Neon;
    const TALL: bool = true;

    /// 16 chains of one register, of two strips and eight rows where there are so many: they share the zipped codes.
    #[inline(always)]
    fn strips(rows: usize) -> usize {
        match rows {
            1 => 8,
            2..=7 => 4,
            _ => 2,
        }
    }

    #[inline(always)]
    fn float(self) -> Neon {
        self.0.dots().float()
    }

    #[inline(always)]
    unsafe fn sums<const INT4: bool, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<i8>,
        len: usize,
    ) -> [[<Neon as F32s>::V; N]; M] {
        let (mm, d, stride) = (self.0, self.0.dots(), x.stride);
        if M == 1 {
            // Half of each product would be for nothing.
            // SAFETY: the caller's contract.
            return unsafe { ByDots(d).sums::<INT4, M, N>(w, x, len) };
        }
        let mut acc = [[[d.zero(); 2]; N]; PAIRS];
        for eight in 0..len / 8 {
            let mut codes = [[d.zero(); 2]; N];
            for b in 0..N {
                // SAFETY: the codes of `len` elements are there, the caller's contract.
                codes[b] = unsafe { pairs::<INT4>(mm, w[b], eight) };
            }
            for pair in 0..M.div_ceil(2) {
                // An odd row is its own partner.
                let (first, second) = (2 * pair, (2 * pair + 1).min(M - 1));
                // SAFETY: both are less than M, and eight * 8 + 8 <= len.
                let x = unsafe {
                    let x = x.data.add(eight * 8);
                    mm.load_pair(x.add(first * stride), x.add(second * stride))
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
            }
        }
        // SAFETY: `x` has the stats of M rows, the caller's contract.
        unsafe { scaled(d, sums, x.stats) }
    }
}

/// Run number `eight` of 8 k of a strip, as factors.
///
/// # Safety
/// The codes of that run lie behind `w`.
#[inline(always)]
unsafe fn pairs<const INT4: bool>(mm: NeonI8mm, w: *const u8, eight: usize) -> [<NeonDot as Dots>::I; 2] {
    let d = mm.dots();
    if INT4 {
        // SAFETY: a line of int4 codes has 8 k, the caller's contract.
        let codes = unsafe { d.load(w.add(eight * LINE)) };
        mm.pairs(d.low(codes), d.high(codes))
    } else {
        // SAFETY: two lines of int8 codes have 8 k, the caller's contract.
        unsafe { mm.pairs(d.load(w.add(2 * eight * LINE)), d.load(w.add((2 * eight + 1) * LINE))) }
    }
}
