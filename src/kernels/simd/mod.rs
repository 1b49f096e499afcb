//! The vector operations that kernels are written in: [`F32s`] for row kernels, [`Tile`] for GEMM and attention tiles.
//!
//! A token (`Scalar`, `Avx2`, ..) is a zero-sized proof that the CPU has the instructions; it provides the operations. A
//! kernel is a struct of arguments with one generic `run` ([`Op`], [`TileOp`]), instantiated once per token by the
//! methods that `enter!` gives the tokens.
//!
//! The one trap: `#[target_feature]` is not allowed on trait methods, so everything between a trampoline and an intrinsic must
//! be inlined. Every function here and in the kernels is `#[inline(always)]` and uses plain loops, no closures; a forgotten
//! attribute shows up as a call per vector in the assembly and a tenfold loss in the bench.

mod dots;
#[allow(dead_code, reason = "no architecture has both units")]
mod matrix;
mod part;
mod scalar;

#[cfg_attr(not(target_arch = "aarch64"), path = "absent/aarch64.rs")]
mod aarch64;
#[cfg_attr(not(target_arch = "x86_64"), path = "absent/x86_64.rs")]
mod x86_64;

pub use aarch64::Neon;
pub(crate) use aarch64::{NeonDot, NeonI8mm};
pub(crate) use dots::{DotOp, DotUnit, Dots, ends_by_rows};
pub(crate) use matrix::{AmxOp, AmxTiles, PairDots, TILE_LANES, TILE_ROW, TILE_SIDE, TileConfig};
pub(crate) use part::{Part, Parts};
pub use scalar::Scalar;
pub use x86_64::{Amx, Avx2, Avx512};
pub(crate) use x86_64::{Avx512Vnni, AvxVnni};

use crate::dtype::F16;

/// Elements of int8 activations whose products with int4 codes can be added in two sums of 16 bits a lane: each then holds 32 products of at most
/// 8 * 127, which is 32512.
pub(crate) const RUN_16: usize = 64;

/// Lanes of the widest vector of any level.
pub(crate) const MAX_LANES: usize = 16;

/// Single-precision vector operations.
///
/// Every provider at the same width returns the same bits: lane operations are IEEE operations, and reductions go through
/// one fixed tree.
pub(crate) trait F32s: Copy {
    /// A vector of [`Self::LANES`] numbers.
    type V: Copy;
    /// Numbers in a vector: a power of two, at most [`MAX_LANES`].
    const LANES: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// The first `LANES` elements of `x`.
    fn load(self, x: &[f32]) -> Self::V;
    /// All of `x`, which has at most `LANES` elements; the other lanes are 0.
    fn load_partial(self, x: &[f32]) -> Self::V;
    /// Writes to the first `LANES` elements of `out`.
    fn store(self, v: Self::V, out: &mut [f32]);
    /// Writes the first lanes to all of `out`, which has at most `LANES` elements.
    fn store_partial(self, v: Self::V, out: &mut [f32]);

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`: rounded once, except on `Scalar`, where a fused operation would be a library call.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`, so `b` if either is NaN (`minps`).
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`, so `b` if either is NaN (`maxps`).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { yes } else { no }`
    fn select_lt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// `2^n`, where `t = 1.5 * 2^23 + n` and `-126 <= n <= 127`: the low bits of `t` become the exponent.
    ///
    /// This takes the place of rounding and float-to-integer conversion, which pulp does not have.
    fn pow2(self, t: Self::V) -> Self::V;

    /// The sum of all lanes: halves are added until one lane is left.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The largest lane, where none is NaN.
    #[inline(always)]
    fn top(self, v: Self::V) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        let mut top = lanes[0];
        for &lane in &lanes[1..Self::LANES] {
            top = if lane > top { lane } else { top };
        }
        top
    }
}

/// A tile that a micro-kernel computes: a number of rows of x against a number of vectors of rows of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Rows of x.
    pub(crate) height: usize,
    /// Vectors of weights, a strip each: 1, 2, 4 or 8.
    pub(crate) strips: usize,
    /// The same for int4 codes and int8 activations.
    pub(crate) int4_strips: usize,
}

impl Shape {
    /// The same number of strips for all codes.
    pub(crate) const fn new(height: usize, strips: usize) -> Self {
        Self { height, strips, int4_strips: strips }
    }

    /// Whether a tile of this height is ever one of several, where the tallest one has `tallest` rows: rows are shared out evenly.
    pub(crate) const fn in_company(height: usize, tallest: usize) -> bool {
        2 * height + 3 >= tallest
    }
}

