//! The tokens of x86-64, and the step into code compiled for them.

mod amx;
mod avx2;
mod avx512;
mod vnni;

pub(crate) use vnni::{Avx512Vnni, AvxVnni};
pub use {amx::Amx, avx2::Avx2, avx512::Avx512};

use super::{AmxOp, DotOp, Op, TileOp, enter};

enter!(Avx2, "avx2,fma,f16c", row: Op, tile: TileOp, dots: DotOp);
enter!(Avx512, "avx2,fma,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl", row: Op, tile: TileOp);
enter!(AvxVnni, "avx2,fma,f16c,avxvnni", dots: DotOp);
enter!(
    Avx512Vnni,
    "avx2,fma,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni",
    dots: DotOp
);

impl Amx {
    /// Runs a kernel for the matrix unit, and gives the tiles back.
    pub(crate) fn tiles<O: AmxOp>(self, op: O) {
        #[target_feature(
            enable = "avx2,fma,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,avx512bf16"
        )]
        fn enter<O: AmxOp>(amx: Amx, op: O) {
            op.run(amx);
            amx.release();
        }
        // SAFETY: the token proves these features.
        unsafe { enter(self, op) }
    }
}

/// The instruction set extensions of this CPU that kernels use or may use.
pub(crate) fn features() -> Vec<&'static str> {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512cd", is_x86_feature_detected!("avx512cd")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    all.into_iter().chain(amx::features()).filter_map(|(name, found)| found.then_some(name)).collect()
}
