//! The tokens of 64-bit Arm, and the step into code compiled for them.

mod dots;
mod neon;

pub(crate) use dots::{NeonDot, NeonI8mm};
pub use neon::Neon;

use super::{DotOp, Op, TileOp, enter};
use std::arch::is_aarch64_feature_detected;

enter!(Neon, "neon", row: Op, tile: TileOp, dots: DotOp);
enter!(NeonDot, "neon,dotprod", dots: DotOp);

super::part::parts!(NeonI8mm, "neon,dotprod,i8mm");

impl NeonI8mm {
    /// Runs a kernel of integer dot products by matrix products.
    pub(crate) fn dots<O: DotOp>(self, op: O) -> O::Out {
        #[target_feature(enable = "neon,dotprod,i8mm")]
        fn enter<O: DotOp>(mm: NeonI8mm, op: O) -> O::Out {
            op.run_matrix(mm)
        }
        // SAFETY: the token proves these features.
        unsafe { enter(self, op) }
    }
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
