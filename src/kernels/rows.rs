//! Row kernels without a file of their own: element by element operations, embedding rows, K/V narrowing, the logits scan.

use super::gemm::{Decode, WeightRow};
use super::simd::{F32s, Op, Tile, TileOp};
use crate::dtype::F16;

/// A function of one lane of `x` and one of `y`.
pub(crate) trait Lanewise: Copy {
    /// The function.
    fn apply<S: F32s>(self, s: S, x: S::V, y: S::V) -> S::V;
}

/// `x = f(x, y)`, element by element.
///
/// # Shapes
/// `x`, `y`: `[len]`.
pub(crate) struct Zip<'a, F> {
    pub(crate) x: &'a mut [f32],
    pub(crate) y: &'a [f32],
    pub(crate) f: F,
}

impl<F: Lanewise> Op for Zip<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<S: F32s>(self, s: S) {
        zip(s, self.x, self.y, self.f);
    }
}

/// `x = f(x, y)`, element by element.
#[inline(always)]
pub(crate) fn zip<S: F32s, F: Lanewise>(s: S, x: &mut [f32], y: &[f32], f: F) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    let mut i = 0;
    while i + S::LANES <= x.len() {
        let v = f.apply(s, s.load(&x[i..]), s.load(&y[i..]));
        s.store(v, &mut x[i..]);
        i += S::LANES;
    }
    if i < x.len() {
        let v = f.apply(s, s.load_partial(&x[i..]), s.load_partial(&y[i..]));
        s.store_partial(v, &mut x[i..]);
    }
}

/// `x + y`
#[derive(Clone, Copy)]
pub(crate) struct Add;

impl Lanewise for Add {
    #[inline(always)]
    fn apply<S: F32s>(self, s: S, x: S::V, y: S::V) -> S::V {
        s.add(x, y)
    }
}

/// `y + scale (x - y)`
#[derive(Clone, Copy)]
pub(crate) struct Guide {
    pub(crate) scale: f32,
}

impl Lanewise for Guide {
    #[inline(always)]
    fn apply<S: F32s>(self, s: S, x: S::V, y: S::V) -> S::V {
        s.mul_add(s.splat(self.scale), s.sub(x, y), y)
    }
}

/// Widens a stored row to f32.
pub(crate) struct Widen<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) out: &'a mut [f32],
}

impl<T> TileOp for Widen<'_, T>
where
    WeightRow<T>: Decode,
{
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(self, s: S) {
        let Self { x, out } = self;
        assert_eq!(x.len(), out.len(), "x and out differ in length");
        let row = WeightRow::new(x);
        let mut i = 0;
        while i + S::LANES <= out.len() {
            // SAFETY: i + LANES <= out.len() = x.len().
            let v = unsafe { row.load(s, i) };
            s.store(v, &mut out[i..]);
            i += S::LANES;
        }
        if i < out.len() {
            // SAFETY: exactly the out.len() - i < LANES elements that are left.
            let v = unsafe { row.load_partial(s, i, out.len() - i) };
            s.store_partial(v, &mut out[i..]);
        }
    }
}

/// Rounds f32 to the K/V element.
pub(crate) struct Narrow<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) out: &'a mut [F16],
}

impl TileOp for Narrow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(self, s: S) {
        let Self { x, out } = self;
        assert_eq!(x.len(), out.len(), "x and out differ in length");
        let mut i = 0;
        while i + S::LANES <= x.len() {
            s.narrow(s.load(&x[i..]), &mut out[i..]);
            i += S::LANES;
        }
        for (x, out) in x[i..].iter().zip(&mut out[i..]) {
            *out = F16::from_f32(*x);
        }
    }
}

/// What one pass over a logits row finds. The same on every level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scan {
    /// The lowest index of the maximum.
    pub argmax: usize,
    /// The maximum.
    pub max: f32,
    /// The largest of the other entries (equal to `max` on a tie); -inf if there is no other.
    pub second: f32,
    /// Whether any entry is NaN or +inf. Then the other fields mean nothing. -inf is allowed: banned tokens.
    pub bad: bool,
}

/// Elements after which the scan notes whether the maximum grew: the argmax is then searched in one such piece only.
const SCAN_PIECE: usize = 2048;

/// See [`Scan`].
pub(crate) struct ScanRow<'a>(pub(crate) &'a [f32]);

impl Op for ScanRow<'_> {
    type Out = Scan;

    #[inline(always)]
    fn run<S: F32s>(self, s: S) -> Scan {
        let (mut max, mut second, mut bad) = (f32::NEG_INFINITY, f32::NEG_INFINITY, false);
        let mut piece_of_max = 0;
        for (index, piece) in self.0.chunks(SCAN_PIECE).enumerate() {
            let found = scan_piece(s, piece);
            if found.max > max {
                piece_of_max = index;
            }
            second = larger(smaller(max, found.max), larger(second, found.second));
            max = larger(max, found.max);
            bad |= found.bad;
        }
        let start = piece_of_max * SCAN_PIECE;
        let mut argmax = start;
        for (i, &x) in self.0[start..].iter().enumerate() {
            if x == max {
                argmax = start + i;
                break;
            }
        }
        Scan { argmax, max, second, bad }
    }
}

/// The maximum, the second and the validity of a piece; `argmax` is not found.
#[inline(always)]
fn scan_piece<S: F32s>(s: S, piece: &[f32]) -> Scan {
    let (lowest, infinity) = (s.splat(f32::NEG_INFINITY), s.splat(f32::INFINITY));
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let (mut max, mut second, mut bad) = (lowest, lowest, zero);
    let mut i = 0;
    while i < piece.len() {
        let x = load_or(s, &piece[i..], f32::NEG_INFINITY);
        second = s.max(s.min(max, x), second);
        max = s.max(max, x);
        // Neither NaN nor inf is below inf.
        bad = s.max(bad, s.select_lt(x, infinity, zero, one));
        i += S::LANES;
    }
    let (mut lanes, mut seconds) = ([0.0; super::simd::MAX_LANES], [0.0; super::simd::MAX_LANES]);
    s.store(max, &mut lanes);
    s.store(second, &mut seconds);
    let mut found =
        Scan { argmax: 0, max: f32::NEG_INFINITY, second: f32::NEG_INFINITY, bad: s.top(bad) > 0.0 };
    for i in 0..S::LANES {
        found.second = larger(smaller(found.max, lanes[i]), larger(found.second, seconds[i]));
        found.max = larger(found.max, lanes[i]);
    }
    found
}

/// The first vector of `x`; lanes beyond its end are `fill`.
#[inline(always)]
pub(crate) fn load_or<S: F32s>(s: S, x: &[f32], fill: f32) -> S::V {
    if x.len() >= S::LANES {
        return s.load(x);
    }
    let mut lanes = [fill; super::simd::MAX_LANES];
    lanes[..x.len()].copy_from_slice(x);
    s.load(&lanes)
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}
