//! Random weights: a value depends on the seed, the tensor's name and the element's index, and on nothing else.
//!
//! ```text
//! h = mix(key(seed, name) + i * phi)          64 random bits for element i
//! x = std * (sum of the four 16-bit parts of h, less their mean) / their deviation
//! ```
//!
//! The sum of four uniform numbers is close to normal (it ends at 3.5 deviations) and costs one hash. Norm weights are 1 + x.
//!
//! Source of `mix`: the finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).

use diffulex::dtype::{Bf16, DType, F16};
use diffulex::weights::writer::TensorSpec;
use rayon::prelude::*;

/// Deviation of every weight: the initializer range that the families' configurations state.
const STD: f32 = 0.02;

/// Elements that one task fills: 64 KiB to 256 KiB of output, which stays in the second-level cache.
const PIECE: usize = 1 << 16;

/// Odd, and its multiples fill 64 bits evenly (2^64 over the golden ratio).
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn key(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed ^ PHI), |key, byte| mix(key ^ u64::from(byte)))
}

/// Element `i` of the tensor with this key, around 0.
fn noise(key: u64, i: u64) -> f32 {
    let bits = mix(key.wrapping_add(i.wrapping_mul(PHI)));
    // Even and odd parts are added two at a time; each of the two sums fits the 32 bits that it has.
    let pairs = (bits & 0x0000_ffff_0000_ffff) + ((bits >> 16) & 0x0000_ffff_0000_ffff);
    let sum = (pairs as u32 + (pairs >> 32) as u32) as i32;
    // Four uniform numbers below 65536: mean 131070, variance 4 * 65536^2 / 12.
    const SCALE: f32 = STD / 37_837.227;
    (sum - 131_070) as f32 * SCALE
}

/// Fills the bytes of a tensor.
///
/// # Panics
/// If its element type is not one of bf16, f16, f32.
pub(crate) fn fill(seed: u64, spec: &TensorSpec, bytes: &mut [u8]) {
    let key = key(seed, &spec.name);
    let center = if is_norm(spec) { 1.0 } else { 0.0 };
    let value = |i: u64| center + noise(key, i);
    match spec.dtype {
        DType::F32 => fill_with(bytes, |i| value(i).to_le_bytes()),
        DType::Bf16 => fill_with(bytes, |i| Bf16::from_f32(value(i)).0.to_le_bytes()),
        DType::F16 => fill_with(bytes, |i| F16::from_f32(value(i)).0.to_le_bytes()),
        other => panic!("no random weights of type {}", other.name()),
    }
}

fn fill_with<const SIZE: usize>(bytes: &mut [u8], element: impl Fn(u64) -> [u8; SIZE] + Sync) {
    bytes.par_chunks_mut(PIECE * SIZE).enumerate().for_each(|(piece, out)| {
        let first = (piece * PIECE) as u64;
        for (i, out) in (first..).zip(out.as_chunks_mut::<SIZE>().0) {
            *out = element(i);
        }
    });
}

/// Norm weights are the vectors with "norm" in their name, and LLaDA's last one.
fn is_norm(spec: &TensorSpec) -> bool {
    spec.shape.len() == 1 && (spec.name.contains("norm") || spec.name.ends_with("ln_f.weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
        let spec = TensorSpec { name: name.to_owned(), dtype: DType::F32, shape: shape.to_vec() };
        let mut bytes = vec![0; spec.bytes()];
        fill(seed, &spec, &mut bytes);
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn mean_and_std(x: &[f32]) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }

    #[test]
    fn values_are_spread_like_a_normal_distribution() {
        let x = values("model.layers.0.mlp.up_proj.weight", &[1000, 300], 1);
        let (mean, std) = mean_and_std(&x);
        assert!(mean.abs() < 2e-4 && (std - 0.02).abs() < 1e-4, "mean {mean}, deviation {std}");
        let within = |limit: f32| x.iter().filter(|v| v.abs() < limit).count() as f64 / x.len() as f64;
        // A normal distribution has 0.683 and 0.954.
        assert!((within(0.02) - 0.67).abs() < 0.02 && (within(0.04) - 0.957).abs() < 0.01);
        let pairs: f64 =
            x.windows(2).map(|w| f64::from(w[0]) * f64::from(w[1])).sum::<f64>() / x.len() as f64;
        assert!(pairs.abs() < 0.01 * std * std, "neighbours are correlated: {pairs}");
    }

    #[test]
    fn norms_are_around_one() {
        for name in
            ["model.norm.weight", "model.layers.3.self_attn.q_norm.weight", "model.transformer.ln_f.weight"]
        {
            let (mean, std) = mean_and_std(&values(name, &[4096], 1));
            assert!((mean - 1.0).abs() < 2e-3 && (std - 0.02).abs() < 2e-3, "{name}: {mean}, {std}");
        }
    }

    #[test]
    fn seed_and_name_decide() {
        let base = values("a.weight", &[64], 1);
        assert_eq!(base, values("a.weight", &[64], 1));
        assert_ne!(base, values("b.weight", &[64], 1));
        assert_ne!(base, values("a.weight", &[64], 2));
    }

    #[test]
    fn the_number_of_threads_and_the_element_type_do_not_decide() {
        let long = PIECE * 2 + 77;
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let one = pool(1).install(|| values("a.weight", &[long], 9));
        assert_eq!(one, pool(3).install(|| values("a.weight", &[long], 9)));
        let spec = TensorSpec { name: "a.weight".to_owned(), dtype: DType::Bf16, shape: vec![long] };
        let mut bytes = vec![0; spec.bytes()];
        fill(9, &spec, &mut bytes);
        let narrow = bytes.as_chunks().0.iter().map(|b| Bf16(u16::from_le_bytes(*b)).to_f32());
        assert!(narrow.eq(one.iter().map(|&x| Bf16::from_f32(x).to_f32())), "bf16 is not f32 rounded");
    }
}
