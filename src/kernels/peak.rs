//! Loops that do nothing but multiply: what the instructions of a unit can do at most.
//!
//! As many sums side by side as hide the latency of every CPU (two units of 4 to 5 cycles), and operands that stay in
//! registers and first-level cache. What is computed means nothing.

use super::gemm::Unit;
use super::simd::{
    AmxOp, AmxTiles, DotOp, Dots, F32s, PairDots, TILE_LANES, TILE_ROW, TILE_SIDE, Tile, TileConfig, TileOp,
};
use crate::exec::Executor;
use crate::quant::{Code, Format};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sums side by side.
const SUMS: usize = 12;
/// Rounds of the loop of multiply-adds: fractions of a millisecond, against a microsecond or two that threads take to start.
const FMA_ROUNDS: usize = 100_000;

struct Fmas;

impl TileOp for Fmas {
    type Out = u64;

    #[inline(always)]
    fn run<S: Tile>(self, s: S) -> u64 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        let mut acc = [b; SUMS];
        for _ in 0..FMA_ROUNDS {
            for i in 0..SUMS {
                acc[i] = s.mul_add(acc[i], a, b);
            }
        }
        black_box(acc);
        (FMA_ROUNDS * SUMS * S::LANES * 2) as u64
    }
}

/// Rows of x and vectors of codes of the tile of integer dot products.
const ROWS: usize = 4;
const VECTORS: usize = SUMS / ROWS;
/// Tiles in a round. Codes have to be loaded: of constant ones the compiler would compute the sums without a loop.
const TILES: usize = 8;
/// As [`FMA_ROUNDS`].
const DOT_ROUNDS: usize = 10_000;
/// Bytes of the widest vector.
const VECTOR_BYTES: usize = 64;

/// An instruction, or a few, that adds products to sums.
trait Multiply: Copy {
    /// A vector of factors.
    type Factors: Copy;
    /// A vector of sums.
    type Sums: Copy;
    /// Operations of one call of [`Self::add`].
    const OPERATIONS: usize;

    fn zero(self) -> Self::Sums;
    /// # Safety
    /// `p` is valid for reads of [`VECTOR_BYTES`].
    unsafe fn load(self, p: *const u8) -> Self::Factors;
    fn add(self, sums: Self::Sums, codes: Self::Factors, x: Self::Factors) -> Self::Sums;
}

#[derive(Clone, Copy)]
struct Int8<D>(D);

impl<D: Dots> Multiply for Int8<D> {
    type Factors = D::I;
    type Sums = D::I;
    const OPERATIONS: usize = D::Float::LANES * 4 * 2;

    #[inline(always)]
    fn zero(self) -> D::I {
        self.0.zero()
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> D::I {
        // SAFETY: no vector is longer, the caller's contract.
        unsafe { self.0.load(p) }
    }
    #[inline(always)]
    fn add(self, sums: D::I, codes: D::I, x: D::I) -> D::I {
        let mut sums = [sums];
        self.0.dot_int8(&mut sums, &[codes], x);
        sums[0]
    }
}

#[derive(Clone, Copy)]
struct Int4<D>(D);

impl<D: Dots> Multiply for Int4<D> {
    type Factors = D::I;
    type Sums = D::Partial;
    const OPERATIONS: usize = D::Float::LANES * 4 * 2;

    #[inline(always)]
    fn zero(self) -> D::Partial {
        self.0.begin_int4(0)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> D::I {
        // SAFETY: no vector is longer, the caller's contract.
        unsafe { self.0.load(p) }
    }
    #[inline(always)]
    fn add(self, sums: D::Partial, codes: D::I, x: D::I) -> D::Partial {
        let mut sums = [sums];
        self.0.dot_int4(&mut sums, &[codes], x);
        sums[0]
    }
}

#[allow(dead_code, reason = "only one architecture has such a unit")]
#[derive(Clone, Copy)]
struct Pairs<P>(P);

impl<P: PairDots> Multiply for Pairs<P> {
    type Factors = P::I;
    type Sums = P::I;
    /// Two rows by two rows of eight bytes.
    const OPERATIONS: usize = 2 * 2 * 8 * 2;

