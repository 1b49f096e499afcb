//! [`Rounded`]: what activations become before they are packed.

use super::pack::Stats;
use crate::dtype::Bf16;
use crate::dtype::Plain;
use crate::kernels::simd::{RUN_16, Tile};
use crate::quant::MAX_STEP;

/// An element that activations are rounded to.
pub(super) trait Rounded: Plain + Send {
    const ZERO: Self;

    /// Rounds the elements of one row and a whole step, which is a multiple of 32, into the first elements of `out`. Those after
    /// them are 0.
    fn round<S: Tile>(s: S, x: &[f32], out: &mut [Self; MAX_STEP]) -> Stats;
}

impl Rounded for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn round<S: Tile>(s: S, x: &[f32], out: &mut [Self; MAX_STEP]) -> Stats {
        let mut sum = s.splat(0.0);
        for x in x.chunks_exact(S::LANES) {
            sum = s.add(sum, s.load(x));
        }
        out[..x.len()].copy_from_slice(x);
        Stats { scale: 1.0, sum: s.sum(sum), ..Stats::default() }
    }
}

impl Rounded for Bf16 {
    const ZERO: Self = Self(0);

    #[inline(always)]
    fn round<S: Tile>(_: S, x: &[f32], out: &mut [Self; MAX_STEP]) -> Stats {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = Self::from_f32(x);
        }
        // Minima of weights are rounded with their scales, so no kernel reads the sum.
        Stats { scale: 1.0, ..Stats::default() }
    }
}

impl Rounded for i8 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn round<S: Tile>(s: S, x: &[f32], out: &mut [Self; MAX_STEP]) -> Stats {
        let (mut top, mut poison) = (s.splat(0.0), s.splat(0.0));
        for x in x.chunks_exact(S::LANES) {
            let v = s.load(x);
            let magnitude = s.max(s.sub(s.splat(0.0), v), v);
            top = s.max(magnitude, top);
            // 0, or NaN if x is infinite or NaN, which a comparison would miss.
            poison = s.add(poison, s.mul(v, s.splat(0.0)));
        }
        let top = s.top(top);
        let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
        // The inverse of a subnormal maximum may overflow; such rows count as zero.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        for (x, out) in x.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
            s.round_i8(s.mul(s.load(x), s.splat(inverse)), out);
        }
        let mut begin_halves = [0; MAX_STEP / RUN_16];
        let mut all = 0;
        for (codes, begin) in out.as_chunks::<RUN_16>().0.iter().zip(&mut begin_halves) {
            let [low, high] = s.sum_halves(codes).map(i32::from);
            *begin = (-8 * low) & 0xffff | (-8 * high) << 16;
            all += low + high;
        }
        let scale = top / 127.0 + s.sum(poison);
        Stats { scale, sum: scale * all as f32, begin_int4: -8 * all, begin_int8: -128 * all, begin_halves }
    }
}
