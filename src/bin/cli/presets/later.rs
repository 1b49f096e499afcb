//! What the configurations of the later dense families say.
//!
//! The special tokens of Stable-DiffCoder and of Nemotron-Labs-Diffusion come first in their vocabularies; here they come last, as in all
//! presets.

use super::{Family, Preset};
use serde_json::{Value, json};

pub(super) const DIFFCODER_SPECIALS: [&str; 4] =
    ["<[begin▁of▁sentence]>", "<[PAD▁TOKEN]>", "<[end▁of▁sentence]>", "<[MASK▁TOKEN]>"];

pub(super) const NEMOTRON_SPECIALS: [&str; 8] =
    ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM]", "[/SYSTEM]", "<MASK>"];

pub(super) const DIFFCODER_TEMPLATE: &str = "{%- for message in messages %}
{{- bos_token + message['role'] + '\\n' + (message['content'] | trim) + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- bos_token + 'assistant\\n' }}
{%- endif %}";

pub(super) const NEMOTRON_TEMPLATE: &str = "{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{{- '[SYSTEM]' + message['content'] + '[/SYSTEM]' }}
{%- elif message['role'] == 'user' %}
{{- '[INST]' + message['content'] + '[/INST]' }}
{%- else %}
{{- message['content'] + eos_token }}
{%- endif %}
{%- endfor %}";

impl Preset {
    /// What the families with the layers of Qwen add to the keys that these share, or change.
    pub(super) fn coder_keys(&self) -> Value {
        let own = match self.family {
            Family::A2dQwen2 => {
                json!({ "architectures": ["A2DQwen2LMHeadModel"], "model_type": "a2d-qwen2" })
            }
            Family::A2dQwen3 => json!({
                "architectures": ["A2DQwen3LMHeadModel"],
                "attention_bias": false,
                "head_dim": self.head_dim,
                "model_type": "a2d-qwen3",
            }),
            _ => json!({
                "architectures": ["Qwen2ForCausalLM"],
                "auto_map": { "AutoModelForCausalLM": "modeling_qwen2.Qwen2ForCausalLM" },
                "mask_token_id": self.id(self.mask()),
                "model_type": "qwen2",
                "trust_remote_code": true,
            }),
        };
        let shared = json!({
            "eos_token_id": self.id("<|im_end|>"),
            "layer_types": vec!["full_attention"; self.layers],
            "pad_token_id": self.id("<|endoftext|>"),
            "transformers_version": "4.57.0",
            "use_cache": true,
        });
        super::files::merged(shared, own)
    }

    /// The keys that the two families with the layers of Llama share.
    fn llama_keys(&self, torch_dtype: &str) -> Value {
        json!({
            "attention_bias": false,
            "attention_dropout": 0.0,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.ffn,
            "max_position_embeddings": self.max_pos,
            "mlp_bias": false,
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.n_kv_heads,
            "tie_word_embeddings": self.tied,
            "torch_dtype": torch_dtype,
            "vocab_size": self.vocab,
        })
    }

    pub(super) fn stable_diffcoder_config(&self, torch_dtype: &str) -> Value {
        let own = json!({
            "architectures": ["StableDiffcoderForCausalLM"],
            "auto_map": { "AutoModelForCausalLM": "modeling_stable_diffcoder.StableDiffcoderForCausalLM" },
            "bos_token_id": self.id(self.bos()),
            "eos_token_id": self.id(self.eos()),
            "model_type": "llama",
            "pad_token_id": self.id(DIFFCODER_SPECIALS[1]),
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-6,
            "rope_scaling": null,
            "rope_theta": 500_000.0,
            "transformers_version": "4.46.2",
            "use_cache": true,
        });
        super::files::merged(self.llama_keys(torch_dtype), own)
    }

    pub(super) fn nemotron_config(&self, torch_dtype: &str) -> Value {
        let own = json!({
            "ar_loss_weight": 1.0,
            "architectures": ["NemotronLabsDiffusionModel"],
            "attn_implementation": "sdpa",
            "auto_map": {
                "AutoConfig": "configuration_nemotron_labs_diffusion.NemotronLabsDiffusionConfig",
                "AutoModel": "modeling_nemotron_labs_diffusion.NemotronLabsDiffusionModel",
            },
            "block_size": self.block,
            "bos_token_id": self.id(self.bos()),
            "dlm_loss_weight": null,
            "dlm_paradigm": "bidirectional",
            "dp_varying_mask_ratio": false,
            "eos_token_id": self.id(self.eos()),
            "mask_token_id": self.id(self.mask()),
            "model_type": "nemotron_labs_diffusion",
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "factor": 16.0,
                "llama_4_scaling_beta": 0.1,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "original_max_position_embeddings": self.max_pos / 16,
                "rope_theta": 1_000_000.0,
                "rope_type": "yarn",
            },
            "sliding_window": null,
            "transformers_version": "5.0.0",
            "use_cache": false,
        });
        super::files::merged(self.llama_keys(torch_dtype), own)
    }
}
