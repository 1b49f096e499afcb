//! The model: one forward pass for every family.
//!
//! ```text
//! x = embed[ids];  x = block(x) for every block;  logits = lm_head(rms_norm(x, norm))
//! ```
//!
//! [`Architecture`] says what differs between families, [`Transformer`] holds the weights, [`Transformer::forward`] runs a
//! batch of [`Segment`]s, and [`Transformer::logits`] computes the logits of the requested rows.
#![forbid(unsafe_code)]

mod arch;
mod block;
mod choice;
mod compute;
mod config;
mod experts;
mod generation_config;
mod linear;
mod load;
mod presets;
mod probe;
mod recipe;
mod refused;
mod rope;
mod scratch;
mod slots;

pub use arch::{Alignment, Architecture, CommitRule, Dims, Mixture, Names, Router, Special};
pub use choice::{Budget, Choice};
pub use compute::Compute;
pub use generation_config::GenerationConfig;
pub use probe::{Place, Probe, Stage, Watcher};
pub use recipe::{Planned, Recipe};
pub use scratch::Scratch;
pub use slots::{Role, Slot, check_checkpoint};

use crate::bytes::ask_for;
use crate::cache::{KvPool, KvShape, SlotId, Visible};
use crate::error::{Error, Result};
use crate::kernels::{Prepared, RopeTable};
use crate::quant::{Format, Matrix};
use crate::tensor::{Rows, RowsMut, TokenId};
use block::Block;
use linear::{Linear, Vector};
use scratch::Mat;

/// Consecutive positions of one sequence in a forward pass.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    /// Where the keys and values of the sequence are.
    pub slot: SlotId,
    /// Absolute position of the first id.
    pub first: usize,
    /// Tokens and masks.
    pub ids: &'a [TokenId],
    /// The keys that each row sees.
    pub visible: &'a Visible,
    /// Who chooses the experts of each row, if the model has any.
    pub experts: Choice<'a>,
}

/// The weights of a model.
pub struct Transformer {
    arch: Architecture,
    embed: Matrix,
    blocks: Vec<Block>,
    norm: Vector,
    lm_head: Linear,
    /// Every matrix above, with the tensor that it comes from.
    matrices: Vec<(Slot, Matrix)>,
}

impl Transformer {
    /// The model as data.
    pub fn arch(&self) -> &Architecture {
        &self.arch
    }

    /// What a cache for this model stores.
    pub fn kv_shape(&self) -> KvShape {
        self.arch.kv_shape()
    }

    /// RoPE rows for the positions `0..capacity`.
    pub fn rope_table(&self, capacity: usize) -> RopeTable {
        RopeTable::new(&self.arch.rope, self.arch.dims.head_dim, capacity)
    }

