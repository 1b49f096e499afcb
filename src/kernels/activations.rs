//! [`Activations`]: what weights are multiplied with.

use super::gemm::Unit;
use super::level::Level;
use crate::error::{Error, Result};

/// What weights are multiplied with: int8 only quantized weights, bf16 those and weights of bf16; all others f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// What is fast at a cost that trained models do not show: bf16 on a level with a matrix unit for it; int8 with quantized
    /// weights where that is 1.4 to 2.2 times as fast as f32 (x86 without such a unit); else f32. KERNELS.md has the figures.
    #[default]
    Auto,
    /// As they are: only the weights are quantized.
    F32,
    /// Rounded to bf16, as are the values of quantized weights. Only on a level with a matrix unit for it.
    Bf16,
    /// Rounded to int8, with a scale for every row and every 32 to 128 elements.
    Int8,
}

impl Activations {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::F32, Self::Bf16, Self::Int8];

    /// The kind with this name.
    ///
    /// # Errors
    /// [`Error::Option`] if there is no such kind.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::option("activations", format!("`{name}` given, one of {names} expected"))
        })
    }

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// What is used on `level`; never `Auto`.
    ///
    /// # Errors
    /// [`Error::Option`] if the level has no instructions for it.
    pub(super) fn on(self, level: Level) -> Result<Self> {
        match self {
            Self::Auto => Ok(Self::auto(level)),
            Self::Bf16 if Unit::bf16(level).is_none() => Err(Error::option(
                "activations",
                format!("`bf16` needs a matrix unit, which the level {} does not have", level.name()),
            )),
            Self::F32 | Self::Bf16 | Self::Int8 => Ok(self),
        }
    }

    /// What `Auto` is on `level`, with quantized weights.
    fn auto(level: Level) -> Self {
        // SDOT and SMMLA have not been timed.
        let is_fast = cfg!(target_arch = "x86_64") && Unit::int8(level)[0].is_vector();
        if Unit::bf16(level).is_none() && is_fast { Self::Int8 } else { Self::float(level) }
    }

    /// The fastest floats on `level`.
    pub(super) fn float(level: Level) -> Self {
        if Unit::bf16(level).is_some() { Self::Bf16 } else { Self::F32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_activations_need_a_matrix_unit() {
        for level in Level::available() {
            let on_auto = Activations::Auto.on(level).unwrap();
            match Activations::Bf16.on(level) {
                Ok(activations) => assert_eq!((activations, on_auto), (Activations::Bf16, Activations::Bf16)),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("bf16") && error.contains(level.name()), "{error}");
                    let is_vector = matches!(level.name(), "avx2" | "avx512");
                    assert_eq!(on_auto, if is_vector { Activations::Int8 } else { Activations::F32 });
                }
            }
        }
    }
}
