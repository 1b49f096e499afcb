//! Where weights come from: [`TensorSource`], and the sources that this crate has.
//!
//! [`SafeTensors`] holds the tensors of one or many safetensors files, mapped or read; [`Checkpoint`] finds these files
//! and the configuration beside them; [`MemorySource`] holds tensors that an embedder already has. All hand out views
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
use crate::dtype::DType;
use crate::tensor::TensorView;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Tensors by name.
pub trait TensorSource: Send + Sync {
    /// The tensor with this name, sharing the bytes of the source.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] if there is none.
    fn tensor(&self, name: &str) -> Result<TensorView>;

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// What the tensor is, if it is a quantized matrix: its bytes are [`Panels`](crate::quant::Panels) then.
    fn quant(&self, name: &str) -> Option<StoredQuant> {
        let _ = name;
        None
    }

    /// The file that holds the tensor, for messages. If there is no such tensor: what was searched.
    fn origin(&self, name: &str) -> String;
}

/// Tensors that are already in memory.
#[derive(Clone, Debug)]
pub struct MemorySource {
    label: String,
    tensors: BTreeMap<String, TensorView>,
    quantized: BTreeMap<String, StoredQuant>,
}

impl MemorySource {
    /// A source without tensors; `label` names it in errors.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), tensors: BTreeMap::new(), quantized: BTreeMap::new() }
    }

    /// Adds a tensor, or replaces the one with this name, which is then returned.
    pub fn insert(&mut self, name: impl Into<String>, tensor: TensorView) -> Option<TensorView> {
        let name = name.into();
        self.quantized.remove(&name);
        self.tensors.insert(name, tensor)
    }

    /// Adds a quantized matrix, or replaces the tensor with this name.
    ///
    /// # Panics
    /// If `bytes` is not as long as [`Quant::bytes`](crate::quant::Quant::bytes) of the shape.
    pub fn insert_quantized(&mut self, name: impl Into<String>, stored: StoredQuant, bytes: Bytes) {
        let shape = stored.tensor_shape().unwrap_or_default();
        let tensor = TensorView::new(DType::U8, shape.to_vec(), bytes);
        let tensor = tensor.filter(|tensor| stored.fits(tensor));
        let name = name.into();
        self.tensors.insert(name.clone(), tensor.expect("the bytes of a quantized matrix of this shape"));
        self.quantized.insert(name, stored);
    }
}

impl TensorSource for MemorySource {
    fn tensor(&self, name: &str) -> Result<TensorView> {
        self.tensors
            .get(name)
            .cloned()
            .ok_or_else(|| Error::MissingTensor { file: self.label.clone(), name: name.to_string() })
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn quant(&self, name: &str) -> Option<StoredQuant> {
        self.quantized.get(name).copied()
    }

    fn origin(&self, _name: &str) -> String {
        self.label.clone()
    }
}
