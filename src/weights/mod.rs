//! Where weights come from: [`TensorSource`], and the sources that this crate has.
//!
//! [`SafeTensors`] holds the tensors of one or many safetensors files, mapped or read; [`Checkpoint`] finds these files
//! and the configuration beside them; [`MemorySource`] holds tensors that an embedder already has. All hand out views
//! that share the bytes: nothing here copies a weight.

mod directory;
mod index;
#[cfg(feature = "mmap")]
mod mmap;
mod safetensors;
#[cfg(test)]
mod tests;
#[cfg(feature = "safetensors")]
pub mod writer;

pub use self::directory::{Checkpoint, Storage, Weights};
pub use self::safetensors::SafeTensors;

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

    /// The file that holds the tensor, for messages. If there is no such tensor: what was searched.
    fn origin(&self, name: &str) -> String;
}

/// Tensors that are already in memory.
#[derive(Clone, Debug)]
pub struct MemorySource {
    label: String,
    tensors: BTreeMap<String, TensorView>,
}

impl MemorySource {
    /// A source without tensors; `label` names it in errors.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), tensors: BTreeMap::new() }
    }

    /// Adds a tensor, or replaces the one with this name, which is then returned.
    pub fn insert(&mut self, name: impl Into<String>, tensor: TensorView) -> Option<TensorView> {
        self.tensors.insert(name.into(), tensor)
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

    fn origin(&self, _name: &str) -> String {
        self.label.clone()
    }
}
