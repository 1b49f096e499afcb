//! [`Linear`]: `y = x W^T + b`.

#[cfg(doc)]
use crate::kernels::Kernels;
use crate::kernels::Projection;
use crate::quant::Matrix;
use crate::tensor::RowsMut;

/// A linear layer as stored.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[n, k]`.
    pub weight: Matrix,
    /// `[n]`.
    pub bias: Option<Box<[f32]>>,
}

impl Linear {
    /// `out = x W^T (+ b)` as one of several products of the same x, for [`Kernels::project`].
    ///
    /// # Shapes
    /// `out`: `[m, n]`.
    pub fn to<'a>(&'a self, out: RowsMut<'a>) -> Projection<'a> {
        Projection { w: &self.weight, bias: self.bias.as_deref(), out }
    }
}
