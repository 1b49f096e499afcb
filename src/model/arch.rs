//! [`Architecture`]: everything that distinguishes one supported model from another, as data.
//!
//! The forward pass is one function over these values. Which checkpoint means which values is written in
//! [`super::presets`], and nowhere else.

use crate::cache::{Attention, KvShape};
use crate::kernels::Rope;
use crate::tensor::TokenId;

/// Sizes of a model, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of the embedding and of the output matrix. May exceed the tokenizer's size.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Inner width of a dense feed-forward part.
    pub ffn: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head; `n_heads * head_dim` may differ from `hidden`.
    pub head_dim: usize,
    /// Positions that the model was made for.
    pub max_pos: usize,
}

impl Dims {
    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

/// Which logits row predicts a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Row `i` predicts position `i`.
    Own,
    /// Row `i - 1` predicts position `i`. The first row of a forward pass has no row before it, and serves as that row itself.
    Shifted,
    /// Row `i` predicts position `i`, but for the first position of a block: the last row of the pass that stores what is before
    /// it predicts that one.
    Seeded,
}

/// What rows see in the passes that compute the final keys and values of a block-causal model: those over the prompt and over
/// finished blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitRule {
    /// What they see while they are denoised.
    AsDenoised,
    /// Themselves and the positions before them, while the active block sees all of itself.
    Causal,
}

/// Ids with a meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Special {
    /// The mask token, if the config names it (else the tokenizer does).
    pub mask: Option<TokenId>,
    /// Ids that end the text.
    pub eos: Vec<TokenId>,
}

/// Feed-forward parts that consist of experts, of which a router chooses some for every row.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Experts of a block.
    pub experts: usize,
    /// Experts that a row goes through; at most `experts`.
    pub per_token: usize,
    /// Inner width of an expert.
    pub ffn: usize,
    /// Inner width of the expert that every row goes through in addition to those chosen, unweighted, if there is one.
    pub shared: Option<usize>,
    /// How the choice is made and weighted.
    pub router: Router,
    /// Whether each block has experts; else its feed-forward part is dense.
    pub sparse: Box<[bool]>,
}

/// How experts are chosen and weighted. On a tie the lower number is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Router {
    /// The most probable ones under a softmax over all, weighted with their probabilities.
    Softmax {
        /// Whether the weights of the chosen ones are divided by their sum.
        normalized: bool,
    },
    /// The largest sigmoids, weighted with their share of the sum of the chosen ones. Source: LLaDA2.
    Sigmoid {
        /// Groups of equal size that the experts form, in order of their numbers; at least two experts in each of several.
        groups: usize,
        /// Groups that a row chooses from: those whose two largest scores have the largest sums.
        kept: usize,
        /// What the weights are multiplied by.
        scale: f32,
        /// Whether a number for each expert is added to its score for the choice, but not for the weight.
        bias: bool,
    },
}

impl Mixture {
    /// The share of the experts of a block that some of `rows` rows go through, if every choice is independent and equally
    /// likely: what a pass can be expected to read.
    pub fn touched(&self, rows: usize) -> f64 {
        let missed = 1.0 - self.per_token as f64 / self.experts as f64;
        1.0 - missed.powi(rows.min(1 << 20) as i32)
    }
}

/// Names of the tensors in a checkpoint, without the `.weight` or `.bias` at their end. Which weights a model has, and in which
/// shapes, follows from [`Architecture::tensors`].
///
/// Weights of one block that have the same name share one tensor: their rows follow each other in it, in the order of the
/// fields here. So a fused query/key/value matrix is three equal names.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// Token embedding.
    pub embed: &'static str,
    /// Final norm.
    pub norm: &'static str,
    /// Output matrix; absent when tied to the embedding.
    pub lm_head: &'static str,
    /// What precedes the number of a block.
    pub block: &'static str,
    /// Norm before attention.
    pub attn_norm: &'static str,
    /// Query projection.
    pub q: &'static str,
    /// Key projection.
    pub k: &'static str,
    /// Value projection.
    pub v: &'static str,
    /// Output projection of attention.
    pub out: &'static str,
    /// Norm of every query head.
    pub q_norm: &'static str,
    /// Norm of every key head.
    pub k_norm: &'static str,
    /// Norm before the feed-forward part.
    pub ffn_norm: &'static str,
    /// What precedes the names of a dense feed-forward part.
    pub dense: &'static str,
    /// What precedes the number of an expert; empty where the family has none.
    pub experts: &'static str,
    /// The router, a matrix with a row for each expert; empty where the family has none.
    pub router: &'static str,
    /// The whole name of what is added to the scores of the router for the choice; empty where the family has none.
    pub router_bias: &'static str,
    /// What precedes the names of the expert that every row goes through.
    pub shared: &'static str,
    /// Gate projection.
    pub gate: &'static str,
    /// Up projection.
    pub up: &'static str,
    /// Down projection.
    pub down: &'static str,
    /// Whole names of tensors that may be present and mean nothing to inference.
    pub ignored: &'static [&'static str],
    /// The same inside a block.
    pub ignored_in_block: &'static [&'static str],
}

/// A model as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Name of the family, for reports.
    pub family: &'static str,
    /// Sizes.
    pub dims: Dims,
    /// Added to the mean square in every RMSNorm.
    pub norm_eps: f32,
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub out_bias: bool,
    /// Whether the gate, up and down projections have a bias.
    pub mlp_bias: bool,
    /// Whether query and key heads are normalised before RoPE.
    pub qk_norm: bool,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// The experts, if the model has any.
    pub mixture: Option<Mixture>,
    /// Which elements of a head RoPE rotates, and how fast.
    pub rope: Rope,
    /// The attention rule of denoising.
    pub attention: Attention,
    /// The block of models of a bidirectional family that were trained to be block-causal. No file says which ones these are, so a
    /// decoding policy has to: one that keeps finished blocks.
    pub trained_block: Option<usize>,
    /// What rows see when their keys and values become final.
    pub commit: CommitRule,
    /// Which logits row predicts a position.
    pub alignment: Alignment,
    /// Ids with a meaning.
    pub tokens: Special,
    /// Name of the decoding policy that the model was published with.
    pub policy: &'static str,
    /// Tensor names.
    pub names: &'static Names,
}

impl Architecture {
    /// The experts of the block `layer`, if it has any.
    pub fn mixture_of(&self, layer: usize) -> Option<&Mixture> {
        self.mixture.as_ref().filter(|mixture| mixture.sparse[layer])
    }

    /// The block of its block-causal rule: its own, or that of models of the family that were trained that way.
    pub fn block(&self) -> Option<usize> {
        match self.attention {
            Attention::BlockCausal { block } => Some(block),
            Attention::Bidirectional => self.trained_block,
        }
    }

    /// What a cache for this model stores.
    pub fn kv_shape(&self) -> KvShape {
        let Dims { layers, n_kv_heads, head_dim, .. } = self.dims;
        KvShape { layers, n_kv_heads, head_dim }
    }
}