    /// Runs the blocks over the segments of `batch`, whose rows follow each other. Keys and values of their positions are staged
    /// in `cache`; the residual stream of the rows is left in `scratch` for [`Self::logits`] or [`Self::hidden`].
    ///
    /// Matrices are read once for all rows; only RoPE, the cache and attention know segments. What a row becomes depends on
    /// its own segment alone, so a segment has the same bits in every batch.
    ///
    /// # Errors
    /// [`Error::TokenId`] for an id outside the vocabulary, [`Error::Capacity`] if the positions do not fit a slot,
    /// [`Error::Memory`]; nothing is computed then. Those of [`KvPool::stage`], for the first layer that has such a number.
    ///
    /// # Panics
    /// If a segment touches committed rows, leaves a hole, sees rows that were never staged, has no row, or has the slot of
    /// another one, or if its choice of experts is not one of the model and of its rows.
    pub fn forward(
        &self,
        compute: &Compute<'_>,
        scratch: &mut Scratch,
        rope: &RopeTable,
        cache: &mut KvPool,
        batch: &[Segment<'_>],
        probe: &mut Probe<'_>,
    ) -> Result<()> {
        let dims = &self.arch.dims;
        let ids = || batch.iter().flat_map(|segment| segment.ids);
        if let Some(&id) = ids().find(|&&id| id as usize >= dims.vocab) {
            return Err(Error::TokenId { id: i64::from(id), vocab: dims.vocab });
        }
        scratch.resize(&self.arch, ids().count())?;
        scratch.place(self.arch.mixture.as_ref(), cache, batch)?;
        scratch.routes.begin(&self.arch);
        let mut x = scratch.x.rows_mut();
        for (i, &id) in ids().enumerate() {
            compute.kernels.decode_row(&self.embed, id as usize, x.row_mut(i));
        }
        probe.see_outside(Stage::Embed, &scratch.x);
        for (layer, block) in self.blocks.iter().enumerate() {
            let at = block::At { layer, arch: &self.arch, rope, batch };
            block.forward(compute, &at, scratch, cache, probe)?;
        }
        Ok(())
    }

    /// The residual stream after the last block, `[rows, hidden]`, of the latest pass.
    pub fn hidden<'s>(&self, scratch: &'s Scratch) -> Rows<'s> {
        scratch.x.rows()
    }

    /// Whether the latest pass read each expert of a block, `[experts]`; empty for a block that has none.
    pub fn touched<'s>(&self, scratch: &'s Scratch, layer: usize) -> &'s [bool] {
        self.arch.mixture_of(layer).map_or(&[], |mixture| scratch.routes.touched(layer, mixture.experts))
    }

    /// Logits of some rows of `hidden` (as [`Self::hidden`] returns them): final norm and output matrix.
    ///
    /// # Shapes
    /// `hidden`: `[any, hidden]`; `logits` is resized to `[rows.len(), vocab]`; `normed` is a working buffer.
    ///
    /// # Panics
    /// If a row does not exist.
    pub fn logits(
        &self,
        compute: &Compute<'_>,
        hidden: Rows<'_>,
        rows: &[usize],
        buffers: &mut LogitBuffers,
        probe: &mut Probe<'_>,
    ) {
        let Dims { hidden: width, vocab, .. } = self.arch.dims;
        let LogitBuffers { gathered, normed, prepared, logits } = buffers;
        gathered.resize(rows.len(), width);
        normed.resize(rows.len(), width);
        logits.resize(rows.len() * vocab, 0.0);
        let mut each = gathered.rows_mut();
        rows.iter().enumerate().for_each(|(i, &row)| each.row_mut(i).copy_from_slice(hidden.row(row)));
        compute.rms_norm(gathered, &self.norm, self.arch.norm_eps, normed);
        probe.see_outside(Stage::FinalNorm, normed);
        let logits = RowsMut::new(logits, vocab);
        compute.project(normed.rows(), prepared, [self.lm_head.onto(logits)]);
    }

    /// Parameters of the model, counted once where tied.
    pub fn parameters(&self) -> usize {
        self.arch.tensors().iter().map(Slot::elements).sum()
    }

    /// Every matrix with the tensor that it comes from, in the order of [`Architecture::tensors`]. The embedding of a tied
    /// model counts once. Weights that share a tensor come one by one, with the same slot.
    pub fn matrices(&self) -> impl Iterator<Item = (&Slot, &Matrix)> {
        self.matrices.iter().map(|(slot, matrix)| (slot, matrix))
    }

    /// The output matrix, `[vocab, hidden]`; the embedding where tied.
    pub fn lm_head(&self) -> &Matrix {
        &self.lm_head.weight
    }

    /// Element format of the block matrices, which are the bulk of the weights.
    pub fn weight_format(&self) -> Format {
        let mut in_blocks = self.matrices().filter(|(slot, _)| slot.layer.is_some());
        in_blocks.next().map_or(self.embed.format(), |(_, matrix)| matrix.format())
    }

    /// Element formats of all matrices, each once, most bytes first.
    pub fn formats(&self) -> Vec<Format> {
        let mut found: Vec<(Format, usize)> = Vec::new();
        for (_, matrix) in self.matrices() {
            match found.iter_mut().find(|(format, _)| *format == matrix.format()) {
                Some((_, bytes)) => *bytes += matrix.bytes(),
                None => found.push((matrix.format(), matrix.bytes())),
            }
        }
        found.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        found.into_iter().map(|(format, _)| format).collect()
    }

    /// Whether any matrix is quantized.
    pub fn is_quantized(&self) -> bool {
        self.matrices().any(|(_, matrix)| matrix.format().is_quantized())
    }

    /// Bytes of the stored matrices, counted once where tied.
    pub fn weight_bytes(&self) -> usize {
        self.matrices().map(|(_, matrix)| matrix.bytes()).sum()
    }
}

impl LogitBuffers {
    /// Makes room for the logits of `rows` rows.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is not enough.
    pub fn reserve(&mut self, dims: &Dims, rows: usize) -> Result<()> {
        let floats = rows * (2 * dims.hidden + dims.vocab);
        ask_for(format!("the logits of {rows} positions"), floats * size_of::<f32>())?;
        self.logits.reserve_exact(rows * dims.vocab);
        Ok(())
    }
}

/// Buffers of [`Transformer::logits`].
#[derive(Default)]
pub struct LogitBuffers {
    gathered: Mat,
    normed: Mat,
    prepared: Prepared,
    /// `[rows, vocab]`, row after row.
    pub logits: Vec<f32>,
}
