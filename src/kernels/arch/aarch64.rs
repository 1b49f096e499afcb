//! 64-bit Arm: detection, and the only functions that carry `#[target_feature]` for kernels written over tokens.

use crate::kernels::cpu::Level;
use crate::kernels::simd::{DotOp, DotUnit, Neon, NeonDot, NeonI8mm, Op, TileOp};
use std::arch::is_aarch64_feature_detected;

/// The levels above scalar that this CPU has, lowest first.
pub(crate) fn vector_levels() -> Vec<Level> {
    Neon::new().map(Level::Neon).into_iter().collect()
}

/// The instruction set extensions of this CPU that kernels use or may use.
pub(crate) fn features() -> Vec<&'static str> {
    let all = [
        ("neon", is_aarch64_feature_detected!("neon")),
        ("fp16", is_aarch64_feature_detected!("fp16")),
        ("dotprod", is_aarch64_feature_detected!("dotprod")),
        ("i8mm", is_aarch64_feature_detected!("i8mm")),
        ("bf16", is_aarch64_feature_detected!("bf16")),
    ];
    all.into_iter().filter_map(|(name, found)| found.then_some(name)).collect()
}

/// The units for integer dot products beside the scalar one that `level` may use, best first.
pub(crate) fn dot_units(level: Level) -> Vec<DotUnit> {
    let Level::Neon(neon) = level else { return Vec::new() };
    let dot = NeonDot::new(neon);
    let i8mm = dot.and_then(NeonI8mm::new).map(DotUnit::NeonI8mm);
    i8mm.into_iter().chain(dot.map(DotUnit::NeonDot)).chain([DotUnit::Neon(neon)]).collect()
}

pub(super) fn row_neon<O: Op>(s: Neon, op: O) -> O::Out {
    #[target_feature(enable = "neon")]
    fn enter<O: Op>(s: Neon, op: O) -> O::Out {
        op.run(s)
    }
    // SAFETY: the token proves this feature.
    unsafe { enter(s, op) }
}

pub(super) fn tile_neon<O: TileOp>(s: Neon, op: O) -> O::Out {
    #[target_feature(enable = "neon")]
    fn enter<O: TileOp>(s: Neon, op: O) -> O::Out {
        op.run(s)
    }
    // SAFETY: the token proves this feature.
    unsafe { enter(s, op) }
}

pub(super) fn dots_neon<O: DotOp>(d: Neon, op: O) -> O::Out {
    #[target_feature(enable = "neon")]
    fn enter<O: DotOp>(d: Neon, op: O) -> O::Out {
        op.run(d)
    }
    // SAFETY: the token proves this feature.
    unsafe { enter(d, op) }
}

pub(super) fn dots_neon_dot<O: DotOp>(d: NeonDot, op: O) -> O::Out {
    #[target_feature(enable = "neon,dotprod")]
    fn enter<O: DotOp>(d: NeonDot, op: O) -> O::Out {
        op.run(d)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(d, op) }
}

pub(super) fn dots_neon_i8mm<O: DotOp>(mm: NeonI8mm, op: O) -> O::Out {
    #[target_feature(enable = "neon,dotprod,i8mm")]
    fn enter<O: DotOp>(mm: NeonI8mm, op: O) -> O::Out {
        op.run_matrix(mm)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(mm, op) }
}
