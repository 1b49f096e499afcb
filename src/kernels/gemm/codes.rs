//! The sums of one step of [`Strips`]: codes times f32 activations, and codes times int8 activations.

use super::panels::{StepSums, Strips};
use super::prepare::{Stats, StepRows};
#[cfg(target_arch = "aarch64")]
use super::smmla::BySmmla;
#[cfg(target_arch = "aarch64")]
use crate::kernels::simd::NeonI8mm;
use crate::kernels::simd::{DotOp, Dots, F32s, Tile, TileOp};
use crate::quant::PANEL_ROWS;

/// f32 activations: codes are widened in registers.
pub(super) struct Fma<'a>(pub(super) Strips<'a, f32>);

impl TileOp for Fma<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(mut self, s: S) {
        self.0.run(ByFma(s));
    }
}

/// int8 activations: whole steps in integers, exactly.
pub(super) struct Int8<'a>(pub(super) Strips<'a, i8>);

impl DotOp for Int8<'_> {
    #[inline(always)]
    fn run<D: Dots>(mut self, d: D) {
        self.0.run(ByDots(d));
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn run_matrix(mut self, mm: NeonI8mm) {
        self.0.run(BySmmla(mm));
    }
}

/// Bytes that hold a run of k for all rows of a panel.
pub(super) const LINE: usize = 64;

#[derive(Clone, Copy)]
struct ByFma<S>(S);

impl<S: Tile> StepSums<f32> for ByFma<S> {
    type Float = S;
    const TALL: bool = S::WIDE;

    /// At least 8 chains, two units with a latency of 4 cycles.
    #[inline(always)]
    fn strips(rows: usize) -> usize {
        match (rows, S::WIDE) {
            (1, true) => 8,
            (1 | 2, _) | (3..=7, true) => 4,
            _ => 2,
        }
    }

    #[inline(always)]
    fn float(self) -> S {
        self.0
    }

    #[inline(always)]
    unsafe fn sums<const INT4: bool, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<f32>,
        len: usize,
    ) -> [[S::V; N]; M] {
        let Self(s) = self;
        let mut acc = [[s.splat(0.0); N]; M];
        let per_line = if INT4 { 8 } else { 4 };
        for line in 0..len / per_line {
            // SAFETY: the codes of `len` elements are there, the caller's contract.
            let mut codes = [unsafe { s.load_codes(w[0].add(line * LINE)) }; N];
            for b in 1..N {
                // SAFETY: as above.
                codes[b] = unsafe { s.load_codes(w[b].add(line * LINE)) };
            }
            for j in 0..per_line {
                // Half-byte j of a lane: low halves hold k + 0 .. k + 4, high ones the next four.
                let k = line * per_line + if INT4 { j % 2 * 4 + j / 2 } else { j };
                let mut v = [s.splat(0.0); N];
                for b in 0..N {
                    v[b] = if INT4 { s.nibble(codes[b], j) } else { s.byte(codes[b], j) };
                }
                for a in 0..M {
                    // SAFETY: a < M and k < len.
                    let x = s.splat(unsafe { *x.data.add(a * x.stride + k) });
                    for b in 0..N {
                        acc[a][b] = s.mul_add(x, v[b], acc[a][b]);
                    }
                }
            }
        }
        acc
    }
}

/// Lines of int4 codes in a run of 32 k: short enough that 16-bit partial sums cannot overflow.
const LINES: usize = 4;

#[derive(Clone, Copy)]
pub(super) struct ByDots<D>(pub(super) D);

impl<D: Dots> StepSums<i8> for ByDots<D> {
    type Float = D::Float;
    const TALL: bool = D::Float::WIDE;

    /// With 16 registers a pair of strips shares the broadcasts of x. With 32, x is the broadcast operand of a product, and one strip of a whole panel is enough; of shorter vectors it takes as many as make
    /// a panel, for the same number of bytes to a broadcast.
    #[inline(always)]
    fn strips(rows: usize) -> usize {
        let panel = PANEL_ROWS / D::Float::LANES;
        match (rows, D::Float::WIDE) {
            (1, _) => 8,
            (2 | 3, _) => 4,
            (_, false) => 2,
            (4..=7, true) => panel.max(2),
            (_, true) => panel,
        }
    }

