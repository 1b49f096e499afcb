//! [`Dots`]: integer dot products, four to a lane of 32 bits, and the tokens that have them.

use super::{Avx2, Avx512Vnni, AvxVnni, Neon, NeonDot, NeonI8mm, PairDots, Parts, Scalar, Shape, Tile};

/// Integer operations of tiles with int8 activations. A vector is as many lanes of 32 bits as [`Self::Float`] has.
///
/// All of it is exact, so every provider returns the same sums.
pub(crate) trait Dots: Parts {
    /// The token of f32 vectors with as many lanes.
    type Float: Tile;
    /// A vector of integers.
    type I: Copy;
    /// Sums of int4 codes.
    type Partial: Copy;
    /// The tiles that its micro-kernels compute, in ascending order of height: enough independent chains to hide the latency of a dot
    /// product, and no more than the registers hold.
    const SHAPES: &'static [Shape];
    /// Whether [`Self::Partial`] has two sums of 16 bits in a lane: such sums are closed every 64 k.
    const HALVES: bool = false;
    /// Instructions that multiply in [`Self::dot_int4`] and in [`Self::dot_int8`], for each strip.
    const MULTIPLICATIONS: [usize; 2] = [1, 1];
    /// Tiles of a block from which on int4 codes are unpacked once, not in every tile.
    const UNPACK_FROM: usize = usize::MAX;
    /// Sums of a tile with several strips up to which the end of a step is interleaved with its last dot products.
    const ROW_BY_ROW: usize = 0;

    /// The token of the f32 vectors.
    fn float(self) -> Self::Float;
    /// 0 in every lane.
    fn zero(self) -> Self::I;
    /// As many lanes of four bytes as the vector has.
    ///
    /// # Safety
    /// `p` is valid for reads of 4 bytes for every lane.
    unsafe fn load(self, p: *const u8) -> Self::I;
    /// Writes all lanes.
    ///
    /// # Safety
    /// `p` is valid for writes of 4 bytes for every lane.
    unsafe fn store(self, x: Self::I, p: *mut u8);
    /// The same four bytes in every lane.
    ///
    /// # Safety
    /// `p` is valid for reads of 4 bytes.
    unsafe fn splat4(self, p: *const i8) -> Self::I;
    /// Lanes as f32, rounded to nearest.
    fn to_f32(self, x: Self::I) -> <Self::Float as super::F32s>::V;
    /// Sums of lanes.
    fn add(self, a: Self::I, b: Self::I) -> Self::I;

    /// The low half of every byte.
    fn low(self, codes: Self::I) -> Self::I;
    /// The high half of every byte, moved down.
    fn high(self, codes: Self::I) -> Self::I;
    /// What sums of int4 codes begin with, given `-8 Σx`: as one number, or as two halves.
    fn begin_int4(self, begin: i32) -> Self::Partial;
    /// Adds the dot products of unsigned codes up to 15 and signed x of at least -127, for every strip.
    fn dot_int4<const N: usize>(self, sums: &mut [Self::Partial; N], codes: &[Self::I; N], x: Self::I);
    /// The sums in 32 bits.
    fn close(self, partial: Self::Partial) -> Self::I;

    /// What sums of int8 codes begin with, given `-128 Σx`.
    fn begin_int8(self, begin: i32) -> Self::I;
    /// Brings signed codes into the form that `dot_int8` takes.
    fn int8(self, codes: Self::I) -> Self::I;
    /// Adds the dot products of such codes and signed x of at least -127, for every strip.
    fn dot_int8<const N: usize>(self, sums: &mut [Self::I; N], codes: &[Self::I; N], x: Self::I);

    /// The same sums, at this place of the program, where the compiler would move what follows to the end.
    #[inline(always)]
    fn keep(self, sums: Self::I) -> Self::I {
        sums
    }
    /// Keeps every chain of additions as it is written, where the compiler would rearrange them until registers run out.
    #[inline(always)]
    fn pin<const M: usize, const N: usize>(self, sums: &mut [[Self::I; N]; M]) {
        let _ = sums;
    }
    /// The same for sums of int4 codes.
    #[inline(always)]
    fn pin_partial<const M: usize, const N: usize>(self, sums: &mut [[Self::Partial; N]; M]) {
        let _ = sums;
    }
}

/// Whether a tile of `m` rows and `n` strips ends its steps row by row. Tiles of one strip do not: their loops are nothing but dot
/// products whose operands are in memory, and in a prototype ending row by row made them slower.
pub(crate) const fn ends_by_rows<D: Dots>(m: usize, n: usize) -> bool {
    n > 1 && m * n <= D::ROW_BY_ROW
}

