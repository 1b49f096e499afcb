//! Whole matrices: layout, edges, errors, what is reported, and that threads do not matter.

use crate::{KINDS, Kind, floats, panels, quantized, random};
use diffulex::Error;
use diffulex::bytes::Bytes;
use diffulex::dtype::{Bf16, DType, F16, as_bytes};
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::quant::{Format, Matrix, Quant};
use diffulex::tensor::TensorView;

/// Sizes below, at and above 16 rows, groups, and the 64 to which k is padded.
const SHAPES: [(usize, usize); 11] = [
    (1, 1),
    (1, 63),
    (15, 64),
    (16, 65),
    (17, 31),
    (3, 128),
    (33, 100),
    (16, 256),
    (5, 257),
    (48, 320),
    (2, 1000),
];

fn decode(matrix: &Matrix) -> Vec<f32> {
    let mut out = vec![0.0; matrix.n() * matrix.k()];
    out.chunks_mut(matrix.k()).enumerate().for_each(|(i, row)| matrix.decode_row(i, row));
    out
}

/// Largest relative RMS error of the schemes on weights of these kinds; the bound is about 1.5 times what was found.
fn bound(quant: Quant, kind: Kind) -> f64 {
    let coarse = if quant.code.bits() == 4 { 1.0 } else { 1.0 / 14.0 };
    coarse * if matches!(kind, Kind::Outliers) { 0.4 } else { 0.25 }
}

