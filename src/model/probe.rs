//! A view into a forward pass: recorded hidden states are compared this way, and a NaN is traced to the layer
//! where it first appeared. A pass without a watcher pays one branch per stage.

use super::scratch::Mat;
use crate::tensor::Rows;
use std::fmt;

/// A point inside a block, or around the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Embedding output, `[rows, hidden]`.
    Embed,
    /// Norm before attention, `[rows, hidden]`.
    AttnNorm,
    /// Queries with bias, before norm and RoPE, `[rows, n_heads * head_dim]`.
    Q,
    /// Keys with bias, before norm and RoPE, `[rows, n_kv_heads * head_dim]`.
    K,
    /// Values with bias, `[rows, n_kv_heads * head_dim]`.
    V,
    /// Queries after the per-head norm, before RoPE.
    QNorm,
    /// Keys after the per-head norm, before RoPE.
    KNorm,
    /// Attention branch before the residual add, `[rows, hidden]`.
    Out,
    /// Norm before the feed-forward part, `[rows, hidden]`.
    MlpNorm,
    /// Logits of the router over the experts of a block, `[rows, experts]`.
    RouterLogits,
    /// Their softmax or sigmoids, `[rows, experts]`.
    RouterScores,
    /// What the choice goes by, where that is the scores with a bias, `[rows, experts]`.
    RouterBiased,
    /// The weights of the chosen experts, 0 for the others, `[rows, experts]`.
    ExpertWeights,
    /// The weighted sum of the chosen experts, `[rows, hidden]`.
    Routed,
    /// The expert that every row goes through, if there is one, `[rows, hidden]`.
    Shared,
    /// Feed-forward branch before the residual add, `[rows, hidden]`.
    Mlp,
    /// Residual stream after the block, `[rows, hidden]`.
    Block,
    /// Final norm of the requested rows, `[rows, hidden]`.
    FinalNorm,
}

/// Where in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The block, counted from 0; `None` before and after the blocks.
    pub layer: Option<usize>,
    /// The point in it.
    pub stage: Stage,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Embed => "token embedding",
            Stage::AttnNorm => "norm before attention",
            Stage::Q => "query projection",
            Stage::K => "key projection",
            Stage::V => "value projection",
            Stage::QNorm => "query norm",
            Stage::KNorm => "key norm",
            Stage::Out => "attention output",
            Stage::MlpNorm => "norm before the feed-forward part",
            Stage::RouterLogits => "router logits",
            Stage::RouterScores => "router probabilities",
            Stage::RouterBiased => "router scores with bias",
            Stage::ExpertWeights => "expert weights",
            Stage::Routed => "sum of the chosen experts",
            Stage::Shared => "shared expert",
            Stage::Mlp => "feed-forward output",
            Stage::Block => "residual stream",
            Stage::FinalNorm => "final norm",
        };
        match self.layer {
            Some(layer) => write!(f, "layer {layer}, {stage}"),
            None => f.write_str(stage),
        }
    }
}

/// What looks at the stages of a pass.
pub type Watcher<'a> = dyn FnMut(Place, Rows<'_>) + 'a;

/// An optional watcher.
#[derive(Default)]
pub struct Probe<'a>(Option<&'a mut Watcher<'a>>);

impl<'a> Probe<'a> {
    /// Without a watcher.
    pub fn none() -> Self {
        Self(None)
    }

    /// `watcher` sees every stage in the order of computation.
    pub fn new(watcher: &'a mut Watcher<'a>) -> Self {
        Self(Some(watcher))
    }

    /// Shows a stage inside a block.
    pub(super) fn see(&mut self, layer: usize, stage: Stage, rows: &Mat) {
        self.see_at(Place { layer: Some(layer), stage }, rows);
    }

    /// Shows a stage before or after the blocks.
    pub(super) fn see_outside(&mut self, stage: Stage, rows: &Mat) {
        self.see_at(Place { layer: None, stage }, rows);
    }

    fn see_at(&mut self, place: Place, rows: &Mat) {
        if let Some(watcher) = &mut self.0 {
            watcher(place, rows.rows());
        }
    }

    /// Shows what `make` computes for the watcher only: rows of `width` numbers.
    pub(super) fn see_made(
        &mut self,
        layer: usize,
        stage: Stage,
        width: usize,
        make: impl FnOnce() -> Vec<f32>,
    ) {
        if let Some(watcher) = &mut self.0 {
            watcher(Place { layer: Some(layer), stage }, Rows::new(&make(), width));
        }
    }
}
