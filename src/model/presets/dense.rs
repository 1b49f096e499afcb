//! The dense families, and what all families with the key names of Hugging Face transformers share.

use super::names::{HF_DECODER, LLADA, NEMOTRON};
use super::sizes::{
    MAX_FFN, MAX_HEAD_DIM, MAX_HEADS, MAX_HIDDEN, MAX_LAYERS, MAX_POS, check_heads, norm_eps, per_head,
    special,
};
use crate::cache::Attention;
use crate::json::Value;
use crate::kernels::Rope;
use crate::model::arch::{Alignment, Architecture, CommitRule, Dims};
use crate::model::config::{Config, MAX_VOCAB};
use crate::model::{refused, rope};
use crate::{Error, Result};

pub(super) fn sdar(config: &Config<'_>) -> Result<Architecture> {
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

pub(super) fn fast_dllm_v2(config: &Config<'_>) -> Result<Architecture> {
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

pub(super) fn dream(config: &Config<'_>) -> Result<Architecture> {
    Ok(Architecture {
        family: "Dream",
        qkv_bias: true,
        alignment: Alignment::Shifted,
        policy: "dream-entropy",
        ..hf_decoder(config)?
    })
}

/// A Dream of the size of Qwen2.5-Coder-0.5B, under the class of Qwen2 with code of its own.
pub(super) fn open_dcoder(config: &Config<'_>) -> Result<Architecture> {
    // What its files say, while those of other models with such code need not.
    if config.optional_flag("trust_remote_code")? != Some(true) {
        return Err(config.unsupported("trust_remote_code", "true"));
    }
    Ok(Architecture { family: "Open-dCoder", ..dream(config)? })
}

/// The small models of the dLLM framework, with the layers of Qwen2, Qwen3 or Llama: they see everything (mdlm) or are
/// block-causal (bd3lm), which their files do not say.
pub(super) fn a2d_qwen2(config: &Config<'_>) -> Result<Architecture> {
    Ok(Architecture { qkv_bias: true, ..a2d(config)? })
}

pub(super) fn a2d_qwen3(config: &Config<'_>) -> Result<Architecture> {
    Ok(Architecture { qk_norm: true, ..a2d_llama(config)? })
}

pub(super) fn a2d_llama(config: &Config<'_>) -> Result<Architecture> {
    let bias = config.flag("attention_bias", false)?;
    Ok(Architecture { qkv_bias: bias, out_bias: bias, ..a2d(config)? })
}

fn a2d(config: &Config<'_>) -> Result<Architecture> {
    Ok(Architecture { family: "A2D", trained_block: Some(32), policy: "mdlm", ..hf_decoder(config)? })
}

/// The layers of Llama.
pub(super) fn stable_diffcoder(config: &Config<'_>) -> Result<Architecture> {
    refused::unless_number(config, "pretraining_tp", 1.0)?;
    let bias = config.flag("attention_bias", false)?;
    let decoder = hf_decoder(config)?;
    let block = config.optional_size("block_size", decoder.dims.max_pos)?.unwrap_or(4);
    Ok(Architecture {
        family: "Stable-DiffCoder",
        qkv_bias: bias,
        out_bias: bias,
        attention: Attention::BlockCausal { block },
        policy: "stable-diffcoder",
        ..decoder
    })
}

/// The layers of Ministral 3: YaRN, and queries that grow with the position. The active block sees all of itself, a finished one
/// is causal. `generate` sets the attention itself, whatever the paradigm of the training.
pub(super) fn nemotron(config: &Config<'_>) -> Result<Architecture> {
    refused::unless(config, "attention_bias", false)?;
    let ffn = config.size("intermediate_size", MAX_FFN)?;
    let decoder = hf_decoder_of(config, ffn, rope::scaled_queries)?;
    let block = config.optional_size("block_size", decoder.dims.max_pos)?.unwrap_or(32);
    Ok(Architecture {
        family: "Nemotron-Labs-Diffusion",
        attention: Attention::BlockCausal { block },
        commit: CommitRule::Causal,
        alignment: Alignment::Seeded,
        policy: "nemotron-diffusion",
        names: &NEMOTRON,
        ..decoder
    })
}

/// What the families with Hugging Face keys share. Their differences are set by the caller.
pub(super) fn hf_decoder(config: &Config<'_>) -> Result<Architecture> {
    hf_decoder_of(config, config.size("intermediate_size", MAX_FFN)?, rope::scalable)
}

/// The same, with dense feed-forward parts of the inner width `ffn` and the RoPE that `rope` reads.
pub(super) fn hf_decoder_of(
    config: &Config<'_>,
    ffn: usize,
    rope: fn(&Config<'_>, &Dims) -> Result<Rope>,
) -> Result<Architecture> {
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
        ffn,
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
        rope: rope(config, &dims)?,
        attention: Attention::Bidirectional,
        trained_block: None,
        commit: CommitRule::AsDenoised,
        alignment: Alignment::Own,
        tokens: special(config, dims.vocab)?,
        policy: "",
        names: &HF_DECODER,
        dims,
    })
}

pub(super) fn llada(config: &Config<'_>) -> Result<Architecture> {
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
        trained_block: None,
        commit: CommitRule::AsDenoised,
        alignment: Alignment::Own,
        // The rows of the embedding from vocab_size on are padding.
        tokens: special(config, config.size("vocab_size", MAX_VOCAB)?)?,
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
