//! [`Avx2`]: eight lanes, 16 registers; AVX2, FMA and F16C (every x86 CPU since 2013 to 2015 that has one has all three).

use crate::dtype::F16;
use crate::kernels::simd::{F32s, RUN_16, Shape, Tile, lanewise};
use std::arch::x86_64::*;

/// The token of the `avx2` level: a proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if this CPU has the instructions.
    pub fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }

    /// All bits set in the first `len` lanes.
    #[inline(always)]
    fn mask(self, len: usize) -> __m256i {
        const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        let window = &ONES_THEN_ZEROS[8 - len..][..8];
        // SAFETY: the window holds 8 elements; the token proves AVX.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }
}

/// Copies `len < 8` elements into a register whose other elements are 0.
///
/// # Safety
/// `p` is valid for reads of `len` elements.
#[inline(always)]
unsafe fn load_u16_partial(p: *const u16, len: usize) -> __m128i {
    let mut buffer = [0u16; 8];
    for (i, x) in buffer[..7].iter_mut().enumerate() {
        // A copy would be a call of memcpy, around which the accumulators of a tile would be saved to memory.
        if i < len {
            // SAFETY: `p` is valid for `len` elements by contract.
            *x = unsafe { *p.add(i) };
        }
    }
    // SAFETY: the buffer holds 8 elements; SSE2 is x86_64's base.
    unsafe { _mm_loadu_si128(buffer.as_ptr().cast()) }
}

impl F32s for Avx2 {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> __m256 {
        let x = &x[..8];
        // SAFETY: 8 elements, sliced above; unaligned load; the token proves AVX.
        unsafe { _mm256_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> __m256 {
        // SAFETY: only the first `len` lanes are read (`mask` panics beyond 8); the token proves AVX.
        unsafe { _mm256_maskload_ps(x.as_ptr(), self.mask(x.len())) }
    }
    #[inline(always)]
    fn store(self, v: __m256, out: &mut [f32]) {
        let out = &mut out[..8];
        // SAFETY: 8 elements, sliced above; unaligned store; the token proves AVX.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m256, out: &mut [f32]) {
        // SAFETY: only the first `len` lanes are written (`mask` panics beyond 8); the token proves AVX.
        unsafe { _mm256_maskstore_ps(out.as_mut_ptr(), self.mask(out.len()), v) }
    }

    lanewise! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        mul_add(a, b, c) = _mm256_fmadd_ps;
        min(a, b) = _mm256_min_ps;
        max(a, b) = _mm256_max_ps;
    }

    #[inline(always)]
    fn select_lt(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn pow2(self, t: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(t));
            _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_castps_si256(_mm256_set1_ps(1.0))))
        }
    }
    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        // The provided tree: lanes i and i + 4, then i + 2, then i + 1.
        // SAFETY: the token proves AVX.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn top(self, v: __m256) -> f32 {
        // SAFETY: the token proves AVX.
        unsafe { top(v) }
    }
}

impl Tile for Avx2 {
    const WIDE: bool = false;
    const SHAPES: &'static [Shape] = &[Shape::new(1, 4), Shape::new(2, 4), Shape::new(4, 2)];
    const UNPACK_FROM: [usize; 2] = [3, 3];

