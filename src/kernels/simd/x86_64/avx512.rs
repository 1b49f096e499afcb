//! [`Avx512`]: sixteen lanes, 32 registers; AVX-512 F, BW, CD, DQ and VL (server CPUs since 2017, Zen 4).

use super::Avx2;
use crate::dtype::F16;
use crate::kernels::simd::{F32s, RUN_16, Shape, Tile, lanewise};
use std::arch::x86_64::*;

/// The token of the `avx512` level: a proof that this CPU has AVX-512 F, BW, CD, DQ and VL, and what `avx2` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The token, if this CPU has the instructions.
    pub fn new() -> Option<Self> {
        let found = Avx2::new().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        found.then_some(Self(()))
    }
}

/// The first `len` of 16 lanes.
///
/// # Panics
/// If there are not that many.
#[inline(always)]
fn mask(len: usize) -> __mmask16 {
    assert!(len <= 16, "{len} elements in 16 lanes");
    ((1u32 << len) - 1) as __mmask16
}

impl F32s for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> __m512 {
        let x = &x[..16];
        // SAFETY: 16 elements, sliced above; unaligned load; the token proves AVX-512 F.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> __m512 {
        // SAFETY: only the first `len` lanes are read (`mask` panics beyond 16); the token proves AVX-512 F.
        unsafe { _mm512_maskz_loadu_ps(mask(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32]) {
        let out = &mut out[..16];
        // SAFETY: 16 elements, sliced above; unaligned store; the token proves AVX-512 F.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m512, out: &mut [f32]) {
        // SAFETY: only the first `len` lanes are written (`mask` panics beyond 16); the token proves AVX-512 F.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask(out.len()), v) }
    }

    lanewise! {
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        mul_add(a, b, c) = _mm512_fmadd_ps;
        min(a, b) = _mm512_min_ps;
        max(a, b) = _mm512_max_ps;
    }

    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }
    #[inline(always)]
    fn pow2(self, t: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(t));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_castps_si512(_mm512_set1_ps(1.0))))
        }
    }
    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        // The provided tree: lanes i and i + 8, then as in 8 lanes.
        // SAFETY: the token proves AVX-512 DQ and AVX.
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn top(self, v: __m512) -> f32 {
        // SAFETY: the token proves AVX-512 DQ and AVX.
        unsafe { super::avx2::top(_mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v))) }
    }
}

impl Tile for Avx512 {
    const WIDE: bool = true;
    const SHAPES: &'static [Shape] =
        &[Shape::new(1, 8), Shape::new(2, 4), Shape::new(4, 4), Shape::new(8, 2), Shape::new(12, 2)];
    const UNPACK_FROM: [usize; 2] = [2, 2];

