//! Row kernels, conversions and logits rows against the oracle.

use crate::oracle::{self, cases};
use crate::{EPS, bits, levels, matrix, noise};
use diffulex::bytes::Bytes;
use diffulex::dtype::{Bf16, DType, F16, as_bytes};
use diffulex::exec::Serial;
use diffulex::kernels::{Rope, RopeScaling, RopeTable, Yarn};
use diffulex::quant::{Format, Matrix};
use diffulex::tensor::{Rows, RowsMut, TensorView};

#[test]
fn rms_norm_agrees_with_the_oracle() {
    for kernels in levels() {
        for width in cases::WIDTHS {
            let (x, weight) = (noise(3 * width, 50), noise(width, 51));
            let mut out = vec![f32::NAN; x.len()];
            kernels.rms_norm(&Serial, Rows::new(&x, width), &weight, 1e-5, RowsMut::new(&mut out, width));
            let mut heads = x.clone();
            // One row of three heads is the same computation as three rows.
            kernels.rms_norm_heads(&Serial, RowsMut::new(&mut heads, 3 * width), &weight, 1e-5);
            assert_eq!(bits(&out), bits(&heads), "width {width}");
            for (found, expected) in out.iter().zip(oracle::rms_norm(&x, &weight, 1e-5)) {
                // Half of the error of a sum of positive terms, and five roundings.
                let bound = (width as f64 / 2.0 + 5.0) * EPS * expected.abs();
                assert!(
                    (f64::from(*found) - expected).abs() <= bound,
                    "width {width}: {found} not {expected}"
                );
            }
        }
    }
}

#[test]
fn rope_agrees_with_the_oracle() {
    for kernels in levels() {
        for head_dim in [2, 8, 16, 20, 32, 80, 128] {
            let (theta, first, rows, width) = (1e6, 37, 4, 3 * head_dim);
            let table = RopeTable::new(&Rope::new(theta, head_dim), head_dim, first + rows);
            assert_eq!((table.capacity(), table.head_dim()), (first + rows, head_dim));
            let x = noise(rows * width, 60);
            let mut out = x.clone();
            kernels.rope(&Serial, RowsMut::new(&mut out, width), &table, first);
            for (i, head) in x.chunks(head_dim).enumerate() {
                let expected = oracle::rope(head, theta, first + i / 3);
                for (found, expected) in out[i * head_dim..].iter().zip(expected) {
                    // Two products of numbers below 1, cos and sin rounded once: five roundings of at most EPS each.
                    assert!((f64::from(*found) - expected).abs() < 5.0 * EPS, "head_dim {head_dim} head {i}");
                }
            }
        }
    }
}

/// Parts of heads, and frequencies that are scaled: angles are not rounded as the model rounds them, so their error counts.
#[test]
fn scaled_and_partial_rope_agree_with_the_formula() {
    let yarn = |factor, original, attention| {
        RopeScaling::Yarn(Yarn { factor, original, beta_fast: 32.0, beta_slow: 1.0, attention, queries: 0.0 })
    };
    // A ramp inside the head, one that begins at 0, and one without length.
    let yarns = [yarn(4.0, 32_768, 1.138), yarn(16.0, 16, 1.0), yarn(2.0, 1, 1.0)];
    let scalings = [RopeScaling::None, RopeScaling::Linear { factor: 2.5 }].into_iter().chain(yarns);
    for scaling in scalings {
        for (head_dim, rotated) in [(8, 8), (32, 16), (128, 64), (128, 128), (20, 6)] {
            let rope = Rope { theta: 1e4, rotated, scaling };
            let (first, rows, width) = (37, 4, 2 * head_dim);
            let table = RopeTable::new(&rope, head_dim, first + rows);
            assert_eq!((table.capacity(), table.head_dim()), (first + rows, head_dim));
            let x = noise(rows * width, 61);
            for kernels in levels() {
                let mut out = x.clone();
                kernels.rope(&Serial, RowsMut::new(&mut out, width), &table, first);
                for (i, head) in x.chunks(head_dim).enumerate() {
                    let expected = oracle::scaled_rope(head, &rope, first + i / 2);
                    for (e, (&found, expected)) in out[i * head_dim..].iter().zip(expected).enumerate() {
                        // An angle of at most 41 with six roundings, then those of the rotation.
                        let error = (f64::from(found) - expected).abs();
                        assert!(
                            error < 41.0 * 8.0 * EPS,
                            "{rope:?} head {i} element {e}: {found}, {expected}"
                        );
                        assert!(e < rotated || found == head[e], "{rope:?}: element {e} is not rotated");
                    }
                }
            }
        }
    }
}

