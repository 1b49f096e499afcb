//! The formulas as plain f64 loops: what the kernels are held against.
#![allow(dead_code, reason = "every program that includes this file uses another part")]

pub(crate) mod cases;
pub(crate) mod matrices;
pub(crate) mod products;

use diffulex::kernels::{Rope, RopeScaling};

/// Half the distance from 1 to the next f32.
pub(crate) const EPS: f64 = 5.97e-8;

/// A sum of products, and the sum of their magnitudes: what rounding errors are measured against.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dot {
    pub(crate) value: f64,
    pub(crate) magnitude: f64,
}

/// `out[i, j] = Σ_k x[i, k] w[j, k] + bias[j]`; `magnitudes` are those of `w`.
pub(crate) fn gemm(x: &[f32], w: &[f32], magnitudes: &[f32], bias: Option<&[f32]>, k: usize) -> Vec<Dot> {
    let mut out = Vec::new();
    for x in x.chunks(k) {
        for (j, (w, magnitudes)) in w.chunks(k).zip(magnitudes.chunks(k)).enumerate() {
            let mut dot = Dot::default();
            for ((x, w), magnitude) in x.iter().zip(w).zip(magnitudes) {
                dot.value += f64::from(*x) * f64::from(*w);
                dot.magnitude += f64::from(x.abs()) * f64::from(*magnitude);
            }
            if let Some(bias) = bias {
                dot.value += f64::from(bias[j]);
                dot.magnitude += f64::from(bias[j]).abs();
            }
            out.push(dot);
        }
    }
    out
}

/// `w x / sqrt(mean(x^2) + eps)` for every segment of `weight.len()`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let mut out = Vec::new();
    for x in x.chunks(weight.len()) {
        let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
        let factor = 1.0 / (mean + f64::from(eps)).sqrt();
        out.extend(x.iter().zip(weight).map(|(&x, &w)| f64::from(w) * f64::from(x) * factor));
    }
    out
}

/// Half-split rotation of one head at position `pos`, angles rounded to f32 as the models define them.
pub(crate) fn rope(head: &[f32], theta: f64, pos: usize) -> Vec<f64> {
    let half = head.len() / 2;
    let mut out = vec![0.0; head.len()];
    for i in 0..half {
        let exponent = 2.0 * i as f32 / head.len() as f32;
        let frequency = 1.0f32 / theta.powf(f64::from(exponent)) as f32;
        let angle = f64::from(pos as f32 * frequency);
        let (x, y) = (f64::from(head[i]), f64::from(head[i + half]));
        out[i] = x * angle.cos() - y * angle.sin();
        out[i + half] = y * angle.cos() + x * angle.sin();
    }
    out
}

/// The same with the frequencies of the formulas in f64: `inv[i] = theta^(-2i/r)`, divided by the factor, or mixed as YaRN does.
pub(crate) fn scaled_rope(head: &[f32], rope: &Rope, pos: usize) -> Vec<f64> {
    let (r, theta) = (rope.rotated as f64, rope.theta);
    let mut out: Vec<f64> = head.iter().map(|&x| f64::from(x)).collect();
    let half = rope.rotated / 2;
    for i in 0..half {
        let base = theta.powf(-2.0 * i as f64 / r);
        let (frequency, scale) = match rope.scaling {
            RopeScaling::None => (base, 1.0),
            RopeScaling::Linear { factor } => (base / factor, 1.0),
            RopeScaling::Yarn(y) => {
                let at =
                    |n: f64| r * (y.original as f64 / (std::f64::consts::TAU * n)).ln() / (2.0 * theta.ln());
                let (low, high) = (at(y.beta_fast).floor().max(0.0), at(y.beta_slow).ceil().min(r - 1.0));
                let length = if low == high { 0.001 } else { high - low };
                let ramp = ((i as f64 - low) / length).clamp(0.0, 1.0);
                (base / y.factor * ramp + base * (1.0 - ramp), y.attention)
            }
        };
        let (sin, cos) = (pos as f64 * frequency).sin_cos();
        let (x, y) = (f64::from(head[i]), f64::from(head[i + half]));
        out[i] = scale * (x * cos - y * sin);
        out[i + half] = scale * (y * cos + x * sin);
    }
    out
}

/// `silu(gate) up`
pub(crate) fn swiglu(gate: f32, up: f32) -> f64 {
    let gate = f64::from(gate);
    gate / (1.0 + (-gate).exp()) * f64::from(up)
}

/// The attention of one query over `keys` and `values`, both `[keys, head_dim]`.
pub(crate) fn attention(q: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
    let head_dim = q.len();
    let scores: Vec<f64> = keys
        .chunks(head_dim)
        .map(|key| q.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>())
        .map(|dot| dot / (head_dim as f64).sqrt())
        .collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
    let mut out = vec![0.0; head_dim];
    for (score, value) in scores.iter().zip(values.chunks(head_dim)) {
        let p = (score - max).exp() / sum;
        out.iter_mut().zip(value).for_each(|(out, &value)| *out += p * f64::from(value));
    }
    out
}

/// `(Σ e^z, Σ e^z z)` with `z = (x - max) inv_t`; -inf contributes nothing.
pub(crate) fn exp_sums(row: &[f32], max: f32, inv_t: f32) -> (f64, f64) {
    let z = row.iter().filter(|x| x.is_finite()).map(|&x| (f64::from(x) - f64::from(max)) * f64::from(inv_t));
    z.fold((0.0, 0.0), |(sum, weighted), z| (sum + z.exp(), weighted + z.exp() * z))
}
