//! `exp` on vectors: range reduction by a power of two, then a polynomial.
//!
//! ```text
//! n = round(x / ln 2)        r = x - n ln 2,  |r| <= ln 2 / 2
//! e^x = 2^n e^r              e^r = 1 + r + r^2 q(r)
//! ```
//!
//! `q` interpolates `(e^r - 1 - r) / r^2` at the Chebyshev nodes of the interval; the polynomial is within 1.1e-8 of `e^r`
//! (relative), a sixth of an ulp. With the roundings of the last steps the result is within [`MAX_RELATIVE_ERROR`].
//!
//! | x | result |
//! |---|---|
//! | below [`LOWEST`], and -inf | exactly 0 (banned tokens get no probability; `exp` would be subnormal) |
//! | above [`HIGHEST`], and inf | inf (a factor of 1.4 before f32 itself ends) |
//! | NaN | NaN |

use super::simd::F32s;

/// Below this the result is exactly 0. `exp(-87.3)` is just above the smallest normal f32.
pub(crate) const LOWEST: f32 = -87.3;
/// Above this the result is infinite: `2^127.5`, where rounding `x / ln 2` gives 128.
pub(crate) const HIGHEST: f32 = 88.37;
/// Bound of the relative error between [`LOWEST`] and [`HIGHEST`], tested on every level: 2 ulp.
#[cfg(test)]
pub(crate) const MAX_RELATIVE_ERROR: f64 = 2.4e-7;

/// Adding this rounds to an integer and leaves that integer in the low bits.
const ROUND: f32 = 1.5 * 8_388_608.0;
/// `ln 2` in two parts; the first has 15 bits, so that its product with `n` is exact.
const LN2_HIGH: f32 = 0.693_145_75;
const LN2_LOW: f32 = 1.428_606_8e-6;
/// `q`, lowest power first.
const Q: [f32; 5] = [0.5, 0.166_665_77, 0.041_666_556, 0.008_363_233, 0.001_392_625_1];

/// `e^x` in every lane.
#[inline(always)]
pub(crate) fn exp<S: F32s>(s: S, x: S::V) -> S::V {
    // Constants come first in min and max, so that NaN passes through.
    let inside = s.min(s.splat(HIGHEST), s.max(s.splat(LOWEST), x));
    let t = s.mul_add(inside, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(t, s.splat(ROUND));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), inside);
    let r = s.mul_add(n, s.splat(-LN2_LOW), r);
    let mut q = s.splat(Q[4]);
    q = s.mul_add(q, r, s.splat(Q[3]));
    q = s.mul_add(q, r, s.splat(Q[2]));
    q = s.mul_add(q, r, s.splat(Q[1]));
    q = s.mul_add(q, r, s.splat(Q[0]));
    let power = s.add(s.mul_add(s.mul(r, r), q, r), s.splat(1.0));
    let y = s.mul(power, s.pow2(t));
    let y = s.select_lt(x, s.splat(LOWEST), s.splat(0.0), y);
    s.select_lt(s.splat(HIGHEST), x, s.splat(f32::INFINITY), y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::level::Level;
    use crate::kernels::simd::Op;

    struct Exp<'a>(&'a mut [f32]);

    impl Op for Exp<'_> {
        type Out = ();
        #[inline(always)]
        fn run<S: F32s>(self, s: S) {
            for x in self.0.chunks_exact_mut(S::LANES) {
                let y = exp(s, s.load(x));
                s.store(y, x);
            }
        }
    }

    #[test]
    fn error_is_within_the_bound_over_the_whole_range() {
        // Every 257th float of the range, both signs: about 17 million bit patterns lie between 1e-8 and 88.
        let positive = (1e-9f32.to_bits()..=HIGHEST.to_bits()).step_by(257).map(f32::from_bits);
        let negative =
            (1e-9f32.to_bits()..=LOWEST.abs().to_bits()).step_by(257).map(|bits| -f32::from_bits(bits));
        let mut x: Vec<f32> = positive.chain(negative).chain([0.0, -0.0, LOWEST, HIGHEST]).collect();
        x.truncate(x.len() / 16 * 16);
        x.extend([0.0, -0.0, LOWEST, LOWEST.next_up(), HIGHEST, HIGHEST.next_down(), 1.0, -1.0].repeat(2));
        for level in Level::available() {
            for own in [false, true] {
                let mut y = x.clone();
                if own {
                    level.run_own(Exp(&mut y));
                } else {
                    level.run(Exp(&mut y));
                }
                let mut worst = (0.0, 0.0);
                for (&x, &y) in x.iter().zip(&y) {
                    let exact = f64::from(x).exp();
                    let error = (f64::from(y) - exact).abs() / exact;
                    if error > worst.0 || error.is_nan() {
                        worst = (error, x);
                    }
                }
                println!("level {}: relative error {:.2e} at {}", level.name(), worst.0, worst.1);
                assert!(
                    worst.0 <= MAX_RELATIVE_ERROR,
                    "level {}: {:e} at {}",
                    level.name(),
                    worst.0,
                    worst.1
                );
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_are_exact() {
        let cases = [
            (f32::NEG_INFINITY, 0.0),
            (f32::MIN, 0.0),
            (-104.0, 0.0),
            (LOWEST.next_down(), 0.0),
            (HIGHEST.next_up(), f32::INFINITY),
            (f32::MAX, f32::INFINITY),
            (f32::INFINITY, f32::INFINITY),
        ];
        for level in Level::available() {
            let mut y: Vec<f32> = cases.map(|(x, _)| x).into_iter().chain([f32::NAN; 9]).collect();
            level.run(Exp(&mut y));
            for ((x, expected), y) in cases.iter().zip(&y) {
                assert_eq!(y, expected, "level {}, exp({x})", level.name());
            }
            assert!(y[cases.len()..].iter().all(|y| y.is_nan()), "level {}: NaN was lost", level.name());
        }
    }
}