#[test]
fn elementwise_kernels_agree_with_the_oracle() {
    for kernels in levels() {
        for width in cases::WIDTHS {
            let x: Vec<_> = noise(2 * width, 70).iter().map(|x| 20.0 * x).collect();
            let y = noise(2 * width, 71);
            let run = |op: &dyn Fn(RowsMut<'_>, Rows<'_>)| {
                let mut out = x.clone();
                op(RowsMut::new(&mut out, width), Rows::new(&y, width));
                out
            };
            let swiglu = run(&|x, y| kernels.swiglu(&Serial, x, y));
            let add = run(&|x, y| kernels.add(&Serial, x, y));
            let guide = run(&|x, y| kernels.guide(&Serial, x, y, 2.5));
            for i in 0..x.len() {
                assert_eq!(add[i], x[i] + y[i], "add, width {width}");
                let expected = oracle::swiglu(x[i], y[i]);
                // exp within 4 EPS, then a sum, a quotient and a product.
                assert!(
                    (f64::from(swiglu[i]) - expected).abs() <= 8.0 * EPS * expected.abs(),
                    "swiglu of {}",
                    x[i]
                );
                let (cond, uncond) = (f64::from(x[i]), f64::from(y[i]));
                let expected = uncond + 2.5 * (cond - uncond);
                let magnitude = uncond.abs() + 2.5 * (cond - uncond).abs();
                assert!(
                    (f64::from(guide[i]) - expected).abs() <= 4.0 * EPS * magnitude,
                    "guide, width {width}"
                );
            }
        }
    }
}

#[test]
fn swiglu_of_extreme_gates_is_finite() {
    for kernels in levels() {
        let mut gate = vec![-1e30, -1000.0, -88.5, 88.5, 1000.0, 1e30, 0.0, -0.0, -104.0];
        let up = vec![2.0; gate.len()];
        kernels.swiglu(&Serial, RowsMut::new(&mut gate, 9), Rows::new(&up, 9));
        assert_eq!(
            gate,
            [-0.0, -0.0, -0.0, 177.0, 2000.0, 2e30, 0.0, 0.0, -0.0],
            "{}",
            kernels.level().name()
        );
    }
}

#[test]
fn narrowing_is_exact_at_every_level() {
    let patterns: Vec<f32> = (0..=u16::MAX).map(|bits| F16(bits).to_f32()).collect();
    // Every half, the midpoints between neighbours, and an f32 step to both sides of them.
    let mut x: Vec<f32> = patterns.clone();
    for pair in patterns.windows(2) {
        let middle = (pair[0] + pair[1]) / 2.0;
        x.extend([middle, middle.next_up(), middle.next_down()]);
    }
    x.extend([f32::MAX, f32::MIN, 65520.0, 65519.996, 1e-8, f32::from_bits(1), f32::from_bits(0x7f80_0001)]);
    for kernels in levels() {
        let mut out = vec![F16(0); x.len()];
        kernels.narrow(&x, &mut out);
        for (x, found) in x.iter().zip(&out) {
            assert_eq!(found.0, F16::from_f32(*x).0, "level {}, f16 of {x:e}", kernels.level().name());
        }
    }
}

