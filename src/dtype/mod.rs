//! Element types of stored tensors, and exact conversions of the 16-bit floats.
//!
//! `Bf16` is the upper half of an `f32`; `F16` is IEEE binary16. Both widen exactly. Narrowing rounds to nearest, ties to
//! even, as the hardware conversions do, so that every level of the kernels agrees bit for bit with this file.

mod cast;
#[cfg(any(feature = "half", feature = "bytemuck"))]
mod interop;

pub use cast::{Plain, as_bytes, as_bytes_mut, as_slice, as_slice_mut};

/// Element type of a tensor in a checkpoint. The names are those of the safetensors format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are the format's own names")]
pub enum DType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    F16,
    Bf16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl DType {
    /// Every element type that this crate can read, with its name in the safetensors header.
    pub const NAMES: [(&'static str, Self); 13] = [
        ("BOOL", Self::Bool),
        ("U8", Self::U8),
        ("I8", Self::I8),
        ("U16", Self::U16),
        ("I16", Self::I16),
        ("F16", Self::F16),
        ("BF16", Self::Bf16),
        ("U32", Self::U32),
        ("I32", Self::I32),
        ("F32", Self::F32),
        ("U64", Self::U64),
        ("I64", Self::I64),
        ("F64", Self::F64),
    ];

    /// The type with this safetensors name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, dtype)| *dtype)
    }

    /// The safetensors name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, dtype)| *dtype == self).map_or("?", |(name, _)| name)
    }

    /// Size of one element in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// A brain float: sign, 8 exponent bits, 7 mantissa bits.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// Widens exactly.
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// Rounds to nearest, ties to even. NaN stays NaN (quiet).
    pub fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        if x.is_nan() {
            return Self((bits >> 16) as u16 | 0x0040);
        }
        let round = 0x7fff + ((bits >> 16) & 1);
        Self(((bits + round) >> 16) as u16)
    }
}

/// An IEEE binary16 float: sign, 5 exponent bits, 10 mantissa bits.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct F16(pub u16);

impl F16 {
    /// Widens exactly, subnormals included.
    pub fn to_f32(self) -> f32 {
        let sign = u32::from(self.0 & 0x8000) << 16;
        let exponent = u32::from(self.0 >> 10) & 0x1f;
        let mantissa = u32::from(self.0 & 0x3ff);
        let magnitude = match exponent {
            // A subnormal half is mantissa * 2^-24; both factors and the product are exact in f32.
            0 => (mantissa as f32 * f32::from_bits(103 << 23)).to_bits(),
            0x1f if mantissa != 0 => 0x7fc0_0000 | (mantissa << 13),
            0x1f => 0x7f80_0000,
            _ => ((exponent + 112) << 23) | (mantissa << 13),
        };
        f32::from_bits(sign | magnitude)
    }

    /// Rounds to nearest, ties to even; overflows to infinity. NaN stays NaN (quiet).
    pub fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let sign = ((bits >> 16) & 0x8000) as u16;
        let magnitude = bits & 0x7fff_ffff;
        if magnitude > 0x7f80_0000 {
            return Self(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff) as u16);
        }
        // 65520 and above round to infinity.
        if magnitude >= 0x477f_f000 {
            return Self(sign | 0x7c00);
        }
        if magnitude < 0x3880_0000 {
            // Below 2^-14 the result is subnormal. Adding 0.5 aligns the value so that the f32 addition itself rounds it to a
            // multiple of 2^-24, ties to even; the low bits of the sum are then the half's bits.
            let aligned = f32::from_bits(magnitude) + 0.5;
            return Self(sign | (aligned.to_bits() - 0.5f32.to_bits()) as u16);
        }
        let round = 0xfff + ((magnitude >> 13) & 1);
        Self(sign | ((magnitude + round - (112 << 23)) >> 13) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_agrees_with_half_for_every_pattern() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (F16(bits).to_f32(), half::f16::from_bits(bits).to_f32());
            assert_eq!(ours.to_bits(), theirs.to_bits(), "f16 {bits:#06x}");
            let (ours, theirs) = (Bf16(bits).to_f32(), half::bf16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "bf16 {bits:#06x}"
            );
        }
    }

    #[test]
    fn narrowing_agrees_with_half_around_every_boundary() {
        // Every half value, the midpoint to the next one, and one f32 step to both sides of each.
        for bits in 0..0x7c00u16 {
            let low = F16(bits).to_f32();
            let middle = (low + F16(bits + 1).to_f32().min(65536.0)) / 2.0;
            for x in
                [low, middle].into_iter().flat_map(|x| [x.next_down(), x, x.next_up()]).flat_map(|x| [x, -x])
            {
                assert_eq!(F16::from_f32(x).0, half::f16::from_f32(x).to_bits(), "f16 of {x:e}");
            }
        }
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let (ours, theirs) = (Bf16::from_f32(x), half::bf16::from_f32(x));
                assert!(
                    ours.0 == theirs.to_bits() || (x.is_nan() && ours.to_f32().is_nan()),
                    "bf16 of {x:e}"
                );
            }
        }
    }
}
