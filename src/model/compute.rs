//! [`Compute`]: kernels together with the threads that run them, on the buffers of a pass.

use super::scratch::Mat;
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
    pub(super) fn rms_norm(&self, x: &Mat, weight: &[f32], eps: f32, out: &mut Mat) {
        self.kernels.rms_norm(self.exec, x.rows(), weight, eps, out.rows_mut());
    }

    pub(super) fn rms_norm_heads(&self, x: &mut Mat, weight: &[f32], eps: f32) {
        self.kernels.rms_norm_heads(self.exec, x.rows_mut(), weight, eps);
    }

    pub(super) fn project<const N: usize>(
        &self,
        x: Rows<'_>,
        prepared: &mut Prepared,
        mut projections: [Projection<'_>; N],
    ) {
        self.kernels.project(self.exec, x, prepared, &mut projections);
    }

    pub(super) fn rope(&self, x: RowsMut<'_>, table: &RopeTable, first: usize) {
        self.kernels.rope(self.exec, x, table, first);
    }

    pub(super) fn attention(&self, args: Attention<'_>) {
        self.kernels.attention(self.exec, args);
    }

    pub(super) fn swiglu(&self, gate: &mut Mat, up: &Mat) {
        self.kernels.swiglu(self.exec, gate.rows_mut(), up.rows());
    }

    pub(super) fn add(&self, x: &mut Mat, y: &Mat) {
        self.kernels.add(self.exec, x.rows_mut(), y.rows());
    }
}
