//! Where weights come from: [`TensorSource`], and the sources that this crate has.
//!
//! [`SafeTensors`] holds the tensors of one or many safetensors files, mapped or read; [`Checkpoint`] finds these files
//! and the configuration next to them; [`MemorySource`] holds tensors that an embedder already has. All hand out views
//! that share the bytes: nothing here copies a weight.

mod directory;
mod in_use;
mod index;
#[cfg(feature = "mmap")]
mod mmap;
mod quantized;
mod safetensors;
#[cfg(test)]
mod tests;
#[cfg(feature = "safetensors")]
pub mod writer;

pub use self::directory::{Checkpoint, Storage, Weights};
pub use self::in_use::InUse;
pub use self::quantized::{QUANT_KEY, StoredQuant, quant_metadata};
pub use self::safetensors::SafeTensors;

use crate::bytes::Bytes;
use crate::quant::{Format, Matrix};
use crate::tensor::TensorView;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// How a tensor is stored.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Element after element, as declared.
    Plain(TensorView),
    /// A quantized matrix: the bytes are [`Panels`](crate::quant::Panels), as many as [`Quant::bytes`](crate::quant::Quant::bytes)
    /// says.
    Panels(StoredQuant, Bytes),
}

impl Stored {
    /// Dimensions, outermost first; `[n, k]` of a quantized matrix.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Plain(view) => view.shape().to_vec(),
            Self::Panels(quant, _) => vec![quant.n, quant.k],
        }
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Plain(view) => view.bytes(),
            Self::Panels(_, bytes) => bytes,
        }
    }

    /// The format as a weight; `None` for elements that no weight has.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Plain(view) => Format::from_dtype(view.dtype()),
            Self::Panels(stored, _) => Some(Format::Quant(stored.quant)),
        }
    }

    /// The weight, without a copy unless its bytes are misaligned; `None` if it is not a matrix of a format.
    pub fn matrix(&self) -> Option<Matrix> {
        match self {
            Self::Plain(view) => Matrix::from_tensor(view),
            Self::Panels(stored, bytes) => {
                Matrix::from_panels(stored.n, stored.k, stored.quant, bytes.clone())
            }
        }
    }
}

/// Tensors by name.
pub trait TensorSource: Send + Sync {
    /// The tensor with this name, sharing the bytes of the source.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] if there is none.
    fn stored(&self, name: &str) -> Result<Stored>;

    /// The tensor as its file declares it: a quantized matrix is a tensor of bytes, `[panels, bytes of a panel]`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] if there is none.
    fn tensor(&self, name: &str) -> Result<TensorView> {
        Ok(match self.stored(name)? {
            Stored::Plain(view) => view,
            Stored::Panels(stored, bytes) => stored.tensor(bytes).expect("checked when the source was made"),
        })
    }

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// The file that holds the tensor, for messages. If there is no such tensor: what was searched.
    fn origin(&self, name: &str) -> String;
}

/// Tensors that are already in memory.
#[derive(Clone, Debug)]
pub struct MemorySource {
    label: String,
    tensors: BTreeMap<String, Stored>,
}

impl MemorySource {
    /// A source without tensors; `label` names it in errors.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), tensors: BTreeMap::new() }
    }

    /// Adds a tensor, or replaces the one with this name, which is then returned.
    pub fn insert(&mut self, name: impl Into<String>, tensor: TensorView) -> Option<Stored> {
        self.tensors.insert(name.into(), Stored::Plain(tensor))
    }

    /// Adds a quantized matrix, or replaces the tensor with this name.
    ///
    /// # Panics
    /// If `bytes` is not as long as [`Quant::bytes`](crate::quant::Quant::bytes) of the shape.
    pub fn insert_quantized(&mut self, name: impl Into<String>, stored: StoredQuant, bytes: Bytes) {
        let fits = stored.tensor(bytes.clone()).is_some();
        assert!(fits, "the bytes of a quantized matrix of this shape");
        self.tensors.insert(name.into(), Stored::Panels(stored, bytes));
    }
}

impl TensorSource for MemorySource {
    fn stored(&self, name: &str) -> Result<Stored> {
        self.tensors.get(name).cloned().ok_or_else(|| Error::missing_tensor(&self.label, name))
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn origin(&self, _name: &str) -> String {
        self.label.clone()
    }
}
