//! Root mean square normalization of rows, or of every head of every row.
//!
//! ```text
//! y = w * x / sqrt(mean(x^2) + eps)
//! ```
//!
//! # Shapes
//! `x`: any number of segments of `width`, one after the other; `weight`: `[width]`. A segment is a row, or a head.
//!
//! # Source
//! Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019. Rounding order as in the reference implementations: the
//! normalized value is rounded before it is multiplied by the weight.

use super::rows::{Lanewise, zip};
use super::simd::{F32s, Op};

/// Normalizes segments of `weight.len()` in place.
pub(crate) struct RmsNorm<'a> {
    pub(crate) x: &'a mut [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) eps: f32,
}

impl Op for RmsNorm<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: F32s>(self, s: S) {
        for x in self.x.chunks_exact_mut(self.weight.len()) {
            let mean = sum_of_squares(s, x) / x.len() as f32;
            zip(s, x, self.weight, Scale { factor: 1.0 / (mean + self.eps).sqrt() });
        }
    }
}

/// Four independent chains, or the latency of one addition would set the pace.
#[inline(always)]
fn sum_of_squares<S: F32s>(s: S, x: &[f32]) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let mut i = 0;
    while i + 4 * S::LANES <= x.len() {
        for (chain, sum) in sums.iter_mut().enumerate() {
            let v = s.load(&x[i + chain * S::LANES..]);
            *sum = s.mul_add(v, v, *sum);
        }
        i += 4 * S::LANES;
    }
    while i + S::LANES <= x.len() {
        let v = s.load(&x[i..]);
        sums[0] = s.mul_add(v, v, sums[0]);
        i += S::LANES;
    }
    if i < x.len() {
        let v = s.load_partial(&x[i..]);
        sums[1] = s.mul_add(v, v, sums[1]);
    }
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

/// `(x * factor) * weight`
#[derive(Clone, Copy)]
struct Scale {
    factor: f32,
}

impl Lanewise for Scale {
    #[inline(always)]
    fn apply<S: F32s>(self, s: S, x: S::V, weight: S::V) -> S::V {
        s.mul(s.mul(x, s.splat(self.factor)), weight)
    }
}
