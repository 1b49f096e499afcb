//! Softmax of a logits row, in two steps: the sums over the row, then the probabilities.
//!
//! ```text
//! z = (x - max) / temperature     sum = Σ e^z     weighted = Σ e^z z     p = e^z / sum
//! ```
//!
//! The entropy of `p` is `ln(sum) - weighted / sum`. Entries of -inf (banned tokens) contribute exactly 0 to both sums.

use super::exp::{LOWEST, exp};
use super::rows::load_or;
use super::simd::{F32s, Op};

/// The sums over a logits row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpSums {
    /// `Σ e^z`
    pub sum: f64,
    /// `Σ e^z z`
    pub weighted: f64,
}

/// Elements that are summed in f32 before they are added in f64: short enough that f32 keeps six digits.
const PIECE: usize = 2048;

/// See [`ExpSums`].
pub(crate) struct SumExp<'a> {
    pub(crate) row: &'a [f32],
    pub(crate) max: f32,
    pub(crate) inv_t: f32,
}

impl Op for SumExp<'_> {
    type Out = ExpSums;

    #[inline(always)]
    fn run<S: F32s>(self, s: S) -> ExpSums {
        let (max, inv_t) = (s.splat(self.max), s.splat(self.inv_t));
        let mut total = ExpSums::default();
        for piece in self.row.chunks(PIECE) {
            let (mut sum, mut weighted) = (s.splat(0.0), s.splat(0.0));
            let mut i = 0;
            while i < piece.len() {
                let x = load_or(s, &piece[i..], f32::NEG_INFINITY);
                let z = s.mul(s.sub(x, max), inv_t);
                let e = exp(s, z);
                sum = s.add(sum, e);
                // Where e is 0, z is finite after this, so that the product is 0 and not NaN.
                weighted = s.mul_add(e, s.max(s.splat(2.0 * LOWEST), z), weighted);
                i += S::LANES;
            }
            total.sum += f64::from(s.sum(sum));
            total.weighted += f64::from(s.sum(weighted));
        }
        total
    }
}

/// Turns a logits row into probabilities, given the sum.
pub(crate) struct Softmax<'a> {
    pub(crate) row: &'a mut [f32],
    pub(crate) max: f32,
    pub(crate) inv_t: f32,
    pub(crate) sum: f32,
}

impl Op for Softmax<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: F32s>(self, s: S) {
        let (max, inv_t, sum) = (s.splat(self.max), s.splat(self.inv_t), s.splat(self.sum));
        let mut i = 0;
        while i < self.row.len() {
            let rest = &mut self.row[i..];
            let p = s.div(exp(s, s.mul(s.sub(load_or(s, rest, f32::NEG_INFINITY), max), inv_t)), sum);
            if rest.len() >= S::LANES {
                s.store(p, rest);
            } else {
                s.store_partial(p, rest);
            }
            i += S::LANES;
        }
    }
}
