//! The encoder: floats to int8 and int4 weights and back, against plain f64 loops; and whole models made of them.

#[path = "../fixture/mod.rs"]
mod fixture;

mod groups;
mod matrices;
mod models;

use diffulex::bytes::Bytes;
use diffulex::dtype::{DType, as_bytes};
use diffulex::exec::Serial;
use diffulex::quant::{Code, Elements, Format, Matrix, Panels, Quant};
use diffulex::sampler::Rng;
use diffulex::tensor::TensorView;

/// A matrix of f32.
fn floats(n: usize, k: usize, w: &[f32]) -> Matrix {
    let view = TensorView::new(DType::F32, vec![n, k], Bytes::copy_aligned(as_bytes(w)));
    Matrix::from_tensor(&view.expect("n * k numbers")).expect("two dimensions")
}

/// The same weights, quantized.
fn quantized(n: usize, k: usize, w: &[f32], quant: Quant) -> Matrix {
    floats(n, k, w).encode("w", Format::Quant(quant), &Serial).expect("finite weights of usual size").0
}

fn panels(matrix: &Matrix) -> Panels<'_> {
    match matrix.elements() {
        Elements::Panels(panels) => panels,
        _ => panic!("a quantized matrix"),
    }
}

/// Shapes of random weights.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Normal,
    Laplace,
    Uniform,
    /// Normal, but one in fifty is ten times as large.
    Outliers,
    /// Normal around a value far from zero.
    Shifted,
}

const KINDS: [Kind; 5] = [Kind::Normal, Kind::Laplace, Kind::Uniform, Kind::Outliers, Kind::Shifted];

/// `count` random weights of deviation 0.02 or so.
fn random(kind: Kind, seed: u64, count: usize) -> Vec<f32> {
    let rng = Rng::new(seed);
    let weight = |i| {
        let mut stream = rng.stream(i, 0);
        let mut uniform = || stream.uniform().max(1e-12);
        let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let unit = match kind {
            Kind::Normal => normal,
            Kind::Laplace => (uniform() - 0.5).signum() * -uniform().ln(),
            Kind::Uniform => 3.0 * (uniform() - 0.5),
            Kind::Outliers => normal * if uniform() < 0.02 { 10.0 } else { 1.0 },
            Kind::Shifted => normal + 7.0,
        };
        (0.02 * unit) as f32
    };
    (0..count).map(weight).collect()
}

/// Least and greatest code, as numbers that the scale is multiplied with.
fn ends(quant: Quant) -> (f64, f64) {
    match (quant.code, quant.zero_points) {
        (Code::Int8, _) => (-127.0, 127.0),
        (Code::Int4, false) => (-8.0, 7.0),
        (Code::Int4, true) => (0.0, 15.0),
    }
}
