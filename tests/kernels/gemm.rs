//! GEMMs against the oracle, and rows that do not see each other.

use crate::oracle::{self, cases};
use crate::{bits, every_kernel, levels, matrix, noise};
use diffulex::bytes::Bytes;
use diffulex::dtype::{Bf16, DType, F16, as_bytes};
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::kernels::{Activations, Group, Kernels, Prepared, Projection};
use diffulex::quant::{Code, Format, Matrix, PanelsMut, Quant};
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
    check_product(kernels, format, &noise(m * k, 1), &noise(n * k, (n * k) as u64), n, k);
}

fn check_product(kernels: &Kernels, format: Format, x: &[f32], w: &[f32], n: usize, k: usize) {
    check_matrix(kernels, x, &oracle::matrices::matrix(n, k, format, w));
}

fn check_matrix(kernels: &Kernels, x: &[f32], w: &Matrix) {
    let (m, n, k, format) = (x.len() / w.k(), w.n(), w.k(), w.format());
    let bias = noise(n, 2);
    let (values, magnitudes) = (oracle::matrices::values(w), oracle::matrices::magnitudes(w));
    let (seen, values) = oracle::products::operands(kernels, format, k, x, &values);
    for bias in [None, Some(&*bias)] {
        let out = run_gemm(kernels, &Serial, x, w, bias);
        let expected = oracle::gemm(&seen, &values, &magnitudes, bias, k);
        for (i, (&found, dot)) in out.iter().zip(expected).enumerate() {
            let error = (f64::from(found) - dot.value).abs();
            assert!(
                error <= oracle::products::bound(k, dot.magnitude),
                "gemm/{format}x{} m {m} n {n} k {k}: output {i} is {found}, expected {}",
                kernels.unit_name(format),
                dot.value
            );
        }
    }
}

