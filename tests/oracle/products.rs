//! The operands of the GEMMs: activations and weights as the kernels define them, and how far a sum may be off.
#![allow(dead_code, reason = "every program that includes this file uses another part")]

use super::EPS;
use diffulex::dtype::Bf16;
use diffulex::kernels::{Activations, Kernels};
use diffulex::quant::Format;

/// x as int8 activations are defined: `scale * round(x / scale)` with `scale = max |x| / 127` in every step of a row.
fn rounded(x: &[f32], k: usize, step: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for x in x.chunks(k).flat_map(|row| row.chunks(step)) {
        let top = x.iter().fold(0.0f32, |top, x| top.max(x.abs()));
        let (scale, inverse) = (top / 127.0, if top > 0.0 { 127.0 / top } else { 0.0 });
        out.extend(x.iter().map(|x| scale * (x * inverse).round_ties_even()));
    }
    out
}

/// The operands of a GEMM as the kernels of `format` define them.
pub(crate) fn operands(
    kernels: &Kernels,
    format: Format,
    k: usize,
    x: &[f32],
    w: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let bf16 = |x: &[f32]| x.iter().map(|&x| Bf16::from_f32(x).to_f32()).collect();
    match (format, kernels.activations()) {
        (Format::Quant(quant), Activations::Int8) => (rounded(x, k, quant.step()), w.to_vec()),
        (Format::Quant(_) | Format::Bf16, Activations::Bf16) => (bf16(x), bf16(w)),
        _ => (x.to_vec(), w.to_vec()),
    }
}

/// How far a dot product over `k` may be off. In f32: a lane adds `k / LANES` of them, the tree `log LANES`, the bias one. In bf16:
/// two chains of 16 and then two additions for every 32 k; there a subnormal number may count as zero.
pub(crate) fn bound(k: usize, magnitude: f64) -> f64 {
    (k as f64 + 8.0) * (EPS * magnitude + f64::from(f32::MIN_POSITIVE))
}
