//! The families: what a `config.json` means as an [`Architecture`].
//!
//! The only file that knows families by name. A key that asks for other maths than the engine's is refused by name, a
//! size that is impossible is an error; nothing is guessed. Ranges are generous, and keep every product of two sizes and
//! an element size below 2^63.
//!
//! # Source
//! The configuration classes published with the checkpoints of SDAR, SDAR-MoE, Fast-dLLM v2, Dream and LLaDA.

use super::arch::{Alignment, Architecture, CommitRule, Dims, Mixture, Names, Router, Special};
use super::config::{Config, MAX_VOCAB};
use super::refused;
use super::rope;
use crate::cache::Attention;
use crate::json::Value;
use crate::{Error, Result};
use std::path::Path;

/// How a family is recognised and read.
struct Family {
    /// Its entry in `architectures`.
    class: &'static str,
    model_type: &'static str,
    /// Keys that other families do not have maths for ([`refused`]), and that `read` reads.
    keys: &'static [&'static str],
    read: fn(&Config<'_>) -> Result<Architecture>,
}

const FAMILIES: [Family; 5] = [
    Family { class: "SDARForCausalLM", model_type: "sdar", keys: &[], read: sdar },
    Family { class: "SDARMoeForCausalLM", model_type: "sdar_moe", keys: MOE_KEYS, read: sdar_moe },
    Family {
        class: "Fast_dLLM_QwenForCausalLM",
        model_type: "Fast_dLLM_Qwen",
        keys: &[],
        read: fast_dllm_v2,
    },
    Family { class: "DreamModel", model_type: "Dream", keys: &[], read: dream },
    Family { class: "LLaDAModelLM", model_type: "llada", keys: &[], read: llada },
];

const MOE_KEYS: &[&str] = &["num_experts", "moe_intermediate_size"];

/// Tensors of SDAR, SDAR-MoE, Fast-dLLM v2 and Dream: the usual decoder of Hugging Face transformers.
static HF_DECODER: Names = Names {
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
    gate: "gate_proj",
    up: "up_proj",
    down: "down_proj",
    ignored: &["model.rotary_emb.inv_freq"],
    ignored_in_block: &["self_attn.rotary_emb.inv_freq"],
};

/// Tensors of LLaDA. The last matrix of a block and the output matrix share the name `ff_out`.
static LLADA: Names = Names {
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
    gate: "ff_proj",
    up: "up_proj",
    down: "ff_out",
    ignored: &["model.transformer.rotary_emb.inv_freq"],
    ignored_in_block: &["rotary_emb.inv_freq"],
};

/// Largest width of the residual stream. The largest published model has 4096.
const MAX_HIDDEN: usize = 1 << 20;
/// Largest inner width of the feed-forward part.
const MAX_FFN: usize = 1 << 22;
/// Most blocks.
const MAX_LAYERS: usize = 1 << 12;
/// Most heads.
const MAX_HEADS: usize = 1 << 12;
/// Widest head.
const MAX_HEAD_DIM: usize = 1 << 12;
/// Most experts of a block, and of all blocks together. The largest published model has 32 blocks of 256.
const MAX_EXPERTS: usize = 1 << 12;
const MAX_EXPERTS_IN_ALL: usize = 1 << 17;
/// Most positions.
const MAX_POS: usize = 1 << 30;

