//! Loops that do nothing but multiply: what the instructions of a unit can do at most.
//!
//! There are enough independent sums to hide the latency on every CPU (two units of 4 to 5 cycles), and the operands stay in
//! registers and first-level cache. The results mean nothing.

use super::gemm::Unit;
use super::simd::{
    AmxOp, AmxTiles, DotOp, Dots, F32s, PairDots, TILE_LANES, TILE_ROW, TILE_SIDE, Tile, TileConfig, TileOp,
};
use crate::exec::Executor;
use crate::quant::{Code, Format};
use crate::system::Stopwatch;
use std::hint::black_box;
use std::sync::Mutex;

/// Independent sums.
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
/// Tiles in a round. Codes have to be loaded: with constant ones the compiler would compute the sums without a loop.
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

struct DotProducts {
    code: Code,
}

impl DotProducts {
    /// Adds up the products of all codes with every row, over and over; returns the number of operations.
    #[inline(always)]
    fn rounds<P: Multiply>(self, p: P) -> u64 {
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
        (DOT_ROUNDS * TILES * SUMS * P::OPERATIONS) as u64
    }
}

impl DotOp for DotProducts {
    type Out = u64;

    #[inline(always)]
    fn run<D: Dots>(self, d: D) -> u64 {
        match self.code {
            Code::Int8 => self.rounds(Int8(d)),
            Code::Int4 => self.rounds(Int4(d)),
        }
    }

    #[inline(always)]
    fn run_matrix<P: PairDots>(self, mm: P) -> u64 {
        self.rounds(Pairs(mm))
    }
}

/// As [`FMA_ROUNDS`].
const MATRIX_ROUNDS: usize = 10_000;

/// Multiplications of whole tiles, of int8 or of bf16.
struct Matrices<const INT8: bool>;

impl<const INT8: bool> AmxOp for Matrices<INT8> {
    #[inline(always)]
    fn run<A: AmxTiles>(self, amx: A) {
        // Operands of zeros: the unit takes as long for them as for any others.
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
    }
}

/// Operations of all rounds, with `depth` elements of k in a tile.
fn matrix_operations(depth: usize) -> u64 {
    (MATRIX_ROUNDS * 4 * TILE_LANES * depth * 2) as u64
}

/// What [`Kernels::spin`](super::Kernels::spin) did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin {
    /// Operations of all threads: a multiplication and an addition are two.
    pub operations: u64,
    /// Operations per second: the sum over all threads, each by the CPU time that it got.
    pub rate: f64,
}

/// Runs the loop of `unit` for weights of `format` on every thread of `exec`.
pub(super) fn spin(unit: Unit, exec: &dyn Executor, format: Format) -> Spin {
    let all = Mutex::new(Spin::default());
    exec.run(exec.width(), &|_| {
        let watch = Stopwatch::start();
        let operations = spin_thread(unit, format);
        let rate = operations as f64 / watch.seconds();
        let mut all = all.lock().expect("no task panics");
        all.operations += operations;
        all.rate += rate;
    });
    all.into_inner().expect("no task panics")
}

/// Runs the loop of `unit` once and returns the number of operations.
fn spin_thread(unit: Unit, format: Format) -> u64 {
    match (unit, format) {
        (Unit::Dot(dots), Format::Quant(quant)) => dots.run(DotProducts { code: quant.code }),
        (Unit::Dot(_), _) => unreachable!("integer units are never chosen for floats"),
        (Unit::AmxInt8(amx), _) => {
            amx.tiles(Matrices::<true>);
            matrix_operations(TILE_ROW)
        }
        (Unit::AmxBf16(amx), _) => {
            amx.tiles(Matrices::<false>);
            matrix_operations(TILE_ROW / 2)
        }
        (Unit::Fma(level), _) => level.run_tile(Fmas),
    }
}

/// See [`Kernels::operations_per_cycle`](super::Kernels::operations_per_cycle).
pub(super) fn operations_per_cycle(unit: Unit, format: Format) -> Option<u32> {
    // Products that a multiplication adds up, and multiplications that they take.
    let (products, multiplications) = match (unit, format) {
        (unit, _) if !unit.is_vector() => return None,
        (Unit::Fma(level), _) => (level.run_tile(Lanes), 1),
        (Unit::Dot(dots), Format::Quant(quant)) => dots.run(DotCount(quant.code)),
        (Unit::Dot(_), _) => return None,
        // A multiplication of tiles takes as many cycles as a tile has rows.
        (Unit::AmxInt8(_), _) => (TILE_SIDE * TILE_ROW / 2, 1),
        (Unit::AmxBf16(_), _) => (TILE_SIDE * TILE_ROW / 4, 1),
    };
    u32::try_from(2 * 2 * products / multiplications).ok()
}

/// Lanes of a vector.
struct Lanes;

impl TileOp for Lanes {
    type Out = usize;

    #[inline(always)]
    fn run<S: Tile>(self, _: S) -> usize {
        S::LANES
    }
}

/// Products of codes of this width that a vector operation adds up, and its instructions that multiply.
struct DotCount(Code);

impl DotOp for DotCount {
    type Out = (usize, usize);

    #[inline(always)]
    fn run<D: Dots>(self, _: D) -> (usize, usize) {
        let multiplications =
            if self.0 == Code::Int4 { D::MULTIPLICATIONS[0] } else { D::MULTIPLICATIONS[1] };
        (D::Float::LANES * 4, multiplications)
    }

    #[inline(always)]
    fn run_matrix<P: PairDots>(self, _: P) -> (usize, usize) {
        (<Pairs<P> as Multiply>::OPERATIONS / 2, 1)
    }
}
