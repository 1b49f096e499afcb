//! Rotary position embedding, half-split: of the `r` rotated elements of a head, `i` is paired with `i + r / 2`.
//!
//! ```text
//! y[i]       = x[i] cos - x[i + r/2] sin        angle = pos * theta^(-2 i / r), unless the frequencies are scaled
//! y[i + r/2] = x[i + r/2] cos + x[i] sin
//! ```
//!
//! # Source
//! Su et al., "RoFormer", 2021; the pairing and the f32 angles are those of the Hugging Face implementations.

use super::simd::{F32s, Op};

/// Which elements of a head are rotated, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How many elements of a head are rotated, from the first; even. The others pass unchanged.
    pub rotated: usize,
    /// How the frequencies are changed for sequences longer than those of the training.
    pub scaling: RopeScaling,
}

/// See [`Rope::scaling`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency is divided by the factor: positions are interpolated.
    Linear {
        /// How many times as long sequences may be.
        factor: f64,
    },
    /// Slow frequencies are divided by the factor, fast ones stay, and those between are mixed (Peng et al., "YaRN", 2023).
    Yarn(Yarn),
}

/// The numbers of YaRN. With `at(n) = r ln(L / (2 pi n)) / (2 ln theta)` for `r` rotated elements, the ramp from 0 to 1 runs
/// from `floor(at(beta_fast))` to `ceil(at(beta_slow))`: it says how much of each frequency is interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// How many times as long sequences may be.
    pub factor: f64,
    /// L, the number of positions that the model was first trained for.
    pub original: usize,
    /// Rotations over L from which on a frequency stays.
    pub beta_fast: f64,
    /// Rotations over L up to which a frequency is interpolated in full.
    pub beta_slow: f64,
    /// What cosines and sines are multiplied by.
    pub attention: f64,
    /// Queries at position `p` are multiplied by `1 + queries * ln(1 + floor(p / L))` after RoPE. 0: by nothing. Source:
    /// Ministral 3.
    pub queries: f64,
}

impl Rope {
    /// All of a head of `head_dim` elements, unscaled.
    pub fn new(theta: f64, head_dim: usize) -> Self {
        Self { theta, rotated: head_dim, scaling: RopeScaling::None }
    }

    /// The frequency of every rotated pair. Each step is rounded to f32 where the reference rounds it.
    fn frequencies(&self) -> Vec<f32> {
        let r = self.rotated as f32;
        let power = |i: usize| self.theta.powf(f64::from((2 * i) as f32 / r)) as f32;
        let pairs = 0..self.rotated / 2;
        match self.scaling {
            RopeScaling::None => pairs.map(|i| 1.0 / power(i)).collect(),
            RopeScaling::Linear { factor } => pairs.map(|i| 1.0 / power(i) / factor as f32).collect(),
            RopeScaling::Yarn(yarn) => {
                let (low, high) = yarn.ramp(self.theta, self.rotated);
                let mixed = |i: usize| {
                    let interpolated = ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
                    let (fast, slow) = (1.0 / power(i), 1.0 / (yarn.factor as f32 * power(i)));
                    slow * interpolated + fast * (1.0 - interpolated)
                };
                pairs.map(mixed).collect()
            }
        }
    }
}

impl Rope {
    /// See [`Yarn::queries`]; empty if there are none.
    fn query_factors(&self, capacity: usize) -> Box<[f32]> {
        let RopeScaling::Yarn(Yarn { original, queries, .. }) = self.scaling else { return Box::default() };
        if queries == 0.0 {
            return Box::default();
        }
        // The floor of a quotient of whole numbers.
        let factor = |pos: usize| 1.0 + queries as f32 * (1.0 + (pos / original) as f32).ln();
        (0..capacity).map(factor).collect()
    }
}

