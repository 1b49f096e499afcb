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
    /// Whether a line holds more than a byte of every four can: it can be unpacked.
    const PACKED: bool;
    /// What unpacked lines hold.
    type Unpacked: Codes;
    /// Sums of a run of k.
    type Sums<D: Dots>: Copy;

    /// Elements of k after which sums are closed.
    fn run<D: Dots>() -> usize;
    /// The factors of a line: elements 0 to 3 of k, and 4 to 7 if there are so many.
    fn factors<D: Dots>(d: D, line: D::I) -> [D::I; 2];
    /// Begins run number `run` of a step.
    fn open<D: Dots>(d: D, stats: &Stats, run: usize) -> Self::Sums<D>;
    /// Adds the dot products of four elements of k of every strip.
    fn dot<D: Dots, const N: usize>(d: D, sums: &mut [Self::Sums<D>; N], codes: &[D::I; N], x: D::I);
    /// Keeps the sums in registers.
    fn pin<D: Dots, const M: usize, const N: usize>(d: D, sums: &mut [[Self::Sums<D>; N]; M]);
    /// The sums as 32-bit integers.
    fn close<D: Dots>(d: D, sums: Self::Sums<D>) -> D::I;

    /// Element `j` of a line, in whatever order, and where it is in k.
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> (usize, S::V);
}

/// One byte for an element: -128 to 127.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Int8;

/// Two elements in a byte: the low halves of four bytes are elements 0 to 3, the high ones 4 to 7.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Int4;

/// int4 codes, unpacked to a byte each.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Int4Bytes;

impl Codes for Int8 {
    const PER_LINE: usize = 4;
    const INT4: bool = false;
    const PACKED: bool = false;
    type Unpacked = Self;
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
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> (usize, S::V) {
        (j, s.byte(line, j))
    }
}

/// What both forms of int4 codes have in common.
macro_rules! int4 {
    () => {
        const INT4: bool = true;
        type Unpacked = Int4Bytes;
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
    const PACKED: bool = true;
    int4!();

    #[inline(always)]
    fn factors<D: Dots>(d: D, line: D::I) -> [D::I; 2] {
        [d.low(line), d.high(line)]
    }
    #[inline(always)]
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> (usize, S::V) {
        // Half-byte j of a lane: low halves hold k + 0 .. k + 4, high ones the next four.
        (j % 2 * 4 + j / 2, s.nibble(line, j))
    }
}

impl Codes for Int4Bytes {
    const PER_LINE: usize = 4;
    const PACKED: bool = false;
    int4!();

    #[inline(always)]
    fn factors<D: Dots>(d: D, line: D::I) -> [D::I; 2] {
        [line, d.zero()]
    }
    #[inline(always)]
    fn widen<S: Tile>(s: S, line: S::Codes, j: usize) -> (usize, S::V) {
        (j, s.byte(line, j))
    }
}
