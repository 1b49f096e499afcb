//! Where levels meet instruction sets: which levels this CPU has, and the step into code compiled for one of them.
//!
//! On targets without a file here, [`Level`] is `Scalar` only.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::cpu::Level;
#[cfg(target_arch = "x86_64")]
use super::simd::{Amx, AmxOp};
use super::simd::{DotOp, DotUnit, Op, TileOp};

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{dot_units, features, vector_levels};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{dot_units, features, vector_levels};

/// The levels above scalar that this CPU has, lowest first.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn vector_levels() -> Vec<Level> {
    Vec::new()
}

/// The instruction set extensions of this CPU that kernels use or may use.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn features() -> Vec<&'static str> {
    Vec::new()
}

/// The units for integer dot products beside the scalar one that `level` may use, best first.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn dot_units(_: Level) -> Vec<DotUnit> {
    Vec::new()
}

impl DotUnit {
    /// Runs a kernel of integer dot products.
    pub(crate) fn run<O: DotOp>(self, op: O) -> O::Out {
        match self {
            Self::Scalar(d) => op.run(d),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(d) => x86_64::dots_avx2(d, op),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(d) => x86_64::dots_avxvnni(d, op),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(d) => x86_64::dots_avx512vnni(d, op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(d) => aarch64::dots_neon(d, op),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(d) => aarch64::dots_neon_dot(d, op),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(d) => aarch64::dots_neon_i8mm(d, op),
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Amx {
    /// Runs a kernel for the matrix unit.
    pub(crate) fn run<O: AmxOp>(self, op: O) {
        x86_64::matrix_amx(self, op);
    }
}

impl Level {
    /// Runs a row kernel on our own tokens, whatever the features.
    pub(crate) fn run_own<O: Op>(self, op: O) -> O::Out {
        match self {
            Self::Scalar(s) => op.run(s),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(s) => x86_64::row_avx2(s, op),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(s) => x86_64::row_avx512(s, op),
            #[cfg(target_arch = "x86_64")]
            Self::Amx(amx) => x86_64::row_avx512(amx.float(), op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(s) => aarch64::row_neon(s, op),
        }
    }

    /// Runs a tile kernel.
    pub(crate) fn run_tile<O: TileOp>(self, op: O) -> O::Out {
        match self {
            Self::Scalar(s) => op.run(s),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(s) => x86_64::tile_avx2(s, op),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(s) => x86_64::tile_avx512(s, op),
            #[cfg(target_arch = "x86_64")]
            Self::Amx(amx) => x86_64::tile_avx512(amx.float(), op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(s) => aarch64::tile_neon(s, op),
        }
    }
}
