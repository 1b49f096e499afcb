//! [`F32s`] over pulp's vectors: another provider of the same operations, with the same bits.
//!
//! pulp's token is made from our level, so there is one detector. Where pulp wants more than the level promises (its V3 asks
//! for BMI and LZCNT too) and the CPU lacks it, our own token runs.

use super::{F32s, Op};
use crate::kernels::cpu::Level;
use ::pulp::{Simd, WithSimd};

/// Runs a row kernel on pulp's vectors at this level.
pub(super) fn run<O: Op>(level: Level, op: O) -> O::Out {
    match level {
        Level::Scalar(_) => ::pulp::Scalar::new().vectorize(Run(op)),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => match ::pulp::x86::V3::try_new() {
            Some(v3) => Simd::vectorize(v3, Run(op)),
            None => level.run_own(op),
        },
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => match ::pulp::x86::V4::try_new() {
            Some(v4) => Simd::vectorize(v4, Run(op)),
            None => level.run_own(op),
        },
    }
}

/// Our kernel as pulp's.
struct Run<O>(O);

impl<O: Op> WithSimd for Run<O> {
    type Output = O::Out;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> O::Out {
        self.0.run(Pulp(simd))
    }
}

/// A pulp token as ours.
#[derive(Clone, Copy)]
struct Pulp<S>(S);

impl<S: Simd> F32s for Pulp<S> {
    type V = S::f32s;
    const LANES: usize = S::F32_LANES;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        self.0.splat_f32s(x)
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        S::as_simd_f32s(&x[..S::F32_LANES]).0[0]
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> Self::V {
        self.0.partial_load_f32s(x)
    }
    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32]) {
        S::as_mut_simd_f32s(&mut out[..S::F32_LANES]).0[0] = v;
    }
    #[inline(always)]
    fn store_partial(self, v: Self::V, out: &mut [f32]) {
        self.0.partial_store_f32s(out, v);
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.add_f32s(a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.sub_f32s(a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.mul_f32s(a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.div_f32s(a, b)
    }
    /// The "either" form: fused where the hardware is, `a * b + c` on pulp's scalar token, as ours.
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.0.mul_add_e_f32s(a, b, c)
    }
    /// By comparison, because pulp's scalar `min` and `max` treat NaN as `f32::min` does.
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.select_f32s(self.0.less_than_f32s(a, b), a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.select_f32s(self.0.greater_than_f32s(a, b), a, b)
    }
    #[inline(always)]
    fn select_lt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        self.0.select_f32s(self.0.less_than_f32s(a, b), yes, no)
    }
    #[inline(always)]
    fn pow2(self, t: Self::V) -> Self::V {
        let simd = self.0;
        let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(t), simd.splat_u32s(23));
        simd.transmute_f32s_u32s(simd.add_u32s(bits, simd.splat_u32s(1.0f32.to_bits())))
    }
}
