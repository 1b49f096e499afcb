//! Int4 with zero points: `w = scale * c + minimum` with `0 <= c <= 15`.
//!
//! For fixed codes the best scale and minimum are the line of least squares through the points (c, w); what it explains of the
//! variance of w is `cov(w, c)^2 / var(c)`.

use super::sums::{code, range, sums, zip};
use super::{F16, Fit, NEGLIGIBLE, inverse};

/// Rounds of codes and line in turn.
const ROUNDS: usize = 3;
/// The largest code.
const HIGH: f32 = 15.0;
/// What the range of the weights is divided by for a candidate: above 15 it is clipped, below it codes stay unused.
const DIVISORS: [f32; 4] = [14.25, 15.75, 16.75, 18.0];

/// A line `scale * c + minimum`.
#[derive(Clone, Copy)]
struct Line {
    scale: f32,
    minimum: f32,
    /// The part of the weights' variance that it explains.
    explained: f32,
}

pub(super) struct Affine<'a> {
    w: &'a [f32],
    /// Sum of the weights minus `center`, which is in the middle of them: sums of differences do not cancel.
    total: f32,
    center: f32,
}

impl<'a> Affine<'a> {
    /// Chooses scale and minimum and writes the codes. `None` if either is too large for f16.
    pub(super) fn encode(w: &'a [f32], codes: &mut [i8]) -> Option<Fit> {
        let fit = Self::fit(w)?;
        let (inverse, minimum) = (inverse(fit.scale), fit.minimum.to_f32());
        for (out, &w) in codes.iter_mut().zip(w) {
            *out = code((w - minimum) * inverse, 0.0, HIGH) as i8;
        }
        Some(fit)
    }

    fn fit(w: &'a [f32]) -> Option<Fit> {
        let (least, greatest) = range(w);
        let [energy] = sums(w, |w| [w.map(|w| w * w)]);
        let mut best = Fit { scale: F16(0), minimum: F16(0), error: energy };
        let largest = greatest.max(-least);
        if largest <= NEGLIGIBLE {
            return Some(best);
        }
        let range = greatest - least;
        if [range / HIGH, least, greatest].iter().any(|&x| F16::from_f32(x).to_f32().is_infinite()) {
            return None;
        }
        let center = least + 0.5 * range;
        let [total] = sums(w, |w| [w.map(|w| w - center)]);
        let group = Self { w, total, center };
        group.consider(0.0, center, &mut best);
        group.consider(range / HIGH, least, &mut best);
        // So many steps that a constant would be lost in their rounding: there is nothing to search for.
        if range > largest * f32::EPSILON {
            let line = group.search(least, greatest);
            group.consider(line.scale, line.minimum, &mut best);
            group.refine(&mut best);
        }
        Some(best)
    }

    /// The line of the best candidate.
    fn search(&self, least: f32, greatest: f32) -> Line {
        let range = greatest - least;
        let mut best = self.line(least, HIGH / range);
        for divisor in DIVISORS {
            let step = range / divisor;
            // Anchored at the least weight, at the greatest, or in the middle.
            for minimum in [least, greatest - HIGH * step, self.center - 0.5 * HIGH * step] {
                let line = self.line(minimum, divisor / range);
                if line.explained > best.explained {
                    best = line;
                }
            }
        }
        best
    }

    /// Improves codes and line in turn, as long as that helps.
    fn refine(&self, best: &mut Fit) {
        for _ in 0..ROUNDS {
            let before = best.error;
            let minimum = best.minimum.to_f32();
            let line = self.line(minimum, inverse(best.scale));
            self.consider(line.scale, line.minimum, best);
            // The best scale for a rounded minimum is a different one.
            let (minimum, inverse) = (best.minimum.to_f32(), inverse(best.scale));
            let [wc, cc] = sums(self.w, |w| {
                let c = w.map(|w| code((w - minimum) * inverse, 0.0, HIGH));
                [zip(w, c, |w, c| (w - minimum) * c), c.map(|c| c * c)]
            });
            self.consider(wc / cc, minimum, best);
            if best.error >= before {
                break;
            }
        }
    }

    /// The line of least squares through the codes for `minimum` and `1 / inverse`.
    #[inline(always)]
    fn line(&self, minimum: f32, inverse: f32) -> Line {
        let center = self.center;
        let [c, cc, wc] = sums(self.w, |w| {
            let c = w.map(|w| code((w - minimum) * inverse, 0.0, HIGH));
            [c, c.map(|c| c * c), zip(w, c, |w, c| (w - center) * c)]
        });
        let n = self.w.len() as f32;
        let (covariance, variance) = (wc - self.total * c / n, cc - c * c / n);
        if variance <= 0.0 {
            return Line { scale: 0.0, minimum, explained: 0.0 };
        }
        let scale = covariance / variance;
        let minimum = center + (self.total - scale * c) / n;
        Line { scale, minimum, explained: covariance * scale }
    }

    /// Takes a scale and a minimum, rounded to f16, if they leave a smaller error than the best so far.
    fn consider(&self, scale: f32, minimum: f32, best: &mut Fit) {
        let (rounded, lowest) = (F16::from_f32(scale), F16::from_f32(minimum));
        let (scale, minimum) = (rounded.to_f32(), lowest.to_f32());
        if !scale.is_finite() || !minimum.is_finite() {
            return;
        }
        let inverse = inverse(rounded);
        let [error] = sums(self.w, |w| {
            let difference = w.map(|w| w - (scale * code((w - minimum) * inverse, 0.0, HIGH) + minimum));
            [difference.map(|d| d * d)]
        });
        if error < best.error {
            *best = Fit { scale: rounded, minimum: lowest, error };
        }
    }
}
