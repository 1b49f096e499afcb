//! [`Linear`]: `y = x W^T + b`.

use super::scratch::Mat;
#[cfg(doc)]
use crate::kernels::Kernels;
use crate::kernels::Projection;
use crate::quant::Matrix;
use crate::tensor::RowsMut;

/// A small vector of a model: a norm or a bias, as f32.
pub(super) type Vector = Box<[f32]>;

/// A linear layer: loaded, or whatever else is made of its weights (see [`super::slots::Make`]).
pub(super) struct Linear<M = Matrix, V = Vector> {
    /// `[n, k]`.
    pub(super) weight: M,
    /// `[n]`.
    pub(super) bias: Option<V>,
}

impl Linear {
    /// `out = x W^T (+ b)` as one of several GEMMs with the same x, for [`Kernels::project`].
    ///
    /// # Shapes
    /// `out`: `[m, n]`.
    pub(super) fn onto<'a>(&'a self, out: RowsMut<'a>) -> Projection<'a> {
        Projection { w: &self.weight, bias: self.bias.as_deref(), out }
    }

    /// [`Self::onto`] all rows of a buffer.
    pub(super) fn to<'a>(&'a self, out: &'a mut Mat) -> Projection<'a> {
        self.onto(out.rows_mut())
    }
}
