//! One transformer block, for every family:
//!
//! ```text
//! h  = rms_norm(x, attn_norm);  q, k, v = h·Wq + bq, h·Wk + bk, h·Wv + bv
//! q, k = qk_norm(q), qk_norm(k)            (if the family has it)
//! q, k = rope(q, pos), rope(k, pos);       cache.stage(layer, k, v)
//! x += gqa(q, cache.keys(layer), cache.values(layer), visible) · Wo
//! h  = rms_norm(x, mlp_norm);   x += swiglu(h·Wgate, h·Wup) · Wdown
//! ```

use super::arch::Dims;
use super::linear::Linear;
use super::probe::{Place, Probe, Stage};
use super::scratch::{MLP_ROWS, Scratch};
use super::{Context, Segment};
use crate::cache::{KvPool, PAGE};
use crate::kernels::{Attention, RopeTable};
use crate::tensor::{Rows, RowsMut};

/// Weights of the per-head norms before RoPE.
#[derive(Clone, Debug)]
pub struct QkNorm {
    /// `[head_dim]`.
    pub q: Box<[f32]>,
    /// `[head_dim]`.
    pub k: Box<[f32]>,
}

/// Weights of one block.
#[derive(Clone, Debug)]
pub struct Block {
    /// `[hidden]`.
    pub attn_norm: Box<[f32]>,
    /// `[n_heads * head_dim, hidden]`.
    pub q: Linear,
    /// `[n_kv_heads * head_dim, hidden]`.
    pub k: Linear,
    /// `[n_kv_heads * head_dim, hidden]`.
    pub v: Linear,
    /// Norms of every query and every key head, if the family has them.
    pub qk_norm: Option<QkNorm>,
    /// `[hidden, n_heads * head_dim]`.
    pub out: Linear,
    /// `[hidden]`.
    pub mlp_norm: Box<[f32]>,
    /// `[ffn, hidden]`.
    pub gate: Linear,
    /// `[ffn, hidden]`.
    pub up: Linear,
    /// `[hidden, ffn]`.
    pub down: Linear,
}

/// What a block needs to know beside its weights and the stream.
pub(super) struct At<'a> {
    pub(super) layer: usize,
    pub(super) dims: &'a Dims,
    pub(super) norm_eps: f32,
    pub(super) rope: &'a RopeTable,
    pub(super) batch: &'a [Segment<'a>],
}

impl Block {
    /// Adds the attention branch and the feed-forward branch to the residual stream in `scratch.x`.
    pub(super) fn forward(
        &self,
        ctx: &Context<'_>,
        at: &At<'_>,
        scratch: &mut Scratch,
        cache: &mut KvPool,
        probe: &mut Probe<'_>,
    ) {
        self.attention(ctx, at, scratch, cache, probe);
        self.mlp(ctx, at, scratch, probe);
        probe.see(Place::new(at.layer, Stage::Block), Rows::new(&scratch.x, at.dims.hidden));
    }

    fn attention(
        &self,
        ctx: &Context<'_>,
        at: &At<'_>,
        scratch: &mut Scratch,
        cache: &mut KvPool,
        probe: &mut Probe<'_>,
    ) {
        let Context { kernels, exec } = *ctx;
        let (hidden, q_width, kv_width) = (at.dims.hidden, at.dims.q_width(), at.dims.kv_width());
        let Scratch { x, h, q, k, v, heads, spans, tables, prepared, .. } = scratch;
        let mut see = |stage, rows: Rows<'_>| probe.see(Place::new(at.layer, stage), rows);

        kernels.rms_norm(exec, Rows::new(x, hidden), &self.attn_norm, at.norm_eps, RowsMut::new(h, hidden));
        see(Stage::AttnNorm, Rows::new(h, hidden));
        let mut qkv = [
            self.q.to(RowsMut::new(q, q_width)),
            self.k.to(RowsMut::new(k, kv_width)),
            self.v.to(RowsMut::new(v, kv_width)),
        ];
        kernels.project(exec, Rows::new(h, hidden), prepared, &mut qkv);
        see(Stage::Q, Rows::new(q, q_width));
        see(Stage::K, Rows::new(k, kv_width));
        see(Stage::V, Rows::new(v, kv_width));

        if let Some(norm) = &self.qk_norm {
            kernels.rms_norm_heads(exec, RowsMut::new(q, q_width), &norm.q, at.norm_eps);
            kernels.rms_norm_heads(exec, RowsMut::new(k, kv_width), &norm.k, at.norm_eps);
            see(Stage::QNorm, Rows::new(q, q_width));
            see(Stage::KNorm, Rows::new(k, kv_width));
        }
        let mut done = 0;
        for &Segment { slot, first, ids, .. } in at.batch {
            let rows = done..done + ids.len();
            let q = &mut q[rows.start * q_width..rows.end * q_width];
            let k = &mut k[rows.start * kv_width..rows.end * kv_width];
            let v = &v[rows.start * kv_width..rows.end * kv_width];
            kernels.rope(exec, RowsMut::new(q, q_width), at.rope, first);
            kernels.rope(exec, RowsMut::new(k, kv_width), at.rope, first);
            cache.stage(kernels, slot, at.layer, first, Rows::new(k, kv_width), Rows::new(v, kv_width));
            done = rows.end;
        }

        kernels.attention(
            exec,
            Attention {
                q: Rows::new(q, q_width),
                keys: cache.keys(at.layer),
                values: cache.values(at.layer),
                page: PAGE,
                tables,
                n_heads: at.dims.n_heads,
                n_kv_heads: at.dims.n_kv_heads,
                head_dim: at.dims.head_dim,
                spans,
                out: RowsMut::new(heads, q_width),
            },
        );
        let mut out = [self.out.to(RowsMut::new(h, hidden))];
        kernels.project(exec, Rows::new(heads, q_width), prepared, &mut out);
        see(Stage::Out, Rows::new(h, hidden));
        kernels.add(exec, RowsMut::new(x, hidden), Rows::new(h, hidden));
    }

    fn mlp(&self, ctx: &Context<'_>, at: &At<'_>, scratch: &mut Scratch, probe: &mut Probe<'_>) {
        let Context { kernels, exec } = *ctx;
        let (hidden, ffn) = (at.dims.hidden, at.dims.ffn);
        let Scratch { x, h, gate, up, prepared, .. } = scratch;

        kernels.rms_norm(exec, Rows::new(x, hidden), &self.mlp_norm, at.norm_eps, RowsMut::new(h, hidden));
        probe.see(Place::new(at.layer, Stage::MlpNorm), Rows::new(h, hidden));
        // Each piece reads its rows of `h` to the end before it overwrites them with the branch's output.
        for h in h.chunks_mut(MLP_ROWS * hidden) {
            let rows = h.len() / hidden;
            let (gate, up) = (&mut gate[..rows * ffn], &mut up[..rows * ffn]);
            let mut both = [self.gate.to(RowsMut::new(gate, ffn)), self.up.to(RowsMut::new(up, ffn))];
            kernels.project(exec, Rows::new(h, hidden), prepared, &mut both);
            kernels.swiglu(exec, RowsMut::new(gate, ffn), Rows::new(up, ffn));
            let mut down = [self.down.to(RowsMut::new(h, hidden))];
            kernels.project(exec, Rows::new(gate, ffn), prepared, &mut down);
        }
        probe.see(Place::new(at.layer, Stage::Mlp), Rows::new(h, hidden));
        kernels.add(exec, RowsMut::new(x, hidden), Rows::new(h, hidden));
    }
}
