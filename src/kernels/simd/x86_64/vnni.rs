//! Integer dot products of x86-64: `vpmaddubsw` of AVX2, and `vpdpbusd` of AVX-VNNI and AVX-512 VNNI.

use super::{Avx2, Avx512};
use crate::kernels::simd::{Dots, F32s, Shape, ends_by_rows};
use std::arch::asm;
use std::arch::x86_64::*;

/// A proof that this CPU has AVX-VNNI, and what [`Avx2`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AvxVnni(Avx2);

impl AvxVnni {
    /// The token, if this CPU has the instructions and those of `level`.
    pub(crate) fn new(level: Avx2) -> Option<Self> {
        is_x86_feature_detected!("avxvnni").then_some(Self(level))
    }
}

/// A proof that this CPU has AVX-512 VNNI, and what [`Avx512`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512Vnni(Avx512);

impl Avx512Vnni {
    /// The token, if this CPU has the instructions and those of `level`.
    pub(crate) fn new(level: Avx512) -> Option<Self> {
        is_x86_feature_detected!("avx512vnni").then_some(Self(level))
    }
}

/// What all tokens have in common: everything but the dot products.
macro_rules! integers {
    ($vector:ty, $float:ty, $zero:ident, $load:ident, $store:ident, $splat:ident, $bytes:ident, $and:ident, $shift:ident, $to_f32:ident, $add:ident) => {
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
        unsafe fn store(self, x: $vector, p: *mut u8) {
            // SAFETY: a whole vector, the caller's contract; unaligned store; the token proves the instruction set.
            unsafe { $store(p.cast(), x) }
        }
        #[inline(always)]
        fn add(self, a: $vector, b: $vector) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $add(a, b) }
        }
        #[inline(always)]
        unsafe fn splat4(self, p: *const i8) -> $vector {
            // SAFETY: 4 bytes, the caller's contract; unaligned read; the token proves the instruction set.
            unsafe { $splat(p.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        fn to_f32(self, x: $vector) -> <$float as F32s>::V {
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

/// Dot products by `vpdpbusd`, which takes its first factors as unsigned: int8 codes are moved up by 128, and 128 times the sum of
/// x is what sums begin without.
macro_rules! vpdpbusd {
    ($vector:ty, $dot:ident, $splat:ident, $bytes:ident, $xor:ident) => {
        type Partial = $vector;

        #[inline(always)]
        fn begin_int4(self, begin: i32) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $splat(begin) }
        }
        #[inline(always)]
        fn dot_int4<const N: usize>(self, sums: &mut [$vector; N], codes: &[$vector; N], x: $vector) {
            self.dot_int8(sums, codes, x);
        }
        #[inline(always)]
        fn close(self, partial: $vector) -> $vector {
            partial
        }
        #[inline(always)]
        fn begin_int8(self, begin: i32) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $splat(begin) }
        }
        #[inline(always)]
        fn int8(self, codes: $vector) -> $vector {
            // SAFETY: the token proves the instruction set.
            unsafe { $xor(codes, $bytes(-128)) }
        }
        #[inline(always)]
        fn dot_int8<const N: usize>(self, sums: &mut [$vector; N], codes: &[$vector; N], x: $vector) {
            for b in 0..N {
                // SAFETY: the token proves the instruction set.
                sums[b] = unsafe { $dot(sums[b], codes[b], x) };
            }
        }
    };
}

impl Dots for AvxVnni {
    /// 6 rows against two vectors are 12 chains, as many as two units with a latency of 5 cycles take, and fill 16 registers.
    const SHAPES: &'static [Shape] =
        &[Shape::new(1, 8), Shape::new(2, 4), Shape::new(4, 2), Shape::new(6, 2)];
    const UNPACK_FROM: usize = 3;

    integers!(
        __m256i,
        Avx2,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_set1_epi32,
        _mm256_set1_epi8,
        _mm256_and_si256,
        _mm256_srli_epi16,
        _mm256_cvtepi32_ps,
        _mm256_add_epi32
    );
    vpdpbusd!(__m256i, _mm256_dpbusd_avx_epi32, _mm256_set1_epi32, _mm256_set1_epi8, _mm256_xor_si256);

    #[inline(always)]
    fn float(self) -> Avx2 {
        self.0
    }
}

