//! [`Linear`]: `y = x W^T + b`.

use super::Context;
use crate::quant::Matrix;
use crate::tensor::{Rows, RowsMut};

/// A linear layer as stored.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[n, k]`.
    pub weight: Matrix,
    /// `[n]`.
    pub bias: Option<Box<[f32]>>,
}

impl Linear {
    /// `y = x W^T (+ b)`.
    ///
    /// # Shapes
    /// `x`: `[m, k]`, `y`: `[m, n]`.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn forward(&self, ctx: &Context<'_>, x: Rows<'_>, y: RowsMut<'_>) {
        ctx.kernels.gemm(ctx.exec, x, &self.weight, self.bias.as_deref(), y);
    }
}