impl Architecture {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`], and those of [`Architecture::from_config`].
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_config(&path.display().to_string(), &Value::read(path)?)
    }

    /// The model that a configuration describes; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown family and for maths that the engine does not do, [`Error::Config`] for a
    /// value that is missing, impossible, or contradicts another, [`Error::Format`] if `json` is no object.
    pub fn from_config(file: &str, json: &Value) -> Result<Self> {
        let config = Config::new(file, json)?;
        let family = recognise(&config)?;
        refused::check(&config, family.keys)?;
        (family.read)(&config)
    }
}

/// Both the class and the model type count where they are given: a known type with another class has another head.
fn recognise(config: &Config<'_>) -> Result<&'static Family> {
    let class = match config.get("architectures") {
        None => None,
        Some(classes) => {
            let first = classes.as_array().and_then(|classes| classes.first()).and_then(Value::as_str);
            Some(first.ok_or_else(|| config.bad("architectures", "a list of texts"))?)
        }
    };
    let model_type = config.text("model_type")?;
    let by_class = FAMILIES.iter().position(|family| Some(family.class) == class);
    let by_type = FAMILIES.iter().position(|family| Some(family.model_type) == model_type);
    match (by_class, by_type) {
        (Some(a), Some(b)) if a != b => {
            Err(config.bad("model_type", &format!("`{}`", FAMILIES[a].model_type)))
        }
        (Some(i), Some(_)) => Ok(&FAMILIES[i]),
        (Some(i), None) if model_type.is_none() => Ok(&FAMILIES[i]),
        (None, Some(i)) if class.is_none() => Ok(&FAMILIES[i]),
        _ => {
            let known = FAMILIES.map(|family| format!("{} / {}", family.class, family.model_type));
            Err(Error::unsupported(format!(
                "{}: architecture {} with model_type {}; known are {}",
                config.file,
                class.unwrap_or("(none)"),
                model_type.unwrap_or("(none)"),
                known.join(", ")
            )))
        }
    }
}

fn sdar(config: &Config<'_>) -> Result<Architecture> {
    let bias = config.flag("attention_bias", false)?;
    let decoder = hf_decoder(config)?;
    let block = config.optional_size("block_size", decoder.dims.max_pos)?.unwrap_or(4);
    Ok(Architecture {
        family: "SDAR",
        qkv_bias: bias,
        out_bias: bias,
        qk_norm: true,
        attention: Attention::BlockCausal { block },
        policy: "sdar-dynamic",
        ..decoder
    })
}

/// SDAR with experts in the blocks that the configuration says.
fn sdar_moe(config: &Config<'_>) -> Result<Architecture> {
    let sdar = sdar(config)?;
    let layers = sdar.dims.layers;
    let experts = config.size("num_experts", MAX_EXPERTS.min(MAX_EXPERTS_IN_ALL / layers))?;
    let step = config.optional_size("decoder_sparse_step", MAX_LAYERS)?.unwrap_or(1);
    let mut sparse: Box<[bool]> = (1..=layers).map(|i| i.is_multiple_of(step)).collect();
    for layer in config.indices("mlp_only_layers", layers)? {
        sparse[layer] = false;
    }
    let mixture = Mixture {
        experts,
        per_token: config.size("num_experts_per_tok", experts)?,
        ffn: config.size("moe_intermediate_size", MAX_FFN)?,
        router: Router::Softmax { normalized: config.flag("norm_topk_prob", false)? },
        sparse,
    };
    Ok(Architecture { family: "SDAR-MoE", mixture: Some(mixture), ..sdar })
}

fn fast_dllm_v2(config: &Config<'_>) -> Result<Architecture> {
    let decoder = hf_decoder(config)?;
    let block = config.optional_size("bd_size", decoder.dims.max_pos)?.unwrap_or(32);
    Ok(Architecture {
        family: "Fast-dLLM v2",
        qkv_bias: true,
        attention: Attention::BlockCausal { block },
        alignment: Alignment::Shifted,
        policy: "fast-dllm-v2",
        ..decoder
    })
}

fn dream(config: &Config<'_>) -> Result<Architecture> {
    Ok(Architecture {
        family: "Dream",
        qkv_bias: true,
        alignment: Alignment::Shifted,
        policy: "dream-entropy",
        ..hf_decoder(config)?
    })
}

/// What the three families with Hugging Face keys share. Their differences are set by the caller.
fn hf_decoder(config: &Config<'_>) -> Result<Architecture> {
    let n_heads = config.size("num_attention_heads", MAX_HEADS)?;
    let hidden = config.size("hidden_size", MAX_HIDDEN)?;
    let layers = config.size("num_hidden_layers", MAX_LAYERS)?;
    let head_dim = match config.optional_size("head_dim", MAX_HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None => per_head(config, ("hidden_size", hidden), ("num_attention_heads", n_heads))?,
    };
    let dims = Dims {
        vocab: config.size("vocab_size", MAX_VOCAB)?,
        hidden,
        ffn: config.size("intermediate_size", MAX_FFN)?,
        layers,
        n_heads,
        n_kv_heads: config.optional_size("num_key_value_heads", MAX_HEADS)?.unwrap_or(n_heads),
        head_dim,
        max_pos: config.size("max_position_embeddings", MAX_POS)?,
    };
    check_heads(config, &dims, "num_key_value_heads", "head_dim")?;
    if let Some(types) =
        config.get("layer_types").and_then(Value::as_array).filter(|types| types.len() != layers)
    {
        let reason = format!("found {} entries, expected num_hidden_layers = {layers}", types.len());
        return Err(Error::config(config.file, "layer_types", reason));
    }
    Ok(Architecture {
        family: "",
        norm_eps: norm_eps(config)?,
        qkv_bias: false,
        out_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tied: config.flag("tie_word_embeddings", false)?,
        mixture: None,
        rope: rope::scalable(config, &dims)?,
        attention: Attention::Bidirectional,
        commit: CommitRule::AsDenoised,
        alignment: Alignment::Own,
        tokens: special(config, dims.vocab)?,
        policy: "",
        names: &HF_DECODER,
        dims,
    })
}

fn llada(config: &Config<'_>) -> Result<Architecture> {
    refused::one_of(config, "block_type", "llama")?;
    refused::one_of(config, "layer_norm_type", "rms")?;
    let bias = config.flag("include_bias", false)?;
    // Not given, it follows include_bias.
    if config.flag("bias_for_layer_norm", bias)? {
        let key =
            if config.get("bias_for_layer_norm").is_some() { "bias_for_layer_norm" } else { "include_bias" };
        return Err(config.unsupported(key, "a norm without a bias"));
    }
    for key in ["rope", "layer_norm_with_affine"] {
        if !config.flag(key, true)? {
            return Err(config.unsupported(key, "true"));
        }
    }
    if config.optional_size("block_group_size", MAX_LAYERS)?.is_some_and(|size| size != 1) {
        return Err(config.unsupported("block_group_size", "1"));
    }
    let dims = llada_dims(config)?;
    Ok(Architecture {
        family: "LLaDA",
        norm_eps: norm_eps(config)?,
        qkv_bias: bias || config.flag("include_qkv_bias", false)?,
        out_bias: bias,
        mlp_bias: bias,
        qk_norm: false,
        tied: config.flag("weight_tying", false)?,
        mixture: None,
        rope: rope::plain(config, &dims)?,
        attention: Attention::Bidirectional,
        commit: CommitRule::AsDenoised,
        alignment: Alignment::Own,
        tokens: special(config, dims.vocab)?,
        policy: "llada-low-confidence",
        names: &LLADA,
        dims,
    })
}

fn llada_dims(config: &Config<'_>) -> Result<Dims> {
    let n_heads = config.size("n_heads", MAX_HEADS)?;
    let hidden = config.size("d_model", MAX_HIDDEN)?;
    let used = config.size("vocab_size", MAX_VOCAB)?;
    let vocab = config.optional_size("embedding_size", MAX_VOCAB)?.unwrap_or(used);
    if vocab < used {
        return Err(config.bad("embedding_size", &format!("at least vocab_size = {used}")));
    }
    let ffn = match config.optional_size("mlp_hidden_size", MAX_FFN)? {
        Some(ffn) => ffn,
        None => hidden * config.size("mlp_ratio", MAX_FFN / hidden)?,
    };
    let dims = Dims {
        vocab,
        hidden,
        ffn,
        layers: config.size("n_layers", MAX_LAYERS)?,
        n_heads,
        n_kv_heads: llada_kv_heads(config, n_heads)?,
        head_dim: per_head(config, ("d_model", hidden), ("n_heads", n_heads))?,
        max_pos: config.size("max_sequence_length", MAX_POS)?,
    };
    check_heads(config, &dims, "n_kv_heads", "d_model")?;
    Ok(dims)
}

/// `multi_query_attention`, where given, says what `n_kv_heads` must be.
fn llada_kv_heads(config: &Config<'_>, n_heads: usize) -> Result<usize> {
    let given = config.optional_size("n_kv_heads", MAX_HEADS)?;
    let Some(multi_query) = config.optional_flag("multi_query_attention")? else {
        return Ok(given.unwrap_or(n_heads));
    };
    let implied = if multi_query { 1 } else { n_heads };
    if given.is_some_and(|given| given != implied) {
        let expected = format!("{implied}, as multi_query_attention is {multi_query}");
        return Err(config.bad("n_kv_heads", &expected));
    }
    Ok(implied)
}

/// The width of a head where the configuration does not give it.
fn per_head(
    config: &Config<'_>,
    (key, hidden): (&str, usize),
    (heads_key, n_heads): (&str, usize),
) -> Result<usize> {
    if hidden.is_multiple_of(n_heads) && hidden / n_heads <= MAX_HEAD_DIM {
        return Ok(hidden / n_heads);
    }
    Err(config.bad(key, &format!("a multiple of {heads_key} = {n_heads}, heads at most {MAX_HEAD_DIM} wide")))
}

fn check_heads(config: &Config<'_>, dims: &Dims, kv_key: &str, width_key: &str) -> Result<()> {
    if !dims.n_heads.is_multiple_of(dims.n_kv_heads) {
        return Err(config.bad(kv_key, &format!("a divisor of the {} heads", dims.n_heads)));
    }
    if !dims.head_dim.is_multiple_of(2) {
        // RoPE rotates pairs.
        return Err(config.bad(width_key, &format!("heads of an even width, not {}", dims.head_dim)));
    }
    Ok(())
}

/// An f32 of this size still changes a mean square, and 1 is more than any norm wants.
fn norm_eps(config: &Config<'_>) -> Result<f32> {
    Ok(config.real("rms_norm_eps", 1e-20..=1.0)? as f32)
}

fn special(config: &Config<'_>, vocab: usize) -> Result<Special> {
    // Inference uses neither, but an impossible id means that the file is damaged or belongs to another vocabulary.
    for key in ["pad_token_id", "bos_token_id"] {
        config.token(key, vocab)?;
    }
    Ok(Special { mask: config.token("mask_token_id", vocab)?, eos: config.tokens("eos_token_id", vocab)? })
}
