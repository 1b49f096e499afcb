//! `out = x W^T + bias`: how a GEMM is split over threads, and which kernel runs it.
//!
//! ```text
//! out[i, j] = Σ_k x[i, k] w[j, k] + bias[j]         x: [m, k]   w: [n, k]   out: [m, n]
//! ```
//!
//! GEMMs with the same x form a [`Group`]: x is brought into the form that their kernels read once ([`Prepared`]). The columns
//! of all outputs of all groups together are split over the executor. Never k, so the bits do not depend on the threads.

#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "nothing runs a kernel for a unit that is absent")
)]
mod amx;
mod float;
mod pack;
mod quant;
mod round;
mod stack;
mod unit;

pub(crate) use float::{Decode, NR, TiledGemm, WeightRow, load, sums, sweep};
pub use pack::Prepared;
pub(super) use stack::StackBuffer;
pub(crate) use unit::Unit;

use super::level::Level;
use crate::dtype::Bf16;
use crate::exec::{Columns, Executor, Output, Serial, split, split_outputs};
use crate::quant::{Elements, Matrix, PANEL_ROWS};
use crate::tensor::{Rows, RowsMut};
use float::FloatGemm;
use pack::Form;
use quant::PanelGemm;

/// Columns of a task are a multiple of this, so that no two tasks share a band of [`NR`] float rows, or a pair of panels.
const FLOAT_UNIT: usize = NR * PANEL_ROWS / 2;
/// The same if all weights are codes: 8 panels, the widest tile of any micro-kernel, and 2 where more threads need work.
const PANEL_UNITS: [usize; 3] = [8 * PANEL_ROWS, 4 * PANEL_ROWS, 2 * PANEL_ROWS];

/// One of several GEMMs of the same x.
pub struct Projection<'a> {
    /// `[n, k]`
    pub w: &'a Matrix,
    /// `[n]`
    pub bias: Option<&'a [f32]>,
    /// `[m, n]`
    pub out: RowsMut<'a>,
}

/// GEMMs with the same x.
pub struct Group<'g, 'a> {
    /// `[m, k]`; without rows nothing is computed.
    pub x: Rows<'g>,
    /// Memory for x in the forms that the kernels read.
    pub prepared: &'g mut Prepared,
    /// What x is multiplied with.
    pub projections: &'g mut [Projection<'a>],
}

impl Group<'_, '_> {
    /// # Panics
    /// If the shapes disagree.
    fn check(&self) {
        for Projection { w, bias, out } in self.projections.iter() {
            assert_eq!(self.x.width(), w.k(), "gemm: width of x and k of the weight");
            assert_eq!(out.width(), w.n(), "gemm: width of out and n of the weight");
            assert_eq!(self.x.len(), out.len(), "gemm: rows of x and rows of out");
            let fits = bias.is_none_or(|bias| bias.len() == w.n());
            assert!(fits, "gemm: length of the bias and n of the weight");
        }
    }

    /// Brings x into the forms that the kernels read.
    fn prepare(&mut self, choose: &impl Fn(&Matrix) -> Unit, level: Level, exec: &dyn Executor) {
        self.prepared.clear();
        if !self.x.is_empty() {
            for Projection { w, .. } in self.projections.iter() {
                self.prepared.add(level, exec, self.x, choose(w).form(w.format()));
            }
        }
    }
}

/// A GEMM with the kernel that was chosen for it.
struct Choice<'a> {
    x: Rows<'a>,
    prepared: &'a Prepared,
    w: Elements<'a>,
    unit: Unit,
    form: Form,
    bias: Option<&'a [f32]>,
}

/// Runs the GEMMs of all groups on `exec`.
pub(crate) fn project_groups(
    choose: impl Fn(&Matrix) -> Unit + Sync,
    level: Level,
    exec: &dyn Executor,
    groups: &mut [Group<'_, '_>],
) {
    groups.iter().for_each(Group::check);
    match groups {
        [group] => group.prepare(&choose, level, exec),
        // Small ones, so each by one thread.
        _ => split(exec, groups, 1, |_, group| group[0].prepare(&choose, level, &Serial)),
    }
    let (mut choices, mut outputs, mut columns) = (Vec::new(), Vec::new(), 0);
    for Group { x, prepared, projections } in groups.iter_mut().filter(|group| !group.x.is_empty()) {
        let (x, prepared) = (*x, &**prepared);
        for Projection { w, bias, out } in projections.iter_mut() {
            let unit = choose(w);
            let form = unit.form(w.format());
            choices.push(Choice { x, prepared, w: w.elements(), unit, form, bias: *bias });
            outputs.push(Output { width: w.n(), data: out.data_mut() });
            columns += w.n();
        }
    }
    let unit = unit(&choices, columns, exec.width());
    split_outputs(exec, outputs, unit, |i, out| choices[i].run(out));
}

/// The unit in which `columns` columns are shared out: the widest of which there are four for each thread.
fn unit(choices: &[Choice<'_>], columns: usize, threads: usize) -> usize {
    if choices.iter().any(|choice| !matches!(choice.w, Elements::Panels(_))) {
        return FLOAT_UNIT;
    }
    let [.., narrowest] = PANEL_UNITS;
    PANEL_UNITS.into_iter().find(|unit| columns / unit >= 4 * threads).unwrap_or(narrowest)
}

impl Choice<'_> {
    /// Computes the columns `out`.
    fn run(&self, out: Columns<'_>) {
        let Self { x, prepared, bias, .. } = *self;
        match (self.w, self.unit) {
            (Elements::F32(w), Unit::Fma(level)) => level.run_tile(FloatGemm { x, w, bias, out }),
            (Elements::Bf16(w), Unit::Fma(level)) => level.run_tile(FloatGemm { x, w, bias, out }),
            (Elements::F16(w), Unit::Fma(level)) => level.run_tile(FloatGemm { x, w, bias, out }),
            (Elements::Panels(w), Unit::Fma(level)) => {
                level.run_tile(PanelGemm::<f32> { w, x: prepared.get(self.form), bias, out });
            }
            (Elements::Panels(w), Unit::Dot(unit)) => {
                unit.run(PanelGemm::<i8> { w, x: prepared.get(self.form), bias, out });
            }
            (Elements::Panels(w), Unit::AmxInt8(token)) => {
                token.tiles(amx::AmxGemm { w, x: prepared.get::<i8>(self.form), bias, out });
            }
            (Elements::Panels(w), Unit::AmxBf16(token)) => {
                token.tiles(amx::AmxGemm { w, x: prepared.get::<Bf16>(self.form), bias, out });
            }
            (Elements::Bf16(w), Unit::AmxBf16(token)) => {
                let w = amx::Bf16Rows::new(w, x.width());
                token.tiles(amx::AmxGemm { w, x: prepared.get::<Bf16>(self.form), bias, out });
            }
            (_, unit) => unreachable!("{} does not multiply weights of this format", unit.name()),
        }
    }
}

/// Where a kernel changes what it does: sizes for tests.
#[cfg(test)]
pub(super) mod edges {
    use super::{PANEL_ROWS, float, quant};

    pub(crate) const ROWS: [usize; 4] =
        [float::direct_rows(false), float::direct_rows(true), float::MC, quant::MC];
    pub(crate) const DEPTHS: [usize; 2] = [float::KC, quant::UNPACKED_BYTES / PANEL_ROWS];
}
