//! [`Level`]: the instruction set that kernels run on.

#[cfg(feature = "pulp")]
mod pulp;

use super::simd::{
    Amx, Avx2, Avx512, Avx512Vnni, AvxVnni, DotUnit, Neon, NeonDot, NeonI8mm, Op, Scalar, TileOp,
};
use crate::error::{Error, Result};

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
    Avx2(Avx2),
    /// 512-bit vectors: AVX-512 F, BW, CD, DQ, VL.
    Avx512(Avx512),
    /// The vectors of `Avx512`, and the matrix unit of AMX for GEMMs.
    Amx(Amx),
    /// 128-bit vectors: Advanced SIMD.
    Neon(Neon),
}

impl Level {
    /// The best level of this CPU.
    pub fn detect() -> Self {
        Self::available().pop().expect("the scalar level is always there")
    }

    /// Every level of this CPU, lowest first.
    pub fn available() -> Vec<Self> {
        let avx512 = Avx512::new();
        let levels = [
            Some(Self::Scalar(Scalar)),
            Neon::new().map(Self::Neon),
            Avx2::new().map(Self::Avx2),
            avx512.map(Self::Avx512),
            avx512.and_then(Amx::new).map(Self::Amx),
        ];
        levels.into_iter().flatten().collect()
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
            Self::Avx2(_) => "avx2",
            Self::Avx512(_) => "avx512",
            Self::Amx(_) => "amx",
            Self::Neon(_) => "neon",
        }
    }

    /// The units for integer dot products that this level may use, best first; the last one is the scalar one.
    pub(crate) fn dot_units(self) -> Vec<DotUnit> {
        let avx2 = Avx2::new().map(DotUnit::Avx2);
        let vectors = match self {
            Self::Scalar(_) => [None, None, None],
            Self::Avx2(s) => [AvxVnni::new(s).map(DotUnit::AvxVnni), avx2, None],
            Self::Avx512(s) => [Avx512Vnni::new(s).map(DotUnit::Avx512Vnni), avx2, None],
            Self::Amx(amx) => [Some(DotUnit::Avx512Vnni(amx.dots())), avx2, None],
            Self::Neon(neon) => {
                let dot = NeonDot::new(neon);
                let pairs = dot.and_then(NeonI8mm::new).map(DotUnit::NeonI8mm);
                [pairs, dot.map(DotUnit::NeonDot), Some(DotUnit::Neon(neon))]
            }
        };
        vectors.into_iter().flatten().chain([DotUnit::Scalar(Scalar)]).collect()
    }

    /// Runs a row kernel, on pulp's vectors if that feature is on.
    pub(crate) fn run<O: Op>(self, op: O) -> O::Out {
        #[cfg(feature = "pulp")]
        let op = match pulp::run(self, op) {
            Ok(out) => return out,
            Err(op) => op,
        };
        self.run_own(op)
    }

    /// Runs a row kernel on our own tokens, whatever the features.
    pub(crate) fn run_own<O: Op>(self, op: O) -> O::Out {
        match self {
            Self::Scalar(s) => op.run(s),
            Self::Avx2(s) => s.row(op),
            Self::Avx512(s) => s.row(op),
            Self::Amx(amx) => amx.float().row(op),
            Self::Neon(s) => s.row(op),
        }
    }

    /// Runs a tile kernel.
    pub(crate) fn run_tile<O: TileOp>(self, op: O) -> O::Out {
        match self {
            Self::Scalar(s) => op.run(s),
            Self::Avx2(s) => s.tile(op),
            Self::Avx512(s) => s.tile(op),
            Self::Amx(amx) => amx.float().tile(op),
            Self::Neon(s) => s.tile(op),
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

impl Default for Level {
    fn default() -> Self {
        Self::detect()
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
}
