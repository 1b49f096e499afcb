//! `out = x W^T + bias`: how a product is cut for threads, and which kernel runs it.
//!
//! ```text
//! out[i, j] = Σ_k x[i, k] w[j, k] + bias[j]         x: [m, k]   w: [n, k]   out: [m, n]
//! ```
//!
//! Several products of the same x run as one: x is brought into the form that their kernels read once ([`Prepared`]), and
//! the columns of all outputs together are split over the executor. Never k: so bits do not depend on the threads.

#[cfg(target_arch = "x86_64")]
mod amx;
mod codes;
mod decode;
mod fma;
mod panels;
mod prepare;
mod rows;
#[cfg(target_arch = "aarch64")]
mod smmla;
mod unit;

pub(crate) use decode::{Decode, WeightRow};
pub(crate) use fma::{PANEL, Product, load, sweep};
pub use prepare::Prepared;
pub(crate) use unit::Unit;

use super::cpu::Level;
#[cfg(target_arch = "x86_64")]
use crate::dtype::Bf16;
use crate::exec::{Columns, Executor, Output, split_outputs};
use crate::quant::{Elements, Matrix, PANEL_ROWS};
use crate::tensor::{Rows, RowsMut};
use codes::{Fma, Int8};
use panels::Strips;
use prepare::Form;
use rows::Piece;

/// Tasks a thread: enough to even out threads that started late or run slower, few enough to stay in long streams.
const TASKS_PER_THREAD: usize = 4;
/// Columns of a task are a multiple of this: whole panels of float rows (12) and of codes (16), so that no two tasks share one.
const UNIT_COLUMNS: usize = PANEL * PANEL_ROWS;

/// One of several products of the same x.
pub struct Projection<'a> {
    /// `[n, k]`
    pub w: &'a Matrix,
    /// `[n]`
    pub bias: Option<&'a [f32]>,
    /// `[m, n]`
    pub out: RowsMut<'a>,
}

/// A weight with the kernel that was chosen for it.
struct Choice<'a> {
    w: Elements<'a>,
    unit: Unit,
    form: Form,
    bias: Option<&'a [f32]>,
}

/// Runs the products on `exec`.
pub(crate) fn project(
    choose: impl Fn(&Matrix) -> Unit,
    level: Level,
    exec: &dyn Executor,
    x: Rows<'_>,
    prepared: &mut Prepared,
    projections: &mut [Projection<'_>],
) {
    for Projection { w, bias, out } in projections.iter() {
        assert_eq!(x.width(), w.k(), "gemm: width of x and k of the weight");
        assert_eq!(out.width(), w.n(), "gemm: width of out and n of the weight");
        assert_eq!(x.len(), out.len(), "gemm: rows of x and rows of out");
        assert!(bias.is_none_or(|bias| bias.len() == w.n()), "gemm: length of the bias and n of the weight");
    }
    if x.is_empty() {
        return;
    }
    prepared.clear();
    let choices: Vec<Choice<'_>> = projections
        .iter()
        .map(|&Projection { w, bias, .. }| {
            let unit = choose(w);
            let form = unit.form(w.format());
            prepared.add(level, exec, x, form);
            Choice { w: w.elements(), unit, form, bias }
        })
        .collect();
    let columns: usize = projections.iter().map(|projection| projection.w.n()).sum();
    let piece = columns.div_ceil(exec.width() * TASKS_PER_THREAD).next_multiple_of(UNIT_COLUMNS);
    let outputs =
        projections.iter_mut().map(|Projection { w, out, .. }| Output { width: w.n(), data: out.data_mut() });
    let prepared = &*prepared;
    split_outputs(exec, outputs.collect(), piece, |i, out| choices[i].run(x, prepared, out));
}

impl Choice<'_> {
    /// Computes the columns `out`.
    fn run(&self, x: Rows<'_>, prepared: &Prepared, out: Columns<'_>) {
        let bias = self.bias;
        match (self.w, self.unit) {
            (Elements::F32(w), Unit::Fma(level)) => level.run_tile(Piece { x, w, bias, out }),
            (Elements::Bf16(w), Unit::Fma(level)) => level.run_tile(Piece { x, w, bias, out }),
            (Elements::F16(w), Unit::Fma(level)) => level.run_tile(Piece { x, w, bias, out }),
            (Elements::Panels(w), Unit::Fma(level)) => {
                level.run_tile(Fma(Strips { w, x: prepared.get(self.form), bias, out }));
            }
            (Elements::Panels(w), Unit::Dot(unit)) => {
                unit.run(Int8(Strips { w, x: prepared.get(self.form), bias, out }));
            }
            #[cfg(target_arch = "x86_64")]
            (Elements::Panels(w), Unit::AmxInt8(token)) => {
                token.run(amx::Product { w, x: prepared.get::<i8>(self.form), bias, out });
            }
            #[cfg(target_arch = "x86_64")]
            (Elements::Panels(w), Unit::AmxBf16(token)) => {
                token.run(amx::Product { w, x: prepared.get::<Bf16>(self.form), bias, out });
            }
            #[cfg(target_arch = "x86_64")]
            (Elements::Bf16(w), Unit::AmxBf16(token)) => {
                let w = amx::Bf16Rows::new(w, x.width());
                token.run(amx::Product { w, x: prepared.get::<Bf16>(self.form), bias, out });
            }
            (_, unit) => unreachable!("{} does not multiply weights of this format", unit.name()),
        }
    }
}
