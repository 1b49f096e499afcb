//! [`End`]: what happens to the sums of a step.

use super::{Codes, MicroKernel, Stats};
use crate::kernels::simd::{F32s, Tile};

/// The end of a step for a tile against `N` strips: where scales, minima and accumulators are.
pub(in crate::kernels::gemm) struct End<const N: usize> {
    /// Scales of the step's group, of every strip.
    pub(super) scales: [*const u16; N],
    /// How many elements after a scale its minimum is, if there are zero points.
    pub(super) minima: Option<usize>,
    /// Of every row of the tile.
    pub(super) stats: *const Stats,
    /// `[rows][N][lanes]`.
    pub(super) acc: *mut f32,
}

/// What the sums of a step are multiplied with.
pub(super) struct Factors<V, const N: usize> {
    pub(super) scale: [V; N],
    /// What Σ x is multiplied with, if the sums leave something to do.
    pub(super) minimum: Option<[V; N]>,
}

/// A vector of the floats of micro-kernel `A`.
type Vector<A, X> = <<A as MicroKernel<X>>::Float as F32s>::V;

impl<const N: usize> End<N> {
    /// Adds the sums of all rows to the accumulators.
    ///
    /// # Safety
    /// As [`Self::row`] for `M` rows, and as [`Self::factors`].
    #[inline(always)]
    pub(super) unsafe fn add<X, A: MicroKernel<X>, C: Codes, const M: usize>(
        &self,
        a: A,
        sums: &[[A::Sum; N]; M],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let factors = self.factors::<X, A, C>(a);
            for row in 0..M {
                self.row(a, &factors, row, &sums[row]);
            }
        }
    }

    /// Loads scales and minima.
    ///
    /// # Safety
    /// The group has a scale, and a minimum if there are zero points, for every row of the panel.
    #[inline(always)]
    pub(super) unsafe fn factors<X, A: MicroKernel<X>, C: Codes>(&self, a: A) -> Factors<Vector<A, X>, N> {
        let s = a.float();
        let (mut scale, mut minimum) = ([s.splat(0.0); N], None);
        for b in 0..N {
            // SAFETY: the caller's contract.
            let least = unsafe {
                scale[b] = s.load_f16(self.scales[b]);
                self.minima.map(|minima| s.load_f16(self.scales[b].add(minima)))
            };
            let least = match least {
                Some(least) if A::CENTRED => Some(s.mul_add(scale[b], s.splat(8.0), least)),
                None if !A::CENTRED && C::INT4 => Some(s.mul(scale[b], s.splat(-8.0))),
                least => least,
            };
            if let Some(least) = least {
                minimum.get_or_insert([least; N])[b] = least;
            }
        }
        Factors { scale, minimum }
    }

    /// Adds the sums of one row to its accumulators.
    ///
    /// # Safety
    /// There are stats and accumulators for `row`.
    #[inline(always)]
    pub(super) unsafe fn row<X, A: MicroKernel<X>>(
        &self,
        a: A,
        Factors { scale, minimum }: &Factors<Vector<A, X>, N>,
        row: usize,
        sums: &[A::Sum; N],
    ) {
        let s = a.float();
        // SAFETY: the caller's contract.
        let (stats, acc) = unsafe { (&*self.stats.add(row), self.acc.add(row * N * A::Float::LANES)) };
        for b in 0..N {
            // SAFETY: as above.
            unsafe {
                let acc = acc.add(b * A::Float::LANES);
                let mut v = s.mul_add(a.scaled(sums[b], stats), scale[b], s.load_f32(acc));
                if let Some(minimum) = minimum {
                    v = s.mul_add(s.splat(stats.sum), minimum[b], v);
                }
                s.store_f32(v, acc);
            }
        }
    }
}
