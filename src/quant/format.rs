//! [`Format`]: what the elements of a stored weight are; [`Quant`]: the quantized ones.

use super::panels::{PANEL_ROWS, SECTION};
use crate::dtype::DType;
use std::fmt;

/// Element format of a stored weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE binary32.
    F32,
    /// The upper half of an f32.
    Bf16,
    /// IEEE binary16.
    F16,
    /// Integer codes with a scale for every group of them.
    Quant(Quant),
}

/// Integer weights: `value = scale * code`, or `scale * code + minimum` with zero points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quant {
    /// Width of a code.
    pub code: Code,
    /// Elements of a row that share a scale.
    pub group: Group,
    /// Whether groups have a minimum of their own. Only with [`Code::Int4`].
    pub zero_points: bool,
}

/// Width of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// -127 to 127.
    Int8,
    /// 0 to 15. Without zero points the value is `scale * (code - 8)`.
    Int4,
}

impl Code {
    /// Bits of a code.
    pub fn bits(self) -> usize {
        match self {
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }
}

/// Elements of a row that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// This many consecutive elements, one of [`Group::SIZES`].
    Of(u16),
    /// The whole row.
    Row,
}

impl Group {
    /// The sizes of groups, ascending. Powers of two, because a step of the kernels is a part of a group or the whole of it.
    pub const SIZES: [u16; 4] = [32, 64, 128, 256];
}

/// Granularity of k in the quantized layout: rows are padded to it.
pub const K_UNIT: usize = 64;
/// Longest run of k that kernels sum up before they apply a scale.
pub(crate) const MAX_STEP: usize = 128;

impl Quant {
    /// The scheme, if there is one: groups of [`Group::SIZES`]; whole rows only of int8; zero points only of int4.
    pub fn new(code: Code, group: Group, zero_points: bool) -> Option<Self> {
        let group_fits = match group {
            Group::Of(size) => Group::SIZES.contains(&size),
            Group::Row => code == Code::Int8,
        };
        let zero_points_fit = !zero_points || code == Code::Int4;
        (group_fits && zero_points_fit).then_some(Self { code, group, zero_points })
    }

    /// Every scheme.
    pub fn all() -> Vec<Self> {
        let groups = || Group::SIZES.into_iter().map(Group::Of).chain([Group::Row]);
        let codes = [(Code::Int8, false), (Code::Int4, false), (Code::Int4, true)];
        let every = codes
            .into_iter()
            .flat_map(|(code, zero)| groups().map(move |group| Self::new(code, group, zero)));
        every.flatten().collect()
    }

    /// Elements of a row of `k` as stored, zeros at the end included.
    pub fn padded_k(self, k: usize) -> usize {
        k.next_multiple_of(K_UNIT)
    }

    /// Elements in a group of a row of `k`; the last group of a row may be shorter.
    pub fn group_len(self, k: usize) -> usize {
        match self.group {
            Group::Of(size) => usize::from(size),
            Group::Row => self.padded_k(k).max(K_UNIT),
        }
    }

    /// Groups in a row of `k`.
    pub fn groups(self, k: usize) -> usize {
        self.padded_k(k).div_ceil(self.group_len(k))
    }

    /// Elements of k that kernels sum up before they apply the scales of weights and activations: the group, at most 128.
    pub fn step(self) -> usize {
        match self.group {
            Group::Of(size) => usize::from(size).min(MAX_STEP),
            Group::Row => MAX_STEP,
        }
    }

    /// Bytes of the scales (and minima) of a panel.
    pub fn header_bytes(self, k: usize) -> usize {
        let planes = if self.zero_points { 2 } else { 1 };
        (self.groups(k) * PANEL_ROWS * 2 * planes).next_multiple_of(SECTION)
    }

    /// Bytes of a panel of 16 rows of `k`.
    pub fn panel_bytes(self, k: usize) -> usize {
        self.header_bytes(k) + self.padded_k(k) * PANEL_ROWS * self.code.bits() / 8
    }

    /// Bytes of a matrix of shape `[n, k]`; `None` if that exceeds the address space.
    pub fn bytes(self, n: usize, k: usize) -> Option<usize> {
        // Sixteen rows of a whole group for every k is more than a panel has.
        k.checked_add(Group::SIZES[Group::SIZES.len() - 1].into())?.checked_mul(PANEL_ROWS * 2)?;
        self.panel_bytes(k).checked_mul(n.div_ceil(PANEL_ROWS))
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.code.bits())?;
        match self.group {
            Group::Of(size) => write!(f, "g{size}")?,
            Group::Row => write!(f, "row")?,
        }
        f.write_str(if self.zero_points { "z" } else { "" })
    }
}

impl Format {
    /// The formats that a checkpoint of floats may have.
    pub const FLOATS: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Every format, floats first.
    pub fn all() -> Vec<Self> {
        Self::FLOATS.into_iter().chain(Quant::all().into_iter().map(Self::Quant)).collect()
    }

    /// The name used in files, kernel ids, reports and options: `bf16`, `q8row`, `q4g64`, `q4g128z` (with zero points).
    ///
    /// ```
    /// use diffulex::quant::Format;
    ///
    /// let int4 = Format::from_name("q4g64").expect("a format");
    /// assert_eq!((int4.name(), int4.is_quantized()), ("q4g64".to_owned(), true));
    /// // 2048 rows of 1024 codes, and a scale of 16 bits for each 64.
    /// assert_eq!(int4.bytes(2048, 1024), Some(2048 * (1024 / 2 + 1024 / 64 * 2)));
    /// ```
    pub fn name(self) -> String {
        match self {
            Self::F32 => "f32".to_string(),
            Self::Bf16 => "bf16".to_string(),
            Self::F16 => "f16".to_string(),
            Self::Quant(quant) => quant.to_string(),
        }
    }

    /// Whether the elements are integers with scales.
    pub fn is_quantized(self) -> bool {
        matches!(self, Self::Quant(_))
    }

    /// The format with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|format| format.name() == name)
    }

    /// The format of a tensor with this element type, if it can be a weight.
    pub fn from_dtype(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::Bf16 => Some(Self::Bf16),
            DType::F16 => Some(Self::F16),
            _ => None,
        }
    }

    /// The element type of a tensor of this format; `None` for quantized ones.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::Bf16 => Some(DType::Bf16),
            Self::F16 => Some(DType::F16),
            Self::Quant(_) => None,
        }
    }

    /// Bytes of a matrix of shape `[n, k]`; `None` if that exceeds the address space.
    pub fn bytes(self, n: usize, k: usize) -> Option<usize> {
        match self {
            Self::F32 => n.checked_mul(k)?.checked_mul(4),
            Self::Bf16 | Self::F16 => n.checked_mul(k)?.checked_mul(2),
            Self::Quant(quant) => quant.bytes(n, k),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