/// What GEMM and attention tiles need beyond [`F32s`]: loads through pointers, widening loads, narrowing stores.
///
/// # Safety of the methods
/// `load_*` reads `LANES` elements at `p`, `load_*_partial` reads `len < LANES` elements (the other lanes are 0) and nothing
/// beyond them. `p` must be valid for these reads and aligned for its element type; it need not be aligned to a vector.
pub(crate) trait Tile: F32s + Parts {
    /// Whether there are 32 vector registers instead of 16. Decides the tile shapes.
    const WIDE: bool;
    /// The tiles of GEMM with quantized weights and f32 activations, in ascending order of height: enough independent chains for two units
    /// with a latency of 4 cycles, and no more than the registers hold.
    const SHAPES: &'static [Shape];
    /// Tiles of a block from which on int4 and int8 codes are widened once, not in every tile.
    const UNPACK_FROM: [usize; 2] = [usize::MAX; 2];

    /// # Safety
    /// `p` is valid for reads of `LANES` elements.
    unsafe fn load_f32(self, p: *const f32) -> Self::V;
    /// # Safety
    /// `p` is valid for reads of `len` elements, and `len < LANES`.
    unsafe fn load_f32_partial(self, p: *const f32, len: usize) -> Self::V;
    /// # Safety
    /// `p` is valid for writes of `LANES` elements.
    unsafe fn store_f32(self, v: Self::V, p: *mut f32);
    /// # Safety
    /// `p` is valid for reads of `LANES` elements.
    unsafe fn load_bf16(self, p: *const u16) -> Self::V;
    /// # Safety
    /// `p` is valid for reads of `len` elements, and `len < LANES`.
    unsafe fn load_bf16_partial(self, p: *const u16, len: usize) -> Self::V;
    /// # Safety
    /// `p` is valid for reads of `LANES` elements.
    unsafe fn load_f16(self, p: *const u16) -> Self::V;
    /// # Safety
    /// `p` is valid for reads of `len` elements, and `len < LANES`.
    unsafe fn load_f16_partial(self, p: *const u16, len: usize) -> Self::V;

    /// Prefetches the cache line at `p`, which need not be valid.
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        let _ = p;
    }

    /// The same into the second-level cache only, for what is read only after the first level would have evicted it.
    #[inline(always)]
    fn prefetch_l2(self, p: *const u8) {
        let _ = p;
    }

    /// `LANES` lanes of four bytes: quantization codes.
    type Codes: Copy;
    /// # Safety
    /// `p` is valid for reads of `4 * LANES` bytes. It need not be aligned.
    unsafe fn load_codes(self, p: *const u8) -> Self::Codes;
    /// Lanes that hold the bits of f32.
    fn numbers(self, codes: Self::Codes) -> Self::V;
    /// Half-byte `j < 8` of every lane, from the lowest on, as a number from 0 to 15.
    fn nibble(self, codes: Self::Codes, j: usize) -> Self::V;
    /// Byte `j < 4` of every lane, from the lowest on, as a signed number.
    fn byte(self, codes: Self::Codes, j: usize) -> Self::V;

    /// [`F32s::sum`] of each: the same bits, with fewer shuffles.
    #[inline(always)]
    fn sum4(self, v: [Self::V; 4]) -> [f32; 4] {
        [self.sum(v[0]), self.sum(v[1]), self.sum(v[2]), self.sum(v[3])]
    }

    /// The same of eight.
    #[inline(always)]
    fn sum8(self, v: [Self::V; 8]) -> [f32; 8] {
        let [a, b, c, d, e, f, g, h] = v;
        let ([a, b, c, d], [e, f, g, h]) = (self.sum4([a, b, c, d]), self.sum4([e, f, g, h]));
        [a, b, c, d, e, f, g, h]
    }

    /// Rounds lanes of at most 127 in magnitude to nearest, ties to even, into the first `LANES` elements of `out`; a NaN becomes
    /// any element.
    fn round_i8(self, v: Self::V, out: &mut [i8]);

    /// The sum of elements 0 and 1 of every four, and that of elements 2 and 3.
    #[inline(always)]
    fn sum_halves(self, x: &[i8; RUN_16]) -> [i16; 2] {
        let mut sums = [0; 2];
        for &[a, b, c, d] in x.as_chunks::<4>().0 {
            sums[0] += i16::from(a) + i16::from(b);
            sums[1] += i16::from(c) + i16::from(d);
        }
        sums
    }

    /// Rounds to nearest, ties to even, into the first `LANES` elements of `out`: the bits of [`F16::from_f32`].
    fn narrow(self, v: Self::V, out: &mut [F16]);
}

/// A row kernel: its arguments, and one body for every provider of [`F32s`].
pub(crate) trait Op {
    /// What the kernel returns.
    type Out;
    /// Runs it. Must be `#[inline(always)]`.
    fn run<S: F32s>(self, s: S) -> Self::Out;
}

