//! [`Neon`]: four lanes, 32 registers; Advanced SIMD, which every 64-bit Arm CPU for applications has.
//!
//! A vector is one register and not a pair because the largest tile then has 24 accumulators and needs 5 more registers, 24
//! chains where four FMA units with a latency of 4 cycles need 16, and 10 loads for 24 multiply-adds. The same tile of
//! pairs (4 by 3) has as many chains but 14 loads, and all 32 registers are not enough for it.

use crate::dtype::F16;
use crate::kernels::simd::{F32s, Shape, Tile, lanewise};
use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

/// The token of the `neon` level: a proof that this CPU has Advanced SIMD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// The token, if this CPU has the instructions.
    pub fn new() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

/// The first `len` of four elements; the others are 0.
///
/// A branch for each element: copying `len` of them would be a call, and the registers of a tile do not survive calls.
///
/// # Safety
/// `p` is valid for reads of `len` elements.
#[inline(always)]
unsafe fn partial<T: Copy + Default>(p: *const T, len: usize) -> [T; 4] {
    let mut elements = [T::default(); 4];
    for i in 0..4 {
        if i < len {
            // SAFETY: i < len, the caller's contract.
            elements[i] = unsafe { *p.add(i) };
        }
    }
    elements
}

impl F32s for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: the token proves NEON.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> float32x4_t {
        let x = &x[..4];
        // SAFETY: 4 elements, sliced above; the token proves NEON.
        unsafe { vld1q_f32(x.as_ptr()) }
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> float32x4_t {
        assert!(x.len() <= 4, "{} elements in 4 lanes", x.len());
        // SAFETY: all elements of `x` are read; the token proves NEON.
        unsafe { vld1q_f32(partial(x.as_ptr(), x.len()).as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: float32x4_t, out: &mut [f32]) {
        let out = &mut out[..4];
        // SAFETY: 4 elements, sliced above; the token proves NEON.
        unsafe { vst1q_f32(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn store_partial(self, v: float32x4_t, out: &mut [f32]) {
        let mut lanes = [0.0; 4];
        self.store(v, &mut lanes);
        out.copy_from_slice(&lanes[..out.len()]);
    }

    lanewise! {
        add(a, b) = vaddq_f32;
        sub(a, b) = vsubq_f32;
        mul(a, b) = vmulq_f32;
        div(a, b) = vdivq_f32;
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves NEON.
        unsafe { vfmaq_f32(c, a, b) }
    }
    /// By comparison, because FMIN and FMAX return NaN if either operand is NaN.
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_lt(a, b, a, b)
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_lt(b, a, a, b)
    }
    #[inline(always)]
    fn select_lt(self, a: float32x4_t, b: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves NEON.
        unsafe { vbslq_f32(vcltq_f32(a, b), yes, no) }
    }
    #[inline(always)]
    fn pow2(self, t: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves NEON.
        unsafe {
            let exponent = vshlq_n_u32::<23>(vreinterpretq_u32_f32(t));
            vreinterpretq_f32_u32(vaddq_u32(exponent, vreinterpretq_u32_f32(vdupq_n_f32(1.0))))
        }
    }
    #[inline(always)]
    fn sum(self, v: float32x4_t) -> f32 {
        // The provided tree: lanes i and i + 2, then i + 1.
        // SAFETY: the token proves NEON.
        unsafe { vpadds_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v))) }
    }
}

impl Tile for Neon {
    const WIDE: bool = true;
    const SHAPES: &'static [Shape] =
        &[Shape::new(1, 8), Shape::new(2, 4), Shape::new(4, 4), Shape::new(8, 2)];

    #[inline(always)]
    unsafe fn load_f32(self, p: *const f32) -> float32x4_t {
        // SAFETY: 4 elements, the caller's contract; the token proves NEON.
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, p: *const f32, len: usize) -> float32x4_t {
        // SAFETY: `len` elements are read, the caller's contract; the token proves NEON.
        unsafe { vld1q_f32(partial(p, len).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_f32(self, v: float32x4_t, p: *mut f32) {
        // SAFETY: 4 elements, the caller's contract; the token proves NEON.
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> float32x4_t {
        // SAFETY: 4 elements, the caller's contract; the token proves NEON.
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(p)))) }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial(self, p: *const u16, len: usize) -> float32x4_t {
        // SAFETY: `len` elements are read, the caller's contract.
        unsafe { self.load_bf16(partial(p, len).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> float32x4_t {
        // SAFETY: 4 elements, the caller's contract; the token proves NEON.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))) }
    }
    #[inline(always)]
    unsafe fn load_f16_partial(self, p: *const u16, len: usize) -> float32x4_t {
        // SAFETY: `len` elements are read, the caller's contract.
        unsafe { self.load_f16(partial(p, len).as_ptr()) }
    }
    type Codes = uint32x4_t;

    #[inline(always)]
    unsafe fn load_codes(self, p: *const u8) -> uint32x4_t {
        // SAFETY: 16 bytes, the caller's contract; a load of bytes need not be aligned; the token proves NEON.
        unsafe { vreinterpretq_u32_u8(vld1q_u8(p)) }
    }
    #[inline(always)]
    fn numbers(self, codes: uint32x4_t) -> float32x4_t {
        // SAFETY: the token proves NEON.
        unsafe { vreinterpretq_f32_u32(codes) }
    }
    /// A half-byte stays where it is: it is converted from a fixed point, with as many fractional bits as there are bits below it.
    #[inline(always)]
    fn nibble(self, codes: uint32x4_t, j: usize) -> float32x4_t {
        // SAFETY: the token proves NEON.
        unsafe {
            let half = vandq_u32(codes, vdupq_n_u32(15 << (4 * j)));
            match j {
                0 => vcvtq_f32_u32(half),
                1 => vcvtq_n_f32_u32::<4>(half),
                2 => vcvtq_n_f32_u32::<8>(half),
                3 => vcvtq_n_f32_u32::<12>(half),
                4 => vcvtq_n_f32_u32::<16>(half),
                5 => vcvtq_n_f32_u32::<20>(half),
                6 => vcvtq_n_f32_u32::<24>(half),
                _ => vcvtq_n_f32_u32::<28>(half),
            }
        }
    }
    #[inline(always)]
    fn byte(self, codes: uint32x4_t, j: usize) -> float32x4_t {
        // SAFETY: the token proves NEON.
        unsafe {
            let top = vshlq_u32(codes, vdupq_n_s32(24 - 8 * j as i32));
            vcvtq_f32_s32(vshrq_n_s32::<24>(vreinterpretq_s32_u32(top)))
        }
    }
    #[inline(always)]
    fn round_i8(self, v: float32x4_t, out: &mut [i8]) {
        let mut lanes = [0i32; 4];
        // SAFETY: the array holds 4 elements; the token proves NEON.
        unsafe { vst1q_s32(lanes.as_mut_ptr(), vcvtnq_s32_f32(v)) };
        out[..4].copy_from_slice(&lanes.map(|lane| lane as i8));
    }
    #[inline(always)]
    fn narrow(self, v: float32x4_t, out: &mut [F16]) {
        let out = &mut out[..4];
        // SAFETY: 4 elements of 2 bytes, sliced above; F16 is a transparent u16; the token proves NEON.
        unsafe { vst1_u16(out.as_mut_ptr().cast(), vreinterpret_u16_f16(vcvt_f16_f32(v))) }
    }
}