#[test]
fn what_is_stored_is_near_to_the_weights_and_reported_exactly() {
    for quant in Quant::all() {
        for kind in KINDS {
            for (n, k) in SHAPES {
                let w = random(kind, (n * k) as u64, n * k);
                let (matrix, loss) = floats(n, k, &w).encode("w", Format::Quant(quant), &Serial).unwrap();
                assert_eq!((matrix.n(), matrix.k(), matrix.format()), (n, k, Format::Quant(quant)));
                let what = format!("{quant} [{n}, {k}] {kind:?}");
                let stored = decode(&matrix);
                let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
                let differences: Vec<f64> =
                    w.iter().zip(&stored).map(|(&w, &x)| f64::from(w) - f64::from(x)).collect();
                let error = squares(&mut differences.iter().copied());
                let energy = squares(&mut w.iter().map(|&w| f64::from(w)));
                let relative = (error / energy).sqrt();
                assert!(relative < bound(quant, kind), "{what}: {relative}");
                // Sums of f32 in the search, f64 here; decoding rounds to f32.
                assert!((loss.energy / energy - 1.0).abs() < 1e-9, "{what}: {loss:?}");
                assert!(
                    (loss.error - error).abs() <= 1e-4 * error + 1e-12 * energy,
                    "{what}: {loss:?}, {error:e}"
                );
                assert!((loss.relative_rms() - relative).abs() < 1e-4 * relative + 1e-6, "{what}");
                assert!(
                    loss.worst >= loss.relative_rms() * 0.999,
                    "{what}: the worst is not below the whole"
                );
                let (row, group) = loss.worst_at;
                let of_group = group * quant.group_len(k)..k.min((group + 1) * quant.group_len(k));
                let at = |i: usize| row * k + i;
                let error = squares(&mut of_group.clone().map(|i| differences[at(i)]));
                let energy = squares(&mut of_group.map(|i| f64::from(w[at(i)])));
                assert!(
                    (loss.worst - (error / energy).sqrt()).abs() < 1e-3 * loss.worst + 1e-6,
                    "{what}: {loss:?}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_stored_behind_the_end_of_rows_and_matrix() {
    for quant in Quant::all() {
        for (n, k) in SHAPES {
            let matrix = quantized(n, k, &random(Kind::Normal, 3, n * k), quant);
            let panels = panels(&matrix);
            for row in 0..n.next_multiple_of(16) {
                let padded = quant.padded_k(k);
                let begin = if row < n { k } else { 0 };
                assert!((begin..padded).all(|k| panels.code(row, k) == 0), "{quant} [{n}, {k}] row {row}");
                let first = begin.div_ceil(quant.group_len(k));
                let scales = (first..quant.groups(k)).all(|group| panels.scale(row, group).0 == 0.0);
                assert!(scales, "{quant} [{n}, {k}] row {row}: scales of no weight");
            }
        }
    }
}

/// Runs tasks last to first.
struct Backwards;

impl Executor for Backwards {
    fn width(&self) -> usize {
        3
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).rev().for_each(task);
    }
}

#[test]
fn bytes_and_losses_do_not_depend_on_the_executor() {
    let (n, k) = (75, 192);
    let weights = floats(n, k, &random(Kind::Laplace, 5, n * k));
    for format in Format::all() {
        let encode = |exec: &dyn Executor| {
            let mut out = vec![0; format.bytes(n, k).unwrap()];
            let loss = weights.encode_into("w", format, &mut out, exec).unwrap();
            (out, loss)
        };
        let serial = encode(&Serial);
        for exec in [&Threads::new(2) as &dyn Executor, &Threads::new(5), &Backwards] {
            assert!(encode(exec) == serial, "{format}");
        }
    }
}

#[test]
fn rows_do_not_depend_on_each_other() {
    let (n, k) = (21, 100);
    let w = random(Kind::Normal, 8, n * k);
    for quant in Quant::all() {
        let all = decode(&quantized(n, k, &w, quant));
        for row in [0, 15, 16, 20] {
            let range = row * k..(row + 1) * k;
            let alone = decode(&quantized(1, k, &w[range.clone()], quant));
            assert_eq!(alone, all[range], "{quant} row {row}");
        }
    }
}

#[test]
fn sources_of_16_bits_are_the_floats_that_they_hold() {
    let (n, k) = (17, 96);
    let w = random(Kind::Normal, 2, n * k);
    let bf16: Vec<Bf16> = w.iter().map(|&w| Bf16::from_f32(w)).collect();
    let f16: Vec<F16> = w.iter().map(|&w| F16::from_f32(w)).collect();
    let tensor = |dtype, bytes: &[u8]| {
        let view = TensorView::new(dtype, vec![n, k], Bytes::copy_aligned(bytes)).unwrap();
        Matrix::from_tensor(&view).unwrap()
    };
    for source in [tensor(DType::Bf16, as_bytes(&bf16)), tensor(DType::F16, as_bytes(&f16))] {
        let wide = floats(n, k, &decode(&source));
        for format in Format::all() {
            let (ours, loss) = source.encode("w", format, &Serial).unwrap();
            let (theirs, same) = wide.encode("w", format, &Serial).unwrap();
            assert!(decode(&ours) == decode(&theirs) && loss == same, "{format}");
            if format == source.format() || format == Format::F32 {
                assert!(decode(&ours) == decode(&source) && loss.error == 0.0, "{format}: nothing is lost");
            }
        }
    }
}

#[test]
fn weights_that_cannot_be_stored_are_named() {
    let (n, k) = (40, 70);
    for format in Format::all() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut w = random(Kind::Normal, 4, n * k);
            // The second one is found first only by threads that do not count.
            w[18 * k + 66] = value;
            w[35 * k + 1] = value;
            let error = floats(n, k, &w).encode("layer.weight", format, &Threads::new(3)).unwrap_err();
            assert!(matches!(error, Error::NotFinite { .. }), "{format}: {error}");
            assert!(
                error.to_string().contains("tensor `layer.weight`, row 18, column 66"),
                "{format}: {error}"
            );
        }
        if format == Format::F32 {
            continue;
        }
        let mut w = random(Kind::Normal, 4, n * k);
        w[18 * k + 66] = -f32::MAX;
        let error = floats(n, k, &w).encode("layer.weight", format, &Serial).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{format}: {error}");
        let message = error.to_string();
        let words =
            format!("-3.4028235e38 in tensor `layer.weight`, row 18, column 66 is too large for {format}");
        assert!(message.contains(&words), "{message}");
    }
}

#[test]
#[should_panic(expected = "quantized already")]
fn quantizing_twice_is_a_wrong_call() {
    let once = quantized(1, 64, &[1.0; 64], Quant::all()[0]);
    let _ = once.encode("w", Format::Quant(Quant::all()[0]), &Serial);
}