    #[inline(always)]
    fn float(self) -> D::Float {
        self.0.float()
    }

    #[inline(always)]
    unsafe fn sums<const INT4: bool, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<i8>,
        len: usize,
    ) -> [[<D::Float as F32s>::V; N]; M] {
        let Self(d) = self;
        // SAFETY: the caller's contract.
        let sums = unsafe {
            if INT4 { int4_sums::<D, M, N>(d, w, x, len) } else { int8_sums::<D, M, N>(d, w, x, len) }
        };
        // SAFETY: `x` has the stats of M rows.
        unsafe { scaled(d, sums, x.stats) }
    }
}

/// Integer sums in units of x.
///
/// # Safety
/// There are the stats of `M` rows.
#[inline(always)]
pub(super) unsafe fn scaled<D: Dots, const M: usize, const N: usize>(
    d: D,
    sums: [[D::I; N]; M],
    stats: *const Stats,
) -> [[<D::Float as F32s>::V; N]; M] {
    let s = d.float();
    let mut scaled = [[s.splat(0.0); N]; M];
    for a in 0..M {
        // SAFETY: the caller's contract.
        let scale = s.splat(unsafe { (*stats.add(a)).scale });
        for b in 0..N {
            scaled[a][b] = s.mul(d.to_f32(sums[a][b]), scale);
        }
    }
    scaled
}

/// # Safety
/// As [`StepSums::sums`].
#[inline(always)]
unsafe fn int8_sums<D: Dots, const M: usize, const N: usize>(
    d: D,
    w: [*const u8; N],
    x: StepRows<i8>,
    len: usize,
) -> [[D::I; N]; M] {
    let mut acc = [[d.zero(); N]; M];
    for a in 0..M {
        // SAFETY: `x` has the stats of M rows.
        acc[a] = [d.begin_int8(unsafe { (*x.stats.add(a)).integer_sum }); N];
    }
    for line in 0..len / 4 {
        let mut codes = [d.zero(); N];
        for b in 0..N {
            // SAFETY: the codes of `len` elements are there, the caller's contract.
            codes[b] = d.int8(unsafe { d.load(w[b].add(line * LINE)) });
        }
        for a in 0..M {
            // SAFETY: a < M and line * 4 + 4 <= len.
            let x = unsafe { d.splat4(x.data.add(a * x.stride + line * 4)) };
            for b in 0..N {
                acc[a][b] = d.dot_int8(acc[a][b], codes[b], x);
            }
        }
    }
    acc
}

/// # Safety
/// As [`StepSums::sums`].
#[inline(always)]
unsafe fn int4_sums<D: Dots, const M: usize, const N: usize>(
    d: D,
    w: [*const u8; N],
    x: StepRows<i8>,
    len: usize,
) -> [[D::I; N]; M] {
    let mut acc = [[d.zero(); N]; M];
    // Unrolled, a run has more sums in flight than there are registers, so the compiler must not know its length.
    let lines = std::hint::black_box(LINES);
    for run in 0..len / (8 * LINES) {
        let mut partial = [[d.open(acc[0][0]); N]; M];
        for a in 0..M {
            for b in 0..N {
                partial[a][b] = d.open(acc[a][b]);
            }
        }
        for line in run * LINES..run * LINES + lines {
            let (mut low, mut high) = ([d.zero(); N], [d.zero(); N]);
            for b in 0..N {
                // SAFETY: the codes of `len` elements are there, the caller's contract.
                let codes = unsafe { d.load(w[b].add(line * LINE)) };
                (low[b], high[b]) = (d.low(codes), d.high(codes));
            }
            for a in 0..M {
                // SAFETY: a < M and line * 8 + 8 <= len.
                let x = unsafe { x.data.add(a * x.stride + line * 8) };
                // SAFETY: as above.
                let (first, second) = unsafe { (d.splat4(x), d.splat4(x.add(4))) };
                for b in 0..N {
                    partial[a][b] = d.dot_int4(partial[a][b], low[b], first);
                }
                for b in 0..N {
                    partial[a][b] = d.dot_int4(partial[a][b], high[b], second);
                }
            }
        }
        for a in 0..M {
            for b in 0..N {
                acc[a][b] = d.close(acc[a][b], partial[a][b]);
            }
        }
    }
    acc
}
