//! x86-64: detection, and the only functions that carry `#[target_feature]` for kernels written over tokens.

use crate::kernels::cpu::Level;
use crate::kernels::simd::{
    Amx, AmxOp, Avx2, Avx512, Avx512Vnni, AvxVnni, DotOp, DotUnit, Op, TileOp, amx_features,
};

/// The levels above scalar that this CPU has, lowest first.
pub(crate) fn vector_levels() -> Vec<Level> {
    let avx2 = Avx2::new().map(Level::Avx2);
    let avx512 = Avx512::new();
    let amx = avx512.and_then(Amx::new).map(Level::Amx);
    avx2.into_iter().chain(avx512.map(Level::Avx512)).chain(amx).collect()
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
    all.into_iter().chain(amx_features()).filter_map(|(name, found)| found.then_some(name)).collect()
}

/// The units for integer dot products beside the scalar one that `level` may use, best first.
pub(crate) fn dot_units(level: Level) -> Vec<DotUnit> {
    let vnni = match level {
        Level::Scalar(_) => return Vec::new(),
        Level::Avx2(s) => AvxVnni::new(s).map(DotUnit::AvxVnni),
        Level::Avx512(s) => Avx512Vnni::new(s).map(DotUnit::Avx512Vnni),
        Level::Amx(amx) => Some(DotUnit::Avx512Vnni(amx.dots())),
    };
    vnni.into_iter().chain(Avx2::new().map(DotUnit::Avx2)).collect()
}

pub(super) fn row_avx2<O: Op>(s: Avx2, op: O) -> O::Out {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn enter<O: Op>(s: Avx2, op: O) -> O::Out {
        op.run(s)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(s, op) }
}

pub(super) fn row_avx512<O: Op>(s: Avx512, op: O) -> O::Out {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
    fn enter<O: Op>(s: Avx512, op: O) -> O::Out {
        op.run(s)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(s, op) }
}

pub(super) fn tile_avx2<O: TileOp>(s: Avx2, op: O) -> O::Out {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn enter<O: TileOp>(s: Avx2, op: O) -> O::Out {
        op.run(s)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(s, op) }
}

pub(super) fn tile_avx512<O: TileOp>(s: Avx512, op: O) -> O::Out {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
    fn enter<O: TileOp>(s: Avx512, op: O) -> O::Out {
        op.run(s)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(s, op) }
}

pub(super) fn dots_avx2<O: DotOp>(d: Avx2, op: O) -> O::Out {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn enter<O: DotOp>(d: Avx2, op: O) -> O::Out {
        op.run(d)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(d, op) }
}

pub(super) fn dots_avxvnni<O: DotOp>(d: AvxVnni, op: O) -> O::Out {
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    fn enter<O: DotOp>(d: AvxVnni, op: O) -> O::Out {
        op.run(d)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(d, op) }
}

pub(super) fn dots_avx512vnni<O: DotOp>(d: Avx512Vnni, op: O) -> O::Out {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni")]
    fn enter<O: DotOp>(d: Avx512Vnni, op: O) -> O::Out {
        op.run(d)
    }
    // SAFETY: the token proves these features.
    unsafe { enter(d, op) }
}

/// Runs a kernel for the matrix unit, and gives the tiles back.
pub(super) fn matrix_amx<O: AmxOp>(amx: Amx, op: O) {
    #[target_feature(
        enable = "avx2,fma,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,avx512bf16"
    )]
    fn enter<O: AmxOp>(amx: Amx, op: O) {
        op.run(amx);
        amx.release();
    }
    // SAFETY: the token proves these features.
    unsafe { enter(amx, op) }
}