    #[inline(always)]
    unsafe fn load_f32(self, p: *const f32) -> __m512 {
        // SAFETY: the caller's contract; the token proves AVX-512 F.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, p: *const f32, len: usize) -> __m512 {
        // SAFETY: only the first `len` lanes are read, the caller's contract; the token proves AVX-512 F.
        unsafe { _mm512_maskz_loadu_ps(mask(len), p) }
    }
    #[inline(always)]
    unsafe fn store_f32(self, v: __m512, p: *mut f32) {
        // SAFETY: the caller's contract; the token proves AVX-512 F.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m512 {
        // SAFETY: 16 elements are 32 bytes, the caller's contract; the token proves AVX and AVX-512 F.
        unsafe { widen_bf16(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial(self, p: *const u16, len: usize) -> __m512 {
        // SAFETY: only the first `len` lanes are read, the caller's contract; the token proves AVX-512 BW and VL.
        unsafe { widen_bf16(_mm256_maskz_loadu_epi16(mask(len), p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m512 {
        // SAFETY: 16 elements are 32 bytes, the caller's contract; the token proves AVX and AVX-512 F.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_f16_partial(self, p: *const u16, len: usize) -> __m512 {
        // SAFETY: only the first `len` lanes are read, the caller's contract; the token proves AVX-512 BW and VL.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(len), p.cast())) }
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: a hint, which does not fault; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    fn prefetch_l2(self, p: *const u8) {
        // SAFETY: a hint, which does not fault; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    type Codes = __m512i;

    #[inline(always)]
    unsafe fn load_codes(self, p: *const u8) -> __m512i {
        // SAFETY: 64 bytes, the caller's contract; unaligned load; the token proves AVX-512 F.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    fn numbers(self, codes: __m512i) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_castsi512_ps(codes) }
    }
    #[inline(always)]
    fn nibble(self, codes: __m512i, j: usize) -> __m512 {
        // A look-up by the low four bits of a lane: neither masked nor converted.
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let moved = _mm512_srl_epi32(codes, _mm_cvtsi32_si128(4 * j as i32));
            let numbers = _mm512_setr_ps(
                0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
            );
            _mm512_permutexvar_ps(moved, numbers)
        }
    }
    #[inline(always)]
    fn byte(self, codes: __m512i, j: usize) -> __m512 {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let top = _mm512_sll_epi32(codes, _mm_cvtsi32_si128(24 - 8 * j as i32));
            _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(top))
        }
    }
    #[inline(always)]
    fn sum4(self, v: [__m512; 4]) -> [f32; 4] {
        // SAFETY: the token proves AVX-512 DQ and AVX2.
        unsafe {
            let mut eight = [_mm256_setzero_ps(); 4];
            for i in 0..4 {
                eight[i] = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm512_extractf32x8_ps::<1>(v[i]));
            }
            super::avx2::sum4(eight)
        }
    }
    /// Every step adds halves of all vectors side by side, in the order of [`F32s::sum`].
    #[inline(always)]
    fn sum8(self, v: [__m512; 8]) -> [f32; 8] {
        let mut lanes = [0.0; 16];
        // SAFETY: the token proves AVX-512 F; the array holds 16 elements.
        unsafe {
            // Lanes i and i + 8: quarters 0 and 1 are those of one vector, 2 and 3 those of the next.
            let mut pairs = [v[0]; 4];
            for i in 0..4 {
                let (a, b) = (v[2 * i], v[2 * i + 1]);
                pairs[i] =
                    _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            }
            // Lanes i and i + 4: a quarter for each vector.
            let mut fours = [v[0]; 2];
            for i in 0..2 {
                let (a, b) = (pairs[2 * i], pairs[2 * i + 1]);
                fours[i] =
                    _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
            }
            // Lanes i and i + 2 of both, then i and i + 1.
            let [a, b] = fours;
            let two = _mm512_add_ps(
                _mm512_shuffle_ps::<0b01_00_01_00>(a, b),
                _mm512_shuffle_ps::<0b11_10_11_10>(a, b),
            );
            _mm512_storeu_ps(lanes.as_mut_ptr(), _mm512_add_ps(two, _mm512_movehdup_ps(two)));
        }
        [lanes[0], lanes[4], lanes[8], lanes[12], lanes[2], lanes[6], lanes[10], lanes[14]]
    }
    #[inline(always)]
    fn round_i8(self, v: __m512, out: &mut [i8]) {
        let out = &mut out[..16];
        // SAFETY: 16 elements, sliced above; the token proves AVX-512 F.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))) }
    }
    #[inline(always)]
    fn sum_halves(self, x: &[i8; RUN_16]) -> [i16; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { super::avx2::sum_halves(x) }
    }
    #[inline(always)]
    fn narrow(self, v: __m512, out: &mut [F16]) {
        let out = &mut out[..16];
        // SAFETY: 16 elements of 2 bytes, sliced above; F16 is a transparent u16; unaligned store; the token proves AVX-512 F.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        }
    }
}

/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
unsafe fn widen_bf16(x: __m256i) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x))) }
}