impl Dots for Avx512Vnni {
    /// From 12 rows on a tile has one strip: every vector of x is the operand in memory of a single dot product, which costs no
    /// instruction of its own, and a panel is one stream.
    const SHAPES: &'static [Shape] = &[
        Shape::new(1, 8),
        Shape::new(2, 4),
        Shape::new(4, 4),
        Shape::new(8, 2),
        Shape::new(12, 1),
        Shape::new(16, 1),
    ];
    const UNPACK_FROM: usize = 3;
    /// 8 x 2 and less: they are up to 10 % faster.
    const ROW_BY_ROW: usize = 16;

    integers!(
        __m512i,
        Avx512,
        _mm512_setzero_si512,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_set1_epi32,
        _mm512_set1_epi8,
        _mm512_and_si512,
        _mm512_srli_epi16,
        _mm512_cvtepi32_ps,
        _mm512_add_epi32
    );
    vpdpbusd!(__m512i, _mm512_dpbusd_epi32, _mm512_set1_epi32, _mm512_set1_epi8, _mm512_xor_si512);

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.0
    }
    #[inline(always)]
    fn keep(self, sums: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { keep_512(sums) }
    }
    #[inline(always)]
    fn pin<const M: usize, const N: usize>(self, sums: &mut [[__m512i; N]; M]) {
        if const { ends_by_rows::<Self>(M, N) } {
            for a in 0..M {
                for b in 0..N {
                    sums[a][b] = self.keep(sums[a][b]);
                }
            }
        }
    }
    #[inline(always)]
    fn pin_partial<const M: usize, const N: usize>(self, sums: &mut [[__m512i; N]; M]) {
        self.pin(sums);
    }
}

impl Dots for Avx2 {
    /// 4 rows against a panel: 8 sums, two vectors of codes, and what is between them fill 16 registers. int4 codes need no more
    /// chains even of a single row, as additions have a latency of one cycle.
    const SHAPES: &'static [Shape] = &[
        Shape { height: 1, strips: 8, int4_strips: 2 },
        Shape { height: 2, strips: 4, int4_strips: 2 },
        Shape::new(3, 2),
        Shape::new(4, 2),
    ];
    const HALVES: bool = true;
    const MULTIPLICATIONS: [usize; 2] = [1, 2];
    const UNPACK_FROM: usize = 5;

    integers!(
        __m256i,
        Self,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_set1_epi32,
        _mm256_set1_epi8,
        _mm256_and_si256,
        _mm256_srli_epi16,
        _mm256_cvtepi32_ps,
        _mm256_add_epi32
    );
    /// Two sums of 16 bits in a lane. They begin with -8 Σx of their own elements, so that what they end with is
    /// `Σ x (code - 8)`, which fits for 64 k; they may wrap in between.
    type Partial = __m256i;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }
    #[inline(always)]
    fn begin_int4(self, begin: i32) -> __m256i {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_set1_epi32(begin) }
    }
    /// All products, then all sums: if they alternate, the execution ports are assigned worse.
    #[inline(always)]
    fn dot_int4<const N: usize>(self, sums: &mut [__m256i; N], codes: &[__m256i; N], x: __m256i) {
        let mut pairs = [self.zero(); N];
        for b in 0..N {
            // SAFETY: the token proves AVX2.
            pairs[b] = unsafe { _mm256_maddubs_epi16(codes[b], x) };
        }
        for b in 0..N {
            // SAFETY: the token proves AVX2.
            sums[b] = unsafe { _mm256_add_epi16(sums[b], pairs[b]) };
        }
    }
    #[inline(always)]
    fn close(self, partial: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_madd_epi16(partial, _mm256_set1_epi16(1)) }
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
    fn dot_int8<const N: usize>(self, sums: &mut [__m256i; N], codes: &[__m256i; N], x: __m256i) {
        // The sign of the codes moves to x, which is never -128; a code may be, in a file that we did not write. Two products of
        // at most 128 * 127 fit 16 bits.
        for b in 0..N {
            // SAFETY: the token proves AVX2.
            sums[b] = unsafe {
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes[b]), _mm256_sign_epi8(x, codes[b]));
                _mm256_add_epi32(sums[b], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            };
        }
    }
    #[inline(always)]
    fn pin<const M: usize, const N: usize>(self, sums: &mut [[__m256i; N]; M]) {
        for a in 0..M {
            for b in 0..N {
                // SAFETY: the token proves AVX2.
                sums[a][b] = unsafe { keep(sums[a][b]) };
            }
        }
    }
    #[inline(always)]
    fn pin_partial<const M: usize, const N: usize>(self, sums: &mut [[__m256i; N]; M]) {
        self.pin(sums);
    }
}

/// The same vector, of which the compiler may assume nothing.
///
/// No instruction, but not `pure`: then the compiler may move it, and with it whole chains.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn keep(mut v: __m256i) -> __m256i {
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(ymm_reg) v, options(nomem, nostack, preserves_flags)) };
    v
}

/// The same of a longer vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn keep_512(mut v: __m512i) -> __m512i {
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(zmm_reg) v, options(nomem, nostack, preserves_flags)) };
    v
}
