//! [`Scalar`]: one lane, no instruction set required. The fallback on every CPU, and a reference in tests.

use super::{F32s, Shape, Tile};
use crate::dtype::{Bf16, F16};

/// The token of the scalar level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scalar;

super::part::parts!(Scalar);

impl F32s for Scalar {
    type V = f32;
    const LANES: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> f32 {
        x[0]
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> f32 {
        x.first().copied().unwrap_or(0.0)
    }
    #[inline(always)]
    fn store(self, v: f32, out: &mut [f32]) {
        out[0] = v;
    }
    #[inline(always)]
    fn store_partial(self, v: f32, out: &mut [f32]) {
        if let Some(first) = out.first_mut() {
            *first = v;
        }
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn select_lt(self, a: f32, b: f32, yes: f32, no: f32) -> f32 {
        if a < b { yes } else { no }
    }
    #[inline(always)]
    fn pow2(self, t: f32) -> f32 {
        f32::from_bits((t.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
    }
}

impl Tile for Scalar {
    const WIDE: bool = false;
    const SHAPES: &'static [Shape] = &[Shape::new(1, 2), Shape::new(4, 2)];

    #[inline(always)]
    unsafe fn load_f32(self, p: *const f32) -> f32 {
        // SAFETY: the caller's contract.
        unsafe { *p }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, _: *const f32, _: usize) -> f32 {
        0.0
    }
    #[inline(always)]
    unsafe fn store_f32(self, v: f32, p: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { *p = v }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> f32 {
        // SAFETY: the caller's contract.
        Bf16(unsafe { *p }).to_f32()
    }
    #[inline(always)]
    unsafe fn load_bf16_partial(self, _: *const u16, _: usize) -> f32 {
        0.0
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> f32 {
        // SAFETY: the caller's contract.
        F16(unsafe { *p }).to_f32()
    }
    #[inline(always)]
    unsafe fn load_f16_partial(self, _: *const u16, _: usize) -> f32 {
        0.0
    }
    type Codes = u32;

    #[inline(always)]
    unsafe fn load_codes(self, p: *const u8) -> u32 {
        // SAFETY: 4 bytes, the caller's contract; unaligned read.
        unsafe { p.cast::<u32>().read_unaligned() }
    }
    #[inline(always)]
    fn numbers(self, codes: u32) -> f32 {
        f32::from_bits(codes)
    }
    #[inline(always)]
    fn nibble(self, codes: u32, j: usize) -> f32 {
        (codes >> (4 * j) & 15) as f32
    }
    #[inline(always)]
    fn byte(self, codes: u32, j: usize) -> f32 {
        f32::from(codes.to_le_bytes()[j] as i8)
    }
    #[inline(always)]
    fn round_i8(self, v: f32, out: &mut [i8]) {
        // Adding it to a number of at most 2²² leaves the nearest integer in the low bits, ties to even.
        const ROUND: f32 = 12_582_912.0;
        out[0] = (v + ROUND).to_bits() as i8;
    }
    #[inline(always)]
    fn narrow(self, v: f32, out: &mut [F16]) {
        out[0] = F16::from_f32(v);
    }
}
