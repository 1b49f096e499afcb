//! Products against the oracle, and rows that do not see each other.

use crate::oracle::{self, cases};
use crate::{EPS, bits, levels, matrix, noise};
use diffulex::bytes::Bytes;
use diffulex::dtype::{DType, as_bytes};
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::kernels::{Kernels, Level};
use diffulex::quant::{Format, Matrix};
use diffulex::tensor::{Rows, RowsMut, TensorView};
use proptest::prelude::*;

pub(crate) fn run_gemm(
    kernels: &Kernels,
    exec: &dyn Executor,
    x: &[f32],
    w: &Matrix,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    // What is there before must not matter.
    let mut out = vec![f32::NAN; x.len() / w.k() * w.n()];
    kernels.gemm(exec, Rows::new(x, w.k()), w, bias, RowsMut::new(&mut out, w.n()));
    out
}

fn check_gemm(kernels: &Kernels, m: usize, n: usize, k: usize, format: Format) {
    let (w, values) = matrix(n, k, format, (n * k) as u64);
    let (x, bias) = (noise(m * k, 1), noise(n, 2));
    for bias in [None, Some(&*bias)] {
        let out = run_gemm(kernels, &Serial, &x, &w, bias);
        // A lane adds k / LANES products, the tree adds log LANES, the bias one.
        let bound = (k as f64 + 6.0) * EPS;
        for (i, (&found, dot)) in out.iter().zip(oracle::gemm(&x, &values, bias, k)).enumerate() {
            let error = (f64::from(found) - dot.value).abs();
            assert!(
                error <= bound * dot.magnitude,
                "gemm/{}/{} m {m} n {n} k {k}: output {i} is {found}, expected {}",
                format.name(),
                kernels.level().name(),
                dot.value
            );
        }
    }
}

#[test]
fn gemm_agrees_with_the_oracle_where_tiles_end() {
    for kernels in levels() {
        for format in Format::ALL {
            for m in cases::GEMM_ROWS {
                for n in cases::GEMM_COLUMNS {
                    check_gemm(&kernels, m, n, 33, format);
                }
                for k in cases::GEMM_DEPTHS {
                    check_gemm(&kernels, m, 13, k, format);
                }
            }
        }
    }
}

#[test]
fn gemm_reads_nothing_beyond_a_row() {
    // Rows behind the last one of x and w would turn the result into NaN.
    for kernels in levels() {
        for k in [1, 3, 9, 17, 75] {
            let (mut x, mut w) = (noise(5 * k, 3), noise(7 * k, 4));
            x[4 * k..].fill(f32::NAN);
            w[6 * k..].fill(f32::NAN);
            let view = TensorView::new(DType::F32, vec![7, k], Bytes::copy_aligned(as_bytes(&w))).unwrap();
            let out = run_gemm(&kernels, &Serial, &x, &Matrix::from_tensor(&view).unwrap(), None);
            for (i, row) in out.chunks(7).enumerate() {
                assert_eq!(row[..6].iter().all(|x| x.is_finite()), i < 4, "row {i}, k {k}");
                assert!(row[6].is_nan(), "row {i}, k {k}");
            }
        }
    }
}

#[test]
fn gemm_without_rows_does_nothing() {
    for kernels in levels() {
        let (w, _) = matrix(3, 5, Format::F32, 1);
        kernels.gemm(&Threads::new(2), Rows::new(&[], 5), &w, None, RowsMut::new(&mut [], 3));
    }
}

#[test]
fn gemm_rows_do_not_see_each_other() {
    for kernels in levels() {
        for format in Format::ALL {
            for k in [75, 520, 1030] {
                let (w, _) = matrix(61, k, format, 5);
                let x = noise(130 * k, 6);
                let all = run_gemm(&kernels, &Serial, &x, &w, None);
                for m in [1, 2, 3, 4, 5, 7, 66] {
                    for first in [0, 1, 64, 130 - m] {
                        let part = run_gemm(&kernels, &Serial, &x[first * k..(first + m) * k], &w, None);
                        let expected = &all[first * 61..(first + m) * 61];
                        assert_eq!(bits(&part), bits(expected), "rows {first}..{} of 130, k {k}", first + m);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gemm_of_any_shape(m in 1usize..80, n in 1usize..60, k in 1usize..600, format in 0usize..3) {
        for level in Level::available() {
            check_gemm(&Kernels::new(level), m, n, k, Format::ALL[format]);
        }
    }
}