    #[inline(always)]
    fn zero(self) -> Self::Sums {
        self.0.dots().zero()
    }
    #[inline(always)]
    unsafe fn load(self, p: *const u8) -> Self::Factors {
        // SAFETY: no vector is longer, the caller's contract.
        unsafe { self.0.dots().load(p) }
    }
    #[inline(always)]
    fn add(self, sums: Self::Sums, codes: Self::Factors, x: Self::Factors) -> Self::Sums {
        self.0.mmla(sums, x, codes)
    }
}

struct DotProducts<'a> {
    code: Code,
    operations: &'a AtomicU64,
}

impl DotProducts<'_> {
    /// Adds up the products of all codes with every row, again and again.
    #[inline(always)]
    fn rounds<P: Multiply>(self, p: P) {
        let x = black_box([1u8; ROWS * VECTOR_BYTES]);
        // SAFETY: the buffer holds that many vectors.
        let mut xs = [unsafe { p.load(x.as_ptr()) }; ROWS];
        for a in 1..ROWS {
            // SAFETY: as above.
            xs[a] = unsafe { p.load(x.as_ptr().add(a * VECTOR_BYTES)) };
        }
        let codes = black_box([1u8; TILES * VECTORS * VECTOR_BYTES]);
        let mut sums = [[p.zero(); VECTORS]; ROWS];
        for _ in 0..DOT_ROUNDS {
            let codes = black_box(codes.as_ptr());
            for tile in 0..TILES {
                for b in 0..VECTORS {
                    // SAFETY: the buffer holds that many vectors.
                    let codes = unsafe { p.load(codes.add((tile * VECTORS + b) * VECTOR_BYTES)) };
                    for a in 0..ROWS {
                        sums[a][b] = p.add(sums[a][b], codes, xs[a]);
                    }
                }
            }
        }
        black_box(sums);
        self.operations.fetch_add((DOT_ROUNDS * TILES * SUMS * P::OPERATIONS) as u64, Ordering::Relaxed);
    }
}

impl DotOp for DotProducts<'_> {
    type Out = ();

    #[inline(always)]
    fn run<D: Dots>(self, d: D) {
        match self.code {
            Code::Int8 => self.rounds(Int8(d)),
            Code::Int4 => self.rounds(Int4(d)),
        }
    }

    #[inline(always)]
    fn run_matrix<P: PairDots>(self, mm: P) {
        self.rounds(Pairs(mm));
    }
}

/// As [`FMA_ROUNDS`].
const MATRIX_ROUNDS: usize = 10_000;

/// Products of whole tiles, of int8 or of bf16.
struct Matrices<'a, const INT8: bool>(&'a AtomicU64);

impl<const INT8: bool> AmxOp for Matrices<'_, INT8> {
    #[inline(always)]
    fn run<A: AmxTiles>(self, amx: A) {
        // Operands of zeros: the unit takes as long for them as for others.
        amx.configure(&TileConfig::blocks([TILE_SIDE; 2], TILE_ROW));
        for _ in 0..MATRIX_ROUNDS {
            if INT8 {
                amx.dot_int8::<0, 4, 6>();
                amx.dot_int8::<1, 4, 7>();
                amx.dot_int8::<2, 5, 6>();
                amx.dot_int8::<3, 5, 7>();
            } else {
                amx.dot_bf16::<0, 4, 6>();
                amx.dot_bf16::<1, 4, 7>();
                amx.dot_bf16::<2, 5, 6>();
                amx.dot_bf16::<3, 5, 7>();
            }
        }
        let depth = if INT8 { TILE_ROW } else { TILE_ROW / 2 };
        self.0.fetch_add((MATRIX_ROUNDS * 4 * TILE_LANES * depth * 2) as u64, Ordering::Relaxed);
    }
}

/// Runs the loop of `unit` for weights of `format` on every thread of `exec` and returns the number of operations.
pub(super) fn spin(unit: Unit, exec: &dyn Executor, format: Format) -> u64 {
    let operations = AtomicU64::new(0);
    exec.run(exec.width(), &|_| match (unit, format) {
        (Unit::Dot(dots), Format::Quant(quant)) => {
            dots.run(DotProducts { code: quant.code, operations: &operations });
        }
        (Unit::Dot(_), _) => unreachable!("integer units are never chosen for floats"),
        (Unit::AmxInt8(amx), _) => amx.tiles(Matrices::<true>(&operations)),
        (Unit::AmxBf16(amx), _) => amx.tiles(Matrices::<false>(&operations)),
        (Unit::Fma(level), _) => {
            operations.fetch_add(level.run_tile(Fmas), Ordering::Relaxed);
        }
    });
    operations.into_inner()
}
