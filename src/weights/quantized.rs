//! Which tensors of a file are quantized: an entry in the metadata of its header.
//!
//! ```text
//! "diffulex.quant": "{\"model.layers.0.mlp.up_proj.weight\": {\"format\": \"q4g64\", \"shape\": [n, k]}, ..}"
//! ```
//!
//! Such a tensor has the element type U8 and the shape `[panels, bytes of a panel]`.

use super::{Error, Result};
use crate::bytes::Bytes;
use crate::dtype::DType;
use crate::json::Value;
use crate::quant::{PANEL_ROWS, Quant};
use crate::tensor::TensorView;

/// The metadata key.
pub const QUANT_KEY: &str = "diffulex.quant";

/// A quantized tensor as a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredQuant {
    /// The scheme.
    pub quant: Quant,
    /// Rows of the matrix.
    pub n: usize,
    /// Elements of a row.
    pub k: usize,
}

impl StoredQuant {
    /// The shape of its tensor; `None` if that exceeds the address space.
    pub fn tensor_shape(&self) -> Option<[usize; 2]> {
        self.quant.bytes(self.n, self.k)?;
        Some([self.n.div_ceil(PANEL_ROWS), self.quant.panel_bytes(self.k)])
    }

    /// Its tensor over `bytes`; `None` if their number is wrong.
    pub(super) fn tensor(&self, bytes: Bytes) -> Option<TensorView> {
        TensorView::new(DType::U8, self.tensor_shape()?.to_vec(), bytes)
    }

    /// Whether `tensor` is one of this kind.
    pub(super) fn fits(&self, tensor: &TensorView) -> bool {
        let shape = self.tensor_shape();
        tensor.dtype() == DType::U8 && shape.is_some_and(|shape| tensor.shape() == shape)
    }
}

/// The value of the metadata entry for some tensors.
pub fn quant_metadata<'a>(tensors: impl IntoIterator<Item = (&'a str, StoredQuant)>) -> String {
    let entry = |(name, stored): (&str, StoredQuant)| {
        let shape = [stored.n, stored.k].map(|size| Value::from(size as u64));
        let fields = vec![
            ("format".into(), Value::from(&*stored.quant.to_string())),
            ("shape".into(), Value::Array(shape.to_vec())),
        ];
        (name.to_string(), Value::Object(fields))
    };
    Value::Object(tensors.into_iter().map(entry).collect()).to_string()
}

/// The tensors that the metadata entry `text` of `file` names.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<(String, StoredQuant)>> {
    let wrong = |what: String| Error::format(file, format!("metadata `{QUANT_KEY}`: {what}"));
    let json = Value::parse(file, text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let entries = json.entries().ok_or_else(|| wrong("not an object".into()))?;
    let known: Vec<_> = Quant::all().into_iter().map(|quant| (quant.to_string(), quant)).collect();
    entries
        .iter()
        .map(|(name, value)| {
            let format = value.get("format").and_then(Value::as_str).unwrap_or_default();
            let Some(&(_, quant)) = known.iter().find(|(name, _)| name == format) else {
                return Err(wrong(format!("`{format}` of tensor `{name}` is not a known quantized format")));
            };
            let sizes = value.get("shape").and_then(Value::as_array).unwrap_or_default();
            let sizes: Option<Vec<usize>> =
                sizes.iter().map(|size| size.as_number()?.text().parse().ok()).collect();
            let Some(&[n, k]) = sizes.as_deref() else {
                return Err(wrong(format!("`shape` of tensor `{name}` is not two sizes")));
            };
            Ok((name.clone(), StoredQuant { quant, n, k }))
        })
        .collect()
}
