//! [`Unit`]: which instructions multiply, and with what activations.

use super::pack::{Element, Form, Layout};
use crate::kernels::level::Level;
use crate::kernels::simd::{Amx, DotOp, DotUnit, Dots, PairDots, Tile, TileOp};
use crate::quant::Format;

/// The instructions that multiply a weight: a value is a proof that this CPU has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    /// Fused multiply-add of f32 activations.
    Fma(Level),
    /// Integer dot products of int8 activations.
    Dot(DotUnit),
    /// The matrix unit, with int8 activations.
    AmxInt8(Amx),
    /// The matrix unit, with bf16 activations.
    AmxBf16(Amx),
}

impl Unit {
    /// The units for int8 activations on `level`, best first; the last one is the scalar one.
    pub(crate) fn int8(level: Level) -> Vec<Self> {
        let matrix = match level {
            Level::Amx(amx) => Some(Self::AmxInt8(amx)),
            _ => None,
        };
        matrix.into_iter().chain(level.dot_units().into_iter().map(Self::Dot)).collect()
    }

    /// The unit for bf16 activations on `level`, if it has one.
    pub(crate) fn bf16(level: Level) -> Option<Self> {
        match level {
            Level::Amx(amx) => Some(Self::AmxBf16(amx)),
            _ => None,
        }
    }

    /// More than one element at a time.
    pub(crate) fn is_vector(self) -> bool {
        !matches!(self, Self::Fma(Level::Scalar(_)) | Self::Dot(DotUnit::Scalar(_)))
    }

    /// Activations and instructions, as in kernel ids: `f32/avx2`.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Fma(level) => format!("f32/{}", level.name()),
            Self::Dot(unit) => format!("i8/{}", unit.name()),
            Self::AmxInt8(_) => "i8/amx".to_string(),
            Self::AmxBf16(_) => "bf16/amx".to_string(),
        }
    }

    /// The form of the activations that its kernel for weights of `format` reads.
    pub(super) fn form(self, format: Format) -> Form {
        match (self, format) {
            (Self::Fma(level), Format::Quant(quant)) => {
                Form::Packed { element: Element::F32, step: quant.step(), layout: level.run_tile(LayoutOf) }
            }
            (Self::Dot(unit), Format::Quant(quant)) => {
                Form::Packed { element: Element::Int8, step: quant.step(), layout: unit.run(LayoutOf) }
            }
            (Self::AmxInt8(_), Format::Quant(quant)) => {
                let layout = Layout { shapes: &[], run: quant.step() };
                Form::Packed { element: Element::Int8, step: quant.step(), layout }
            }
            (Self::AmxBf16(_), _) => {
                let layout = Layout { shapes: &[], run: super::amx::TILE_K };
                Form::Packed { element: Element::Bf16, step: super::amx::TILE_K, layout }
            }
            _ => Form::Rows,
        }
    }
}

/// The layout of x that a unit's micro-kernels for panels need.
struct LayoutOf;

impl TileOp for LayoutOf {
    type Out = Layout;

    #[inline(always)]
    fn run<S: Tile>(self, _: S) -> Layout {
        Layout { shapes: S::SHAPES, run: 1 }
    }
}

impl DotOp for LayoutOf {
    type Out = Layout;

    #[inline(always)]
    fn run<D: Dots>(self, _: D) -> Layout {
        Layout { shapes: D::SHAPES, run: 4 }
    }

    #[inline(always)]
    fn run_matrix<P: PairDots>(self, _: P) -> Layout {
        Layout { shapes: P::SHAPES, run: 8 }
    }
}
