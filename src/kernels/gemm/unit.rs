//! [`Unit`]: which instructions multiply, and with what activations.

use super::prepare::Form;
use crate::kernels::cpu::Level;
use crate::kernels::simd::DotUnit;
use crate::quant::Format;

/// The instructions that multiply a weight: a value is a proof that this CPU has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    /// Fused multiply-add of f32 activations.
    Fma(Level),
    /// Integer dot products of int8 activations.
    Dot(DotUnit),
}

impl Unit {
    /// Activations and instructions, as in kernel ids: `f32/avx2`.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Fma(level) => format!("f32/{}", level.name()),
            Self::Dot(unit) => format!("i8/{}", unit.name()),
        }
    }

    /// What its kernel for weights of `format` reads activations from.
    pub(super) fn form(self, format: Format) -> Form {
        match (self, format) {
            (Self::Fma(_), Format::Quant(quant)) => Form::F32 { step: quant.step() },
            (Self::Dot(_), Format::Quant(quant)) => Form::Int8 { step: quant.step() },
            _ => Form::Rows,
        }
    }
}