#[test]
fn widening_is_exact_at_every_level() {
    for kernels in levels() {
        for format in Format::all() {
            for k in [1, 7, 8, 9, 16, 17, 101] {
                let (w, values) = matrix(3, k, format, 80);
                let mut row = vec![f32::NAN; k];
                kernels.decode_row(&w, 1, &mut row);
                assert_eq!(bits(&row), bits(&values[k..2 * k]), "{} row of {k}", format.name());
            }
        }
        for (dtype, widen) in
            [(DType::F16, (|b| F16(b).to_f32()) as fn(u16) -> f32), (DType::Bf16, |b| Bf16(b).to_f32())]
        {
            let all: Vec<u16> = (0..=u16::MAX).collect();
            let view = TensorView::new(dtype, vec![1, 65536], Bytes::copy_aligned(as_bytes(&all))).unwrap();
            let mut row = vec![0.0; 65536];
            kernels.decode_row(&Matrix::from_tensor(&view).unwrap(), 0, &mut row);
            for (found, bits) in row.iter().zip(all) {
                let same =
                    found.to_bits() == widen(bits).to_bits() || (found.is_nan() && widen(bits).is_nan());
                assert!(same, "level {}, {} {bits:#x}", kernels.level().name(), dtype.name());
            }
        }
    }
}

#[test]
fn scan_finds_the_first_maximum_wherever_it_is() {
    for kernels in levels() {
        for len in [1, 2, 7, 8, 9, 16, 17, 100, 2048, 2049, 5000] {
            let row: Vec<f32> = noise(len, 90);
            for at in [0, len / 2, len - 1] {
                let mut row = row.clone();
                row[at] = 2.0;
                let second = row
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| *i != at)
                    .fold(f32::NEG_INFINITY, |m, (_, &x)| m.max(x));
                let scan = kernels.scan(&row);
                assert_eq!(
                    (scan.argmax, scan.max, scan.second, scan.bad),
                    (at, 2.0, second, false),
                    "length {len}"
                );
                row[len - 1] = 2.0;
                let scan = kernels.scan(&row);
                assert_eq!((scan.argmax, scan.max), (at, 2.0), "length {len}, tie");
                assert_eq!(scan.second == 2.0, at != len - 1, "length {len}, tie");
            }
            for (value, bad) in
                [(f32::NAN, true), (-f32::NAN, true), (f32::INFINITY, true), (f32::NEG_INFINITY, false)]
            {
                for at in [0, len / 2, len - 1] {
                    let mut row = row.clone();
                    row[at] = value;
                    assert_eq!(kernels.scan(&row).bad, bad, "{value} at {at} of {len}");
                }
            }
            let banned = kernels.scan(&vec![f32::NEG_INFINITY; len]);
            assert_eq!(
                (banned.argmax, banned.max, banned.bad),
                (0, f32::NEG_INFINITY, false),
                "length {len}"
            );
        }
    }
}

#[test]
fn softmax_agrees_with_the_oracle() {
    for kernels in levels() {
        for len in [1, 2, 7, 8, 9, 17, 100, 2047, 2049, 9000] {
            for inv_t in [0.5, 1.0, 10.0] {
                let mut row: Vec<f32> = noise(len, 95).iter().map(|x| 12.0 * x).collect();
                if len > 2 {
                    row[len / 2] = f32::NEG_INFINITY;
                }
                let max = kernels.scan(&row).max;
                let sums = kernels.exp_sums(&row, max, inv_t);
                let (sum, weighted) = oracle::exp_sums(&row, max, inv_t);
                // The rounding of z (up to 240) is a relative error of e^z; the sums of pieces add 2048 / LANES terms.
                let bound = (260.0 + 2048.0) * EPS;
                assert!((sums.sum - sum).abs() <= bound * sum, "sum {} not {sum}, length {len}", sums.sum);
                let scale = weighted.abs().max(1e-3 * sum);
                assert!(
                    (sums.weighted - weighted).abs() <= bound * scale,
                    "{} not {weighted}",
                    sums.weighted
                );
                let logits = row.clone();
                kernels.softmax(&mut row, max, inv_t, sums.sum as f32);
                for (p, x) in row.iter().zip(logits) {
                    let expected = ((f64::from(x) - f64::from(max)) * f64::from(inv_t)).exp() / sum;
                    // Below e^-87.3 the kernel returns 0.
                    assert!(
                        (f64::from(*p) - expected).abs() <= bound * expected + 1.3e-38,
                        "p of {x} is {p}"
                    );
                    assert!(x != f32::NEG_INFINITY || *p == 0.0, "a banned token has probability {p}");
                }
            }
        }
    }
}
