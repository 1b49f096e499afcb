//! How the tensors of a model lie in files, including quantized ones.

use diffulex::dtype::DType;
use diffulex::error::{Error, Result};
use diffulex::model::Slot;
use diffulex::quant::Format;
use diffulex::weights::writer::{TensorSpec, padding};
use diffulex::weights::{QUANT_KEY, StoredQuant, quant_metadata};

/// What is written for every tensor, and what else the header says.
pub struct Layout {
    /// The tensors, in the order of the list that they were made from.
    pub specs: Vec<TensorSpec>,
    /// The matrix of each tensor that is quantized.
    pub stored: Vec<Option<StoredQuant>>,
    /// The metadata of a file of all tensors.
    pub metadata: (String, String),
}

impl Layout {
    /// For tensors in the formats that they get.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a tensor that exceeds the address space.
    pub fn new<'a>(tensors: impl IntoIterator<Item = (&'a Slot, Format)>) -> Result<Self> {
        let each: Result<Vec<_>> = tensors.into_iter().map(|(slot, to)| spec(slot, to)).collect();
        let (specs, stored): (Vec<_>, Vec<_>) = each?.into_iter().unzip();
        let matrices = specs.iter().zip(&stored);
        let quantized: Vec<_> =
            matrices.filter_map(|(spec, stored)| Some((spec.name.as_str(), (*stored)?))).collect();
        // One entry: the order of several would differ from run to run.
        if quantized.is_empty() {
            return Ok(Self { specs, stored, metadata: ("format".to_string(), "pt".to_string()) });
        }
        let mut metadata = (QUANT_KEY.to_string(), quant_metadata(quantized));
        let spaces = padding(&specs, std::slice::from_ref(&metadata));
        metadata.1.extend(std::iter::repeat_n(' ', spaces));
        Ok(Self { specs, stored, metadata })
    }
}

/// A tensor as a stored one: its place in the file, and its matrix if it becomes quantized.
fn spec(slot: &Slot, to: Format) -> Result<(TensorSpec, Option<StoredQuant>)> {
    let Slot { name, shape, .. } = slot;
    let stored = match (to, slot.matrix()) {
        (Format::Quant(quant), Some([n, k])) => Some(StoredQuant { quant, n, k }),
        _ => None,
    };
    let too_large = || Error::unsupported(format!("tensor `{name}` of shape {shape:?} as {to}"));
    let (dtype, shape) = match stored {
        Some(stored) => (DType::U8, stored.tensor_shape().ok_or_else(too_large)?.to_vec()),
        None => (to.dtype().expect("what is not quantized is floats"), shape.clone()),
    };
    Ok((TensorSpec { name: name.clone(), dtype, shape }, stored))
}
