//! One transformer block, for every family:
//!
//! ```text
//! h  = rms_norm(x, attn_norm);  q, k, v = h·Wq + bq, h·Wk + bk, h·Wv + bv
//! q, k = qk_norm(q), qk_norm(k)            (if the family has it)
//! q, k = rope(q, pos), rope(k, pos);       cache.stage(layer, k, v)
//! x += gqa(q, cache.keys(layer), cache.values(layer), visible) · Wo
//! h  = rms_norm(x, ffn_norm);   x += swiglu(h·Wgate, h·Wup) · Wdown
//! ```
//!
//! This is the one file that knows which weights a block has. Every type says in `new` what it consists of, by name, shape
//! and role, and in `forward` what it computes.

use super::arch::{Architecture, Dims, Mixture};
use super::experts::Experts;
use super::linear::{Linear, Vector};
use super::probe::{Probe, Stage};
use super::scratch::{FFN_ROWS, Mat, Scratch};
use super::slots::{Make, Part, Role};
use super::{Compute, Segment};
use crate::cache::{KvPool, PAGE};
use crate::error::Result;
use crate::kernels::{self, KeySpan, Prepared, RopeTable};
use crate::quant::Matrix;
use crate::tensor::RowsMut;

/// The weights of one block.
pub(super) struct Block<M = Matrix, V = Vector> {
    attention: Attention<M, V>,
    /// `[hidden]`.
    ffn_norm: V,
    ffn: Ffn<M, V>,
}

/// The attention branch.
struct Attention<M, V> {
    /// `[hidden]`.
    norm: V,
    /// `[n_heads * head_dim, hidden]`.
    q: Linear<M, V>,
    /// `[n_kv_heads * head_dim, hidden]`.
    k: Linear<M, V>,
    /// `[n_kv_heads * head_dim, hidden]`.
    v: Linear<M, V>,
    /// Norms of every query and every key head, `[head_dim]` each, if the family has them.
    qk_norm: Option<[V; 2]>,
    /// `[hidden, n_heads * head_dim]`.
    out: Linear<M, V>,
}

/// The feed-forward part.
enum Ffn<M, V> {
    /// One for all rows.
    Dense(Mlp<M, V>),
    /// Some of many for every row.
    Experts(Mixture, Experts<M, V>),
}

/// A gated feed-forward network.
pub(super) struct Mlp<M, V> {
    /// `[ffn, hidden]`.
    pub(super) gate: Linear<M, V>,
    /// `[ffn, hidden]`.
    pub(super) up: Linear<M, V>,
    /// `[hidden, ffn]`.
    pub(super) down: Linear<M, V>,
}

impl<M, V> Block<M, V> {
    pub(super) fn new(
        arch: &Architecture,
        layer: usize,
        part: &mut Part<'_, impl Make<Matrix = M, Vector = V>>,
    ) -> Result<Self> {
        let (dims, names) = (&arch.dims, arch.names);
        let attention = Attention::new(arch, part)?;
        let ffn_norm = part.norm(names.ffn_norm, dims.hidden)?;
        let ffn = match arch.mixture_of(layer) {
            None => Ffn::Dense(Mlp::new(arch, dims.ffn, &mut part.part(names.dense))?),
            Some(mixture) => Ffn::Experts(mixture.clone(), Experts::new(arch, mixture, part)?),
        };
        Ok(Self { attention, ffn_norm, ffn })
    }
}

impl<M, V> Attention<M, V> {
    fn new(arch: &Architecture, part: &mut Part<'_, impl Make<Matrix = M, Vector = V>>) -> Result<Self> {
        let (dims, names, role) = (&arch.dims, arch.names, Role::Attention);
        let (hidden, q_width, kv_width) = (dims.hidden, dims.q_width(), dims.kv_width());
        let norm = part.norm(names.attn_norm, hidden)?;
        let outputs = [(names.q, q_width), (names.k, kv_width), (names.v, kv_width)];
        let [q, k, v] = part.linears(role, outputs, hidden, arch.qkv_bias)?;
        let mut head_norm = |name| part.norm(name, dims.head_dim);
        let qk_norm =
            if arch.qk_norm { Some([head_norm(names.q_norm)?, head_norm(names.k_norm)?]) } else { None };
        let [out] = part.linears(role, [(names.out, hidden)], q_width, arch.out_bias)?;
        Ok(Self { norm, q, k, v, qk_norm, out })
    }
}

impl<M, V> Mlp<M, V> {
    /// With the inner width `ffn`.
    pub(super) fn new(
        arch: &Architecture,
        ffn: usize,
        part: &mut Part<'_, impl Make<Matrix = M, Vector = V>>,
    ) -> Result<Self> {
        let (hidden, names, role) = (arch.dims.hidden, arch.names, Role::FeedForward);
        let [gate, up] = part.linears(role, [(names.gate, ffn), (names.up, ffn)], hidden, arch.mlp_bias)?;
        let [down] = part.linears(role, [(names.down, hidden)], ffn, arch.mlp_bias)?;
        Ok(Self { gate, up, down })
    }
}

/// What a block needs to know in addition to its weights and the stream.
pub(super) struct At<'a> {
    pub(super) layer: usize,
    pub(super) arch: &'a Architecture,
    pub(super) rope: &'a RopeTable,
    pub(super) batch: &'a [Segment<'a>],
}

