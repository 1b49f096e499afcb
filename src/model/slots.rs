//! The tensors that a model needs, by the names in its checkpoint, and the check that a checkpoint has them.
//!
//! Checking is complete in both directions. A tensor that is missing would be noise; one that is left over means that the
//! model computes something that this engine does not.

use super::arch::{Architecture, Names};
use crate::quant::Format;
use crate::weights::TensorSource;
use crate::{Error, Result};
use std::collections::HashSet;

impl Names {
    /// The name of `slot` (one of the fields for blocks) in block `i`, without `.weight` or `.bias`.
    pub fn in_block(&self, i: usize, slot: &str) -> String {
        format!("{}{i}.{slot}", self.block)
    }
}

impl Architecture {
    /// Name and shape of every tensor that the model needs: embedding, blocks, final norm, output matrix.
    pub fn expected_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (dims, names) = (&self.dims, self.names);
        let weight = |name: &str| format!("{name}.weight");
        let mut tensors = vec![(weight(names.embed), vec![dims.vocab, dims.hidden])];
        for i in 0..dims.layers {
            self.expect_block(i, &mut tensors);
        }
        tensors.push((weight(names.norm), vec![dims.hidden]));
        if !self.tied {
            tensors.push((weight(names.lm_head), vec![dims.vocab, dims.hidden]));
        }
        tensors
    }

    fn expect_block(&self, i: usize, tensors: &mut Vec<(String, Vec<usize>)>) {
        let (dims, names) = (&self.dims, self.names);
        let (hidden, ffn, q, kv) = (dims.hidden, dims.ffn, dims.q_width(), dims.kv_width());
        let mut norm = |slot, width| tensors.push((names.in_block(i, slot) + ".weight", vec![width]));
        norm(names.attn_norm, hidden);
        norm(names.mlp_norm, hidden);
        if self.qk_norm {
            norm(names.q_norm, dims.head_dim);
            norm(names.k_norm, dims.head_dim);
        }
        for (slot, n, k, bias) in [
            (names.q, q, hidden, self.qkv_bias),
            (names.k, kv, hidden, self.qkv_bias),
            (names.v, kv, hidden, self.qkv_bias),
            (names.out, hidden, q, self.out_bias),
            (names.gate, ffn, hidden, self.mlp_bias),
            (names.up, ffn, hidden, self.mlp_bias),
            (names.down, hidden, ffn, self.mlp_bias),
        ] {
            let name = names.in_block(i, slot);
            if bias {
                tensors.push((format!("{name}.bias"), vec![n]));
            }
            tensors.push((name + ".weight", vec![n, k]));
        }
    }

    /// Whether a tensor of this name may be present although the model does not use it.
    fn ignores(&self, name: &str) -> bool {
        // Some exports of tied models store the embedding a second time.
        self.tied && name.strip_suffix(".weight") == Some(self.names.lm_head)
            || self.names.ignored.iter().any(|ending| name.ends_with(ending))
    }
}

/// Checks that `source` holds every tensor that `arch` needs, in its shape and as floats, and no other.
///
/// Touches no weight, only their declarations.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::Shape`], [`Error::DType`], or [`Error::Format`] for a tensor that is left over.
pub fn check_checkpoint(arch: &Architecture, source: &dyn TensorSource) -> Result<()> {
    let expected = arch.expected_tensors();
    for (name, shape) in &expected {
        let tensor = source.tensor(name)?;
        let quantized = source.quant(name).map(|stored| vec![stored.n, stored.k]);
        let found = quantized.as_deref().unwrap_or(tensor.shape());
        if found != shape {
            return Err(Error::Shape {
                file: source.origin(name),
                name: name.clone(),
                expected: shape.clone(),
                found: found.to_vec(),
            });
        }
        if quantized.is_none() && Format::from_dtype(tensor.dtype()).is_none() {
            return Err(Error::DType {
                file: source.origin(name),
                name: name.clone(),
                expected: "F32, F16 or BF16",
                found: tensor.dtype().name().to_string(),
            });
        }
    }
    let known: HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    match source.names().iter().find(|name| !known.contains(name.as_str()) && !arch.ignores(name)) {
        None => Ok(()),
        Some(name) => {
            let what =
                format!("unexpected tensor `{name}`: no part of the {} model of the config", arch.family);
            Err(Error::format(source.origin(name), what))
        }
    }
}
