//! Loops that do nothing but multiply: what the instructions of a unit can do at most.
//!
//! As many sums side by side as hide the latency of every CPU (two units of 4 to 5 cycles), and operands that stay in
//! registers and first-level cache. What is computed means nothing.

use super::gemm::Unit;
#[cfg(target_arch = "x86_64")]
use super::simd::{Amx, AmxOp, TILE_LANES, TILE_ROW, TILE_SIDE, TileConfig};
use super::simd::{DotOp, Dots, F32s, Tile, TileOp};
use crate::exec::Executor;
use crate::quant::{Code, Format};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sums side by side.
const SUMS: usize = 12;
/// Rounds of the loop of multiply-adds: milliseconds, against microseconds that threads take to start.
const FMA_ROUNDS: usize = 1_000_000;

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
const DOT_ROUNDS: usize = 100_000;
/// Bytes of the widest vector.
const VECTOR_BYTES: usize = 64;

struct DotProducts<'a> {
    code: Code,
    operations: &'a AtomicU64,
}

impl DotOp for DotProducts<'_> {
    #[inline(always)]
    fn run<D: Dots>(self, d: D) {
        let x = black_box([1i8; 4 * ROWS]);
        let mut xs = [d.zero(); ROWS];
        for a in 0..ROWS {
            // SAFETY: four bytes for each of the rows.
            xs[a] = unsafe { d.splat4(x.as_ptr().add(4 * a)) };
        }
        let codes = black_box([1u8; TILES * VECTORS * VECTOR_BYTES]);
        match self.code {
            Code::Int8 => dot_rounds::<D, false>(d, &codes, xs),
            Code::Int4 => dot_rounds::<D, true>(d, &codes, xs),
        }
        let each = <D::Float as F32s>::LANES * 4 * 2;
        self.operations.fetch_add((DOT_ROUNDS * TILES * SUMS * each) as u64, Ordering::Relaxed);
    }
}

/// Adds up the dot products of all codes with every row, again and again.
#[inline(always)]
fn dot_rounds<D: Dots, const INT4: bool>(
    d: D,
    codes: &[u8; TILES * VECTORS * VECTOR_BYTES],
    xs: [D::I; ROWS],
) {
    let mut sums = [[d.zero(); VECTORS]; ROWS];
    let mut partial = [[d.open(d.zero()); VECTORS]; ROWS];
    for _ in 0..DOT_ROUNDS {
        let codes = black_box(codes.as_ptr());
        for tile in 0..TILES {
            for b in 0..VECTORS {
                // SAFETY: the buffer holds that many vectors of any width.
                let codes = unsafe { d.load(codes.add((tile * VECTORS + b) * VECTOR_BYTES)) };
                for a in 0..ROWS {
                    if INT4 {
                        partial[a][b] = d.dot_int4(partial[a][b], codes, xs[a]);
                    } else {
                        sums[a][b] = d.dot_int8(sums[a][b], codes, xs[a]);
                    }
                }
            }
        }
    }
    black_box((sums, partial));
}

/// As [`FMA_ROUNDS`].
#[cfg(target_arch = "x86_64")]
const MATRIX_ROUNDS: usize = 100_000;

/// Products of whole tiles, of int8 or of bf16.
#[cfg(target_arch = "x86_64")]
struct Matrices<'a, const INT8: bool>(&'a AtomicU64);

#[cfg(target_arch = "x86_64")]
impl<const INT8: bool> AmxOp for Matrices<'_, INT8> {
    #[inline(always)]
    fn run(self, amx: Amx) {
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
        #[cfg(target_arch = "x86_64")]
        (Unit::AmxInt8(amx), _) => amx.run(Matrices::<true>(&operations)),
        #[cfg(target_arch = "x86_64")]
        (Unit::AmxBf16(amx), _) => amx.run(Matrices::<false>(&operations)),
        (Unit::Fma(level), _) => {
            operations.fetch_add(level.run_tile(Fmas), Ordering::Relaxed);
        }
    });
    operations.into_inner()
}