    #[inline(always)]
    unsafe fn load_f32(self, p: *const f32) -> __m256 {
        // SAFETY: the caller's contract; the token proves AVX.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, p: *const f32, len: usize) -> __m256 {
        // SAFETY: only the first `len` lanes are read, the caller's contract; the token proves AVX.
        unsafe { _mm256_maskload_ps(p, self.mask(len)) }
    }
    #[inline(always)]
    unsafe fn store_f32(self, v: __m256, p: *mut f32) {
        // SAFETY: the caller's contract; the token proves AVX.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m256 {
        // SAFETY: 8 elements are 16 bytes, the caller's contract; the token proves AVX2.
        unsafe { widen_bf16(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial(self, p: *const u16, len: usize) -> __m256 {
        // SAFETY: `len` elements are read, the caller's contract; the token proves AVX2.
        unsafe { widen_bf16(load_u16_partial(p, len)) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m256 {
        // SAFETY: 8 elements are 16 bytes, the caller's contract; the token proves F16C.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_f16_partial(self, p: *const u16, len: usize) -> __m256 {
        // SAFETY: `len` elements are read, the caller's contract; the token proves F16C.
        unsafe { _mm256_cvtph_ps(load_u16_partial(p, len)) }
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

    type Codes = __m256i;

    #[inline(always)]
    unsafe fn load_codes(self, p: *const u8) -> __m256i {
        // SAFETY: 32 bytes, the caller's contract; unaligned load; the token proves AVX.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    fn numbers(self, codes: __m256i) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_castsi256_ps(codes) }
    }
    #[inline(always)]
    fn nibble(self, codes: __m256i, j: usize) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let moved = _mm256_srl_epi32(codes, _mm_cvtsi32_si128(4 * j as i32));
            _mm256_cvtepi32_ps(_mm256_and_si256(moved, _mm256_set1_epi32(15)))
        }
    }
    #[inline(always)]
    fn byte(self, codes: __m256i, j: usize) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let top = _mm256_sll_epi32(codes, _mm_cvtsi32_si128(24 - 8 * j as i32));
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(top))
        }
    }
    #[inline(always)]
    fn sum4(self, v: [__m256; 4]) -> [f32; 4] {
        // SAFETY: the token proves AVX2.
        unsafe { sum4(v) }
    }
    #[inline(always)]
    fn round_i8(self, v: __m256, out: &mut [i8]) {
        let out = &mut out[..8];
        // SAFETY: 8 elements, sliced above; the token proves AVX2.
        unsafe {
            let lanes = _mm256_cvtps_epi32(v);
            let words = _mm_packs_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
            _mm_storel_epi64(out.as_mut_ptr().cast(), _mm_packs_epi16(words, words));
        }
    }
    #[inline(always)]
    fn sum_halves(self, x: &[i8; RUN_16]) -> [i16; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { sum_halves(x) }
    }
    #[inline(always)]
    fn narrow(self, v: __m256, out: &mut [F16]) {
        let out = &mut out[..8];
        // SAFETY: 8 elements of 2 bytes, sliced above; F16 is a transparent u16; unaligned store; the token proves F16C.
        unsafe {
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        }
    }
}

/// The sum of each, by the tree of [`F32s::sum`]: lanes i and i + 4, then i + 2, then i + 1, of all four side by side.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn sum4([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
    let mut sums = [0.0; 4];
    // SAFETY: the caller's contract; the array holds 4 elements.
    unsafe {
        let ab = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
        let cd = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(c, d), _mm256_permute2f128_ps::<0x31>(c, d));
        // Lanes of [a a c c b b d d], then of [a _ c _ b _ d _].
        let low = _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd);
        let high = _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd);
        let two = _mm256_add_ps(low, high);
        let one = _mm256_add_ps(two, _mm256_movehdup_ps(two));
        let bd = _mm_moveldup_ps(_mm256_extractf128_ps::<1>(one));
        _mm_storeu_ps(sums.as_mut_ptr(), _mm_blend_ps::<0b1010>(_mm256_castps256_ps128(one), bd));
    }
    sums
}

/// [`Tile::sum_halves`]: neighbours are added in lanes of 16 bits, then the lanes of the same parity.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn sum_halves(x: &[i8; RUN_16]) -> [i16; 2] {
    // SAFETY: two vectors are 64 bytes; the caller's contract.
    let sums = unsafe {
        let (x, ones) = (x.as_ptr(), _mm256_set1_epi8(1));
        let first = _mm256_maddubs_epi16(ones, _mm256_loadu_si256(x.cast()));
        let second = _mm256_maddubs_epi16(ones, _mm256_loadu_si256(x.add(32).cast()));
        let pairs = _mm256_add_epi16(first, second);
        let eight = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        let four = _mm_add_epi16(eight, _mm_unpackhi_epi64(eight, eight));
        _mm_cvtsi128_si32(_mm_add_epi16(four, _mm_shuffle_epi32::<1>(four)))
    };
    [sums as i16, (sums >> 16) as i16]
}

/// The largest lane.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
pub(super) unsafe fn top(v: __m256) -> f32 {
    // SAFETY: the caller's contract.
    unsafe {
        let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }
}

/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn widen_bf16(x: __m128i) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))) }
}
