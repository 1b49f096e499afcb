//! One group: how good the choice of scale and codes is.

use crate::{KINDS, ends, panels, quantized, random};
use diffulex::dtype::F16;
use diffulex::quant::{Code, Group, Matrix, Quant};
use proptest::prelude::*;

/// Every scheme with groups of 32, where a group is a row of 32 weights.
fn schemes() -> [Quant; 3] {
    let of = |code, zero| Quant::new(code, Group::Of(32), zero).unwrap();
    [of(Code::Int8, false), of(Code::Int4, false), of(Code::Int4, true)]
}

/// What is stored of row `row`, in f64: scale, minimum, and the values.
fn decoded(matrix: &Matrix, row: usize) -> (f64, f64, Vec<f64>) {
    let panels = panels(matrix);
    let (scale, minimum) = panels.scale(row, 0);
    let (scale, minimum) = (f64::from(scale), f64::from(minimum));
    let values = (0..matrix.k()).map(|k| scale * f64::from(panels.code(row, k)) + minimum).collect();
    (scale, minimum, values)
}

fn squared_error(w: &[f32], values: impl IntoIterator<Item = f64>) -> f64 {
    w.iter().zip(values).map(|(&w, v)| (f64::from(w) - v).powi(2)).sum()
}

/// The error of the nearest codes for a scale and minimum, which are rounded to f16 first.
fn error_with(w: &[f32], quant: Quant, scale: f64, minimum: f64) -> f64 {
    let f16 = |x: f64| f64::from(F16::from_f32(x as f32).to_f32());
    let (scale, minimum, (low, high)) = (f16(scale), f16(minimum), ends(quant));
    let nearest = |&w: &f32| match scale {
        0.0 => minimum,
        _ => scale * ((f64::from(w) - minimum) / scale).round().clamp(low, high) + minimum,
    };
    squared_error(w, w.iter().map(nearest))
}

/// Round-to-max: the usual way to choose a scale.
fn round_to_max(w: &[f32], quant: Quant) -> f64 {
    let (least, greatest) = w.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), &w| {
        (least.min(f64::from(w)), greatest.max(f64::from(w)))
    });
    let (low, high) = ends(quant);
    if quant.zero_points {
        return error_with(w, quant, (greatest - least) / (high - low), least);
    }
    let signed = if greatest > -least { greatest } else { least };
    let candidates = [signed.abs() / high, signed / low];
    candidates.into_iter().map(|scale| error_with(w, quant, scale, 0.0)).fold(f64::INFINITY, f64::min)
}

/// f32 sums of 32 squares, and a code at a tie, may differ from f64 by this much.
const ROUNDING: f64 = 1.0 + 1e-5;

/// Checks a group: codes are the nearest ones, and the error is not above that of round-to-max.
fn check(w: &[f32], quant: Quant) -> Result<(), String> {
    let matrix = quantized(1, w.len(), w, quant);
    let (scale, minimum, values) = decoded(&matrix, 0);
    let offset = if quant.zero_points { 0.0 } else { minimum };
    let (low, high) = ends(quant);
    let magnitude = w.iter().fold(0.0f64, |m, &w| m.max(f64::from(w).abs()));
    for (k, (&w, value)) in w.iter().zip(&values).enumerate() {
        let difference = (f64::from(w) - value).abs();
        // Half a step, unless the weight lies beyond the last code; the code was found in f32.
        let code = f64::from(panels(&matrix).code(0, k)) + if scale == 0.0 { 0.0 } else { offset / scale };
        let inside = code > low && code < high;
        // No f16 is small enough for a group of such weights, which becomes zeros.
        let allowed =
            if scale == 0.0 { 2f64.powi(-25) } else { scale.abs() / 2.0 * ROUNDING + magnitude * 1e-6 };
        if inside && difference > allowed {
            return Err(format!("{quant}: {w} at {k} is stored as {value}, the scale is {scale}"));
        }
    }
    let (found, simple) = (squared_error(w, values), round_to_max(w, quant));
    if found > simple * ROUNDING + 1e-12 * magnitude * magnitude {
        return Err(format!("{quant}: squared error {found:e}, round-to-max has {simple:e}: {w:?}"));
    }
    Ok(())
}

