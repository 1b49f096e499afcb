//! Random weights: every element depends on the seed, the tensor's name and the element's index, and on nothing else.
//!
//! ```text
//! h = mix(key(seed, name) + i * phi)          64 random bits for element i
//! x = std * (sum of the four 16-bit parts of h, less their mean) / their deviation
//! ```
//!
//! The sum of four uniform numbers is close to normal (it ends at 3.5 deviations) and costs one hash. Norm weights are 1 + x.
//! Quantized matrices get random bits for codes, and scales that bring their values to the same deviation.
//!
//! Source of `mix`: the finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).

use diffulex::bytes::{AlignedBuf, Bytes};
use diffulex::dtype::{Bf16, DType, F16};
use diffulex::model::{Architecture, Role, Slot};
use diffulex::quant::{Code, Format, PANEL_ROWS, Quant};
use diffulex::tensor::TensorView;
use diffulex::weights::{MemorySource, StoredQuant};
use rayon::prelude::*;

/// Deviation of every weight: the initializer range that the families' configurations state.
const STD: f32 = 0.02;

/// Elements that one task fills: 64 KiB to 256 KiB of output, which stays in the second-level cache.
const PIECE: usize = 1 << 16;

/// Odd, and its multiples fill 64 bits evenly (2^64 divided by the golden ratio).
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
    // Even and odd parts are added two at a time; each of the two sums fits into its 32 bits.
    let pairs = (bits & 0x0000_ffff_0000_ffff) + ((bits >> 16) & 0x0000_ffff_0000_ffff);
    let sum = (pairs as u32 + (pairs >> 32) as u32) as i32;
    // Four uniform numbers below 65536: mean 131070, variance 4 * 65536^2 / 12.
    const SCALE: f32 = STD / 37_837.227;
    (sum - 131_070) as f32 * SCALE
}

