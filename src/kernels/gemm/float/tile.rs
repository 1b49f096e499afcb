//! The FMA tile: `M` rows of x against `N` rows of weights, in dot form.
//!
//! Vectors run along k, where both operands are contiguous in memory, so weights are used as they are stored. A tile keeps
//! `M * N` accumulators in registers; each is one chain of fused additions over k in ascending order, whatever the shape of
//! the tile. So the bits of an output do not depend on which tile computed it: not on the number of rows, nor on how the
//! columns were cut into tasks.

use super::{Decode, WeightRow};
use crate::kernels::simd::{Part, Tile};

/// Columns that [`sweep`] covers without a remainder: a common multiple of all tile widths.
pub(crate) const NR: usize = 12;
/// Rows of a tile, unless fewer are left, and its columns with 32 vector registers and with 16.
const ROWS: usize = 4;
const WIDE: usize = 6;
const NARROW: usize = 3;

/// A GEMM for [`sweep`]: where operands come from, and where accumulators start and end.
///
/// # Safety
/// For the `m`, `n` and `k` given to `sweep`: `x(i)` with `i < m` and `w(j)` with `j < n` must have `k` elements.
pub(crate) unsafe trait TiledGemm {
    /// A row of weights.
    type Row: Decode;
    /// Elements from a row of weights to the next, if they come from memory, so that a tile must prefetch those of the next.
    fn stride(&self) -> Option<usize>;
    /// Told before every vector of k that a tile reads.
    #[inline(always)]
    fn before<S: Tile>(&mut self, s: S) {
        let _ = s;
    }
    /// Row `i` of x.
    fn x(&self, i: usize) -> WeightRow<f32>;
    /// Row `j` of the weights.
    fn w(&self, j: usize) -> Self::Row;
    /// The accumulators of outputs `(i .. i + M, j .. j + N)` before the first element of k.
    fn begin<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize, j: usize) -> [[S::V; N]; M];
    /// Takes them after the last element of k.
    fn end<S: Tile, const M: usize, const N: usize>(&mut self, s: S, i: usize, j: usize, acc: [[S::V; N]; M]);
}

/// Accumulates all `m * n` outputs over `k` elements.
///
/// Tiles have 8 to 12 accumulators where there are 16 registers, up to 24 where there are 32: 8 chains keep two FMA units busy
/// over a latency of 4 cycles. A single row is memory-bound, and reads no more than 6 rows of weights at once: rows lie a
/// multiple of 4 KiB apart in most models, so all streams fall into the same set of L1, which has 8 or 12 ways.
#[inline(always)]
pub(crate) fn sweep<S: Tile, P: TiledGemm>(s: S, gemm: &mut P, m: usize, n: usize, k: usize) {
    // SAFETY: all operands come from `gemm`, which promises them.
    unsafe { s.part(Sweep { s, gemm, m, n, k }) }
}

/// What [`sweep`] does.
struct Sweep<'a, S, P> {
    s: S,
    gemm: &'a mut P,
    m: usize,
    n: usize,
    k: usize,
}

impl<S: Tile, P: TiledGemm> Part for Sweep<'_, S, P> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { s, gemm, m, n, k } = self;
        let mut i = 0;
        while i < m {
            match (m - i, S::WIDE) {
                (1, _) => row_of_tiles::<S, P, 1, 6>(s, gemm, i, n, k),
                (2, false) => row_of_tiles::<S, P, 2, 4>(s, gemm, i, n, k),
                (2, true) => row_of_tiles::<S, P, 2, 6>(s, gemm, i, n, k),
                (3, false) => row_of_tiles::<S, P, 3, 3>(s, gemm, i, n, k),
                (3, true) => row_of_tiles::<S, P, 3, 6>(s, gemm, i, n, k),
                (_, false) => row_of_tiles::<S, P, ROWS, NARROW>(s, gemm, i, n, k),
                (_, true) => row_of_tiles::<S, P, ROWS, WIDE>(s, gemm, i, n, k),
            }
            i += ROWS;
        }
    }
}

/// Vectors of k that the tiles of [`sweep`] read: about how often [`TiledGemm::before`] is told.
#[inline(always)]
pub(super) fn vectors<S: Tile>(m: usize, n: usize, k: usize) -> usize {
    let columns = if S::WIDE { WIDE } else { NARROW };
    m.div_ceil(ROWS) * n.div_ceil(columns) * (k / S::LANES)
}

/// Rows `i .. i + M`, all columns.
#[inline(always)]
fn row_of_tiles<S: Tile, P: TiledGemm, const M: usize, const N: usize>(
    s: S,
    gemm: &mut P,
    i: usize,
    n: usize,
    k: usize,
) {
    let mut j = 0;
    while j + N <= n {
        tile::<S, P, M, N>(s, gemm, i, j, k);
        j += N;
    }
    while j < n {
        tile::<S, P, M, 1>(s, gemm, i, j, k);
        j += 1;
    }
}

