//! What this CPU can do: [`Level`], the instruction set that kernels run on, and [`Cpu`], a description for reports.

use super::arch;
use super::gemm::Unit;
#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
use super::simd::Scalar;
#[cfg(target_arch = "x86_64")]
use super::simd::{Amx, Avx2, Avx512};
use crate::error::{Error, Result};
use std::fmt;

/// The environment variable that lowers the level.
pub const LEVEL_VARIABLE: &str = "DIFFULEX_LEVEL";

/// The instruction set that kernels run on. A value is a proof that this CPU has it.
///
/// Results are bit-identical on one level, whatever the number of threads and the Cargo features; between levels they
/// differ in rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// No vectors: every CPU.
    Scalar(Scalar),
    /// 256-bit vectors: AVX2, FMA, F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 512-bit vectors: AVX-512 F, BW, CD, DQ, VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// The vectors of `Avx512`, and the matrix unit of AMX for products.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    /// 128-bit vectors: Advanced SIMD.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Level {
    /// The best level of this CPU.
    pub fn detect() -> Self {
        arch::vector_levels().pop().unwrap_or(Self::Scalar(Scalar))
    }

    /// Every level of this CPU, lowest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Scalar(Scalar)];
        levels.extend(arch::vector_levels());
        levels
    }

    /// The names of the levels that this build has kernels for, lowest first, whatever the CPU.
    pub const fn compiled() -> &'static [&'static str] {
        if cfg!(target_arch = "x86_64") {
            &["scalar", "avx2", "avx512", "amx"]
        } else if cfg!(target_arch = "aarch64") {
            &["scalar", "neon"]
        } else {
            &["scalar"]
        }
    }

    /// The name in kernel ids, reports and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Amx(_) => "amx",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
        }
    }

    /// The level with this name.
    ///
    /// # Errors
    /// [`Error::Option`] if the name is unknown or this CPU does not have the level.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::from_named("level", name)
    }

    /// `option` is what the name was given as.
    fn from_named(option: &'static str, name: &str) -> Result<Self> {
        let levels = Self::available();
        levels.iter().copied().find(|level| level.name() == name).ok_or_else(|| {
            let names: Vec<_> = levels.iter().map(|level| level.name()).collect();
            Error::option(
                option,
                format!("`{name}` is not a level of this cpu, which has {}", names.join(", ")),
            )
        })
    }

    /// The level named by the environment variable `DIFFULEX_LEVEL`, or the best one if it is not set.
    ///
    /// # Errors
    /// As [`Self::from_name`].
    pub fn from_env() -> Result<Self> {
        match std::env::var_os(LEVEL_VARIABLE) {
            None => Ok(Self::detect()),
            Some(name) => Self::from_named(LEVEL_VARIABLE, &name.to_string_lossy()),
        }
    }
}

/// What weights are multiplied with: int8 only quantized weights, bf16 those and weights of bf16; all others f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// What is fast at a cost that trained models do not show: bf16 on a level with a matrix unit for it; int8 beside quantized
    /// weights where that is at least 1.5 times as fast as f32 (x86 without such a unit); else f32. KERNELS.md has the figures.
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
    /// [`Error::Option`] if there is none.
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

    /// What `Auto` is on `level`, beside quantized weights.
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

impl Default for Level {
    fn default() -> Self {
        Self::detect()
    }
}

/// What this CPU has. `Display` gives one line for reports.
#[derive(Clone, Debug)]
pub struct Cpu {
    features: Vec<&'static str>,
}

impl Cpu {
    /// Asks the CPU and the operating system.
    pub fn detect() -> Self {
        Self { features: arch::features() }
    }

    /// The instruction set extensions found, by their usual names.
    pub fn features(&self) -> &[&'static str] {
        &self.features
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::env::consts::ARCH)?;
        for (i, feature) in self.features.iter().enumerate() {
            write!(f, "{}{feature}", if i == 0 { ": " } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_level_is_found_by_its_name_and_no_other() {
        let levels = Level::available();
        assert_eq!(levels[0].name(), "scalar");
        assert_eq!(levels.last(), Some(&Level::detect()));
        let compiled = Level::compiled();
        let order: Vec<_> =
            levels.iter().map(|level| compiled.iter().position(|&name| name == level.name())).collect();
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{levels:?} of {compiled:?}");
        for &level in &levels {
            assert_eq!(Level::from_name(level.name()).unwrap(), level);
        }
        let error = Level::from_name("avx1024").unwrap_err().to_string();
        assert!(error.contains("`avx1024`") && error.contains("scalar"), "{error}");
    }

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

    #[test]
    fn the_description_names_what_the_level_needs() {
        let text = Cpu::detect().to_string();
        assert!(text.starts_with(std::env::consts::ARCH), "{text}");
        let needed = match Level::detect().name() {
            "scalar" => "",
            "neon" => ": neon",
            _ => ": avx2 fma f16c",
        };
        assert!(text.contains(needed), "{text}");
    }
}