/// Fills the bytes of a tensor with elements of type `dtype`.
///
/// # Panics
/// If `dtype` is not one of bf16, f16, f32.
pub fn fill(seed: u64, slot: &Slot, dtype: DType, bytes: &mut [u8]) {
    let key = key(seed, &slot.name);
    let center = if slot.role == Role::Norm { 1.0 } else { 0.0 };
    let value = |i: u64| center + noise(key, i);
    match dtype {
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

/// The weights of `arch`, each in memory of its own: block matrices in the format `blocks`, embedding and output matrix in
/// `head`, norms and biases in f32.
///
/// # Panics
/// If a matrix exceeds the address space.
pub fn source(arch: &Architecture, blocks: Format, head: Format, seed: u64) -> MemorySource {
    let mut source = MemorySource::new("random weights");
    for slot in arch.tensors() {
        let format = slot.format(blocks, head);
        if let (Format::Quant(quant), Some([n, k])) = (format, slot.matrix()) {
            let stored = StoredQuant { quant, n, k };
            let bytes = filled(quant.bytes(n, k), |bytes| fill_panels(seed, &slot.name, stored, bytes));
            source.insert_quantized(slot.name, stored, bytes);
            continue;
        }
        let dtype = format.dtype().expect("what is not quantized is floats");
        let size = slot.elements().checked_mul(dtype.size());
        let bytes = filled(size, |bytes| fill(seed, &slot, dtype, bytes));
        let view = TensorView::new(dtype, slot.shape, bytes).expect("as many bytes as the shape says");
        source.insert(slot.name, view);
    }
    source
}

fn filled(size: Option<usize>, fill: impl FnOnce(&mut [u8])) -> Bytes {
    let mut buffer = AlignedBuf::zeroed(size.expect("a matrix that fits the address space"));
    fill(buffer.as_mut());
    Bytes::new(buffer)
}

/// Fills the panels of a quantized matrix. Zeros that pad rows are random, too: activations are zero there.
pub fn fill_panels(seed: u64, name: &str, stored: StoredQuant, bytes: &mut [u8]) {
    let StoredQuant { quant, k, .. } = stored;
    let (key, size) = (key(seed, name), quant.panel_bytes(k));
    bytes.par_chunks_mut(size).enumerate().for_each(|(panel, out)| {
        let (header, codes) = out.split_at_mut(quant.header_bytes(k));
        // No other panel, and no element of another tensor, hashes the same numbers.
        let key = mix(key ^ panel as u64);
        fill_header(quant, quant.groups(k), key, header);
        for (i, out) in (0u64..).zip(codes.as_chunks_mut::<8>().0) {
            let bits = mix(key.wrapping_add(i.wrapping_mul(PHI)));
            *out = match quant.code {
                // The code -128 does not exist.
                Code::Int8 => bits.to_le_bytes().map(|code| if code == 0x80 { 0 } else { code }),
                Code::Int4 => bits.to_le_bytes(),
            };
        }
    });
}

/// Scales from 3/4 to 5/4 of the one that gives the deviation, and minima that put the middle code at 0.
fn fill_header(quant: Quant, groups: usize, key: u64, header: &mut [u8]) {
    let scales = groups * PANEL_ROWS;
    // The deviation of codes that are all equally likely: (their number squared - 1) / 12, under the root.
    let deviation = match quant.code {
        Code::Int8 => 73.6,
        Code::Int4 => 4.61,
    };
    for (i, out) in header.as_chunks_mut::<2>().0.iter_mut().take(scales).enumerate() {
        let uniform = mix(!key.wrapping_add(i as u64)) >> 40;
        let scale = STD / deviation * (0.75 + uniform as f32 / (1 << 25) as f32);
        *out = F16::from_f32(scale).0.to_le_bytes();
    }
    if quant.zero_points {
        let (scales, minima) = header.split_at_mut(2 * scales);
        for (scale, minimum) in scales.as_chunks::<2>().0.iter().zip(minima.as_chunks_mut::<2>().0) {
            let scale = F16(u16::from_le_bytes(*scale)).to_f32();
            *minimum = F16::from_f32(-7.5 * scale).0.to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffulex::model::Transformer;
    use diffulex::quant::Panels;
    use diffulex_cli::presets::Preset;

    fn slot(name: &str, shape: &[usize], role: Role) -> Slot {
        Slot { name: name.to_owned(), shape: shape.to_vec(), role, layer: None, expert: None }
    }

    fn values(slot: &Slot, seed: u64) -> Vec<f32> {
        let mut bytes = vec![0; 4 * slot.elements()];
        fill(seed, slot, DType::F32, &mut bytes);
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn vector(name: &str, len: usize, seed: u64) -> Vec<f32> {
        values(&slot(name, &[len], Role::Bias), seed)
    }

    fn mean_and_std(x: &[f32]) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }

    #[test]
    fn values_are_spread_like_a_normal_distribution() {
        let x = values(&slot("model.layers.0.mlp.up_proj.weight", &[1000, 300], Role::FeedForward), 1);
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
        for (role, center) in [(Role::Norm, 1.0), (Role::Bias, 0.0)] {
            let (mean, std) = mean_and_std(&values(&slot("a.weight", &[4096], role), 1));
            assert!((mean - center).abs() < 2e-3 && (std - 0.02).abs() < 2e-3, "{role:?}: {mean}, {std}");
        }
    }

    #[test]
    fn seed_and_name_decide() {
        let base = vector("a.weight", 64, 1);
        assert_eq!(base, vector("a.weight", 64, 1));
        assert_ne!(base, vector("b.weight", 64, 1));
        assert_ne!(base, vector("a.weight", 64, 2));
    }

    #[test]
    fn the_number_of_threads_and_the_element_type_do_not_decide() {
        let long = PIECE * 2 + 77;
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let one = pool(1).install(|| vector("a.weight", long, 9));
        assert_eq!(one, pool(3).install(|| vector("a.weight", long, 9)));
        let mut bytes = vec![0; 2 * long];
        fill(9, &slot("a.weight", &[long], Role::Bias), DType::Bf16, &mut bytes);
        let narrow = bytes.as_chunks().0.iter().map(|b| Bf16(u16::from_le_bytes(*b)).to_f32());
        assert!(narrow.eq(one.iter().map(|&x| Bf16::from_f32(x).to_f32())), "bf16 is not f32 rounded");
    }

    fn decoded(format: &str, n: usize, k: usize, seed: u64) -> Vec<f32> {
        let Some(Format::Quant(quant)) = Format::from_name(format) else { panic!("{format}") };
        let stored = StoredQuant { quant, n, k };
        let bytes = filled(quant.bytes(n, k), |bytes| fill_panels(seed, "a.weight", stored, bytes));
        let panels = Panels::new(n, k, quant, &bytes).unwrap();
        let mut out = vec![0.0; n * k];
        out.chunks_mut(k).enumerate().for_each(|(i, row)| panels.decode_row(i, row));
        out
    }

    #[test]
    fn quantized_values_have_the_deviation_of_floats() {
        for format in Quant::all() {
            let x = decoded(&format.to_string(), 70, 1000, 3);
            let (mean, std) = mean_and_std(&x);
            // Codes from 0 to 15 mean -8 to 7: half a step below the middle.
            let middle =
                if format.to_string().starts_with("q4") && !format.zero_points { 0.0022 } else { 0.0 };
            assert!((mean + middle).abs() < 5e-4, "{format}: mean {mean}");
            assert!((std - 0.02).abs() < 1e-3, "{format}: deviation {std}");
            let top = x.iter().fold(0f32, |top, v| top.max(v.abs()));
            assert!(top < 0.06, "{format}: {top}");
        }
        assert_eq!(decoded("q4g64", 20, 100, 1), decoded("q4g64", 20, 100, 1));
        assert_ne!(decoded("q4g64", 20, 100, 1), decoded("q4g64", 20, 100, 2));
    }

    #[test]
    fn codes_of_int8_are_never_the_lowest_number() {
        let Some(Format::Quant(quant)) = Format::from_name("q8row") else { panic!("a format") };
        let stored = StoredQuant { quant, n: 64, k: 4096 };
        let bytes = filled(quant.bytes(64, 4096), |bytes| fill_panels(1, "a.weight", stored, bytes));
        let panels = Panels::new(64, 4096, quant, &bytes).unwrap();
        let codes = (0..64).flat_map(|row| (0..4096).map(move |k| panels.code(row, k)));
        assert_eq!(codes.fold((0, 0), |(low, high), c| (c.min(low), c.max(high))), (-127, 127));
    }

    #[test]
    fn a_source_holds_what_its_model_needs_in_the_formats_asked_for() {
        let arch = Preset::named("tiny-dream").unwrap().architecture().unwrap();
        for (blocks, head) in [("q4g64", "q8g64"), ("q8row", "bf16"), ("bf16", "bf16"), ("f32", "q4g32z")] {
            let [blocks, head] = [blocks, head].map(|name| Format::from_name(name).unwrap());
            let model = Transformer::load(arch.clone(), &source(&arch, blocks, head, 5)).unwrap();
            assert_eq!(model.weight_format(), blocks);
            assert_eq!(model.lm_head().format(), head);
        }
    }
}
