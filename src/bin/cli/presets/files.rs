//! The files next to the weights: configurations and chat template of each family.
//!
//! Source: the `config.json`, `generation_config.json` and `tokenizer_config.json` of the published checkpoints. Keys that say
//! nothing about shapes or behaviour are kept, because a reader has to cope with them.

use super::experts::{LING_SPECIALS, LING_TEMPLATE, moe_keys};
use super::later::{DIFFCODER_SPECIALS, DIFFCODER_TEMPLATE, NEMOTRON_SPECIALS, NEMOTRON_TEMPLATE};
use super::llada::LLADA_TEMPLATE;
use super::{Family, Preset, Special};
use serde_json::{Value, json};

/// Qwen's special tokens up to 2.5, in id order. The tool and code tokens are not marked as special.
const QWEN_SPECIALS: [(&str, bool); 22] = [
    ("<|endoftext|>", true),
    ("<|im_start|>", true),
    ("<|im_end|>", true),
    ("<|object_ref_start|>", true),
    ("<|object_ref_end|>", true),
    ("<|box_start|>", true),
    ("<|box_end|>", true),
    ("<|quad_start|>", true),
    ("<|quad_end|>", true),
    ("<|vision_start|>", true),
    ("<|vision_end|>", true),
    ("<|vision_pad|>", true),
    ("<|image_pad|>", true),
    ("<|video_pad|>", true),
    ("<tool_call>", false),
    ("</tool_call>", false),
    ("<|fim_prefix|>", false),
    ("<|fim_middle|>", false),
    ("<|fim_suffix|>", false),
    ("<|fim_pad|>", false),
    ("<|repo_name|>", false),
    ("<|file_sep|>", false),
];

const CHATML: &str = "{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}";

const CHATML_SYSTEM: &str = "{%- if messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
";

impl Preset {
    /// The special tokens, ascending by id.
    pub fn specials(&self) -> Vec<Special> {
        let text = |(content, special): (&str, bool)| (content.to_owned(), special);
        let mut tokens: Vec<(String, bool)> = QWEN_SPECIALS.map(text).into();
        let own: &[(&str, bool)] = match self.family {
            Family::Sdar => &[
                ("<tool_response>", false),
                ("</tool_response>", false),
                ("<think>", false),
                ("</think>", false),
                ("<|MASK|>", false),
            ],
            Family::FastDllm => &[("|<MASK>|", true)],
            Family::Dream | Family::OpenDcoder => &[("<|beginoftext|>", true), ("<|mask|>", true)],
            Family::A2dQwen2 => &[("<|mask|>", true)],
            Family::A2dQwen3 => &[
                ("<tool_response>", false),
                ("</tool_response>", false),
                ("<think>", false),
                ("</think>", false),
                ("<|mask|>", true),
            ],
            Family::StableDiffcoder => {
                tokens = DIFFCODER_SPECIALS.map(|token| (token.to_owned(), true)).into();
                &[]
            }
            Family::Nemotron => {
                tokens = NEMOTRON_SPECIALS.map(|token| (token.to_owned(), true)).into();
                &[]
            }
            Family::Llada => {
                tokens = self.llada_specials();
                &[]
            }
            Family::LladaMoe | Family::Llada2 => {
                tokens = LING_SPECIALS.map(|token| (token.to_owned(), true)).into();
                &[]
            }
        };
        tokens.extend(own.iter().copied().map(text));
        let ids = self.words..;
        ids.zip(tokens).map(|(id, (content, special))| Special { id, content, special }).collect()
    }

    /// Id of a special token.
    ///
    /// # Panics
    /// If the family has no such token.
    pub fn id(&self, token: &str) -> usize {
        let specials = self.specials();
        let found = specials.iter().find(|special| special.content == token);
        found.unwrap_or_else(|| panic!("the {} preset has no token {token}", self.name)).id
    }

