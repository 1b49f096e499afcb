//! Every kernel at every level of this CPU against the f64 oracle, on the shapes where tiles, vectors and blocks end; and
//! what holds bit for bit on one level: rows do not see each other, executors and cargo features change nothing.
//!
//! Bounds: `EPS` is the unit of rounding of f32. A chain of `n` additions errs by at most `n EPS` times the sum of the
//! magnitudes; the tests allow that worst case for short chains and a chain per lane for long ones.

mod oracle;

use diffulex::bytes::Bytes;
use diffulex::dtype::{Bf16, DType, F16, as_bytes};
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::kernels::{Attention, Kernels, KeySpan, KvRows, Level, RopeTable};
use diffulex::quant::{Format, Matrix};
use diffulex::tensor::{Rows, RowsMut, TensorView};
use oracle::cases;
use proptest::prelude::*;

/// Half the distance from 1 to the next f32.
const EPS: f64 = 5.97e-8;

/// Every level of this CPU; says which ones it lacks, so that a skipped level does not read as a passed one.
fn levels() -> Vec<Kernels> {
    for name in ["scalar", "avx2", "avx512"] {
        if Level::from_name(name).is_err() {
            println!("level {name}: not on this machine, skipped");
        }
    }
    Level::available().into_iter().map(Kernels::new).collect()
}

