//! Sums over a group, in lanes: a fixed order of additions that compilers turn into vectors.

/// Additions that run in parallel.
const LANES: usize = 8;
/// A run of weights, or a number for each of them.
pub(super) type Run = [f32; LANES];

/// Adding it rounds to a whole number, ties to even: at 1.5 * 2^23 the spacing of f32 is 1.
const ROUNDER: f32 = 12_582_912.0;

/// `x` clipped to `low..=high` and rounded to a whole number. `x` is not NaN.
#[inline(always)]
pub(super) fn code(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    let x = if x < high { x } else { high };
    (x + ROUNDER) - ROUNDER
}

/// Numbers made of two runs, one by one.
#[inline(always)]
pub(super) fn zip(a: Run, b: Run, f: impl Fn(f32, f32) -> f32) -> Run {
    let mut out = a;
    for (a, b) in out.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    out
}

/// The sums of `N` terms of every weight. Whole runs are handed over, since terms that come one weight at a time would have to
/// be gathered into vectors again.
#[inline(always)]
pub(super) fn sums<const N: usize>(w: &[f32], terms: impl Fn(Run) -> [Run; N]) -> [f32; N] {
    let add = |a, b| a + b;
    let mut lanes = [[0.0; LANES]; N];
    let (runs, rest) = w.as_chunks::<LANES>();
    for &run in runs {
        let terms = terms(run);
        for n in 0..N {
            lanes[n] = zip(lanes[n], terms[n], add);
        }
    }
    if !rest.is_empty() {
        let mut run = [0.0; LANES];
        run[..rest.len()].copy_from_slice(rest);
        for (lanes, terms) in lanes.iter_mut().zip(terms(run)) {
            lanes.iter_mut().zip(&terms[..rest.len()]).for_each(|(lane, term)| *lane += term);
        }
    }
    lanes.map(|l| ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])))
}

/// Sum of squares.
pub(super) fn energy(w: &[f32]) -> f64 {
    w.iter().map(|&w| f64::from(w) * f64::from(w)).sum()
}

/// Least and greatest weight.
pub(super) fn range(w: &[f32]) -> (f32, f32) {
    let mut lanes = [[f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]];
    for run in w.chunks(LANES) {
        for (lane, &w) in run.iter().enumerate() {
            lanes[0][lane] = if w < lanes[0][lane] { w } else { lanes[0][lane] };
            lanes[1][lane] = if w > lanes[1][lane] { w } else { lanes[1][lane] };
        }
    }
    (
        lanes[0].into_iter().fold(f32::INFINITY, f32::min),
        lanes[1].into_iter().fold(f32::NEG_INFINITY, f32::max),
    )
}

/// Position of the weight with the largest magnitude; the first of several, 0 of none.
pub(super) fn largest(w: &[f32]) -> usize {
    (1..w.len()).fold(0, |best, i| if w[i].abs() > w[best].abs() { i } else { best })
}
