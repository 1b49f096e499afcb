//! 64-bit Arm: detection, and the only functions that carry `#[target_feature]` for kernels written over tokens.

use crate::kernels::cpu::Level;
use crate::kernels::simd::{Neon, Op, TileOp};
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
