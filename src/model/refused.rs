//! Keys of configurations that change the maths of the forward pass in ways that this engine does not do.
//!
//! Each is refused by name unless its value says "off". A key that is in no list has no effect on inference, or
//! shows in the tensors of the checkpoint, which [`super::slots`] checks completely.

use super::config::{Config, shown};
use crate::json::Value;
use crate::{Error, Result};

/// Off when `null`, `false`, 0, or empty.
const SWITCHES: &[&str] = &[
    // Positions and visibility.
    "alibi",
    "use_mrope",
    "use_sliding_window",
    "no_rope_layers",
    "attention_chunk_size",
    "cross_layer_sharing",
    "add_cross_attention",
    "is_encoder_decoder",
    // Norms.
    "attention_layer_norm",
    "input_emb_norm",
    "use_qk_norm",
    "qk_layernorm",
    "norm_after",
    // Range limits and scales.
    "clip_qkv",
    "clip_kqv",
    "scale_logits",
    "logit_softcap",
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "query_pre_attn_scalar",
    // Residuals, feed-forward, adapters.
    "use_parallel_residual",
    "parallel_attn",
    "mlp_bias",
    "use_bias",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "n_shared_experts",
    "moe_intermediate_size",
    // Stored formats that are not plain floats.
    "quantization_config",
    "compression_config",
];

/// Off when `null` or 1.
const FACTORS: &[&str] = &[
    "partial_rotary_factor",
    "rotary_pct",
    "logit_scale",
    "logits_scaling",
    "output_multiplier_scale",
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "scale_emb",
    "scale_depth",
    "rope_scaling_factor",
];

/// Refuses what the family has no maths for. It reads the keys `read` itself.
pub(super) fn check(config: &Config<'_>, read: &[&str]) -> Result<()> {
    for key in SWITCHES.iter().filter(|key| !read.contains(key)) {
        if config.get(key).is_some_and(|value| !is_off(value)) {
            return Err(config.unsupported(key, "false or null"));
        }
    }
    for key in FACTORS.iter().filter(|key| !read.contains(key)) {
        if config.get(key).is_some_and(|value| value.as_f64() != Some(1.0)) {
            return Err(config.unsupported(key, "1 or null"));
        }
    }
    // The two spellings of the activation.
    for key in ["hidden_act", "activation_type"] {
        one_of(config, key, "silu")?;
    }
    check_layer_types(config)
}

/// Refuses any other string than `known` under `key`.
pub(super) fn one_of(config: &Config<'_>, key: &str, known: &str) -> Result<()> {
    match config.text(key)? {
        Some(found) if found != known => Err(config.unsupported(key, &format!("\"{known}\""))),
        _ => Ok(()),
    }
}

/// Refuses any other value than `known` under `key`.
pub(super) fn unless(config: &Config<'_>, key: &str, known: bool) -> Result<()> {
    match config.optional_flag(key)? {
        Some(found) if found != known => Err(config.unsupported(key, &format!("{known} or null"))),
        _ => Ok(()),
    }
}

/// Refuses any other number than `known` under `key`.
pub(super) fn unless_number(config: &Config<'_>, key: &str, known: f64) -> Result<()> {
    match config.get(key) {
        Some(found) if found.as_f64() != Some(known) => {
            Err(config.unsupported(key, &format!("{known} or null")))
        }
        _ => Ok(()),
    }
}

/// Whether a value is null, false, 0 or empty.
pub(super) fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Surrogates(_) => false,
        Value::Bool(on) => !on,
        Value::Number(_) => value.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

fn check_layer_types(config: &Config<'_>) -> Result<()> {
    const KEY: &str = "layer_types";
    let Some(types) = config.get(KEY) else { return Ok(()) };
    let types = types.as_array().ok_or_else(|| config.bad(KEY, "a list of strings"))?;
    match types.iter().find(|kind| kind.as_str() != Some("full_attention")) {
        None => Ok(()),
        Some(kind) => {
            let file = config.file;
            let what = format!("{file}: key `{KEY}` holds {}, only \"full_attention\" is known", shown(kind));
            Err(Error::unsupported(what))
        }
    }
}
