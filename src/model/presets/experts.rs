//! The families whose feed-forward parts consist of experts.

use super::dense::{hf_decoder_of, sdar};
use super::names;
use super::sizes::{MAX_EXPERTS, MAX_EXPERTS_IN_ALL, MAX_FFN, MAX_LAYERS};
use crate::Result;
use crate::cache::Attention;
use crate::json::Value;
use crate::model::arch::{Architecture, Mixture, Router};
use crate::model::config::Config;
use crate::model::{refused, rope};

/// SDAR with experts in the blocks that the configuration says.
pub(super) fn sdar_moe(config: &Config<'_>) -> Result<Architecture> {
    let sdar = sdar(config)?;
    let layers = sdar.dims.layers;
    let step = config.optional_size("decoder_sparse_step", MAX_LAYERS)?.unwrap_or(1);
    let mut sparse: Box<[bool]> = (1..=layers).map(|i| i.is_multiple_of(step)).collect();
    for layer in config.indices("mlp_only_layers", layers)? {
        sparse[layer] = false;
    }
    let experts = experts(config, layers)?;
    let mixture = Mixture {
        experts,
        per_token: config.size("num_experts_per_tok", experts)?,
        ffn: config.size("moe_intermediate_size", MAX_FFN)?,
        shared: None,
        router: Router::Softmax { normalized: config.flag("norm_topk_prob", false)? },
        sparse,
    };
    Ok(Architecture { family: "SDAR-MoE", mixture: Some(mixture), ..sdar })
}

/// Bidirectional, with the probabilities of the router as they are. Keys that its class does not read must say what it does anyway.
pub(super) fn llada_moe(config: &Config<'_>) -> Result<Architecture> {
    refused::one_of(config, "moe_router_score_function", "softmax")?;
    for key in ["norm_topk_prob", "moe_router_enable_expert_bias"] {
        refused::unless(config, key, false)?;
    }
    for key in ["router_num_group", "router_topk_group"] {
        refused::unless_number(config, key, 0.0)?;
    }
    refused::unless_number(config, "routed_scaling_factor", 1.0)?;
    let sparse = sparse_list(config, "moe_layer_freq")?;
    let ffn = config.size("expert_intermediate_size", MAX_FFN)?;
    // Where every block has experts, the width of a dense part is not needed.
    let dense = match config.optional_size("dense_intermediate_size", MAX_FFN)? {
        None if sparse.iter().all(|&sparse| sparse) => ffn,
        None => config.size("dense_intermediate_size", MAX_FFN)?,
        Some(dense) => dense,
    };
    let decoder = hf_decoder_of(config, dense, rope::partial)?;
    let experts = experts(config, decoder.dims.layers)?;
    let mixture = Mixture {
        experts,
        per_token: config.size("num_experts_per_tok", experts)?,
        ffn,
        shared: config.optional_size("shared_expert_intermediate_size", MAX_FFN)?,
        router: Router::Softmax { normalized: false },
        sparse,
    };
    let bias = config.flag("attention_bias", false)?;
    Ok(Architecture {
        family: "LLaDA-MoE",
        qkv_bias: bias,
        out_bias: bias,
        qk_norm: config.flag("qk_layernorm", false)?,
        mixture: Some(mixture),
        policy: "llada-low-confidence",
        ..decoder
    })
}

/// Whether each block has experts, from a list of zeros and ones.
fn sparse_list(config: &Config<'_>, key: &str) -> Result<Box<[bool]>> {
    let layers = config.size("num_hidden_layers", MAX_LAYERS)?;
    let bit = |value: &Value| value.as_u64().filter(|&bit| bit <= 1).map(|bit| bit == 1);
    let list = config.get(key).and_then(Value::as_array).filter(|list| list.len() == layers);
    let sparse = list.and_then(|list| list.iter().map(bit).collect());
    sparse.ok_or_else(|| config.bad(key, &format!("a list of num_hidden_layers = {layers} numbers, 0 or 1")))
}

/// Block-causal. Class defaults differ from the published values in places, so these must be given.
pub(super) fn llada2(config: &Config<'_>) -> Result<Architecture> {
    refused::one_of(config, "score_function", "sigmoid")?;
    refused::one_of(config, "router_dtype", "fp32")?;
    for key in ["norm_topk_prob", "use_rmsnorm"] {
        refused::unless(config, key, true)?;
    }
    for key in ["norm_head", "norm_softmax", "using_split_qkv_in_self_attention"] {
        refused::unless(config, key, false)?;
    }
    if config.optional_flag("use_bias")?.is_none() {
        return Err(config.unsupported("use_bias", "false"));
    }
    let decoder = hf_decoder_of(config, config.size("intermediate_size", MAX_FFN)?, rope::partial)?;
    let (layers, rotated) = (decoder.dims.layers, decoder.rope.rotated);
    if config.whole("rotary_dim", 0..=usize::MAX)?.is_some_and(|found| found != rotated) {
        return Err(config.bad("rotary_dim", &format!("{rotated}, as partial_rotary_factor says")));
    }
    let dense = config.whole("first_k_dense_replace", 0..=layers)?.unwrap_or(0);
    let (experts, ffn) = (experts(config, layers)?, config.size("moe_intermediate_size", MAX_FFN)?);
    let shared = config.optional_size("num_shared_experts", MAX_FFN / ffn)?;
    let (router, choice) = grouped(config, experts)?;
    let mixture = Mixture {
        experts,
        per_token: config.size("num_experts_per_tok", choice)?,
        ffn,
        shared: shared.map(|shared| shared * ffn),
        router,
        sparse: (0..layers).map(|layer| layer >= dense).collect(),
    };
    let block = config.optional_size("block_size", decoder.dims.max_pos)?.unwrap_or(32);
    Ok(Architecture {
        family: "LLaDA2",
        qkv_bias: config.flag("use_qkv_bias", false)?,
        qk_norm: config.flag("use_qk_norm", true)?,
        mixture: Some(mixture),
        attention: Attention::BlockCausal { block },
        policy: "llada2-threshold",
        names: &names::LLADA2,
        ..decoder
    })
}

/// A router that chooses groups first, and how many experts are in the groups that it keeps.
fn grouped(config: &Config<'_>, experts: usize) -> Result<(Router, usize)> {
    let groups = config.optional_size("n_group", experts)?.unwrap_or(1);
    if !experts.is_multiple_of(groups) || (groups > 1 && experts / groups < 2) {
        let expected = format!("a divisor of num_experts = {experts} that leaves at least 2 in a group");
        return Err(config.bad("n_group", &expected));
    }
    let kept = config.optional_size("topk_group", groups)?.unwrap_or(groups);
    let scale = config.real("routed_scaling_factor", 1e-6..=1e6)? as f32;
    let bias = config.flag("moe_router_enable_expert_bias", true)?;
    Ok((Router::Sigmoid { groups, kept, scale, bias }, kept * (experts / groups)))
}

/// Experts of a block.
fn experts(config: &Config<'_>, layers: usize) -> Result<usize> {
    config.size("num_experts", MAX_EXPERTS.min(MAX_EXPERTS_IN_ALL / layers))
}
