//! [`Codes`]: the widths of codes, as micro-kernels read them from lines of 64 bytes.

use super::super::pack::Stats;
use crate::kernels::simd::{Dots, RUN_16, Tile};
use crate::quant::MAX_STEP;

/// Bytes that hold a run of k for all rows of a panel.
pub(in crate::kernels::gemm) const LINE: usize = 64;

/// How codes lie in the lines of a panel, and which integer operations multiply them.
pub(in crate::kernels::gemm) trait Codes: Copy {
    /// Elements of k in a line.
    const PER_LINE: usize;
    /// Whether codes go from 0 to 15 and mean -8 to 7.
    const INT4: bool;
    /// Whether lines were unpacked, or widened, from those of a panel.
    const UNPACKED: bool;
    /// The same codes, a byte each.
    type Bytes: Codes;
    /// The same codes as f32.
    type Widened: Codes;
    /// Sums of a run of k.
    type Sums<D: Dots>: Copy;

    /// Elements of k after which sums are closed.
    fn run<D: Dots>() -> usize;
    /// The factors of a line: elements 0 to 3 of k, and 4 to 7 if there are that many.
    fn factors<D: Dots>(d: D, line: D::I) -> [D::I; 2];
    /// Begins run number `run` of a step.
    fn open<D: Dots>(d: D, stats: &Stats, run: usize) -> Self::Sums<D>;
    /// Adds the dot products of four elements of k of every strip.
    fn dot<D: Dots, const N: usize>(d: D, sums: &mut [Self::Sums<D>; N], codes: &[D::I; N], x: D::I);
    /// Keeps the sums in registers.
    fn pin<D: Dots, const M: usize, const N: usize>(d: D, sums: &mut [[Self::Sums<D>; N]; M]);
    /// The sums as 32-bit integers.
    fn close<D: Dots>(d: D, sums: Self::Sums<D>) -> D::I;

    /// Element number `e` of eight, in the order in which they are added: its line, its number in the line, and where it is in k.
    fn place(e: usize) -> (usize, usize, usize);
    /// Element `j` of a line.
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> S::V;
}

/// One byte for an element: -128 to 127.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Int8;

/// Two elements in a byte: the low halves of four bytes are elements 0 to 3, the high ones 4 to 7.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Int4;

/// Codes as f32, an element of k in a line. They were int4 codes or int8 codes. For f32 activations alone.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Widened<const INT4: bool>;

/// int4 codes, unpacked to a byte each.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Int4Bytes;

impl Codes for Int8 {
    const PER_LINE: usize = 4;
    const INT4: bool = false;
    const UNPACKED: bool = false;
    type Bytes = Self;
    type Widened = Widened<false>;
    type Sums<D: Dots> = D::I;

    #[inline(always)]
    fn run<D: Dots>() -> usize {
        MAX_STEP
    }
    #[inline(always)]
    fn factors<D: Dots>(d: D, line: D::I) -> [D::I; 2] {
        [d.int8(line), d.zero()]
    }
    #[inline(always)]
    fn open<D: Dots>(d: D, stats: &Stats, _: usize) -> D::I {
        d.begin_int8(stats.begin_int8)
    }
    #[inline(always)]
    fn dot<D: Dots, const N: usize>(d: D, sums: &mut [D::I; N], codes: &[D::I; N], x: D::I) {
        d.dot_int8(sums, codes, x);
    }
    #[inline(always)]
    fn pin<D: Dots, const M: usize, const N: usize>(d: D, sums: &mut [[D::I; N]; M]) {
        d.pin(sums);
    }
    #[inline(always)]
    fn close<D: Dots>(_: D, sums: D::I) -> D::I {
        sums
    }
    #[inline(always)]
    fn place(e: usize) -> (usize, usize, usize) {
        (e / 4, e % 4, e)
    }
    #[inline(always)]
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> S::V {
        s.byte(line, j)
    }
}

