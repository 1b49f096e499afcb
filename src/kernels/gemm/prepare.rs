//! [`Prepared`]: activations in the form that a kernel reads.
//!
//! The kernels of panels work off k in steps, so x is packed step after step, `[steps][m][step]`, with zeros behind the end
//! of k: a tile reads a few short runs that lie together, whatever the stride of x.
//!
//! int8 activations have a scale for each row and step, `max |x| / 127`: outliers (there are some before the down
//! projection) cost precision in their own step only.

use crate::bytes::{ALIGN, AlignedBuf};
#[cfg(target_arch = "x86_64")]
use crate::dtype::Bf16;
use crate::dtype::{Plain, as_slice, as_slice_mut};
use crate::exec::{Executor, split_pair};
use crate::kernels::cpu::Level;
use crate::kernels::simd::{F32s, Op};
use crate::quant::K_UNIT;
use crate::tensor::Rows;

/// A form of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Rows,
    /// Packed.
    F32 { step: usize },
    /// Packed and rounded to int8.
    Int8 { step: usize },
    /// Packed and rounded to bf16.
    #[cfg(target_arch = "x86_64")]
    Bf16 { step: usize },
}

/// What a kernel needs to know of a row in a step, beside its elements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    /// `x = scale * element`; 1 where nothing was rounded.
    pub(crate) scale: f32,
    /// Σ x, as rounded: what minima of weights are multiplied with.
    pub(crate) sum: f32,
    /// Sum of the elements, if they are integers.
    pub(crate) integer_sum: i32,
}

/// One form of x.
struct Packed {
    form: Form,
    step: usize,
    /// `[steps][m][step]` elements.
    data: AlignedBuf,
    /// `[steps][m]`
    stats: Vec<Stats>,
}

/// Activations in the forms that the kernels of some weights read, and the memory for that.
#[derive(Default)]
pub struct Prepared {
    rows: usize,
    /// Those of the current x are the first `used`.
    packed: Vec<Packed>,
    used: usize,
}

/// Elements of type `T` as a kernel reads them.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a, T> {
    /// Rows of x.
    pub(crate) rows: usize,
    /// Elements in a step; the last one may be shorter.
    pub(crate) step: usize,
    data: &'a [T],
    stats: &'a [Stats],
}

/// Some rows of x in one step.
pub(crate) struct StepRows<T> {
    /// Elements of the first row.
    pub(crate) data: *const T,
    /// From row to row, in elements.
    pub(crate) stride: usize,
    /// Of every row.
    pub(crate) stats: *const Stats,
}

impl<T> Clone for StepRows<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for StepRows<T> {}

impl<T> Steps<'_, T> {
    /// Rows `first .. first + count` of the first step.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    pub(crate) fn rows_from(&self, first: usize, count: usize) -> StepRows<T> {
        assert!(first + count <= self.rows, "rows {first} + {count} of {}", self.rows);
        StepRows {
            data: self.data[first * self.step..].as_ptr(),
            stride: self.step,
            stats: self.stats[first..].as_ptr(),
        }
    }

    /// The same rows one step further; behind the last step what it returns must not be read.
    #[inline(always)]
    pub(crate) fn next(&self, x: StepRows<T>) -> StepRows<T> {
        StepRows {
            data: x.data.wrapping_add(self.rows * self.step),
            stats: x.stats.wrapping_add(self.rows),
            ..x
        }
    }
}

impl Prepared {
    /// Forgets the activations, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Brings `x` into `form`, unless that was done since the last `clear`.
    pub(super) fn add(&mut self, level: Level, exec: &dyn Executor, x: Rows<'_>, form: Form) {
        let (step, size) = match form {
            Form::Rows => return,
            Form::F32 { step } => (step, size_of::<f32>()),
            Form::Int8 { step } => (step, size_of::<i8>()),
            #[cfg(target_arch = "x86_64")]
            Form::Bf16 { step } => (step, size_of::<Bf16>()),
        };
        if self.packed[..self.used].iter().any(|packed| packed.form == form) {
            return;
        }
        self.rows = x.len();
        if self.packed.len() == self.used {
            self.packed.push(Packed { form, step, data: AlignedBuf::zeroed(0), stats: Vec::new() });
        }
        let packed = &mut self.packed[self.used];
        self.used += 1;
        (packed.form, packed.step) = (form, step);
        let steps = x.width().next_multiple_of(K_UNIT).div_ceil(step);
        packed.stats.resize(steps * x.len(), Stats::default());
        let bytes = steps * x.len() * step * size;
        if packed.data.as_ref().len() < bytes {
            packed.data = AlignedBuf::zeroed(bytes.next_multiple_of(ALIGN));
        }
        let Packed { data, stats, .. } = packed;
        let data = &mut data.as_mut()[..bytes];
        match form {
            Form::Rows => {}
            Form::F32 { .. } => pack::<f32>(level, exec, x, step, typed(data), stats),
            Form::Int8 { .. } => pack::<i8>(level, exec, x, step, typed(data), stats),
            #[cfg(target_arch = "x86_64")]
            Form::Bf16 { .. } => pack::<Bf16>(level, exec, x, step, typed(data), stats),
        }
    }

