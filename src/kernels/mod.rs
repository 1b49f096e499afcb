//! The kernels: GEMM, attention and row operations on slices of numbers.
//!
//! [`Kernels`] is the safe entry: it asserts shapes once, splits the output over the [`Executor`] that it is given, and runs
//! the parts on the instruction set of its [`Level`]. The parts allocate nothing and start no threads.
//!
//! What a caller can rely on, on one level:
//! - the bits of an output row do not depend on the other rows of the call, nor on their number;
//! - they do not depend on the executor, nor on the Cargo features.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles index several arrays of registers by one constant range; iterator adaptors would put calls between the vectors"
)]

mod activations;
mod attention;
mod cpu;
#[cfg(test)]
mod edges;
mod exp;
mod gemm;
mod level;
mod peak;
mod rms_norm;
mod rope;
mod rows;
mod simd;
mod softmax;
mod swiglu;

pub use activations::Activations;
pub use attention::{Attention, KeySpan, KvRows};
pub use cpu::Cpu;
pub use gemm::{Group, Prepared, Projection};
pub use level::{LEVEL_VARIABLE, Level};
pub use peak::Spin;
pub use rope::{Rope, RopeScaling, RopeTable, Yarn};
pub use rows::Scan;
pub use simd::{Amx, Avx2, Avx512, Neon, Scalar};
pub use softmax::ExpSums;

use crate::dtype::F16;
use crate::error::Result;
use crate::exec::{Executor, split};
use crate::quant::{Elements, Format, Matrix};
use crate::tensor::{Rows, RowsMut};
use gemm::Unit;
use rows::{Lanewise, Zip};

/// Elements of a row operation below which another task costs more than it saves: about 2 microseconds of work.
const MIN_TASK: usize = 16 * 1024;

/// The kernels of one level.
#[derive(Clone, Debug)]
pub struct Kernels {
    level: Level,
    /// Never `Auto`.
    activations: Activations,
    /// What multiplies quantized weights with int8 activations.
    int8: Unit,
}

impl Default for Kernels {
    /// The kernels of the best level of this CPU.
    fn default() -> Self {
        Self::new(Level::detect())
    }
}

impl Kernels {
    /// The kernels of `level` with the fastest float activations: bf16 if it has a matrix unit for it, else f32.
    pub fn new(level: Level) -> Self {
        Self { level, activations: Activations::float(level), int8: Unit::int8(level)[0] }
    }

    /// The same kernels with these activations.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) if the level has no instructions for them.
    pub fn with_activations(mut self, activations: Activations) -> Result<Self> {
        self.activations = activations.on(self.level)?;
        Ok(self)
    }

