//! Loops that do nothing but multiply: what the instructions of a unit can do at most.
//!
//! As many sums side by side as hide the latency of every CPU (two units of 4 to 5 cycles), and operands that stay in
//! registers and first-level cache. What is computed means nothing.

use super::gemm::Unit;
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

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn run_matrix(self, mm: super::simd::NeonI8mm) {
        let x = [1i8; 16];
        // SAFETY: twice 8 of 16 bytes.
        let x = unsafe { mm.load_pair(x.as_ptr(), x.as_ptr().add(8)) };
        let mut sums = [mm.dots().zero(); SUMS];
        // The compiler does not know what the instruction computes, so nothing has to be loaded.
        for _ in 0..DOT_ROUNDS * TILES {
            for i in 0..SUMS {
                sums[i] = mm.mmla(sums[i], x, x);
            }
        }
        black_box(sums);
        // Of 2 by 2 outputs and 8 k.
        self.operations.fetch_add((DOT_ROUNDS * TILES * SUMS * 2 * 2 * 8 * 2) as u64, Ordering::Relaxed);
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

/// Runs the loop of `unit` for weights of `format` on every thread of `exec` and returns the number of operations.
pub(super) fn spin(unit: Unit, exec: &dyn Executor, format: Format) -> u64 {
    let operations = AtomicU64::new(0);
    exec.run(exec.width(), &|_| match (unit, format) {
        (Unit::Dot(dots), Format::Quant(quant)) => {
            dots.run(DotProducts { code: quant.code, operations: &operations });
        }
        (Unit::Dot(_), _) => unreachable!("integer units are never chosen for floats"),
        (Unit::Fma(level), _) => {
            operations.fetch_add(level.run_tile(Fmas), Ordering::Relaxed);
        }
    });
    operations.into_inner()
}