impl Block {
    /// Adds the attention branch and the feed-forward branch to the residual stream in `scratch.x`.
    pub(super) fn forward(
        &self,
        compute: &Compute<'_>,
        at: &At<'_>,
        scratch: &mut Scratch,
        cache: &mut KvPool,
        probe: &mut Probe<'_>,
    ) -> Result<()> {
        self.attention.forward(compute, at, scratch, cache, probe)?;
        compute.rms_norm(&scratch.x, &self.ffn_norm, at.arch.norm_eps, &mut scratch.h);
        probe.see(at.layer, Stage::MlpNorm, &scratch.h);
        match &self.ffn {
            Ffn::Dense(mlp) => {
                let Scratch { h, gate, up, prepared, .. } = scratch;
                mlp.forward(compute, h, gate, up, prepared);
            }
            Ffn::Experts(mixture, experts) => experts.forward(compute, mixture, at, scratch, probe),
        }
        probe.see(at.layer, Stage::Mlp, &scratch.h);
        compute.add(&mut scratch.x, &scratch.h);
        probe.see(at.layer, Stage::Block, &scratch.x);
        Ok(())
    }
}

impl Attention<Matrix, Vector> {
    fn forward(
        &self,
        compute: &Compute<'_>,
        at: &At<'_>,
        scratch: &mut Scratch,
        cache: &mut KvPool,
        probe: &mut Probe<'_>,
    ) -> Result<()> {
        let Scratch { x, h, q, k, v, heads, spans, tables, prepared, .. } = scratch;
        let eps = at.arch.norm_eps;
        let mut see = |stage, rows: &Mat| probe.see(at.layer, stage, rows);

        compute.rms_norm(x, &self.norm, eps, h);
        see(Stage::AttnNorm, h);
        compute.project(h.rows(), prepared, [self.q.to(q), self.k.to(k), self.v.to(v)]);
        see(Stage::Q, q);
        see(Stage::K, k);
        see(Stage::V, v);
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            compute.rms_norm_heads(q, q_norm, eps);
            compute.rms_norm_heads(k, k_norm, eps);
            see(Stage::QNorm, q);
            see(Stage::KNorm, k);
        }
        at.rotate_and_stage(compute, q, k, v, cache)?;
        at.attend(compute, q, cache, spans, tables, heads);
        compute.project(heads.rows(), prepared, [self.out.to(h)]);
        see(Stage::Out, h);
        compute.add(x, h);
        Ok(())
    }
}

impl At<'_> {
    /// `q, k = rope(q, pos), rope(k, pos)` and `cache.stage(layer, k, v)`, segment by segment.
    fn rotate_and_stage(
        &self,
        compute: &Compute<'_>,
        q: &mut Mat,
        k: &mut Mat,
        v: &Mat,
        cache: &mut KvPool,
    ) -> Result<()> {
        let mut done = 0;
        for &Segment { slot, first, ids, .. } in self.batch {
            let rows = done..done + ids.len();
            done = rows.end;
            compute.rope(q.part_mut(&rows), self.rope, first);
            self.scale_queries(q.part_mut(&rows), first);
            compute.rope(k.part_mut(&rows), self.rope, first);
            cache.stage(compute.kernels, slot, self.layer, first, k.part(&rows), v.part(&rows))?;
        }
        Ok(())
    }

    /// Multiplies the queries of consecutive positions from `first` on by what the model says.
    fn scale_queries(&self, mut q: RowsMut<'_>, first: usize) {
        for i in 0..q.len() {
            if let Some(factor) = self.rope.query_factor(first + i) {
                q.row_mut(i).iter_mut().for_each(|x| *x *= factor);
            }
        }
    }

    /// `heads = gqa(q, cache.keys(layer), cache.values(layer), visible)`.
    fn attend(
        &self,
        compute: &Compute<'_>,
        q: &Mat,
        cache: &KvPool,
        spans: &[KeySpan],
        tables: &[u32],
        heads: &mut Mat,
    ) {
        let Dims { n_heads, n_kv_heads, head_dim, .. } = self.arch.dims;
        compute.attention(kernels::Attention {
            q: q.rows(),
            keys: cache.keys(self.layer),
            values: cache.values(self.layer),
            page: PAGE,
            tables,
            n_heads,
            n_kv_heads,
            head_dim,
            spans,
            out: heads.rows_mut(),
        });
    }
}

impl Mlp<Matrix, Vector> {
    /// Replaces the rows of `h` by those of the branch, some at a time.
    pub(super) fn forward(
        &self,
        compute: &Compute<'_>,
        h: &mut Mat,
        gate: &mut Mat,
        up: &mut Mat,
        prepared: &mut Prepared,
    ) {
        for h in h.pieces_mut(FFN_ROWS) {
            gate.resize(h.len(), self.gate.weight.n());
            up.resize(h.len(), self.up.weight.n());
            compute.project(h.as_rows(), prepared, [self.gate.to(gate), self.up.to(up)]);
            compute.swiglu(gate, up);
            compute.project(gate.rows(), prepared, [self.down.onto(h)]);
        }
    }
}
