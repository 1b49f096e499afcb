//! How weights are stored: [`Format`] of a [`Matrix`], and the quantized layout, [`Panels`].
//!
//! A matrix is `[n, k]`: `n` outputs, `k` reduction. Floats lie as PyTorch stores a linear layer, row after row with `k`
//! contiguous; quantized weights lie in panels of 16 rows. Both are mapped and feed the kernels as they are.
#![forbid(unsafe_code)]

mod encode;
mod format;
mod name;
mod panels;

pub use encode::Loss;
pub(crate) use format::MAX_STEP;
pub use format::{Code, Format, Group, K_UNIT, Quant};
pub use name::{DEFAULT_GROUP, FormatName, group};
pub use panels::{PANEL_ROWS, Panels, PanelsMut};

use crate::bytes::Bytes;
use crate::dtype::{Bf16, F16, Plain, as_slice};
use crate::tensor::TensorView;
use std::ops::Range;

/// A stored weight: `n` rows (outputs) of `k` elements.
#[derive(Clone, Debug)]
pub struct Matrix {
    n: usize,
    k: usize,
    format: Format,
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
    /// See [`Format::Quant`].
    Panels(Panels<'a>),
}

impl Matrix {
    /// A matrix over a tensor of shape `[n, k]`, without a copy unless its bytes are misaligned for the element type.
    ///
    /// `None` if the tensor is not two-dimensional or its element type is not a weight format.
    pub fn from_tensor(view: &TensorView) -> Option<Self> {
        let &[n, k] = view.shape() else { return None };
        let format = Format::from_dtype(view.dtype())?;
        let aligned = (view.bytes().as_ptr() as usize).is_multiple_of(view.dtype().size());
        let data = if aligned { view.bytes().clone() } else { Bytes::copy_aligned(view.bytes()) };
        Some(Self { n, k, format, data })
    }

    /// A quantized matrix of shape `[n, k]` over its panels, without a copy unless it starts at an odd address, where
    /// scales could not be read.
    ///
    /// `None` if `data` does not have [`Quant::bytes`] of the shape.
    pub fn from_panels(n: usize, k: usize, quant: Quant, data: Bytes) -> Option<Self> {
        let fits = quant.bytes(n, k) == Some(data.len());
        let aligned = (data.as_ptr() as usize).is_multiple_of(size_of::<F16>());
        let data = if aligned { data } else { Bytes::copy_aligned(&data) };
        fits.then_some(Self { n, k, format: Format::Quant(quant), data })
    }

    /// Some of its rows as a matrix, sharing the bytes.
    ///
    /// `None` if there are not that many rows, or if it is quantized and the range does not consist of whole panels: it begins at
    /// a multiple of [`PANEL_ROWS`] and ends at one or with the last row.
    pub fn rows(&self, rows: Range<usize>) -> Option<Self> {
        if rows.start > rows.end || rows.end > self.n {
            return None;
        }
        let n = rows.len();
        let bytes = match self.format {
            Format::Quant(quant) => {
                let whole = |row: usize| row.is_multiple_of(PANEL_ROWS) || row == self.n;
                if !whole(rows.start) || !whole(rows.end) {
                    return None;
                }
                let panel = quant.panel_bytes(self.k);
                rows.start.div_ceil(PANEL_ROWS) * panel..rows.end.div_ceil(PANEL_ROWS) * panel
            }
            floats => {
                let row = floats.bytes(1, self.k)?;
                rows.start * row..rows.end * row
            }
        };
        Some(Self { n, data: self.data.slice(bytes), ..*self })
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

    /// Size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// All elements, row after row or panel after panel.
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
            Format::Quant(quant) => {
                let panels = Panels::new(self.n, self.k, quant, &self.data);
                Elements::Panels(panels.expect("the length was checked when the matrix was made"))
            }
        }
    }
}
