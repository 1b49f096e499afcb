//! Typed views of stored tensors, and the row-major matrices of activations that kernels work on.

use crate::bytes::Bytes;
use crate::dtype::{DType, Plain, as_slice};

/// A tensor in a checkpoint: element type, shape, bytes. Row-major, little-endian.
#[derive(Clone, Debug)]
pub struct TensorView {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl TensorView {
    /// A view of `bytes`; `None` unless they hold exactly the elements of `shape`.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Option<Self> {
        let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))?;
        (elements.checked_mul(dtype.size())? == bytes.len()).then_some(Self { dtype, shape, bytes })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The elements as numbers, without a copy. `None` if the bytes are misaligned for `T`.
    pub fn as_slice<T: Plain>(&self) -> Option<&[T]> {
        as_slice(&self.bytes)
    }
}

/// A row-major matrix of activations: `rows` rows of `width` numbers, without gaps.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [f32],
    width: usize,
}

impl<'a> Rows<'a> {
    /// Views `data` as rows of `width` numbers.
    ///
    /// # Panics
    /// If `width` is 0 or does not divide the length.
    pub fn new(data: &'a [f32], width: usize) -> Self {
        assert!(
            width > 0 && data.len().is_multiple_of(width),
            "{} numbers are not rows of {width}",
            data.len()
        );
        Self { data, width }
    }

    /// Number of rows.
    pub fn len(self) -> usize {
        self.data.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(self) -> bool {
        self.data.is_empty()
    }

    /// Numbers in a row.
    pub fn width(self) -> usize {
        self.width
    }

    /// Row `i`.
    pub fn row(self, i: usize) -> &'a [f32] {
        &self.data[i * self.width..][..self.width]
    }

    /// All numbers, row after row.
    pub fn data(self) -> &'a [f32] {
        self.data
    }
}

/// A row-major matrix of activations that a kernel writes.
pub struct RowsMut<'a> {
    data: &'a mut [f32],
    width: usize,
}

impl<'a> RowsMut<'a> {
    /// Views `data` as rows of `width` numbers.
    ///
    /// # Panics
    /// If `width` is 0 or does not divide the length.
    pub fn new(data: &'a mut [f32], width: usize) -> Self {
        assert!(
            width > 0 && data.len().is_multiple_of(width),
            "{} numbers are not rows of {width}",
            data.len()
        );
        Self { data, width }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.width..][..self.width]
    }

    /// All numbers, row after row.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.data
    }

    /// The same rows for a callee, so that the caller keeps its own view.
    pub fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut { data: self.data, width: self.width }
    }

    /// The same rows, read-only.
    pub fn as_rows(&self) -> Rows<'_> {
        Rows { data: self.data, width: self.width }
    }
}

/// A token id, an index into the vocabulary.
pub type TokenId = u32;