/// What both forms of int4 codes have in common.
macro_rules! int4 {
    () => {
        const INT4: bool = true;
        type Bytes = Int4Bytes;
        type Widened = Widened<true>;
        type Sums<D: Dots> = D::Partial;

        #[inline(always)]
        fn run<D: Dots>() -> usize {
            if D::HALVES { RUN_16 } else { MAX_STEP }
        }
        #[inline(always)]
        fn open<D: Dots>(d: D, stats: &Stats, run: usize) -> D::Partial {
            d.begin_int4(if D::HALVES { stats.begin_halves[run] } else { stats.begin_int4 })
        }
        #[inline(always)]
        fn dot<D: Dots, const N: usize>(d: D, sums: &mut [D::Partial; N], codes: &[D::I; N], x: D::I) {
            d.dot_int4(sums, codes, x);
        }
        #[inline(always)]
        fn pin<D: Dots, const M: usize, const N: usize>(d: D, sums: &mut [[D::Partial; N]; M]) {
            d.pin_partial(sums);
        }
        #[inline(always)]
        fn close<D: Dots>(d: D, sums: D::Partial) -> D::I {
            d.close(sums)
        }
    };
}

impl Codes for Int4 {
    const PER_LINE: usize = 8;
    const UNPACKED: bool = false;
    int4!();

    #[inline(always)]
    fn factors<D: Dots>(d: D, line: D::I) -> [D::I; 2] {
        [d.low(line), d.high(line)]
    }
    #[inline(always)]
    fn place(e: usize) -> (usize, usize, usize) {
        // Half-byte e of a lane: low halves hold k + 0 .. k + 4, high ones the next four.
        (0, e, e % 2 * 4 + e / 2)
    }
    #[inline(always)]
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> S::V {
        s.nibble(line, j)
    }
}

impl Codes for Int4Bytes {
    const PER_LINE: usize = 4;
    const UNPACKED: bool = true;
    int4!();

    #[inline(always)]
    fn factors<D: Dots>(d: D, line: D::I) -> [D::I; 2] {
        [line, d.zero()]
    }
    #[inline(always)]
    fn place(e: usize) -> (usize, usize, usize) {
        let k = Int4::place(e).2;
        (k / 4, k % 4, k)
    }
    #[inline(always)]
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> S::V {
        s.byte(line, j)
    }
}

impl<const FROM_INT4: bool> Codes for Widened<FROM_INT4> {
    const PER_LINE: usize = 1;
    const INT4: bool = FROM_INT4;
    const UNPACKED: bool = true;
    type Bytes = Self;
    type Widened = Self;
    type Sums<D: Dots> = D::I;

    #[inline(always)]
    fn place(e: usize) -> (usize, usize, usize) {
        // The order is that of the codes that they were.
        let k = if FROM_INT4 { Int4::place(e).2 } else { e };
        (k, 0, k)
    }
    #[inline(always)]
    fn widen<S: Tile>(s: S, line: S::Codes, _: usize) -> S::V {
        s.numbers(line)
    }

    fn run<D: Dots>() -> usize {
        unreachable!("{NO_INTEGERS}")
    }
    fn factors<D: Dots>(_: D, _: D::I) -> [D::I; 2] {
        unreachable!("{NO_INTEGERS}")
    }
    fn open<D: Dots>(_: D, _: &Stats, _: usize) -> D::I {
        unreachable!("{NO_INTEGERS}")
    }
    fn dot<D: Dots, const N: usize>(_: D, _: &mut [D::I; N], _: &[D::I; N], _: D::I) {
        unreachable!("{NO_INTEGERS}")
    }
    fn pin<D: Dots, const M: usize, const N: usize>(_: D, _: &mut [[D::I; N]; M]) {
        unreachable!("{NO_INTEGERS}")
    }
    fn close<D: Dots>(_: D, _: D::I) -> D::I {
        unreachable!("{NO_INTEGERS}")
    }
}

const NO_INTEGERS: &str = "codes are widened to f32 for f32 activations alone";