/// One tile: gathers the operands' rows, runs the loop, passes the accumulators on.
#[inline(always)]
fn tile<S: Tile, P: TiledGemm, const M: usize, const N: usize>(
    s: S,
    gemm: &mut P,
    i: usize,
    j: usize,
    k: usize,
) {
    let mut x = [gemm.x(i); M];
    let mut w = [gemm.w(j); N];
    for a in 1..M {
        x[a] = gemm.x(i + a);
    }
    for b in 1..N {
        w[b] = gemm.w(j + b);
    }
    let mut acc = gemm.begin(s, i, j);
    let next = gemm.stride().map(|stride| N * stride);
    // SAFETY: `TiledGemm` promises k elements in every row of x and w.
    unsafe { fma_tile(s, gemm, x, w, k, next, &mut acc) };
    gemm.end(s, i, j, acc);
}

/// The sum over the lanes of every accumulator of a tile: eight or four at a time, which takes half the instructions of one after the
/// other and gives the same bits.
#[inline(always)]
pub(crate) fn sums<S: Tile, const M: usize, const N: usize>(s: S, acc: &[[S::V; N]; M]) -> [[f32; N]; M] {
    let mut sums = [[0.0; N]; M];
    for at in (0..M * N).step_by(8) {
        let mut v = [s.splat(0.0); 8];
        for t in at..(at + 8).min(M * N) {
            v[t - at] = acc[t / N][t % N];
        }
        let mut eight = [0.0; 8];
        if M * N - at > 4 {
            eight = s.sum8(v);
        } else {
            eight[..4].copy_from_slice(&s.sum4([v[0], v[1], v[2], v[3]]));
        }
        for t in at..(at + 8).min(M * N) {
            sums[t / N][t % N] = eight[t - at];
        }
    }
    sums
}

/// `acc[a][b] += x[a] · w[b]` over `k` elements, lane by lane.
///
/// `next`: elements from the rows of this tile to those of the next, which are fetched meanwhile. The hardware stops at every
/// page, and a tile of few rows of weights is a short stream. Measured on Zen 3 and Zen 4.
///
/// # Safety
/// Every `x` and `w` has `k` elements.
#[inline(always)]
unsafe fn fma_tile<S: Tile, P: TiledGemm, const M: usize, const N: usize>(
    s: S,
    gemm: &mut P,
    x: [WeightRow<f32>; M],
    w: [P::Row; N],
    k: usize,
    next: Option<usize>,
    acc: &mut [[S::V; N]; M],
) {
    let whole = k / S::LANES * S::LANES;
    let mut at = 0;
    while at < whole {
        if let Some(next) = next {
            for b in 0..N {
                w[b].prefetch(s, at + next);
            }
        }
        gemm.before(s);
        // SAFETY: at + LANES <= k.
        unsafe { step(s, x, w, at, S::LANES, acc) };
        at += S::LANES;
    }
    if at < k {
        // SAFETY: the k - at < LANES elements that are left.
        unsafe { step(s, x, w, at, k - at, acc) };
    }
}

/// One vector of k: the smaller side stays in registers while the other is streamed past it.
///
/// # Safety
/// Every `x` and `w` has the elements `at .. at + len`, and `len <= LANES`.
#[inline(always)]
unsafe fn step<S: Tile, W: Decode, const M: usize, const N: usize>(
    s: S,
    x: [WeightRow<f32>; M],
    w: [W; N],
    at: usize,
    len: usize,
    acc: &mut [[S::V; N]; M],
) {
    if M <= N {
        let mut xs = [s.splat(0.0); M];
        for a in 0..M {
            // SAFETY: the caller's contract.
            xs[a] = unsafe { load(s, x[a], at, len) };
        }
        for b in 0..N {
            // SAFETY: the caller's contract.
            let wb = unsafe { load(s, w[b], at, len) };
            for a in 0..M {
                acc[a][b] = s.mul_add(xs[a], wb, acc[a][b]);
            }
        }
    } else {
        let mut ws = [s.splat(0.0); N];
        for b in 0..N {
            // SAFETY: the caller's contract.
            ws[b] = unsafe { load(s, w[b], at, len) };
        }
        for a in 0..M {
            // SAFETY: the caller's contract.
            let xa = unsafe { load(s, x[a], at, len) };
            for b in 0..N {
                acc[a][b] = s.mul_add(xa, ws[b], acc[a][b]);
            }
        }
    }
}

/// A whole vector, or the start of one.
///
/// # Safety
/// The row has the elements `at .. at + len`, and `len <= LANES`.
#[inline(always)]
pub(crate) unsafe fn load<S: Tile, W: Decode>(s: S, row: W, at: usize, len: usize) -> S::V {
    // SAFETY: the caller's contract, in both arms.
    unsafe { if len == S::LANES { row.load(s, at) } else { row.load_partial(s, at, len) } }
}
