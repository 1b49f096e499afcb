//! The gate of the feed-forward layer.
//!
//! ```text
//! silu(g) * u,   silu(g) = g / (1 + e^-g)
//! ```
//!
//! # Source
//! Shazeer, "GLU Variants Improve Transformer", 2020.

use super::exp::exp;
use super::rows::Lanewise;
use super::simd::F32s;

/// `silu(gate) * up`
#[derive(Clone, Copy)]
pub(crate) struct SwiGlu;

impl Lanewise for SwiGlu {
    #[inline(always)]
    fn apply<S: F32s>(self, s: S, gate: S::V, up: S::V) -> S::V {
        let denominator = s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), gate)));
        s.mul(s.div(gate, denominator), up)
    }
}