impl Yarn {
    /// Where the ramp begins and ends.
    fn ramp(&self, theta: f64, rotated: usize) -> (f32, f32) {
        let at = |rotations: f64| {
            let turns = self.original as f64 / (rotations * 2.0 * std::f64::consts::PI);
            rotated as f64 * turns.ln() / (2.0 * theta.ln())
        };
        let low = at(self.beta_fast).floor().max(0.0) as f32;
        let high = at(self.beta_slow).ceil().min((rotated - 1) as f64) as f32;
        // A ramp without length would divide by 0.
        (low, if low == high { high + 0.001 } else { high })
    }
}

/// Cosines and sines of every position in use, computed once: two tables of `[capacity, rotated / 2]`.
///
/// Angles are rounded as the reference rounds them: `2i / r`, `theta^(2i/r)`, the frequency and the product with the
/// position are each an f32. Their cosine and sine are computed in f64 and rounded.
#[derive(Clone, Debug)]
pub struct RopeTable {
    head_dim: usize,
    half: usize,
    cos: Box<[f32]>,
    sin: Box<[f32]>,
    /// What queries are multiplied by, for every position; empty: by nothing.
    queries: Box<[f32]>,
}

impl RopeTable {
    /// The tables for positions `0..capacity` of heads of `head_dim` elements.
    ///
    /// # Panics
    /// If the number of rotated elements is odd, 0, or larger than `head_dim`.
    pub fn new(rope: &Rope, head_dim: usize, capacity: usize) -> Self {
        let rotated = rope.rotated;
        let halves = rotated > 0 && rotated.is_multiple_of(2) && rotated <= head_dim;
        assert!(halves, "{rotated} of {head_dim} elements of a head cannot be halved");
        let half = rotated / 2;
        let frequencies = rope.frequencies();
        let scale = match rope.scaling {
            RopeScaling::None | RopeScaling::Linear { .. } => 1.0,
            RopeScaling::Yarn(yarn) => yarn.attention as f32,
        };
        let (mut cos, mut sin) = (Vec::with_capacity(capacity * half), Vec::with_capacity(capacity * half));
        for pos in 0..capacity {
            for frequency in &frequencies {
                let (s, c) = f64::from(pos as f32 * frequency).sin_cos();
                cos.push(c as f32 * scale);
                sin.push(s as f32 * scale);
            }
        }
        Self { head_dim, half, cos: cos.into(), sin: sin.into(), queries: rope.query_factors(capacity) }
    }

    /// What the queries at a position are multiplied by after RoPE, if by anything.
    ///
    /// # Panics
    /// If the position is beyond the capacity.
    pub fn query_factor(&self, pos: usize) -> Option<f32> {
        (!self.queries.is_empty()).then(|| self.queries[pos])
    }

    /// Number of positions.
    pub fn capacity(&self) -> usize {
        self.cos.len() / self.half
    }

    /// Numbers in a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Cosines of one position, `[rotated / 2]`.
    ///
    /// # Panics
    /// If the position is beyond the capacity.
    pub fn cos(&self, pos: usize) -> &[f32] {
        &self.cos[pos * self.half..][..self.half]
    }

    /// Sines of one position, `[rotated / 2]`.
    ///
    /// # Panics
    /// If the position is beyond the capacity.
    pub fn sin(&self, pos: usize) -> &[f32] {
        &self.sin[pos * self.half..][..self.half]
    }
}

/// Rotates every head of consecutive rows in place; the first row is at position `first`.
pub(crate) struct Rotate<'a> {
    pub(crate) x: &'a mut [f32],
    pub(crate) width: usize,
    pub(crate) table: &'a RopeTable,
    pub(crate) first: usize,
}

impl Op for Rotate<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: F32s>(self, s: S) {
        let half = self.table.half;
        for (i, row) in self.x.chunks_exact_mut(self.width).enumerate() {
            let (cos, sin) = (self.table.cos(self.first + i), self.table.sin(self.first + i));
            for head in row.chunks_exact_mut(self.table.head_dim) {
                let (low, high) = head[..2 * half].split_at_mut(half);
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