#[test]
fn the_error_is_never_above_that_of_round_to_max() {
    for quant in schemes() {
        for kind in KINDS {
            for length in [1, 2, 7, 8, 9, 31, 32] {
                for seed in 0..20 {
                    let w = random(kind, seed, length);
                    check(&w, quant).unwrap_or_else(|wrong| panic!("{kind:?} {length}: {wrong}"));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_group_is_stored_by_nearest_codes(
        w in proptest::collection::vec(-1.0f32..1.0, 1..=32),
        exponent in -12i32..12,
        kept in 0usize..32,
    ) {
        // Some groups have a few weights only, others span many magnitudes.
        let scaled = |(i, &w): (usize, &f32)| {
            let w = if i % 7 == kept % 7 { w * w * w * w } else { w };
            if i >= kept && kept % 3 == 0 { 0.0 } else { w * 2f32.powi(exponent) }
        };
        let w: Vec<f32> = w.iter().enumerate().map(scaled).collect();
        for quant in schemes() {
            check(&w, quant).map_err(TestCaseError::fail)?;
        }
    }
}

/// The search looks at a few scales and improves the best; looking at 1600 must not find much more.
#[test]
fn the_search_comes_within_a_hundredth_of_an_exhaustive_one() {
    let [_, int4, _] = schemes();
    for kind in KINDS {
        let (mut found, mut best) = (0.0, 0.0);
        for seed in 0..100 {
            let w = random(kind, seed, 32);
            found += squared_error(&w, decoded(&quantized(1, 32, &w, int4), 0).2);
            let largest = w.iter().fold(0.0f64, |m, &w| m.max(f64::from(w).abs()));
            let scales = (0..800).map(|i| largest / (4.0 + 0.01 * f64::from(i)));
            let errors = scales.flat_map(|s| [s, -s]).map(|s| error_with(&w, int4, s, 0.0));
            best += errors.fold(f64::INFINITY, f64::min);
        }
        assert!(found <= 1.01 * best, "{kind:?}: {found:e}, {best:e} is possible");
    }
}

#[test]
fn groups_of_zeros_have_scale_zero_and_decode_to_zero() {
    for quant in schemes() {
        // Also weights that the least f16 cannot bring nearer than zero, and -0.
        for w in [0.0, -0.0, 1e-8, -2e-8, f32::MIN_POSITIVE, 1e-45] {
            let matrix = quantized(1, 32, &[w; 32], quant);
            let (scale, _) = panels(&matrix).scale(0, 0);
            assert_eq!(scale.to_bits(), 0, "{quant} of {w:e}");
            let code = if quant.code == Code::Int4 && !quant.zero_points { 8 } else { 0 };
            let mut row = [1.0; 32];
            matrix.decode_row(0, &mut row);
            for (k, x) in row.into_iter().enumerate() {
                assert_eq!((panels(&matrix).code(0, k), x), (code, 0.0), "{quant} of {w:e}, {k}");
            }
        }
    }
}

#[test]
fn constant_groups_keep_their_value_to_the_precision_of_f16() {
    for quant in schemes() {
        for w in [1.0, -1.0, 0.1, -0.0317, 7e-3, 1000.3, -65000.0] {
            for length in [1, 5, 32] {
                let matrix = quantized(1, length, &vec![w; length], quant);
                let (_, _, values) = decoded(&matrix, 0);
                for value in values {
                    // Half a unit in the last place of 11 bits.
                    assert!(
                        (value / f64::from(w) - 1.0).abs() <= 2f64.powi(-11),
                        "{quant}: {w} became {value}"
                    );
                }
            }
        }
    }
}

/// Below 2^-14 scales of f16 lose bits: the best that is left is found.
#[test]
fn tiny_groups_get_the_best_scale_that_f16_has() {
    let [int8, int4, _] = schemes();
    for quant in [int8, int4] {
        for magnitude in [1e-7f32, 3e-7, 1e-6, 1e-5, 1e-4] {
            let (mut found, mut best) = (0.0, 0.0);
            for seed in 0..20 {
                let w: Vec<f32> =
                    random(crate::Kind::Normal, seed, 32).iter().map(|w| w * magnitude / 0.02).collect();
                let error = squared_error(&w, decoded(&quantized(1, 32, &w, quant), 0).2);
                assert!(error <= squared_error(&w, [0.0; 32]), "{quant}: worse than zeros");
                found += error;
                let scales = (0..0x0c00).map(|bits| f64::from(F16(bits).to_f32()));
                let errors = scales.flat_map(|s| [s, -s]).map(|s| error_with(&w, quant, s, 0.0));
                best += errors.fold(f64::INFINITY, f64::min);
            }
            assert!(found <= 1.03 * best, "{quant} of {magnitude:e}: {found:e}, {best:e} is possible");
        }
    }
}