    /// The activations in `form`.
    ///
    /// # Panics
    /// If they were not added.
    pub(super) fn get<T: Plain>(&self, form: Form) -> Steps<'_, T> {
        let packed = self.packed[..self.used].iter().find(|packed| packed.form == form);
        let packed = packed.expect("the form was added before the products started");
        let bytes = packed.stats.len() * packed.step * size_of::<T>();
        let data = as_slice(&packed.data.as_ref()[..bytes]).expect("buffers are aligned");
        Steps { rows: self.rows, step: packed.step, data, stats: &packed.stats }
    }
}

fn typed<T: Plain>(bytes: &mut [u8]) -> &mut [T] {
    as_slice_mut(bytes).expect("buffers are aligned, and sized in whole elements")
}

/// An element that activations are rounded to.
trait Element: Plain + Send {
    /// Rounds the elements of one row and step; `out` is at least as long as `x`, and zero behind it.
    fn round<S: F32s>(s: S, x: &[f32], out: &mut [Self]) -> Stats;
}

/// One step of all rows.
struct Pack<'a, T> {
    x: Rows<'a>,
    /// First element of k.
    at: usize,
    step: usize,
    data: &'a mut [T],
    stats: &'a mut [Stats],
}

impl<T: Element> Op for Pack<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<S: F32s>(self, s: S) {
        let at = self.at.min(self.x.width());
        let end = (self.at + self.step).min(self.x.width());
        for (i, (out, stats)) in self.data.chunks_exact_mut(self.step).zip(self.stats).enumerate() {
            *stats = T::round(s, &self.x.row(i)[at..end], out);
        }
    }
}

fn pack<T: Element>(
    level: Level,
    exec: &dyn Executor,
    x: Rows<'_>,
    step: usize,
    data: &mut [T],
    stats: &mut [Stats],
) {
    split_pair(exec, data, x.len() * step, stats, x.len(), |i, data, stats| {
        level.run(Pack { x, at: i * step, step, data, stats });
    });
}

impl Element for f32 {
    #[inline(always)]
    fn round<S: F32s>(s: S, x: &[f32], out: &mut [Self]) -> Stats {
        let (mut sum, mut i) = (s.splat(0.0), 0);
        while i < x.len() {
            let len = S::LANES.min(x.len() - i);
            sum = s.add(sum, s.load_partial(&x[i..][..len]));
            i += S::LANES;
        }
        out[..x.len()].copy_from_slice(x);
        out[x.len()..].fill(0.0);
        Stats { scale: 1.0, sum: s.sum(sum), integer_sum: 0 }
    }
}

#[cfg(target_arch = "x86_64")]
impl Element for Bf16 {
    #[inline(always)]
    fn round<S: F32s>(_: S, x: &[f32], out: &mut [Self]) -> Stats {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = Self::from_f32(x);
        }
        out[x.len()..].fill(Self(0));
        // Minima of weights are rounded with their scales, so no kernel asks for the sum.
        Stats { scale: 1.0, ..Stats::default() }
    }
}

/// Adding it to a number of at most 2²² leaves the nearest integer in the low bits, ties to even.
const ROUND: f32 = 12_582_912.0;

impl Element for i8 {
    #[inline(always)]
    fn round<S: F32s>(s: S, x: &[f32], out: &mut [Self]) -> Stats {
        let (mut top, mut poison, mut i) = (s.splat(0.0), s.splat(0.0), 0);
        while i < x.len() {
            let v = s.load_partial(&x[i..][..S::LANES.min(x.len() - i)]);
            let magnitude = s.max(s.sub(s.splat(0.0), v), v);
            top = s.max(magnitude, top);
            // 0, or NaN if x is infinite or NaN, which comparing would pass over.
            poison = s.add(poison, s.mul(v, s.splat(0.0)));
            i += S::LANES;
        }
        let top = s.top(top);
        let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
        // Of a subnormal maximum the inverse may overflow; such rows count as zero.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut integer_sum = 0;
        for (out, &x) in out.iter_mut().zip(x) {
            // At most 127 in magnitude, so it fits; of a NaN it is some int8, and the scale is NaN.
            let code = (x * inverse + ROUND).to_bits() as Self;
            *out = code;
            integer_sum += i32::from(code);
        }
        out[x.len()..].fill(0);
        let scale = top / 127.0 + s.sum(poison);
        Stats { scale, sum: scale * integer_sum as f32, integer_sum }
    }
}
