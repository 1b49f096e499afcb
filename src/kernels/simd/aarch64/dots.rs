//! Integer dot products of 64-bit Arm: widening multiplications, which every CPU has, SDOT, and the matrix products of SMMLA.
//!
//! SDOT and SMMLA are written as assembly, because stable Rust has no intrinsics for them.

use super::Neon;
use crate::kernels::simd::{Dots, PairDots, Shape, Tile};
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// A proof that this CPU has SDOT, and what [`Neon`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeonDot(Neon);

impl NeonDot {
    /// The token, if this CPU has the instructions and those of `level`.
    pub(crate) fn new(level: Neon) -> Option<Self> {
        is_aarch64_feature_detected!("dotprod").then_some(Self(level))
    }
}

/// A proof that this CPU has SMMLA, and what [`NeonDot`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeonI8mm(NeonDot);

impl NeonI8mm {
    /// The token, if this CPU has the instructions and those of `dots`.
    pub(crate) fn new(dots: NeonDot) -> Option<Self> {
        is_aarch64_feature_detected!("i8mm").then_some(Self(dots))
    }
}

impl PairDots for NeonI8mm {
    type I = int32x4_t;
    type Dots = NeonDot;
    /// 16 sums in a register each, of pairs of rows against pairs of weights.
    const SHAPES: &'static [Shape] =
        &[Shape::new(1, 8), Shape::new(2, 4), Shape::new(4, 4), Shape::new(8, 2)];

    #[inline(always)]
    fn dots(self) -> NeonDot {
        self.0
    }
    #[inline(always)]
    unsafe fn load_pair(self, first: *const i8, second: *const i8) -> int32x4_t {
        // SAFETY: 8 bytes each, the caller's contract; loads of bytes need not be aligned; the token proves NEON.
        unsafe { vreinterpretq_s32_s8(vcombine_s8(vld1_s8(first), vld1_s8(second))) }
    }
    #[inline(always)]
    fn pairs(self, first: int32x4_t, second: int32x4_t) -> [int32x4_t; 2] {
        // SAFETY: the token proves NEON.
        unsafe { [vzip1q_s32(first, second), vzip2q_s32(first, second)] }
    }
    #[inline(always)]
    fn mmla(self, mut acc: int32x4_t, x: int32x4_t, codes: int32x4_t) -> int32x4_t {
        // SAFETY: the token proves I8MM; the instruction touches registers only.
        unsafe {
            asm!(
                "smmla {acc:v}.4s, {x:v}.16b, {codes:v}.16b",
                acc = inlateout(vreg) acc,
                x = in(vreg) x,
                codes = in(vreg) codes,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        acc
    }
    #[inline(always)]
    fn rows(self, acc: [int32x4_t; 2]) -> [int32x4_t; 2] {
        // SAFETY: the token proves NEON.
        unsafe {
            let (left, right) = (vreinterpretq_s64_s32(acc[0]), vreinterpretq_s64_s32(acc[1]));
            [vreinterpretq_s32_s64(vzip1q_s64(left, right)), vreinterpretq_s32_s64(vzip2q_s64(left, right))]
        }
    }
}

/// What the tokens have in common: everything but the products. They take signed codes, so sums of int8 codes begin with
/// nothing.
macro_rules! integers {
    () => {
        type Float = Neon;
        type I = int32x4_t;
        type Partial = int32x4_t;
        const SHAPES: &'static [Shape] = <Neon as Tile>::SHAPES;

        #[inline(always)]
        fn zero(self) -> int32x4_t {
            // SAFETY: the token proves NEON.
            unsafe { vdupq_n_s32(0) }
        }
        #[inline(always)]
        unsafe fn load(self, p: *const u8) -> int32x4_t {
            // SAFETY: 16 bytes, the caller's contract; a load of bytes need not be aligned; the token proves NEON.
            unsafe { vreinterpretq_s32_u8(vld1q_u8(p)) }
        }
        #[inline(always)]
        unsafe fn store(self, x: int32x4_t, p: *mut u8) {
            // SAFETY: 16 bytes, the caller's contract; a store of bytes need not be aligned; the token proves NEON.
            unsafe { vst1q_u8(p, vreinterpretq_u8_s32(x)) }
        }
        #[inline(always)]
        fn add(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
            // SAFETY: the token proves NEON.
            unsafe { vaddq_s32(a, b) }
        }
        #[inline(always)]
        unsafe fn splat4(self, p: *const i8) -> int32x4_t {
            // SAFETY: 4 bytes, the caller's contract; unaligned read; the token proves NEON.
            unsafe { vdupq_n_s32(p.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        fn to_f32(self, x: int32x4_t) -> float32x4_t {
            // SAFETY: the token proves NEON.
            unsafe { vcvtq_f32_s32(x) }
        }
        #[inline(always)]
        fn low(self, codes: int32x4_t) -> int32x4_t {
            // SAFETY: the token proves NEON.
            unsafe { vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(codes), vdupq_n_u8(15))) }
        }
        #[inline(always)]
        fn high(self, codes: int32x4_t) -> int32x4_t {
            // SAFETY: the token proves NEON.
            unsafe { vreinterpretq_s32_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s32(codes))) }
        }
        #[inline(always)]
        fn begin_int4(self, begin: i32) -> int32x4_t {
            // SAFETY: the token proves NEON.
            unsafe { vdupq_n_s32(begin) }
        }
        #[inline(always)]
        fn dot_int4<const N: usize>(self, sums: &mut [int32x4_t; N], codes: &[int32x4_t; N], x: int32x4_t) {
            self.dot_int8(sums, codes, x);
        }
        #[inline(always)]
        fn close(self, partial: int32x4_t) -> int32x4_t {
            partial
        }
        #[inline(always)]
        fn begin_int8(self, _: i32) -> int32x4_t {
            self.zero()
        }
        #[inline(always)]
        fn int8(self, codes: int32x4_t) -> int32x4_t {
            codes
        }
    };
}

impl Dots for NeonDot {
    integers!();

    #[inline(always)]
    fn float(self) -> Neon {
        self.0
    }
    #[inline(always)]
    fn dot_int8<const N: usize>(self, sums: &mut [int32x4_t; N], codes: &[int32x4_t; N], x: int32x4_t) {
        for b in 0..N {
            // SAFETY: the token proves SDOT; the instruction touches registers only.
            unsafe {
                asm!(
                    "sdot {acc:v}.4s, {codes:v}.16b, {x:v}.16b",
                    acc = inlateout(vreg) sums[b],
                    codes = in(vreg) codes[b],
                    x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
}

impl Dots for Neon {
    const MULTIPLICATIONS: [usize; 2] = [2, 2];
    integers!();

    #[inline(always)]
    fn float(self) -> Self {
        self
    }
    #[inline(always)]
    fn dot_int8<const N: usize>(self, sums: &mut [int32x4_t; N], codes: &[int32x4_t; N], x: int32x4_t) {
        for b in 0..N {
            // Two products of at most 128 * 127 fit 16 bits.
            // SAFETY: the token proves NEON.
            sums[b] = unsafe {
                let (codes, x) = (vreinterpretq_s8_s32(codes[b]), vreinterpretq_s8_s32(x));
                let (left, right) = (vmull_s8(vget_low_s8(codes), vget_low_s8(x)), vmull_high_s8(codes, x));
                vpadalq_s16(sums[b], vpaddq_s16(left, right))
            };
        }
    }
}
