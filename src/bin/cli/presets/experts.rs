//! What the configurations of the families with experts say.

use super::Preset;
use serde_json::{Value, json};

/// Sizes of the experts of a preset. The other traits of a router are those of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a block.
    pub count: usize,
    /// Experts that a row goes through.
    pub per_token: usize,
    /// Inner width of one.
    pub ffn: usize,
}

/// The tokens of LLaDA-MoE and LLaDA2 from the first special one on.
pub(super) const LING_SPECIALS: [&str; 8] =
    ["<|startoftext|>", "<|endoftext|>", "[CLS]", "[gMASK]", "<|mask|>", "<role>", "</role>", "<|role_end|>"];

pub(super) const LING_TEMPLATE: &str = "{%- for message in messages %}
{%- set name = {'system': 'SYSTEM', 'user': 'HUMAN', 'assistant': 'ASSISTANT'}[message['role']] %}
{{- '<role>' + name + '</role>' + message['content'] + '<|role_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<role>ASSISTANT</role>' }}
{%- endif %}";

/// What SDAR-MoE adds to the keys of SDAR, or changes.
pub(super) fn moe_keys(experts: Experts) -> Value {
    json!({
        "architectures": ["SDARMoeForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_sdar_moe.SDARMoeConfig",
            "AutoModel": "modeling_sdar_moe.SDARMoeModel",
            "AutoModelForCausalLM": "modeling_sdar_moe.SDARMoeForCausalLM",
        },
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "model_type": "sdar_moe",
        "moe_intermediate_size": experts.ffn,
        "norm_topk_prob": true,
        "num_experts": experts.count,
        "num_experts_per_tok": experts.per_token,
        "output_router_logits": false,
        "router_aux_loss_coef": 0.001,
    })
}

impl Preset {
    /// # Panics
    /// If the preset has no experts.
    fn experts(&self) -> Experts {
        self.experts.unwrap_or_else(|| panic!("the {} preset has no experts", self.name))
    }

    /// The keys that LLaDA-MoE and LLaDA2 share.
    fn ling_keys(&self, torch_dtype: &str) -> Value {
        let Experts { count, per_token, .. } = self.experts();
        json!({
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "max_position_embeddings": self.max_pos,
            "num_attention_heads": self.n_heads,
            "num_experts": count,
            "num_experts_per_tok": per_token,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.n_kv_heads,
            "output_router_logits": false,
            "pad_token_id": self.id("<|endoftext|>"),
            "rope_scaling": null,
            "tie_word_embeddings": self.tied,
            "torch_dtype": torch_dtype,
            "use_cache": false,
            "vocab_size": self.vocab,
        })
    }

    pub(super) fn llada_moe_config(&self, torch_dtype: &str) -> Value {
        let own = json!({
            "architectures": ["LLaDAMoEModelLM"],
            "attention_bias": false,
            "auto_map": {
                "AutoConfig": "configuration_lladamoe.LLaDAConfig",
                "AutoModel": "modeling_lladamoe.LLaDAMoEModelLM",
                "AutoModelForCausalLM": "modeling_lladamoe.LLaDAMoEModelLM",
            },
            "clip_qkv": null,
            "dense_intermediate_size": self.ffn,
            "eos_token_id": self.id("<|endoftext|>"),
            "expert_intermediate_size": self.experts().ffn,
            "model_type": "llada",
            "moe_layer_freq": vec![1; self.layers],
            "moe_router_enable_expert_bias": false,
            "moe_router_score_function": "softmax",
            "norm_topk_prob": null,
            "partial_rotary_factor": 1,
            "qk_layernorm": true,
            "rms_norm_eps": 1e-5,
            "rope_theta": 50_000,
            "routed_scaling_factor": 1,
            "router_aux_loss_coef": 0.01,
            "router_num_group": null,
            "router_topk_group": null,
            "shared_expert_intermediate_size": null,
            "transformers_version": "4.53.2",
        });
        super::files::merged(self.ling_keys(torch_dtype), own)
    }

    pub(super) fn llada2_config(&self, torch_dtype: &str) -> Value {
        let own = json!({
            "architectures": ["LLaDA2MoeModelLM"],
            "auto_map": {
                "AutoConfig": "configuration_llada2_moe.LLaDA2MoeConfig",
                "AutoModel": "modeling_llada2_moe.LLaDA2MoeModel",
                "AutoModelForCausalLM": "modeling_llada2_moe.LLaDA2MoeModelLM",
            },
            "embedding_dropout": 0.0,
            "first_k_dense_replace": 1,
            "head_dim": self.head_dim,
            "intermediate_size": self.ffn,
            "max_window_layers": 28,
            "model_type": "llada2_moe",
            "moe_intermediate_size": self.experts().ffn,
            "moe_router_enable_expert_bias": true,
            "n_group": 8,
            "norm_head": false,
            "norm_softmax": false,
            "norm_topk_prob": true,
            "num_shared_experts": 1,
            "output_dropout": 0.0,
            "partial_rotary_factor": 0.5,
            "rms_norm_eps": 1e-6,
            "rope_theta": 600_000,
            "rotary_dim": self.head_dim / 2,
            "routed_scaling_factor": 2.5,
            "router_dtype": "fp32",
            "score_function": "sigmoid",
            "topk_group": 4,
            "transformers_version": "4.52.3",
            "use_bias": false,
            "use_qkv_bias": false,
            "use_rmsnorm": true,
            "use_sliding_window": false,
            "using_split_qkv_in_self_attention": false,
        });
        super::files::merged(self.ling_keys(torch_dtype), own)
    }
}