/// A kernel over [`Dots`].
pub(crate) trait DotOp {
    /// What the kernel returns.
    type Out;
    /// Runs it. Must be `#[inline(always)]`.
    fn run<D: Dots>(self, d: D) -> Self::Out;
    /// Runs it by matrix products. Must be `#[inline(always)]`.
    #[allow(dead_code, reason = "only one architecture has such a unit")]
    fn run_matrix<P: PairDots>(self, mm: P) -> Self::Out;
}

/// Instructions for integer dot products: a value is a proof that this CPU has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DotUnit {
    /// No vectors.
    Scalar(Scalar),
    /// `vpmaddubsw`, `vpmaddwd`.
    Avx2(Avx2),
    /// `vpdpbusd` on 256 bits.
    AvxVnni(AvxVnni),
    /// `vpdpbusd` on 512 bits.
    Avx512Vnni(Avx512Vnni),
    /// `smull`, `sadalp`.
    Neon(Neon),
    /// `sdot`.
    NeonDot(NeonDot),
    /// `smmla`; `sdot` for a single row.
    NeonI8mm(NeonI8mm),
}

impl DotUnit {
    /// Runs a kernel of integer dot products.
    pub(crate) fn run<O: DotOp>(self, op: O) -> O::Out {
        match self {
            Self::Scalar(d) => op.run(d),
            Self::Avx2(d) => d.dots(op),
            Self::AvxVnni(d) => d.dots(op),
            Self::Avx512Vnni(d) => d.dots(op),
            Self::Neon(d) => d.dots(op),
            Self::NeonDot(d) => d.dots(op),
            Self::NeonI8mm(d) => d.dots(op),
        }
    }

    /// The name in kernel ids.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            Self::Avx2(_) => "avx2",
            Self::AvxVnni(_) => "avxvnni",
            Self::Avx512Vnni(_) => "avx512vnni",
            Self::Neon(_) => "neon",
            Self::NeonDot(_) => "sdot",
            Self::NeonI8mm(_) => "smmla",
        }
    }
}

/// Four bytes of a lane.
fn bytes(x: i32) -> [i32; 4] {
    x.to_le_bytes().map(|x| i32::from(x as i8))
}

impl Dots for Scalar {
    type Float = Self;
    type I = i32;
    type Partial = i32;
    const SHAPES: &'static [Shape] = <Self as Tile>::SHAPES;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }
    #[inline(always)]
    fn zero(self) -> i32 {
        0
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> i32 {
        // SAFETY: 4 bytes, the caller's contract; unaligned read.
        unsafe { p.cast::<i32>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat4(self, p: *const i8) -> i32 {
        // SAFETY: 4 bytes, the caller's contract; unaligned read.
        unsafe { p.cast::<i32>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, x: i32, p: *mut u8) {
        // SAFETY: 4 bytes, the caller's contract; unaligned write.
        unsafe { p.cast::<i32>().write_unaligned(x) }
    }
    #[inline(always)]
    fn to_f32(self, x: i32) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn add(self, a: i32, b: i32) -> i32 {
        a + b
    }
    #[inline(always)]
    fn low(self, codes: i32) -> i32 {
        codes & 0x0f0f_0f0f
    }
    #[inline(always)]
    fn high(self, codes: i32) -> i32 {
        codes >> 4 & 0x0f0f_0f0f
    }
    #[inline(always)]
    fn begin_int4(self, begin: i32) -> i32 {
        begin
    }
    #[inline(always)]
    fn dot_int4<const N: usize>(self, sums: &mut [i32; N], codes: &[i32; N], x: i32) {
        self.dot_int8(sums, codes, x);
    }
    #[inline(always)]
    fn close(self, partial: i32) -> i32 {
        partial
    }
    #[inline(always)]
    fn begin_int8(self, _: i32) -> i32 {
        0
    }
    #[inline(always)]
    fn int8(self, codes: i32) -> i32 {
        codes
    }
    #[inline(always)]
    fn dot_int8<const N: usize>(self, sums: &mut [i32; N], codes: &[i32; N], x: i32) {
        let x = bytes(x);
        for b in 0..N {
            let codes = bytes(codes[b]);
            sums[b] += codes[0] * x[0] + codes[1] * x[1] + codes[2] * x[2] + codes[3] * x[3];
        }
    }
}