/// Numbers in [-1, 1), the same for the same seed.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A matrix of `format`, and the numbers that it holds after rounding.
fn matrix(n: usize, k: usize, format: Format, seed: u64) -> (Matrix, Vec<f32>) {
    let x = noise(n * k, seed);
    let (dtype, bytes, values): (_, _, Vec<f32>) = match format {
        Format::F32 => (DType::F32, Bytes::copy_aligned(as_bytes(&x)), x),
        Format::Bf16 => {
            let x: Vec<_> = x.into_iter().map(Bf16::from_f32).collect();
            let bytes = Bytes::copy_aligned(as_bytes(&x));
            (DType::Bf16, bytes, x.into_iter().map(Bf16::to_f32).collect())
        }
        Format::F16 => {
            let x: Vec<_> = x.into_iter().map(F16::from_f32).collect();
            let bytes = Bytes::copy_aligned(as_bytes(&x));
            (DType::F16, bytes, x.into_iter().map(F16::to_f32).collect())
        }
    };
    let view = TensorView::new(dtype, vec![n, k], bytes).expect("n * k elements");
    (Matrix::from_tensor(&view).expect("two dimensions"), values)
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn run_gemm(kernels: &Kernels, exec: &dyn Executor, x: &[f32], w: &Matrix, bias: Option<&[f32]>) -> Vec<f32> {
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

/// Executors that cut the work differently. The rayon executor is compared in its own test below.
fn executors() -> Vec<Box<dyn Executor>> {
    vec![Box::new(Threads::new(2)), Box::new(Threads::new(3)), Box::new(Threads::new(8))]
}

/// Runs every kernel that takes an executor and returns the bits of all outputs.
fn everything(kernels: &Kernels, exec: &dyn Executor) -> Vec<u32> {
    let mut all = Vec::new();
    for m in [1, 3, 33, 70] {
        let (w, _) = matrix(131, 75, Format::Bf16, 7);
        all.extend(bits(&run_gemm(kernels, exec, &noise(m * 75, 8), &w, None)));
        // Wide enough to be cut into several tasks.
        let (x, y, width) = (noise(m * 2048, 9), noise(m * 2048, 10), 2048);
        let mut out = x.clone();
        kernels.rms_norm(exec, Rows::new(&x, width), &y[..width], 1e-6, RowsMut::new(&mut out, width));
        all.extend(bits(&out));
        kernels.rms_norm_heads(exec, RowsMut::new(&mut out, width), &y[..128], 1e-6);
        all.extend(bits(&out));
        kernels.rope(exec, RowsMut::new(&mut out, width), &RopeTable::new(1e6, 128, 100), 20);
        all.extend(bits(&out));
        kernels.swiglu(exec, RowsMut::new(&mut out, width), Rows::new(&y, width));
        all.extend(bits(&out));
        kernels.add(exec, RowsMut::new(&mut out, width), Rows::new(&y, width));
        all.extend(bits(&out));
        kernels.guide(exec, RowsMut::new(&mut out, width), Rows::new(&y, width), 2.5);
        all.extend(bits(&out));
    }
    for case in cases::ATTENTION {
        let call = AttentionCall::new(case, 11);
        all.extend(bits(&call.run(kernels, exec, &call.q, &call.spans(), true)));
    }
    all
}

#[test]
fn executors_do_not_change_a_bit() {
    for kernels in levels() {
        let serial = everything(&kernels, &Serial);
        for exec in executors() {
            assert!(everything(&kernels, &*exec) == serial, "{} on {}", exec.width(), kernels.level().name());
        }
    }
}

#[cfg(feature = "rayon")]
#[test]
fn rayon_does_not_change_a_bit() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let exec = diffulex::exec::rayon::Rayon::new(std::sync::Arc::new(pool));
    for kernels in levels() {
        assert!(everything(&kernels, &exec) == everything(&kernels, &Serial), "{}", kernels.level().name());
    }
}

/// An attention call with its operands.
struct AttentionCall {
    case: cases::AttentionCase,
    capacity: usize,
    q: Vec<f32>,
    keys: Vec<F16>,
    values: Vec<F16>,
}

impl AttentionCall {
    fn new(case: cases::AttentionCase, seed: u64) -> Self {
        // Room behind the keys in use: what lies there must not matter.
        let capacity = case.keys + 3;
        let len = case.n_kv_heads * capacity * case.head_dim;
        // Scores of magnitude 4 sqrt(head_dim): the softmax is neither flat nor a single key.
        let q = noise(case.rows * case.n_heads * case.head_dim, seed).iter().map(|x| 4.0 * x).collect();
        let mut narrow = |seed| -> Vec<F16> { noise(len, seed).into_iter().map(F16::from_f32).collect() };
        let (mut keys, mut values) = (narrow(seed + 1), narrow(seed + 2));
        for head in 0..case.n_kv_heads {
            let unused = (head * capacity + case.keys) * case.head_dim..(head + 1) * capacity * case.head_dim;
            keys[unused.clone()].fill(F16(0x7e00));
            values[unused].fill(F16(0x7e00));
        }
        Self { case, capacity, q, keys, values }
    }

    /// The first third of the rows sees the first half of the keys, the rest all but the first.
    fn spans(&self) -> Vec<KeySpan> {
        let cases::AttentionCase { rows, keys, .. } = self.case;
        let (row, half) = (rows / 3, keys.div_ceil(2));
        let first = usize::from(keys > 1);
        vec![KeySpan { rows: 0..row, keys: 0..half }, KeySpan { rows: row..rows, keys: first..keys }]
    }

    fn run(
        &self,
        kernels: &Kernels,
        exec: &dyn Executor,
        q: &[f32],
        spans: &[KeySpan],
        halves: bool,
    ) -> Vec<f32> {
        let cases::AttentionCase { n_heads, n_kv_heads, head_dim, .. } = self.case;
        let wide: Vec<_> =
            [&self.keys, &self.values].map(|x| x.iter().map(|x| x.to_f32()).collect::<Vec<f32>>()).into();
        let (keys, values) = match halves {
            true => (KvRows::F16(&self.keys), KvRows::F16(&self.values)),
            false => (KvRows::F32(&wide[0]), KvRows::F32(&wide[1])),
        };
        let mut out = vec![f32::NAN; q.len()];
        kernels.attention(
            exec,
            Attention {
                q: Rows::new(q, n_heads * head_dim),
                keys,
                values,
                capacity: self.capacity,
                n_heads,
                n_kv_heads,
                head_dim,
                spans,
                out: RowsMut::new(&mut out, n_heads * head_dim),
            },
        );
        out
    }

    /// Keys or values that a query head sees.
    fn seen(&self, x: &[F16], head: usize, keys: &KeySpan) -> Vec<f32> {
        let cases::AttentionCase { n_heads, n_kv_heads, head_dim, .. } = self.case;
        let first = head / (n_heads / n_kv_heads) * self.capacity;
        let range = (first + keys.keys.start) * head_dim..(first + keys.keys.end) * head_dim;
        x[range].iter().map(|x| x.to_f32()).collect()
    }
}

fn check_attention(kernels: &Kernels, case: cases::AttentionCase, seed: u64) {
    let call = AttentionCall::new(case, seed);
    let spans = call.spans();
    for halves in [true, false] {
        let out = call.run(kernels, &Serial, &call.q, &spans, halves);
        for span in &spans {
            for row in span.rows.clone() {
                for head in 0..case.n_heads {
                    let at = (row * case.n_heads + head) * case.head_dim;
                    let q = &call.q[at..][..case.head_dim];
                    let keys = call.seen(&call.keys, head, span);
                    let expected = oracle::attention(q, &keys, &call.seen(&call.values, head, span));
                    for (i, expected) in expected.iter().enumerate() {
                        // Values are below 1. A score errs by about head_dim EPS |q||k| <= 4 sqrt(head_dim) head_dim EPS at worst,
                        // which is the relative error of its weight; in practice a hundredth of that.
                        let error = (f64::from(out[at + i]) - expected).abs();
                        let level = kernels.level().name();
                        assert!(
                            error < 5e-6,
                            "attention/{level} {case:?} row {row} head {head}: {} not {expected}",
                            out[at + i]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn attention_agrees_with_the_oracle() {
    for kernels in levels() {
        for case in cases::ATTENTION {
            check_attention(&kernels, case, 20);
        }
    }
}

#[test]
fn attention_rows_do_not_see_each_other() {
    for kernels in levels() {
        for case in cases::ATTENTION {
            let call = AttentionCall::new(case, 30);
            let spans = call.spans();
            let all = call.run(&kernels, &Serial, &call.q, &spans, true);
            let width = case.n_heads * case.head_dim;
            for span in &spans {
                for row in span.rows.clone() {
                    let range = row * width..(row + 1) * width;
                    let alone = [KeySpan { rows: 0..1, keys: span.keys.clone() }];
                    let out = call.run(&kernels, &Serial, &call.q[range.clone()], &alone, true);
                    assert_eq!(bits(&out), bits(&all[range]), "{case:?} row {row}");
                }
            }
        }
    }
}

#[test]
fn attention_survives_scores_that_exp_alone_would_not() {
    // Scores from -3e4 to 3e4: only the subtraction of the running maximum keeps exp finite, in either order of the keys.
    for kernels in levels() {
        let case = cases::attention([1, 1, 1, 8, 100]);
        for rising in [true, false] {
            let mut call = AttentionCall::new(case, 40);
            for key in 0..100 {
                let step = if rising { key } else { 99 - key } as f32 - 50.0;
                call.keys[key * 8..][..8].fill(F16::from_f32(step));
            }
            call.q.fill(200.0);
            let best = if rising { 99 } else { 0 };
            let span = [KeySpan { rows: 0..1, keys: 0..100 }];
            let out = call.run(&kernels, &Serial, &call.q, &span, true);
            let expected: Vec<_> = call.values[best * 8..][..8].iter().map(|x| x.to_f32()).collect();
            assert_eq!(out, expected, "level {}", kernels.level().name());
        }
    }
}

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
            let table = RopeTable::new(theta, head_dim, first + rows);
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
fn conversions_are_exact_at_every_level() {
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
        for format in Format::ALL {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gemm_of_any_shape(m in 1usize..80, n in 1usize..60, k in 1usize..600, format in 0usize..3) {
        for level in Level::available() {
            check_gemm(&Kernels::new(level), m, n, k, Format::ALL[format]);
        }
    }

    #[test]
    fn attention_of_any_shape(
        rows in 1usize..20,
        group in 1usize..9,
        n_kv_heads in 1usize..4,
        half in 1usize..70,
        keys in 1usize..160,
        seed in 0u64..1000,
    ) {
        let case = cases::attention([rows, group * n_kv_heads, n_kv_heads, 2 * half, keys]);
        for level in Level::available() {
            check_attention(&Kernels::new(level), case, seed);
        }
    }
}
