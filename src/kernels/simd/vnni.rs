//! Integer dot products of x86-64: `vpmaddubsw` of AVX2, and `vpdpbusd` of AVX-VNNI and AVX-512 VNNI.

use super::{Avx2, Avx512, Dots};
use std::arch::x86_64::*;

/// A proof that this CPU has AVX-VNNI, and what [`Avx2`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AvxVnni(Avx2);

impl AvxVnni {
    /// The token, if this CPU has the instructions beside those of `level`.
    pub(crate) fn new(level: Avx2) -> Option<Self> {
        is_x86_feature_detected!("avxvnni").then_some(Self(level))
    }
}

/// A proof that this CPU has AVX-512 VNNI, and what [`Avx512`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512Vnni(Avx512);

impl Avx512Vnni {
    /// The token, if this CPU has the instructions beside those of `level`.
    pub(crate) fn new(level: Avx512) -> Option<Self> {
        is_x86_feature_detected!("avx512vnni").then_some(Self(level))
    }
}

/// What all tokens have in common: everything but the products.
macro_rules! integers {
    ($vector:ty, $float:ty, $zero:ident, $load:ident, $splat:ident, $bytes:ident, $and:ident, $shift:ident, $to_f32:ident) => {
        type Float = $float;
        type I = $vector;

        #[inline(always)]
        fn zero(self) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $zero() }
        }
        #[inline(always)]
        unsafe fn load(self, p: *const u8) -> $vector {
            // SAFETY: a whole vector, the caller's contract; unaligned load; the token proves the instruction set.
            unsafe { $load(p.cast()) }
        }
        #[inline(always)]
        unsafe fn splat4(self, p: *const i8) -> $vector {
            // SAFETY: 4 bytes, the caller's contract; unaligned read; the token proves the instruction set.
            unsafe { $splat(p.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        fn to_f32(self, x: $vector) -> <$float as super::F32s>::V {
            // SAFETY: the token proves the instruction set.
            unsafe { $to_f32(x) }
        }
        #[inline(always)]
        fn low(self, codes: $vector) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $and(codes, $bytes(15)) }
        }
        #[inline(always)]
        fn high(self, codes: $vector) -> $vector {
            // SAFETY: the token proves the instruction set. What a shift of 16 bits moves between bytes is masked out.
            unsafe { $and($shift::<4>(codes), $bytes(15)) }
        }
    };
}

/// Products by `vpdpbusd`, which takes its first factors as unsigned: int8 codes are moved up by 128, and 128 times the sum of
/// x is what sums begin without.
macro_rules! vpdpbusd {
    ($vector:ty, $dot:ident, $splat:ident, $bytes:ident, $xor:ident) => {
        type Partial = $vector;

        #[inline(always)]
        fn open(self, acc: $vector) -> $vector {
            acc
        }
        #[inline(always)]
        fn dot_int4(self, partial: $vector, codes: $vector, x: $vector) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $dot(partial, codes, x) }
        }
        #[inline(always)]
        fn close(self, _: $vector, partial: $vector) -> $vector {
            partial
        }
        #[inline(always)]
        fn begin_int8(self, x_sum: i32) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $splat(-128 * x_sum) }
        }
        #[inline(always)]
        fn int8(self, codes: $vector) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $xor(codes, $bytes(-128)) }
        }
        #[inline(always)]
        fn dot_int8(self, acc: $vector, codes: $vector, x: $vector) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $dot(acc, codes, x) }
        }
    };
}

impl Dots for AvxVnni {
    integers!(
        __m256i,
        Avx2,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_set1_epi32,
        _mm256_set1_epi8,
        _mm256_and_si256,
        _mm256_srli_epi16,
        _mm256_cvtepi32_ps
    );
    vpdpbusd!(__m256i, _mm256_dpbusd_avx_epi32, _mm256_set1_epi32, _mm256_set1_epi8, _mm256_xor_si256);

    #[inline(always)]
    fn float(self) -> Avx2 {
        self.0
    }
}

impl Dots for Avx512Vnni {
    integers!(
        __m512i,
        Avx512,
        _mm512_setzero_si512,
        _mm512_loadu_si512,
        _mm512_set1_epi32,
        _mm512_set1_epi8,
        _mm512_and_si512,
        _mm512_srli_epi16,
        _mm512_cvtepi32_ps
    );
    vpdpbusd!(__m512i, _mm512_dpbusd_epi32, _mm512_set1_epi32, _mm512_set1_epi8, _mm512_xor_si512);

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.0
    }
}

impl Dots for Avx2 {
    integers!(
        __m256i,
        Self,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_set1_epi32,
        _mm256_set1_epi8,
        _mm256_and_si256,
        _mm256_srli_epi16,
        _mm256_cvtepi32_ps
    );
    /// 16-bit sums: a run adds 8 times two products of at most 15 * 127, which is 30480.
    type Partial = __m256i;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }
    #[inline(always)]
    fn open(self, _: __m256i) -> __m256i {
        self.zero()
    }
    #[inline(always)]
    fn dot_int4(self, partial: __m256i, codes: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_epi16(partial, _mm256_maddubs_epi16(codes, x)) }
    }
    #[inline(always)]
    fn close(self, acc: __m256i, partial: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(partial, _mm256_set1_epi16(1))) }
    }
    #[inline(always)]
    fn begin_int8(self, _: i32) -> __m256i {
        self.zero()
    }
    #[inline(always)]
    fn int8(self, codes: __m256i) -> __m256i {
        codes
    }
    #[inline(always)]
    fn dot_int8(self, acc: __m256i, codes: __m256i, x: __m256i) -> __m256i {
        // The sign of the codes moves to x, which is never -128; a code may be, in a file that we did not write. Two products of
        // at most 128 * 127 fit 16 bits.
        // SAFETY: the token proves AVX2.
        unsafe {
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}