    /// The kernels of every level that this CPU has with float activations ([`Self::new`]), and of every integer unit, lowest level
    /// first. Tests and benches go through them. On AMX that leaves out f32 activations, which run the kernels of
    /// AVX-512.
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        for level in Level::available() {
            all.push(Self::new(level));
            let activations = Activations::Int8;
            // The scalar unit counts once, and so does one that a lower level has.
            let new =
                |unit: &Unit| all.iter().all(|k: &Self| k.activations != activations || k.int8 != *unit);
            let units: Vec<_> = Unit::int8(level).into_iter().filter(new).collect();
            all.extend(units.into_iter().map(|int8| Self { level, activations, int8 }));
        }
        all
    }

    /// What weights are multiplied with; never `Auto`.
    pub fn activations(&self) -> Activations {
        self.activations
    }

    /// What multiplies weights of `format`.
    fn unit(&self, format: Format) -> Unit {
        match (format, self.activations) {
            (Format::Quant(_), Activations::Int8) => self.int8,
            (Format::Quant(_) | Format::Bf16, Activations::Bf16) => {
                Unit::bf16(self.level).expect("the activations were chosen only because the level has it")
            }
            _ => Unit::Fma(self.level),
        }
    }

    /// The activations that weights of `format` are multiplied with, and the instructions: `i8/avx2`.
    pub fn unit_name(&self, format: Format) -> String {
        self.unit(format).name()
    }

    /// The level they run on.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The names of the kernels that run for a model with weights of `formats`, for reports: `gemm/bf16xf32/avx2`.
    pub fn names(&self, formats: &[Format]) -> Vec<String> {
        let level = self.level.name();
        let gemm = formats.iter().map(|&format| format!("gemm/{format}x{}", self.unit_name(format)));
        let attention = ["f32", "f16"].map(|kv| format!("attention/{kv}xf32/{level}"));
        let rows = ["rms_norm", "rope", "swiglu", "softmax"].map(|op| format!("{op}/f32/{level}"));
        gemm.chain(attention).chain(rows).collect()
    }

    /// `out = x W^T + bias`
    ///
    /// # Shapes
    /// `x`: `[m, k]`, `w`: `[n, k]`, `bias`: `[n]`, `out`: `[m, n]`.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn gemm(&self, exec: &dyn Executor, x: Rows<'_>, w: &Matrix, bias: Option<&[f32]>, out: RowsMut<'_>) {
        self.project(exec, x, &mut Prepared::default(), &mut [Projection { w, bias, out }]);
    }

    /// Several GEMMs of the same x, as [`Self::gemm`] computes them; `prepared` is memory for x in the forms that the
    /// kernels read.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn project(
        &self,
        exec: &dyn Executor,
        x: Rows<'_>,
        prepared: &mut Prepared,
        projections: &mut [Projection<'_>],
    ) {
        self.project_groups(exec, &mut [Group { x, prepared, projections }]);
    }

    /// Several groups of GEMMs, each with an x of its own, as one call: the bits of separate calls of [`Self::project`], with all
    /// threads busy although each group is small. Groups may be empty.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn project_groups(&self, exec: &dyn Executor, groups: &mut [Group<'_, '_>]) {
        gemm::project_groups(|w| self.unit(w.format()), self.level, exec, groups);
    }

    /// `out = weight * x / sqrt(mean(x^2) + eps)`, row by row.
    ///
    /// # Shapes
    /// `x`, `out`: `[rows, width]`, `weight`: `[width]`.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn rms_norm(&self, exec: &dyn Executor, x: Rows<'_>, weight: &[f32], eps: f32, mut out: RowsMut<'_>) {
        assert_eq!(x.width(), weight.len(), "rms_norm: width of x and length of the weight");
        assert_eq!((x.len(), x.width()), (out.len(), out.width()), "rms_norm: shapes of x and out");
        let task = task_rows(exec, x.len(), x.width()) * x.width();
        split(exec, out.data_mut(), task, |i, out| {
            out.copy_from_slice(&x.data()[i * task..][..out.len()]);
            self.level.run(rms_norm::RmsNorm { x: out, weight, eps });
        });
    }

    /// `x = weight * x / sqrt(mean(x^2) + eps)`, in place on every head of every row.
    ///
    /// # Shapes
    /// `x`: `[rows, heads * head_dim]`, `weight`: `[head_dim]`.
    ///
    /// # Panics
    /// If the rows do not consist of whole heads.
    pub fn rms_norm_heads(&self, exec: &dyn Executor, mut x: RowsMut<'_>, weight: &[f32], eps: f32) {
        let width = x.width();
        let whole = !weight.is_empty() && width.is_multiple_of(weight.len());
        assert!(whole, "rms_norm_heads: rows of {width} are not heads of {}", weight.len());
        let task = task_rows(exec, x.len(), width) * width;
        split(exec, x.data_mut(), task, |_, x| self.level.run(rms_norm::RmsNorm { x, weight, eps }));
    }

    /// Rotates every head in place; row `i` is at the absolute position `first + i`.
    ///
    /// # Shapes
    /// `x`: `[rows, heads * head_dim]`.
    ///
    /// # Panics
    /// If the rows do not consist of whole heads, or a position is beyond the capacity of the table.
    pub fn rope(&self, exec: &dyn Executor, mut x: RowsMut<'_>, table: &RopeTable, first: usize) {
        let (rows, width) = (x.len(), x.width());
        let head_dim = table.head_dim();
        assert!(width.is_multiple_of(head_dim), "rope: rows of {width} are not heads of {head_dim}");
        let capacity = table.capacity();
        assert!(first + rows <= capacity, "rope: positions {first} + {rows} of {capacity}");
        let task = task_rows(exec, rows, width);
        split(exec, x.data_mut(), task * width, |i, x| {
            self.level.run(rope::Rotate { x, width, table, first: first + i * task });
        });
    }

    /// `gate = silu(gate) * up`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn swiglu(&self, exec: &dyn Executor, gate: RowsMut<'_>, up: Rows<'_>) {
        self.zip(exec, gate, up, swiglu::SwiGlu);
    }

    /// `x += y`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn add(&self, exec: &dyn Executor, x: RowsMut<'_>, y: Rows<'_>) {
        self.zip(exec, x, y, rows::Add);
    }

    /// `x = y + scale * (x - y)`: classifier-free guidance of logits, `x` conditional, `y` unconditional.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn guide(&self, exec: &dyn Executor, x: RowsMut<'_>, y: Rows<'_>, scale: f32) {
        self.zip(exec, x, y, rows::Guide { scale });
    }

    fn zip<F: Lanewise + Sync>(&self, exec: &dyn Executor, mut x: RowsMut<'_>, y: Rows<'_>, f: F) {
        assert_eq!((x.len(), x.width()), (y.len(), y.width()), "shapes of the two operands");
        let task = task_rows(exec, x.data_mut().len(), 1);
        split(exec, x.data_mut(), task, |i, x| {
            let y = &y.data()[i * task..][..x.len()];
            self.level.run(Zip { x, y, f });
        });
    }

    /// Row `row` of a stored matrix as f32: the embedding of a token.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `k` long.
    pub fn decode_row(&self, w: &Matrix, row: usize, out: &mut [f32]) {
        assert!(row < w.n(), "decode_row: row {row} of {}", w.n());
        assert_eq!(out.len(), w.k(), "decode_row: length of out and k of the weight");
        let range = || row * w.k()..(row + 1) * w.k();
        match w.elements() {
            Elements::F32(x) => self.level.run_tile(rows::Widen { x: &x[range()], out }),
            Elements::Bf16(x) => self.level.run_tile(rows::Widen { x: &x[range()], out }),
            Elements::F16(x) => self.level.run_tile(rows::Widen { x: &x[range()], out }),
            Elements::Panels(x) => x.decode_row(row, out),
        }
    }

    /// Rounds to the K/V element: the bits of [`F16::from_f32`] on every level.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn narrow(&self, x: &[f32], out: &mut [F16]) {
        assert_eq!(x.len(), out.len(), "narrow: lengths of x and out");
        self.level.run_tile(rows::Narrow { x, out });
    }

    /// Attention over spans of keys, with grouped query heads.
    ///
    /// # Panics
    /// If the shapes disagree, the spans leave a gap or do not cover the rows, or a span sees no key.
    pub fn attention(&self, exec: &dyn Executor, args: Attention<'_>) {
        attention::attention(self.level, exec, args);
    }

    /// The two largest entries of a logits row, and whether the row is fit to be sampled from.
    ///
    /// # Panics
    /// If the row is empty.
    pub fn scan(&self, row: &[f32]) -> Scan {
        assert!(!row.is_empty(), "scan: a row without entries");
        self.level.run(rows::ScanRow(row))
    }

    /// Multiplies as fast as the instructions for weights of `format` can, on every thread of `exec`. Takes less than a
    /// millisecond on vector units; [`crate::roofline`] takes the best of many.
    pub fn spin(&self, exec: &dyn Executor, format: Format) -> Spin {
        peak::spin(self.unit(format), exec, format)
    }

    /// What a core can do at most in theory, in operations per cycle, if there are vectors: two units that begin a multiplication
    /// every cycle, or one matrix unit. Some CPUs have more of them (four of NEON), some fewer (one of AVX-512).
    pub fn operations_per_cycle(&self, format: Format) -> Option<u32> {
        peak::operations_per_cycle(self.unit(format), format)
    }

    /// `Σ e^z` and `Σ e^z z` of a logits row, where `z = (x - max) * inv_t`; -inf contributes exactly 0.
    ///
    /// `max` is the finite maximum of the row.
    pub fn exp_sums(&self, row: &[f32], max: f32, inv_t: f32) -> ExpSums {
        self.level.run(softmax::SumExp { row, max, inv_t })
    }

    /// `row = e^((row - max) * inv_t) / sum`: probabilities in place, given [`ExpSums::sum`].
    pub fn softmax(&self, row: &mut [f32], max: f32, inv_t: f32, sum: f32) {
        self.level.run(softmax::Softmax { row, max, inv_t, sum });
    }
}

/// Rows in a task of a row operation: an equal share for each thread, unless that is too little work for a task.
fn task_rows(exec: &dyn Executor, rows: usize, width: usize) -> usize {
    rows.div_ceil(exec.width()).max(MIN_TASK.div_ceil(width))
}
