//! [`Rounded`]: what activations become before they are packed.

use super::pack::{RUN_16, Stats};
use crate::dtype::Bf16;
use crate::dtype::Plain;
use crate::kernels::simd::Tile;
use crate::quant::MAX_STEP;

/// An element that activations are rounded to.
pub(super) trait Rounded: Plain + Send {
    const ZERO: Self;

    /// Rounds the elements of one row and step; `out` is a whole step, zero after the end of `x`.
    fn round<S: Tile>(s: S, x: &[f32], out: &mut [Self]) -> Stats;
}

impl Rounded for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn round<S: Tile>(s: S, x: &[f32], out: &mut [Self]) -> Stats {
        let (mut sum, mut i) = (s.splat(0.0), 0);
        while i < x.len() {
            let len = S::LANES.min(x.len() - i);
            sum = s.add(sum, s.load_partial(&x[i..][..len]));
            i += S::LANES;
        }
        out[..x.len()].copy_from_slice(x);
        out[x.len()..].fill(0.0);
        Stats { scale: 1.0, sum: s.sum(sum), ..Stats::default() }
    }
}

impl Rounded for Bf16 {
    const ZERO: Self = Self(0);

    #[inline(always)]
    fn round<S: Tile>(_: S, x: &[f32], out: &mut [Self]) -> Stats {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = Self::from_f32(x);
        }
        out[x.len()..].fill(Self(0));
        // Minima of weights are rounded with their scales, so no kernel reads the sum.
        Stats { scale: 1.0, ..Stats::default() }
    }
}

impl Rounded for i8 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn round<S: Tile>(s: S, x: &[f32], out: &mut [Self]) -> Stats {
        let (mut top, mut poison, mut i) = (s.splat(0.0), s.splat(0.0), 0);
        while i < x.len() {
            let v = s.load_partial(&x[i..][..S::LANES.min(x.len() - i)]);
            let magnitude = s.max(s.sub(s.splat(0.0), v), v);
            top = s.max(magnitude, top);
            // 0, or NaN if x is infinite or NaN, which comparing would pass over.
            poison = s.add(poison, s.mul(v, s.splat(0.0)));
            i += S::LANES;
        }
        let top = s.top(top);
        let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
        // Of a subnormal maximum the inverse may overflow; such rows count as zero.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut i = 0;
        // Whole vectors are written: steps are whole vectors, and what is loaded after the end of x is 0.
        while i < x.len() {
            let v = s.load_partial(&x[i..][..S::LANES.min(x.len() - i)]);
            s.round_i8(s.mul(v, s.splat(inverse)), &mut out[i..]);
            i += S::LANES;
        }
        out[i..].fill(0);
        let mut begin_halves = [0; MAX_STEP / RUN_16];
        let mut all = 0;
        for (codes, begin) in out.chunks(RUN_16).zip(&mut begin_halves) {
            let (mut low, mut high) = (0i32, 0i32);
            for &[a, b, c, d] in codes.as_chunks::<4>().0 {
                low += i32::from(a) + i32::from(b);
                high += i32::from(c) + i32::from(d);
            }
            *begin = (-8 * low) & 0xffff | (-8 * high) << 16;
            all += low + high;
        }
        let scale = top / 127.0 + s.sum(poison);
        Stats { scale, sum: scale * all as f32, begin_int4: -8 * all, begin_int8: -128 * all, begin_halves }
    }
}
