//! [`Compute`]: kernels together with the threads that run them, on the buffers of a pass.

use crate::exec::Executor;
use crate::kernels::{Attention, Kernels, Prepared, Projection, RopeTable};
use crate::tensor::{Rows, RowsMut};

/// Who computes: passed down to every layer.
#[derive(Clone, Copy)]
pub struct Compute<'a> {
    /// The kernels of one level.
    pub kernels: &'a Kernels,
    /// The threads.
    pub exec: &'a dyn Executor,
}

/// The operations of [`Kernels`] that a block is written in, under their names there.
impl Compute<'_> {
    pub(super) fn rms_norm<'a>(
        &self,
        x: impl Into<Rows<'a>>,
        weight: &[f32],
        eps: f32,
        out: impl Into<RowsMut<'a>>,
    ) {
        self.kernels.rms_norm(self.exec, x.into(), weight, eps, out.into());
    }

    pub(super) fn rms_norm_heads<'a>(&self, x: impl Into<RowsMut<'a>>, weight: &[f32], eps: f32) {
        self.kernels.rms_norm_heads(self.exec, x.into(), weight, eps);
    }

    pub(super) fn project<'a, const N: usize>(
        &self,
        x: impl Into<Rows<'a>>,
        prepared: &mut Prepared,
        mut projections: [Projection<'_>; N],
    ) {
        self.kernels.project(self.exec, x.into(), prepared, &mut projections);
    }

    pub(super) fn rope<'a>(&self, x: impl Into<RowsMut<'a>>, table: &RopeTable, first: usize) {
        self.kernels.rope(self.exec, x.into(), table, first);
    }

    pub(super) fn attention(&self, args: Attention<'_>) {
        self.kernels.attention(self.exec, args);
    }

    pub(super) fn swiglu<'a>(&self, gate: impl Into<RowsMut<'a>>, up: impl Into<Rows<'a>>) {
        self.kernels.swiglu(self.exec, gate.into(), up.into());
    }

    pub(super) fn add<'a>(&self, x: impl Into<RowsMut<'a>>, y: impl Into<Rows<'a>>) {
        self.kernels.add(self.exec, x.into(), y.into());
    }
}