#[test]
fn gemm_agrees_with_the_oracle_where_tiles_end() {
    for kernels in every_kernel() {
        for format in formats(&kernels) {
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
fn gemm_agrees_with_the_oracle_where_blocks_end() {
    for kernels in every_kernel() {
        for format in formats(&kernels) {
            if ["bf16", "q8row", "q4g64", "q4g128z"].contains(&format.name().as_str()) {
                for [m, n, k] in cases::GEMM_BLOCKS {
                    check_gemm(&kernels, m, n, k, format);
                }
            }
        }
    }
}

#[test]
fn gemm_agrees_with_the_oracle_over_many_rows() {
    for kernels in every_kernel() {
        for format in formats(&kernels) {
            if ["bf16", "q8g64", "q4g32z"].contains(&format.name().as_str()) {
                check_gemm(&kernels, 290, 45, 560, format);
            }
        }
    }
}

/// The largest sums that integers of few bits have to hold: codes and elements of x at the ends of their ranges.
#[test]
fn integer_sums_hold_the_largest_products() {
    let (n, k) = (19, 300);
    for kernels in every_kernel() {
        for format in formats(&kernels) {
            for (x, w) in [(1.0, 0.999_999), (-1.0, 0.999_999), (1.0, -1.0), (-1.0, -1.0)] {
                for m in [1, 2, 3, 4, 9, 17, 25] {
                    check_product(&kernels, format, &vec![x; m * k], &vec![w; n * k], n, k);
                }
            }
        }
    }
}

/// No encoder writes the code -128, but a file may hold it: every unit multiplies it as -128.
#[test]
fn the_least_code_is_a_number_like_others() {
    let (n, k) = (19, 300);
    let quants = Quant::all().into_iter().filter(|quant| quant.code == Code::Int8);
    for quant in quants {
        let mut bytes = vec![0; quant.bytes(n, k).unwrap()];
        // Scales of 1 first, then codes of -128; the padding after the end of k is multiplied with nothing.
        let (panel, codes) = (bytes.len() / n.div_ceil(16), quant.padded_k(k) * 16);
        for panel in bytes.chunks_mut(panel) {
            let (scales, rest) = panel.split_at_mut(panel.len() - codes);
            scales
                .as_chunks_mut::<2>()
                .0
                .iter_mut()
                .for_each(|scale| *scale = F16::from_f32(1.0).0.to_le_bytes());
            rest.fill(0x80);
        }
        let w = Matrix::from_panels(n, k, quant, Bytes::copy_aligned(&bytes)).unwrap();
        for kernels in every_kernel() {
            for m in [1, 2, 3, 9] {
                for x in [1.0f32, -1.0] {
                    let out = run_gemm(&kernels, &Serial, &vec![x; m * k], &w, None);
                    let expected = -128.0 * 300.0 * x;
                    let near = |y: &f32| (y - expected).abs() <= 1e-5 * expected.abs();
                    assert!(
                        out.iter().all(near),
                        "{}: {out:?}, expected {expected}",
                        kernels.unit_name(w.format())
                    );
                }
            }
        }
    }
}

/// A kernel that centres codes adds up two parts that cancel; what is left of them is as small as the rounding of each.
#[test]
fn weights_of_zero_by_their_code_and_minimum_give_next_to_nothing() {
    let (n, k) = (19, 83);
    for quant in Quant::all().into_iter().filter(|quant| quant.zero_points) {
        let mut bytes = vec![0; quant.bytes(n, k).unwrap()];
        let mut panels = PanelsMut::new(n, k, quant, &mut bytes).unwrap();
        let len = quant.group_len(k);
        for (row, group) in (0..n).flat_map(|row| (0..quant.groups(k)).map(move |group| (row, group))) {
            let codes = vec![0; len.min(k - group * len)];
            panels.put(row, group, F16::from_f32(0.01 * (row + 1) as f32), F16::from_f32(0.0), &codes);
        }
        let w = Matrix::from_panels(n, k, quant, Bytes::copy_aligned(&bytes)).unwrap();
        assert!(oracle::matrices::values(&w).iter().all(|&w| w == 0.0));
        for kernels in every_kernel() {
            [1, 2, 3, 9, 17].into_iter().for_each(|m| check_matrix(&kernels, &noise(m * k, 3), &w));
        }
    }
}

/// The formats that differ on these kernels: all others are multiplied with f32 activations.
fn formats(kernels: &Kernels) -> Vec<Format> {
    let differs = |format: &Format| match kernels.activations() {
        Activations::Int8 => matches!(format, Format::Quant(_)),
        Activations::Bf16 => matches!(format, Format::Quant(_) | Format::Bf16),
        _ => true,
    };
    Format::all().into_iter().filter(differs).collect()
}

#[test]
fn integer_units_give_the_same_bits() {
    let all = Kernels::available();
    let int8: Vec<_> = all.iter().filter(|k| k.activations() == Activations::Int8).collect();
    // The scalar level does not fuse multiplications and additions.
    let vectors: Vec<_> = int8.iter().filter(|k| k.level().name() != "scalar").collect();
    for format in formats(int8[0]) {
        for (m, n, k) in [(1, 200, 200), (9, 61, 200), (17, 45, 513), (50, 45, 320), (146, 33, 1025)] {
            let (w, _) = matrix(n, k, format, 5);
            let x = noise(m * k, 6);
            let outputs: Vec<_> = vectors.iter().map(|k| bits(&run_gemm(k, &Serial, &x, &w, None))).collect();
            for (kernels, output) in vectors.iter().zip(&outputs) {
                assert!(
                    *output == outputs[0],
                    "{format}: {} against {}",
                    kernels.unit_name(format),
                    vectors[0].unit_name(format)
                );
            }
        }
    }
}

#[test]
fn int8_activations_pass_nan_and_infinity_on() {
    for kernels in Kernels::available() {
        let format = Format::from_name("q4g64").unwrap();
        let (w, _) = matrix(20, 200, format, 5);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = noise(3 * 200, 6);
            x[250] = bad;
            let out = run_gemm(&kernels, &Serial, &x, &w, None);
            for (i, row) in out.chunks(20).enumerate() {
                assert_eq!(row.iter().all(|x| x.is_finite()), i != 1, "{bad} in row 1, row {i}");
                assert!(
                    i != 1 || row.iter().all(|x| !x.is_finite()),
                    "{bad} is lost in {}",
                    kernels.unit_name(format)
                );
            }
        }
    }
}

#[test]
fn gemm_reads_nothing_beyond_a_row() {
    // Rows after the last one of x and w would turn the result into NaN.
    for kernels in levels() {
        for k in [1, 3, 9, 17, 75] {
            let (mut x, mut w) = (noise(5 * k, 3), noise(7 * k, 4));
            x[4 * k..].fill(f32::NAN);
            w[6 * k..].fill(f32::NAN);
            let bf16: Vec<_> = w.iter().map(|&w| Bf16::from_f32(w)).collect();
            for (dtype, w) in [(DType::F32, as_bytes(&w)), (DType::Bf16, as_bytes(&bf16))] {
                let view = TensorView::new(dtype, vec![7, k], Bytes::copy_aligned(w)).unwrap();
                let out = run_gemm(&kernels, &Serial, &x, &Matrix::from_tensor(&view).unwrap(), None);
                for (i, row) in out.chunks(7).enumerate() {
                    assert_eq!(row[..6].iter().all(|x| x.is_finite()), i < 4, "row {i}, k {k}");
                    assert!(row[6].is_nan(), "row {i}, k {k}");
                }
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
    for kernels in every_kernel() {
        for format in formats(&kernels) {
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

/// Groups of rows and of outputs, some without rows, some without outputs.
fn groups() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
    let rows = prop_oneof![Just(0usize), 1usize..5, 1usize..40];
    proptest::collection::vec((rows, proptest::collection::vec(1usize..70, 0..3)), 0..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn groups_have_the_bits_of_separate_calls(
        groups in groups(),
        k in 1usize..300,
        format in proptest::sample::select(Format::all()),
        threads in 1usize..4,
    ) {
        for kernels in Kernels::available() {
            let exec = Threads::new(threads);
            let inputs: Vec<_> = groups.iter().enumerate().map(|(i, (m, _))| noise(m * k, i as u64)).collect();
            let weights: Vec<Vec<_>> = groups
                .iter()
                .map(|(_, outputs)| outputs.iter().map(|&n| matrix(n, k, format, n as u64).0).collect())
                .collect();
            let bias = noise(70, 3);
            let mut outputs: Vec<Vec<_>> = groups
                .iter()
                .map(|(m, outputs)| outputs.iter().map(|n| vec![f32::NAN; m * n]).collect())
                .collect();
            let mut prepared: Vec<_> = groups.iter().map(|_| Prepared::default()).collect();
            let mut projections: Vec<Vec<_>> = outputs
                .iter_mut()
                .zip(&weights)
                .map(|(outputs, weights)| {
                    let pairs = outputs.iter_mut().zip(weights);
                    pairs
                        .map(|(out, w): (&mut Vec<f32>, &Matrix)| Projection {
                            w,
                            bias: Some(&bias[..w.n()]),
                            out: RowsMut::new(out, w.n()),
                        })
                        .collect()
                })
                .collect();
            let calls = inputs.iter().zip(&mut prepared).zip(&mut projections);
            let mut calls: Vec<_> = calls
                .map(|((x, prepared), projections)| Group { x: Rows::new(x, k), prepared, projections })
                .collect();
            kernels.project_groups(&exec, &mut calls);
            for (i, (outputs, weights)) in outputs.iter().zip(&weights).enumerate() {
                for (out, w) in outputs.iter().zip(weights) {
                    let expected = run_gemm(&kernels, &Serial, &inputs[i], w, Some(&bias[..w.n()]));
                    prop_assert_eq!(bits(out), bits(&expected), "group {}, {}", i, kernels.unit_name(format));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gemm_of_any_shape(m in 1usize..80, n in 1usize..60, k in 1usize..600, format in proptest::sample::select(Format::all())) {
        for kernels in Kernels::available() {
            check_gemm(&kernels, m, n, k, format);
        }
    }
}
