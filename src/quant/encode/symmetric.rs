//! Schemes without zero points: `w = scale * c` with `low <= c <= high`.
//!
//! For fixed codes the best scale is `sum(w c) / sum(c c)`, and the error it leaves is `sum(w w) - sum(w c)^2 / sum(c c)`; so
//! a candidate needs two sums. Codes and scale are then improved in turn (the codes are the nearest ones for the scale).

use super::sums::{code, range, sums, zip};
use super::{F16, Fit, NEGLIGIBLE, inverse};

/// Rounds of codes and scale in turn.
const ROUNDS: usize = 3;

/// The codes of a scheme.
pub(super) struct Symmetric {
    low: f32,
    high: f32,
    /// Added to a code when it is stored.
    offset: f32,
    /// What the largest magnitude is divided by for a candidate: above the largest code it is clipped.
    divisors: &'static [f32],
}

impl Symmetric {
    pub(super) const INT8: Self =
        Self { low: -127.0, high: 127.0, offset: 0.0, divisors: &[127.0, 129.0, 133.0, 140.0, 155.0] };
    pub(super) const INT4: Self = Self {
        low: -8.0,
        high: 7.0,
        offset: 8.0,
        divisors: &[6.75, 7.25, 7.75, 8.25, 8.75, 9.25, 9.75, 10.5],
    };

    /// Chooses the scale and writes the codes as stored. `None` if the scale is too large for f16.
    pub(super) fn encode(&self, w: &[f32], codes: &mut [i8]) -> Option<Fit> {
        let fit = self.fit(w)?;
        let inverse = inverse(fit.scale);
        for (out, &w) in codes.iter_mut().zip(w) {
            *out = (code(w * inverse, self.low, self.high) + self.offset) as i8;
        }
        Some(fit)
    }

    fn fit(&self, w: &[f32]) -> Option<Fit> {
        let (least, greatest) = range(w);
        let largest = greatest.max(-least);
        let [energy] = sums(w, |w| [w.map(|w| w * w)]);
        let mut best = Fit { scale: F16(0), minimum: F16(0), error: energy };
        if largest <= NEGLIGIBLE {
            return Some(best);
        }
        let mirrored = self.low != -self.high;
        // The side with more codes is for the larger side of the weights.
        let sign = if mirrored && greatest > -least { -1.0 } else { 1.0 };
        let by_low = sign * largest / -self.low;
        if F16::from_f32(by_low).to_f32().is_infinite() {
            return None;
        }
        self.consider(w, by_low, &mut best);
        if mirrored {
            self.consider(w, sign * largest / self.high, &mut best);
            self.consider(w, -sign * largest / self.high, &mut best);
        }
        let scale = self.search(w, sign / largest, mirrored);
        self.consider(w, scale, &mut best);
        for _ in 0..ROUNDS {
            let before = best.scale;
            let [wc, cc] = self.correlate(w, inverse(before));
            self.consider(w, wc / cc, &mut best);
            if best.scale == before {
                break;
            }
        }
        self.neighbours(w, &mut best);
        Some(best)
    }

    /// The best scale for the codes of the best divisor.
    fn search(&self, w: &[f32], unit: f32, mirrored: bool) -> f32 {
        let (mut scale, mut score) = (0.0, 0.0);
        let mut candidate = |inverse: f32| {
            let [wc, cc] = self.correlate(w, inverse);
            let explained = wc * (wc / cc);
            if explained > score {
                (scale, score) = (wc / cc, explained);
            }
        };
        for divisor in self.divisors {
            candidate(divisor * unit);
            if mirrored {
                candidate(-divisor * unit);
            }
        }
        scale
    }

    /// `sum(w c)` and `sum(c c)` of the codes for `1 / inverse`.
    #[inline(always)]
    fn correlate(&self, w: &[f32], inverse: f32) -> [f32; 2] {
        let (low, high) = (self.low, self.high);
        sums(w, |w| {
            let c = w.map(|w| code(w * inverse, low, high));
            [zip(w, c, |w, c| w * c), c.map(|c| c * c)]
        })
    }

    /// Takes `scale`, rounded to f16, if it leaves a smaller error than the best so far.
    fn consider(&self, w: &[f32], scale: f32, best: &mut Fit) {
        let rounded = F16::from_f32(scale);
        let scale = rounded.to_f32();
        // Zero is what the search began with; NaN and infinity come from empty or overflowing sums.
        if scale == 0.0 || !scale.is_finite() || rounded == best.scale {
            return;
        }
        let (inverse, low, high) = (1.0 / scale, self.low, self.high);
        let [error] = sums(w, |w| {
            let difference = w.map(|w| w - scale * code(w * inverse, low, high));
            [difference.map(|d| d * d)]
        });
        if error < best.error {
            *best = Fit { scale: rounded, minimum: F16(0), error };
        }
    }

    /// Subnormal scales are coarse: the nearest to the best real number is not always the best of them.
    fn neighbours(&self, w: &[f32], best: &mut Fit) {
        const NORMAL: u16 = 0x0400;
        let sign = best.scale.0 & 0x8000;
        let magnitude = best.scale.0 & 0x7fff;
        if magnitude < NORMAL {
            for step in 1..=4 {
                for near in [magnitude.saturating_sub(step), magnitude + step] {
                    self.consider(w, F16(sign | near).to_f32(), best);
                }
            }
        }
    }
}
