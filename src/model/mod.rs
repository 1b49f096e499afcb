//! The model: one forward pass for every family.
//!
//! ```text
//! x = embed[ids];  x = block(x) for every block;  logits = lm_head(rms_norm(x, norm))
//! ```
//!
//! [`Architecture`] says what differs between families, [`Transformer`] holds the weights, [`Transformer::forward`] runs a
//! batch of [`Segment`]s, and [`Transformer::logits`] computes logits of the rows that somebody asks for.
#![forbid(unsafe_code)]

mod arch;
mod block;
mod config;
mod generation_config;
mod linear;
mod load;
mod presets;
mod probe;
mod recipe;
mod refused;
mod scratch;
mod slots;

pub use arch::{Alignment, Architecture, Dims, Names, Special};
pub use block::{Block, QkNorm};
pub use generation_config::GenerationConfig;
pub use linear::Linear;
pub use probe::{Place, Probe, Stage, Watcher};
pub use recipe::{Part, Planned, Recipe};
pub use scratch::Scratch;
pub use slots::check_checkpoint;

use crate::bytes::ask_for;
use crate::cache::{KvPool, KvShape, SlotId, Visible};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::kernels::{Kernels, Prepared, RopeTable};
use crate::quant::{Format, Matrix};
use crate::tensor::{Rows, RowsMut, TokenId};

/// Who computes: passed down to every layer.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The kernels of one level.
    pub kernels: &'a Kernels,
    /// The threads.
    pub exec: &'a dyn Executor,
}

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
}

/// The weights of a model.
pub struct Transformer {
    arch: Architecture,
    embed: Matrix,
    blocks: Vec<Block>,
    norm: Box<[f32]>,
    lm_head: Linear,
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
        RopeTable::new(self.arch.rope_theta, self.arch.dims.head_dim, capacity)
    }

    /// Runs the blocks over the segments of `batch`, whose rows follow each other. Keys and values of their positions are staged
    /// in `cache`; the residual stream of the rows is left in `scratch` for [`Self::logits`] or [`Self::hidden`].
    ///
    /// Matrices are read once for all rows; only RoPE, the cache and attention know segments. What a row becomes depends on
    /// its own segment alone, so a segment has the same bits in every batch.
    ///
    /// # Errors
    /// [`Error::TokenId`] for an id outside the vocabulary, [`Error::Capacity`] if the positions do not fit a slot,
    /// [`Error::Memory`]. Nothing is computed then.
    ///
    /// # Panics
    /// If a segment touches committed rows, leaves a hole, sees rows that were never staged, has no row, or has the slot of
    /// another one.
    pub fn forward(
        &self,
        ctx: &Context<'_>,
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
        scratch.resize(dims, ids().count())?;
        scratch.place(cache, batch)?;
        for (&id, row) in ids().zip(scratch.x.chunks_exact_mut(dims.hidden)) {
            ctx.kernels.decode_row(&self.embed, id as usize, row);
        }
        probe.see(Place::outside(Stage::Embed), Rows::new(&scratch.x, dims.hidden));
        for (layer, block) in self.blocks.iter().enumerate() {
            let at = block::At { layer, dims, norm_eps: self.arch.norm_eps, rope, batch };
            block.forward(ctx, &at, scratch, cache, probe);
        }
        Ok(())
    }

    /// The residual stream after the last block, `[rows, hidden]`, of the latest pass.
    pub fn hidden<'s>(&self, scratch: &'s Scratch) -> Rows<'s> {
        Rows::new(&scratch.x, self.arch.dims.hidden)
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
        ctx: &Context<'_>,
        hidden: Rows<'_>,
        rows: &[usize],
        buffers: &mut LogitBuffers,
        probe: &mut Probe<'_>,
    ) {
        let Dims { hidden: width, vocab, .. } = self.arch.dims;
        let LogitBuffers { gathered, normed, prepared, logits } = buffers;
        gathered.clear();
        rows.iter().for_each(|&row| gathered.extend_from_slice(hidden.row(row)));
        normed.resize(rows.len() * width, 0.0);
        logits.resize(rows.len() * vocab, 0.0);
        let (gathered, mut normed) = (Rows::new(gathered, width), RowsMut::new(normed, width));
        ctx.kernels.rms_norm(ctx.exec, gathered, &self.norm, self.arch.norm_eps, normed.reborrow());
        probe.see(Place::outside(Stage::FinalNorm), normed.as_rows());
        let mut head = [self.lm_head.to(RowsMut::new(logits, vocab))];
        ctx.kernels.project(ctx.exec, normed.as_rows(), prepared, &mut head);
    }

    /// Parameters of the model, counted once where tied.
    pub fn parameters(&self) -> usize {
        self.arch.expected_tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// The matrices of the blocks: what a pass multiplies with, apart from [`Self::lm_head`].
    pub fn block_matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.blocks
            .iter()
            .flat_map(|b| [&b.q, &b.k, &b.v, &b.out, &b.gate, &b.up, &b.down].map(|linear| &linear.weight))
    }

    /// The output matrix, `[vocab, hidden]`; the embedding where tied.
    pub fn lm_head(&self) -> &Matrix {
        &self.lm_head.weight
    }

    /// Element format of the block matrices, which are the bulk of the weights.
    pub fn weight_format(&self) -> Format {
        self.blocks.first().map_or(self.embed.format(), |block| block.q.weight.format())
    }

    /// Element formats of all matrices, each once, most bytes first.
    pub fn formats(&self) -> Vec<Format> {
        let mut found: Vec<(Format, usize)> = Vec::new();
        for matrix in self.block_matrices().chain([self.lm_head(), &self.embed]) {
            match found.iter_mut().find(|(format, _)| *format == matrix.format()) {
                Some((_, bytes)) => *bytes += matrix.bytes(),
                None => found.push((matrix.format(), matrix.bytes())),
            }
        }
        found.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        found.into_iter().map(|(format, _)| format).collect()
    }

    /// Bytes of the stored matrices, counted once where tied.
    pub fn weight_bytes(&self) -> usize {
        let head = if self.arch.tied { 0 } else { self.lm_head().bytes() };
        self.embed.bytes() + head + self.block_matrices().map(Matrix::bytes).sum::<usize>()
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
    gathered: Vec<f32>,
    normed: Vec<f32>,
    prepared: Prepared,
    /// `[rows, vocab]`, row after row.
    pub logits: Vec<f32>,
}
