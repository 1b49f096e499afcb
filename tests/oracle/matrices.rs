//! Weights of any format from numbers in [-1, 1), for tests and benches.
#![allow(dead_code, reason = "every program that includes this file uses another part")]

use diffulex::bytes::Bytes;
use diffulex::dtype::{Bf16, DType, F16, as_bytes};
use diffulex::quant::{Code, Elements, Format, Matrix, Panels, PanelsMut, Quant};
use diffulex::tensor::TensorView;

/// A matrix of shape `[n, k]`: floats are `x` rounded, the codes and scales of quantized weights are made from its bits.
pub(crate) fn matrix(n: usize, k: usize, format: Format, x: &[f32]) -> Matrix {
    let (dtype, bytes) = match format {
        Format::F32 => (DType::F32, Bytes::copy_aligned(as_bytes(x))),
        Format::Bf16 => {
            let x: Vec<_> = x.iter().map(|&x| Bf16::from_f32(x)).collect();
            (DType::Bf16, Bytes::copy_aligned(as_bytes(&x)))
        }
        Format::F16 => {
            let x: Vec<_> = x.iter().map(|&x| F16::from_f32(x)).collect();
            (DType::F16, Bytes::copy_aligned(as_bytes(&x)))
        }
        Format::Quant(quant) => {
            let mut bytes = vec![0; quant.bytes(n, k).expect("a shape that fits")];
            let mut panels = PanelsMut::new(n, k, quant, &mut bytes).expect("a buffer of the right length");
            for (row, x) in x.chunks(k).enumerate() {
                for (group, x) in x.chunks(quant.group_len(k)).enumerate() {
                    put(&mut panels, quant, row, group, x);
                }
            }
            return Matrix::from_panels(n, k, quant, Bytes::copy_aligned(&bytes)).expect("the same length");
        }
    };
    Matrix::from_tensor(&TensorView::new(dtype, vec![n, k], bytes).expect("n * k elements"))
        .expect("two dimensions")
}

/// Codes over their whole range, and another scale and minimum for every group.
fn put(panels: &mut PanelsMut<'_>, quant: Quant, row: usize, group: usize, x: &[f32]) {
    let codes: Vec<i8> = match quant.code {
        Code::Int8 => x.iter().map(|x| (x * 127.4) as i8).collect(),
        Code::Int4 => x.iter().map(|x| (x * 8.0 + 8.0) as i8).collect(),
    };
    let (scale, minimum) =
        (F16::from_f32(0.01 + 0.02 * x[0].abs()), F16::from_f32(-0.1 + 0.1 * x[x.len() / 2]));
    panels.put(row, group, scale, minimum, &codes);
}

/// The numbers that a matrix holds, row after row.
pub(crate) fn values(w: &Matrix) -> Vec<f32> {
    match w.elements() {
        Elements::F32(x) => x.to_vec(),
        Elements::Bf16(x) => x.iter().map(|x| x.to_f32()).collect(),
        Elements::F16(x) => x.iter().map(|x| x.to_f32()).collect(),
        Elements::Panels(x) => each(x, |scale, code, minimum| scale * code + minimum),
    }
}

/// What rounding errors of a GEMM are measured against: the magnitudes of what is added up, element by element. Kernels for
/// floats add up `scale * code` and the minimum; those for integers centre 4-bit codes, so the two parts that they add are
/// `scale * (code - 8)` and the minimum of the centred code.
pub(crate) fn magnitudes(w: &Matrix) -> Vec<f32> {
    match w.elements() {
        Elements::Panels(x) => {
            let centre = if x.quant().zero_points { 8.0 } else { 0.0 };
            each(x, |scale, code, minimum| {
                let parts = |c: f32| (scale * (code - c)).abs() + (minimum + scale * c).abs();
                parts(0.0).max(parts(centre))
            })
        }
        _ => values(w).iter().map(|x| x.abs()).collect(),
    }
}

fn each(x: Panels<'_>, f: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
    let mut all = Vec::new();
    for row in 0..x.n() {
        all.extend((0..x.k()).map(|k| {
            let (scale, minimum) = x.scale(row, k / x.quant().group_len(x.k()));
            f(scale, x.code(row, k) as f32, minimum)
        }));
    }
    all
}
