//! [`F32s`] over pulp's vectors: another provider of the same operations, with the same bits.
//!
//! pulp's token is made from our level, so there is one detector. Where pulp needs more than the level promises (its V3 requires
//! BMI and LZCNT too) and the CPU lacks it, our own token runs.

use super::Level;
use crate::kernels::simd::{F32s, Op};
use ::pulp::{Simd, WithSimd};

/// Runs a row kernel on pulp's vectors at this level, or gives it back where pulp has none.
pub(super) fn run<O: Op>(level: Level, op: O) -> Result<O::Out, O> {
    match level {
        Level::Scalar(_) => on(Some(::pulp::Scalar::new()), op),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => on(::pulp::x86::V3::try_new(), op),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) | Level::Amx(_) => on(::pulp::x86::V4::try_new(), op),
        #[cfg(target_arch = "aarch64")]
        Level::Neon(_) => on(::pulp::aarch64::Neon::try_new(), op),
        // Levels of another architecture.
        _ => Err(op),
    }
}

fn on<S: Simd, O: Op>(simd: Option<S>, op: O) -> Result<O::Out, O> {
    match simd {
        Some(simd) => Ok(simd.vectorize(Run(op))),
        None => Err(op),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::rms_norm::RmsNorm;
    use crate::kernels::rope::{Rope, RopeTable, Rotate};
    use crate::kernels::rows::{Add, Guide, Lanewise, ScanRow, Zip};
    use crate::kernels::softmax::{Softmax, SumExp};
    use crate::kernels::swiglu::SwiGlu;

    const WIDTHS: [usize; 14] = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 75, 520, 5001];

    fn noise(len: usize, factor: f32) -> Vec<f32> {
        let unit = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
        (1..=len as u32).map(|i| factor * unit(i)).collect()
    }

    /// Runs `op` on a copy of `x` with both providers and compares the bits.
    fn same(level: Level, x: &[f32], op: impl Fn(&mut [f32], bool)) {
        let (mut theirs, mut ours) = (x.to_vec(), x.to_vec());
        op(&mut theirs, false);
        op(&mut ours, true);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&theirs), bits(&ours), "level {}, {} elements", level.name(), x.len());
        assert_ne!(bits(&ours), bits(x), "the operation did nothing to {} elements", x.len());
    }

    fn pick<O: Op>(level: Level, own: bool, op: O) -> O::Out {
        if own {
            return level.run_own(op);
        }
        let name = level.name();
        run(level, op).unwrap_or_else(|_| panic!("pulp has no token for {name}: this compares nothing"))
    }

    fn same_zip<F: Lanewise>(level: Level, x: &[f32], y: &[f32], f: F) {
        same(level, x, |x, own| pick(level, own, Zip { x, y, f }));
    }

    #[test]
    fn row_kernels_agree_bit_for_bit_with_our_own_tokens() {
        for level in Level::available() {
            for len in WIDTHS {
                // Gates beyond the range of exp on both sides.
                let (x, y) = (noise(len, 120.0), noise(len, 2.0));
                same_zip(level, &x, &y, Add);
                same_zip(level, &x, &y, Guide { scale: 1.7 });
                same_zip(level, &x, &y, SwiGlu);
                same(level, &x, |x, own| pick(level, own, RmsNorm { x, weight: &y, eps: 1e-6 }));
                same(level, &x, |row, own| {
                    pick(level, own, Softmax { row, max: 120.0, inv_t: 0.7, sum: 3.0 });
                });
                let table = RopeTable::new(&Rope::new(1e4, 2 * len), 2 * len, 4);
                let head = noise(2 * len, 1.0);
                same(level, &head, |x, own| {
                    pick(level, own, Rotate { x, width: 2 * len, table: &table, first: 3 });
                });
            }
        }
    }

    #[test]
    fn row_scans_agree_bit_for_bit_with_our_own_tokens() {
        for level in Level::available() {
            for len in WIDTHS {
                let mut row = noise(len, 20.0);
                for value in [1.0, f32::NEG_INFINITY] {
                    row[len / 2] = value;
                    let max = 20.0;
                    let sums =
                        [false, true].map(|own| pick(level, own, SumExp { row: &row, max, inv_t: 0.9 }));
                    assert_eq!(sums[0], sums[1], "level {}, {len} elements", level.name());
                    let scans = [false, true].map(|own| pick(level, own, ScanRow(&row)));
                    assert_eq!(scans[0], scans[1], "level {}, {len} elements", level.name());
                }
                row[len - 1] = f32::NAN;
                assert!(
                    [false, true].map(|own| pick(level, own, ScanRow(&row)).bad) == [true, true],
                    "NaN was lost"
                );
            }
        }
    }
}
