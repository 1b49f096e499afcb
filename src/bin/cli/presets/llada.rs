//! What the files of LLaDA say.

use super::Preset;
use serde_json::{Value, json};

/// LLaDA's special tokens by their distance from the first one; what lies between is reserved.
const LLADA_SPECIALS: [(usize, &str); 6] = [
    (0, "<|startoftext|>"),
    (1, "<|endoftext|>"),
    (256, "<|mdm_mask|>"),
    (266, "<|start_header_id|>"),
    (267, "<|end_header_id|>"),
    (268, "<|eot_id|>"),
];

pub(super) const LLADA_TEMPLATE: &str = "{%- for message in messages %}
{%- if loop.first %}
{{- bos_token }}
{%- endif %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + (message['content'] | trim) + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}";

impl Preset {
    pub(super) fn llada_specials(&self) -> Vec<(String, bool)> {
        let named = |distance: usize| LLADA_SPECIALS.iter().find(|(d, _)| *d == distance);
        if self.vocab - self.words <= LLADA_SPECIALS[5].0 {
            return LLADA_SPECIALS.map(|(_, token)| (token.to_owned(), true)).into();
        }
        (0..=LLADA_SPECIALS[5].0)
            .map(|distance| match named(distance) {
                Some((_, token)) => ((*token).to_owned(), true),
                None => (format!("<|reserved_token_{distance}|>"), true),
            })
            .collect()
    }

    pub(super) fn llada_config(&self, torch_dtype: &str) -> Value {
        let sizes = json!({
            "d_model": self.hidden,
            "embedding_size": self.vocab,
            "eos_token_id": self.id("<|endoftext|>"),
            "mask_token_id": self.id(self.mask()),
            "max_sequence_length": self.max_pos,
            "mlp_hidden_size": self.ffn,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "n_layers": self.layers,
            "pad_token_id": self.id("<|endoftext|>"),
            "torch_dtype": torch_dtype,
            "vocab_size": self.vocab,
            "weight_tying": self.tied,
        });
        super::files::merged(llada_maths(), sizes)
    }
}

/// What LLaDA's configuration says in addition to sizes.
fn llada_maths() -> Value {
    json!({
        "activation_type": "silu",
        "alibi": false,
        "alibi_bias_max": 8.0,
        "architectures": ["LLaDAModelLM"],
        "attention_dropout": 0.0,
        "attention_layer_norm": false,
        "attention_layer_norm_with_affine": true,
        "auto_map": {
            "AutoConfig": "configuration_llada.LLaDAConfig",
            "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
            "AutoModel": "modeling_llada.LLaDAModelLM",
        },
        "bias_for_layer_norm": false,
        "block_group_size": 1,
        "block_type": "llama",
        "embedding_dropout": 0.0,
        "flash_attention": false,
        "include_bias": false,
        "include_qkv_bias": false,
        "init_fn": "mitchell",
        "init_std": 0.02,
        "input_emb_norm": false,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": true,
        "mlp_ratio": 4,
        "model_type": "llada",
        "multi_query_attention": null,
        "precision": "amp_bf16",
        "residual_dropout": 0.0,
        "rms_norm_eps": 1e-5,
        "rope": true,
        "rope_full_precision": true,
        "rope_theta": 500_000.0,
        "scale_logits": false,
        "transformers_version": "4.46.3",
        "use_cache": false,
    })
}