/// A kernel that needs [`Tile`]: always runs on our own tokens.
pub(crate) trait TileOp {
    /// What the kernel returns.
    type Out;
    /// Runs it. Must be `#[inline(always)]`.
    fn run<S: Tile>(self, s: S) -> Self::Out;
}

/// The instruction set extensions of this CPU that kernels use or may use, by their usual names.
pub(crate) fn features() -> Vec<&'static str> {
    [x86_64::features(), aarch64::features()].concat()
}

/// Defines lane-wise methods of a token as the intrinsics of the same meaning.
#[allow(unused_macros, reason = "an architecture without vectors has nothing to define")]
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+) = $intrinsic:ident;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),+) -> Self::V {
            // SAFETY: the token proves the instruction set; the operation touches registers only.
            unsafe { $intrinsic($($arg),+) }
        }
    )+};
}
#[allow(unused_imports, reason = "as above")]
use lanewise;

/// Gives a token methods that run a kernel in code compiled for its instructions.
#[allow(unused_macros, reason = "as above")]
macro_rules! enter {
    ($token:ident, $features:literal, $($name:ident: $op:ident),+) => {
        impl $token {$(
            pub(crate) fn $name<O: $op>(self, op: O) -> O::Out {
                #[target_feature(enable = $features)]
                fn enter<O: $op>(token: $token, op: O) -> O::Out {
                    op.run(token)
                }
                // SAFETY: the token proves these features.
                unsafe { enter(self, op) }
            }
        )+}
        super::part::parts!($token, $features);
    };
}
#[allow(unused_imports, reason = "as above")]
use enter;

/// Defines tokens of another architecture: types without values, so that matches on units are the same on every one.
macro_rules! absent {
    ($($(#[$doc:meta])* $vis:vis $token:ident: $($name:ident: $op:ident),*;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis struct $token(std::convert::Infallible);

        impl $token {$(
            pub(crate) fn $name<O: $op>(self, _: O) -> O::Out {
                match self.0 {}
            }
        )*}
    )+};
}
use absent;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Level;

    /// The sum of each of eight vectors: four together, all together, and alone.
    struct Sums<'a>(&'a [f32]);

    impl TileOp for Sums<'_> {
        type Out = [[f32; 8]; 3];
        #[inline(always)]
        fn run<S: Tile>(self, s: S) -> Self::Out {
            let mut v = [s.splat(0.0); 8];
            let mut alone = [0.0; 8];
            for i in 0..8 {
                v[i] = s.load(&self.0[i * MAX_LANES..]);
                alone[i] = s.sum(v[i]);
            }
            let mut fours = [0.0; 8];
            fours[..4].copy_from_slice(&s.sum4([v[0], v[1], v[2], v[3]]));
            fours[4..].copy_from_slice(&s.sum4([v[4], v[5], v[6], v[7]]));
            [fours, s.sum8(v), alone]
        }
    }

    #[test]
    fn sums_of_several_vectors_are_the_sums_of_each() {
        // Numbers that use all bits of the mantissa: another order of additions rounds differently.
        let x: Vec<f32> =
            (0..8 * MAX_LANES as u32).map(|i| ((i * i * 7919 + 1) % 4099) as f32 / 0.8e-3).collect();
        for level in Level::available() {
            let [fours, eight, alone] = level.run_tile(Sums(&x)).map(|sums| sums.map(f32::to_bits));
            assert_eq!(fours, alone, "level {}", level.name());
            assert_eq!(eight, alone, "level {}", level.name());
        }
    }

    /// The largest lane of a vector, and sums of bytes.
    struct Reductions<'a>(&'a [f32], &'a [i8; RUN_16]);

    impl TileOp for Reductions<'_> {
        type Out = (f32, f32, [i16; 2]);
        #[inline(always)]
        fn run<S: Tile>(self, s: S) -> Self::Out {
            let top = self.0[..S::LANES].iter().fold(f32::NEG_INFINITY, |top, &x| top.max(x));
            (s.top(s.load(self.0)), top, s.sum_halves(self.1))
        }
    }

    #[test]
    fn the_largest_lane_is_found_wherever_it_is_and_bytes_are_added_in_halves() {
        for place in 0..MAX_LANES {
            let mut x = [-3.0; MAX_LANES];
            x[place] = -1.5;
            let bytes = std::array::from_fn(|i| if i % 4 == place % 4 { -127 } else { i as i8 });
            let half = |half: usize| {
                (0..RUN_16).filter(|i| i % 4 / 2 == half).map(|i| i16::from(bytes[i])).sum::<i16>()
            };
            for level in Level::available() {
                let (top, want, halves) = level.run_tile(Reductions(&x, &bytes));
                assert_eq!(top, want, "lane {place}, level {}", level.name());
                assert_eq!(halves, [half(0), half(1)], "level {}", level.name());
            }
        }
    }
}
