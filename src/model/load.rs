//! From a checkpoint to a [`Transformer`]. What the checkpoint holds is checked first, completely; then the matrices are taken
//! where they lie, and norms and biases are widened.

use super::{Architecture, Block, Linear, Planned, QkNorm, Recipe, Transformer, check_checkpoint};
use crate::dtype::{Bf16, DType, F16};
use crate::error::Result;
use crate::exec::Executor;
use crate::quant::Matrix;
use crate::weights::{StoredQuant, TensorSource};
use std::cell::Cell;

/// Takes tensors that were checked out of a source.
struct Loader<'a> {
    arch: &'a Architecture,
    source: &'a dyn TensorSource,
    /// Absent where matrices stay as they are.
    encode: Option<Encode<'a>>,
}

/// What becomes of every tensor, who computes it, and who is told how far it is.
struct Encode<'a> {
    plan: Vec<Planned>,
    exec: &'a dyn Executor,
    progress: &'a dyn Fn(usize, usize),
    /// Elements that are encoded.
    done: Cell<usize>,
}

impl Encode<'_> {
    fn matrix(&self, name: &str, matrix: Matrix) -> Result<Matrix> {
        let changing = || self.plan.iter().filter(|planned| planned.to != planned.from);
        let Some(planned) = changing().find(|planned| planned.name == name) else { return Ok(matrix) };
        let encoded = matrix.encode(name, planned.to, self.exec)?.0;
        let elements = |planned: &Planned| planned.shape.iter().product::<usize>();
        self.done.update(|done| done + elements(planned));
        (self.progress)(self.done.get(), changing().map(elements).sum());
        Ok(encoded)
    }
}

impl Loader<'_> {
    fn matrix(&self, name: &str) -> Result<Matrix> {
        let name = format!("{name}.weight");
        let view = self.source.tensor(&name)?;
        let matrix = match self.source.quant(&name) {
            Some(StoredQuant { quant, n, k }) => Matrix::from_panels(n, k, quant, view.bytes().clone()),
            None => Matrix::from_tensor(&view),
        };
        let matrix = matrix.expect("element type and dimensions were checked before");
        match &self.encode {
            Some(encode) => encode.matrix(&name, matrix),
            None => Ok(matrix),
        }
    }

    /// A small vector as f32: norms and biases are read in every row of every pass.
    fn vector(&self, name: &str) -> Result<Box<[f32]>> {
        let view = self.source.tensor(name)?;
        let bytes = view.bytes();
        let halves = || bytes.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b));
        Ok(match view.dtype() {
            DType::F32 => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            DType::F16 => halves().map(|bits| F16(bits).to_f32()).collect(),
            _ => halves().map(|bits| Bf16(bits).to_f32()).collect(),
        })
    }

    fn norm(&self, layer: usize, slot: &str) -> Result<Box<[f32]>> {
        self.vector(&(self.arch.names.in_block(layer, slot) + ".weight"))
    }

    fn linear(&self, layer: usize, slot: &str, bias: bool) -> Result<Linear> {
        let name = self.arch.names.in_block(layer, slot);
        let bias = if bias { Some(self.vector(&format!("{name}.bias"))?) } else { None };
        Ok(Linear { weight: self.matrix(&name)?, bias })
    }

    fn block(&self, i: usize) -> Result<Block> {
        let (arch, names) = (self.arch, self.arch.names);
        let qk_norm = || Ok(QkNorm { q: self.norm(i, names.q_norm)?, k: self.norm(i, names.k_norm)? });
        Ok(Block {
            attn_norm: self.norm(i, names.attn_norm)?,
            q: self.linear(i, names.q, arch.qkv_bias)?,
            k: self.linear(i, names.k, arch.qkv_bias)?,
            v: self.linear(i, names.v, arch.qkv_bias)?,
            qk_norm: arch.qk_norm.then(qk_norm).transpose()?,
            out: self.linear(i, names.out, arch.out_bias)?,
            mlp_norm: self.norm(i, names.mlp_norm)?,
            gate: self.linear(i, names.gate, arch.mlp_bias)?,
            up: self.linear(i, names.up, arch.mlp_bias)?,
            down: self.linear(i, names.down, arch.mlp_bias)?,
        })
    }
}

impl Transformer {
    /// Takes the weights of `arch` out of `source`. Matrices stay where they are; norms and biases are widened to f32.
    ///
    /// # Errors
    /// Those of [`check_checkpoint`].
    pub fn load(arch: Architecture, source: &dyn TensorSource) -> Result<Self> {
        check_checkpoint(&arch, source)?;
        Self::assemble(&arch, &Loader { arch: &arch, source, encode: None })
    }

    /// As [`Self::load`], with the matrices of a float checkpoint in the formats of `recipe`: the weights that a checkpoint
    /// written by that recipe holds. `progress` is told after each matrix how many elements are encoded, and of how many.
    ///
    /// # Errors
    /// Those of [`Recipe::plan`] and of [`Matrix::encode`].
    pub fn load_as(
        arch: Architecture,
        source: &dyn TensorSource,
        recipe: &Recipe,
        exec: &dyn Executor,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Self> {
        let plan = recipe.plan(&arch, source)?;
        let encode = Encode { plan, exec, progress, done: Cell::new(0) };
        Self::assemble(&arch, &Loader { arch: &arch, source, encode: Some(encode) })
    }

    fn assemble(arch: &Architecture, loader: &Loader<'_>) -> Result<Self> {
        let embed = loader.matrix(arch.names.embed)?;
        let head = if arch.tied { embed.clone() } else { loader.matrix(arch.names.lm_head)? };
        let lm_head = Linear { weight: head, bias: None };
        let blocks = (0..arch.dims.layers).map(|i| loader.block(i)).collect::<Result<_>>()?;
        let norm = loader.vector(&format!("{}.weight", arch.names.norm))?;
        Ok(Self { arch: arch.clone(), embed, blocks, norm, lm_head })
    }
}
