//! How weights are stored: [`Format`] and [`Layout`] of a [`Matrix`].
//!
//! A matrix is `[n, k]`: `n` outputs, `k` reduction, `k` contiguous, as PyTorch stores a linear layer. Mapped rows feed the
//! kernels as they are.
#![forbid(unsafe_code)]

use crate::bytes::Bytes;
use crate::dtype::{Bf16, DType, F16, Plain, as_slice};
use crate::tensor::TensorView;

/// Element format of a stored weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE binary32.
    F32,
    /// The upper half of an f32.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl Format {
    /// Every format, in the order of the kernel tables.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The name used in kernel ids, reports and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
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

    /// Bytes of a row of `k` elements.
    pub fn row_bytes(self, k: usize) -> usize {
        match self {
            Self::F32 => 4 * k,
            Self::Bf16 | Self::F16 => 2 * k,
        }
    }
}

/// Order of the stored elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Row after row, as in the checkpoint.
    Rows,
}

/// A stored weight: `n` rows (outputs) of `k` elements.
#[derive(Clone, Debug)]
pub struct Matrix {
    n: usize,
    k: usize,
    format: Format,
    layout: Layout,
    data: Bytes,
}

/// The elements of a matrix whose format is known.
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    /// See [`Format::F32`].
    F32(&'a [f32]),
    /// See [`Format::Bf16`].
    Bf16(&'a [Bf16]),
    /// See [`Format::F16`].
    F16(&'a [F16]),
}

impl Matrix {
    /// A matrix over a tensor of shape `[n, k]`, without a copy unless its bytes are misaligned for the element type.
    ///
    /// `None` if the tensor is not two-dimensional or its element type is no weight format.
    pub fn from_tensor(view: &TensorView) -> Option<Self> {
        let &[n, k] = view.shape() else { return None };
        let format = Format::from_dtype(view.dtype())?;
        let aligned = (view.bytes().as_ptr() as usize).is_multiple_of(view.dtype().size());
        let data = if aligned { view.bytes().clone() } else { Bytes::copy_aligned(view.bytes()) };
        Some(Self { n, k, format, layout: Layout::Rows, data })
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Length of the reduction.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Element format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Order of the elements.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// All elements, row after row.
    ///
    /// # Panics
    /// If the owner of the bytes moved them to a misaligned address after construction.
    pub fn elements(&self) -> Elements<'_> {
        fn typed<T: Plain>(bytes: &[u8]) -> &[T] {
            as_slice(bytes).expect("alignment and length were checked when the matrix was made")
        }
        match self.format {
            Format::F32 => Elements::F32(typed(&self.data)),
            Format::Bf16 => Elements::Bf16(typed(&self.data)),
            Format::F16 => Elements::F16(typed(&self.data)),
        }
    }
}
