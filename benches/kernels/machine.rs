//! What this machine can do at most, measured in the same run: memory read bandwidth and fused multiply-adds.

use diffulex::exec::Executor;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads the buffer once. Returns something that depends on all of it.
pub(crate) fn read(exec: &dyn Executor, buffer: &[u64]) -> u64 {
    let (width, total) = (exec.width(), AtomicU64::new(0));
    let share = buffer.len() / width;
    exec.run(width, &|i| {
        // Eight streams, as many as a tile of few rows has; a page at a time from each.
        let part = &buffer[i * share..][..share];
        let mut sums = [0u64; 16];
        for at in (0..share / 8).step_by(512) {
            for stream in part.chunks_exact(share / 8) {
                for line in stream[at..][..512].as_chunks::<16>().0 {
                    for (sum, x) in sums.iter_mut().zip(line) {
                        *sum ^= x;
                    }
                }
            }
        }
        total.fetch_xor(sums.iter().fold(0, |a, b| a ^ b), Ordering::Relaxed);
    });
    total.into_inner()
}

/// Rounds of the FMA loops.
const ROUNDS: usize = 100_000;

/// Runs 256-bit multiply-adds on every thread and returns their number of operations; `None` without the instructions.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fma(exec: &dyn Executor) -> Option<u64> {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx2,fma")]
    fn spin() {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
        let mut acc = [b; 12];
        for _ in 0..ROUNDS {
            for x in &mut acc {
                *x = _mm256_fmadd_ps(*x, a, b);
            }
        }
        black_box(acc);
    }
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return None;
    }
    // SAFETY: both features were checked above.
    exec.run(exec.width(), &|_| unsafe { spin() });
    Some((ROUNDS * 12 * 8 * 2 * exec.width()) as u64)
}

/// As [`fma`], 512-bit.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fma_wide(exec: &dyn Executor) -> Option<u64> {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx512f")]
    fn spin() {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
        let mut acc = [b; 24];
        for _ in 0..ROUNDS {
            for x in &mut acc {
                *x = _mm512_fmadd_ps(*x, a, b);
            }
        }
        black_box(acc);
    }
    if !is_x86_feature_detected!("avx512f") {
        return None;
    }
    // SAFETY: the feature was checked above.
    exec.run(exec.width(), &|_| unsafe { spin() });
    Some((ROUNDS * 24 * 16 * 2 * exec.width()) as u64)
}

/// No limit is measured here yet.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fma(_: &dyn Executor) -> Option<u64> {
    None
}

/// No limit is measured here yet.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fma_wide(_: &dyn Executor) -> Option<u64> {
    None
}
