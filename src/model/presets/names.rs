//! How the families name their tensors.

use crate::model::arch::Names;

/// The usual decoder of Hugging Face transformers.
pub(super) static HF_DECODER: Names = Names {
    embed: "model.embed_tokens",
    norm: "model.norm",
    lm_head: "lm_head",
    block: "model.layers.",
    attn_norm: "input_layernorm",
    q: "self_attn.q_proj",
    k: "self_attn.k_proj",
    v: "self_attn.v_proj",
    out: "self_attn.o_proj",
    q_norm: "self_attn.q_norm",
    k_norm: "self_attn.k_norm",
    ffn_norm: "post_attention_layernorm",
    dense: "mlp.",
    experts: "mlp.experts.",
    router: "mlp.gate",
    router_bias: "",
    shared: "shared_expert.",
    gate: "gate_proj",
    up: "up_proj",
    down: "down_proj",
    ignored: &["model.rotary_emb.inv_freq"],
    ignored_in_block: &["self_attn.rotary_emb.inv_freq"],
};

/// Tensors of LLaDA. The last matrix of a block and the output matrix share the name `ff_out`.
pub(super) static LLADA: Names = Names {
    embed: "model.transformer.wte",
    norm: "model.transformer.ln_f",
    lm_head: "model.transformer.ff_out",
    block: "model.transformer.blocks.",
    attn_norm: "attn_norm",
    q: "q_proj",
    k: "k_proj",
    v: "v_proj",
    out: "attn_out",
    q_norm: "q_norm",
    k_norm: "k_norm",
    ffn_norm: "ff_norm",
    dense: "",
    experts: "",
    router: "",
    router_bias: "",
    shared: "",
    gate: "ff_proj",
    up: "up_proj",
    down: "ff_out",
    ignored: &["model.transformer.rotary_emb.inv_freq"],
    ignored_in_block: &["rotary_emb.inv_freq"],
};

/// LLaDA2: query, key and value matrices are one.
pub(super) static LLADA2: Names = Names {
    embed: "model.word_embeddings",
    q: "attention.query_key_value",
    k: "attention.query_key_value",
    v: "attention.query_key_value",
    out: "attention.dense",
    q_norm: "attention.query_layernorm",
    k_norm: "attention.key_layernorm",
    router_bias: "mlp.gate.expert_bias",
    shared: "mlp.shared_experts.",
    ignored_in_block: &["attention.rotary_emb.inv_freq"],
    ..HF_DECODER
};

/// Nemotron-Labs-Diffusion.
pub(super) static NEMOTRON: Names = Names {
    embed: "encoder.embed_tokens",
    norm: "encoder.norm",
    lm_head: "diffusion_head",
    block: "encoder.layers.",
    ignored: &["encoder.rotary_emb.inv_freq"],
    ..HF_DECODER
};
