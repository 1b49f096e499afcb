//! Rotary position embedding, half-split: element `i` of a head is paired with element `i + head_dim / 2`.
//!
//! ```text
//! y[i]       = x[i] cos - x[i + h/2] sin        angle = pos * theta^(-2 i / h)
//! y[i + h/2] = x[i + h/2] cos + x[i] sin
//! ```
//!
//! # Source
//! Su et al., "RoFormer", 2021; the pairing and the f32 angles are those of the Hugging Face implementations.

use super::simd::{F32s, Op};

/// Cosines and sines of every position in use, computed once: two tables of `[capacity, head_dim / 2]`.
///
/// Angles are rounded as the reference rounds them: `2i / h`, `theta^(2i/h)`, its reciprocal and the product with the
/// position are each an f32. Their cosine and sine are computed in f64 and rounded.
#[derive(Clone, Debug)]
pub struct RopeTable {
    half: usize,
    cos: Box<[f32]>,
    sin: Box<[f32]>,
}

impl RopeTable {
    /// The tables for positions `0..capacity`.
    ///
    /// # Panics
    /// If `head_dim` is odd or 0.
    pub fn new(theta: f64, head_dim: usize, capacity: usize) -> Self {
        assert!(head_dim > 0 && head_dim.is_multiple_of(2), "head_dim {head_dim} has no two halves");
        let half = head_dim / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                1.0 / (theta.powf(f64::from(exponent)) as f32)
            })
            .collect();
        let (mut cos, mut sin) = (Vec::with_capacity(capacity * half), Vec::with_capacity(capacity * half));
        for pos in 0..capacity {
            for frequency in &frequencies {
                let (s, c) = f64::from(pos as f32 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { half, cos: cos.into(), sin: sin.into() }
    }

    /// Number of positions.
    pub fn capacity(&self) -> usize {
        self.cos.len() / self.half
    }

    /// Numbers in a head.
    pub fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// Cosines of one position, `[head_dim / 2]`.
    ///
    /// # Panics
    /// If the position is beyond the capacity.
    pub fn cos(&self, pos: usize) -> &[f32] {
        &self.cos[pos * self.half..][..self.half]
    }

    /// Sines of one position, `[head_dim / 2]`.
    ///
    /// # Panics
    /// If the position is beyond the capacity.
    pub fn sin(&self, pos: usize) -> &[f32] {
        &self.sin[pos * self.half..][..self.half]
    }
}

/// Rotates every head of consecutive rows in place; the first row is at position `first`.
pub(crate) struct Rope<'a> {
    pub(crate) x: &'a mut [f32],
    pub(crate) width: usize,
    pub(crate) table: &'a RopeTable,
    pub(crate) first: usize,
}

impl Op for Rope<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: F32s>(self, s: S) {
        let half = self.table.half;
        for (i, row) in self.x.chunks_exact_mut(self.width).enumerate() {
            let (cos, sin) = (self.table.cos(self.first + i), self.table.sin(self.first + i));
            for head in row.chunks_exact_mut(2 * half) {
                let (low, high) = head.split_at_mut(half);
                rotate(s, low, high, cos, sin);
            }
        }
    }
}

#[inline(always)]
fn rotate<S: F32s>(s: S, low: &mut [f32], high: &mut [f32], cos: &[f32], sin: &[f32]) {
    let len = low.len();
    let mut i = 0;
    while i + S::LANES <= len {
        let (x, y) = (s.load(&low[i..]), s.load(&high[i..]));
        let (c, n) = (s.load(&cos[i..]), s.load(&sin[i..]));
        s.store(s.sub(s.mul(x, c), s.mul(y, n)), &mut low[i..]);
        s.store(s.add(s.mul(y, c), s.mul(x, n)), &mut high[i..]);
        i += S::LANES;
    }
    if i < len {
        let (x, y) = (s.load_partial(&low[i..]), s.load_partial(&high[i..]));
        let (c, n) = (s.load_partial(&cos[i..]), s.load_partial(&sin[i..]));
        s.store_partial(s.sub(s.mul(x, c), s.mul(y, n)), &mut low[i..]);
        s.store_partial(s.add(s.mul(y, c), s.mul(x, n)), &mut high[i..]);
    }
}