    /// The token for what is not written yet.
    pub fn mask(&self) -> &'static str {
        match self.family {
            Family::Sdar => "<|MASK|>",
            Family::FastDllm => "|<MASK>|",
            Family::Dream | Family::OpenDcoder | Family::A2dQwen2 | Family::A2dQwen3 => "<|mask|>",
            Family::LladaMoe | Family::Llada2 => "<|mask|>",
            Family::Llada => "<|mdm_mask|>",
            Family::StableDiffcoder => DIFFCODER_SPECIALS[3],
            Family::Nemotron => NEMOTRON_SPECIALS[7],
        }
    }

    /// The token that text begins with, in families that have their own.
    pub(super) fn bos(&self) -> &'static str {
        match self.family {
            Family::Llada | Family::LladaMoe | Family::Llada2 => "<|startoftext|>",
            Family::Dream => "<|beginoftext|>",
            Family::StableDiffcoder => DIFFCODER_SPECIALS[0],
            Family::Nemotron => NEMOTRON_SPECIALS[1],
            _ => "<|endoftext|>",
        }
    }

    /// The token that text ends with.
    pub(super) fn eos(&self) -> &'static str {
        match self.family {
            Family::FastDllm | Family::A2dQwen2 | Family::A2dQwen3 | Family::OpenDcoder => "<|im_end|>",
            Family::StableDiffcoder => DIFFCODER_SPECIALS[2],
            Family::Nemotron => NEMOTRON_SPECIALS[2],
            _ => "<|endoftext|>",
        }
    }

    fn pad(&self) -> &'static str {
        match self.family {
            Family::StableDiffcoder => DIFFCODER_SPECIALS[1],
            Family::Nemotron => NEMOTRON_SPECIALS[0],
            _ => "<|endoftext|>",
        }
    }

    /// `config.json`, with the element type as `torch_dtype`.
    pub fn config(&self, torch_dtype: &str) -> Value {
        match self.family {
            Family::Sdar => {
                let dense = merged(self.qwen_config(torch_dtype), self.sdar_keys());
                match self.experts {
                    Some(experts) => merged(dense, moe_keys(experts)),
                    None => dense,
                }
            }
            Family::FastDllm => merged(self.qwen_config(torch_dtype), self.fast_dllm_keys()),
            Family::Dream => merged(self.qwen_config(torch_dtype), self.dream_keys()),
            Family::Llada => self.llada_config(torch_dtype),
            Family::LladaMoe => self.llada_moe_config(torch_dtype),
            Family::Llada2 => self.llada2_config(torch_dtype),
            Family::A2dQwen2 | Family::A2dQwen3 | Family::OpenDcoder => {
                merged(self.qwen_config(torch_dtype), self.coder_keys())
            }
            Family::StableDiffcoder => self.stable_diffcoder_config(torch_dtype),
            Family::Nemotron => self.nemotron_config(torch_dtype),
        }
    }

    /// The keys that the Qwen derivatives share.
    fn qwen_config(&self, torch_dtype: &str) -> Value {
        json!({
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.ffn,
            "max_position_embeddings": self.max_pos,
            "max_window_layers": self.layers,
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.n_kv_heads,
            "rms_norm_eps": 1e-6,
            "rope_scaling": null,
            "rope_theta": 1_000_000.0,
            "sliding_window": null,
            "tie_word_embeddings": self.tied,
            "torch_dtype": torch_dtype,
            "use_sliding_window": false,
            "vocab_size": self.vocab,
        })
    }

    fn sdar_keys(&self) -> Value {
        json!({
            "architectures": ["SDARForCausalLM"],
            "auto_map": {
                "AutoConfig": "configuration_sdar.SDARConfig",
                "AutoModel": "modeling_sdar.SDARModel",
                "AutoModelForCausalLM": "modeling_sdar.SDARForCausalLM",
            },
            "attention_bias": false,
            "attn_implementation": "flex_attention",
            "block_size": self.block,
            "bos_token_id": self.id("<|endoftext|>"),
            "debug": false,
            "eos_token_id": self.id("<|endoftext|>"),
            "ep_size": 1,
            "fuse_cross_entropy": true,
            "head_dim": self.head_dim,
            "mask_token_id": self.id(self.mask()),
            "micro_forward": false,
            "model_type": "sdar",
            "skip_checkpoint": false,
            "transformers_version": "4.52.4",
            "use_cache": false,
            "use_deepep": false,
        })
    }

    fn fast_dllm_keys(&self) -> Value {
        json!({
            "architectures": ["Fast_dLLM_QwenForCausalLM"],
            "auto_map": {
                "AutoConfig": "configuration.Fast_dLLM_QwenConfig",
                "AutoModel": "modeling.Fast_dLLM_QwenModel",
                "AutoModelForCausalLM": "modeling.Fast_dLLM_QwenForCausalLM",
            },
            "bd_size": self.block,
            "bos_token_id": self.id("<|endoftext|>"),
            "eos_token_id": self.id("<|im_end|>"),
            "layer_types": vec!["full_attention"; self.layers],
            "model_type": "Fast_dLLM_Qwen",
            "pad_token_id": self.id("<|im_end|>"),
            "transformers_version": "4.53.1",
            "use_cache": true,
        })
    }

    fn dream_keys(&self) -> Value {
        json!({
            "architectures": ["DreamModel"],
            "auto_map": {
                "AutoConfig": "configuration_dream.DreamConfig",
                "AutoModel": "modeling_dream.DreamModel",
            },
            "bos_token_id": self.id("<|endoftext|>"),
            "eos_token_id": self.id("<|endoftext|>"),
            "mask_token_id": self.id(self.mask()),
            "model_type": "Dream",
            "pad_token_id": self.id("<|endoftext|>"),
            "transformers_version": "4.46.2",
            "use_cache": true,
            "use_mrope": false,
        })
    }

    /// `generation_config.json`, where the family is published with one.
    pub fn generation_config(&self) -> Option<Value> {
        let (temperature, top_k, top_p) = match self.family {
            Family::Sdar => (0.6, 20, 0.95),
            Family::FastDllm => (0.7, 20, 0.8),
            Family::Llada2 => {
                return Some(json!({
                    "eos_token_id": [self.id("<|endoftext|>"), self.id("<|role_end|>")],
                    "pad_token_id": self.id("<|endoftext|>"),
                }));
            }
            Family::A2dQwen2 | Family::A2dQwen3 => (0.6, 20, 0.95),
            Family::StableDiffcoder => {
                return Some(json!({
                    "bos_token_id": self.id(self.bos()),
                    "eos_token_id": self.id(self.eos()),
                    "pad_token_id": self.id(self.pad()),
                }));
            }
            Family::Dream | Family::Llada | Family::LladaMoe | Family::OpenDcoder | Family::Nemotron => {
                return None;
            }
        };
        Some(json!({
            "bos_token_id": self.id("<|endoftext|>"),
            "do_sample": true,
            "eos_token_id": [self.id("<|im_end|>"), self.id("<|endoftext|>")],
            "pad_token_id": self.id("<|endoftext|>"),
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
        }))
    }

    /// `tokenizer_config.json`.
    pub fn tokenizer_config(&self) -> Value {
        let flags = |special: &Special| {
            json!({
                "content": special.content, "lstrip": false, "normalized": false, "rstrip": false,
                "single_word": false, "special": special.special,
            })
        };
        let added: serde_json::Map<String, Value> =
            self.specials().iter().map(|special| (special.id.to_string(), flags(special))).collect();
        let has_bos =
            !matches!(self.family, Family::Sdar | Family::FastDllm) && self.bos() != "<|endoftext|>";
        let bos = has_bos.then(|| self.bos());
        let qwen = self.specials().iter().any(|special| special.content == "<|im_start|>");
        let class = if qwen { "Qwen2Tokenizer" } else { "PreTrainedTokenizerFast" };
        let mut config = json!({
            "add_bos_token": false,
            "add_prefix_space": false,
            "added_tokens_decoder": added,
            "bos_token": bos,
            "clean_up_tokenization_spaces": false,
            "eos_token": self.eos(),
            "model_max_length": 131_072,
            "pad_token": self.pad(),
            "tokenizer_class": class,
            "unk_token": null,
        });
        // Fast-dLLM v2 does not name its mask anywhere.
        if self.family != Family::FastDllm {
            config["mask_token"] = self.mask().into();
        }
        if self.template_file().is_none() {
            config["chat_template"] = self.template().into();
        }
        config
    }

    /// Contents of `chat_template.jinja`, for the family that keeps its template there and not in `tokenizer_config.json`.
    pub fn template_file(&self) -> Option<String> {
        (self.family == Family::FastDllm).then(|| self.template())
    }

    fn template(&self) -> String {
        match self.family {
            Family::Sdar | Family::A2dQwen3 => CHATML.to_owned(),
            Family::StableDiffcoder => DIFFCODER_TEMPLATE.to_owned(),
            Family::Nemotron => NEMOTRON_TEMPLATE.to_owned(),
            Family::LladaMoe | Family::Llada2 => LING_TEMPLATE.to_owned(),
            Family::FastDllm | Family::Dream | Family::A2dQwen2 | Family::OpenDcoder => {
                format!("{CHATML_SYSTEM}{CHATML}")
            }
            Family::Llada => LLADA_TEMPLATE.to_owned(),
        }
    }
}

/// The keys of both objects; those of `own` take precedence.
pub(super) fn merged(mut base: Value, own: Value) -> Value {
    if let (Value::Object(base), Value::Object(own)) = (&mut base, own) {
        base.extend(own);
    }
    base
}
