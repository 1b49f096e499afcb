//! Sizes and other values that configurations of several families give under one key, and their ranges. They are generous, and
//! keep every product of two sizes and an element size below 2^63.

use crate::Result;
use crate::model::arch::{Dims, Special};
use crate::model::config::Config;

/// Largest width of the residual stream. The largest published model has 4096.
pub(super) const MAX_HIDDEN: usize = 1 << 20;
/// Largest inner width of the feed-forward part.
pub(super) const MAX_FFN: usize = 1 << 22;
/// Most blocks.
pub(super) const MAX_LAYERS: usize = 1 << 12;
/// Most heads.
pub(super) const MAX_HEADS: usize = 1 << 12;
/// Widest head.
pub(super) const MAX_HEAD_DIM: usize = 1 << 12;
/// Most experts of a block, and of all blocks together. The largest published model has 32 blocks of 256.
pub(super) const MAX_EXPERTS: usize = 1 << 12;
pub(super) const MAX_EXPERTS_IN_ALL: usize = 1 << 17;
/// Most positions.
pub(super) const MAX_POS: usize = 1 << 30;

/// The width of a head where the configuration does not give it.
pub(super) fn per_head(
    config: &Config<'_>,
    (key, hidden): (&str, usize),
    (heads_key, n_heads): (&str, usize),
) -> Result<usize> {
    if hidden.is_multiple_of(n_heads) && hidden / n_heads <= MAX_HEAD_DIM {
        return Ok(hidden / n_heads);
    }
    Err(config.bad(key, &format!("a multiple of {heads_key} = {n_heads}, heads at most {MAX_HEAD_DIM} wide")))
}

pub(super) fn check_heads(config: &Config<'_>, dims: &Dims, kv_key: &str, width_key: &str) -> Result<()> {
    if !dims.n_heads.is_multiple_of(dims.n_kv_heads) {
        return Err(config.bad(kv_key, &format!("a divisor of the {} heads", dims.n_heads)));
    }
    if !dims.head_dim.is_multiple_of(2) {
        // RoPE rotates pairs.
        return Err(config.bad(width_key, &format!("heads of an even width, not {}", dims.head_dim)));
    }
    Ok(())
}

/// An f32 of this size still changes a mean square, and 1 is more than any norm needs.
pub(super) fn norm_eps(config: &Config<'_>) -> Result<f32> {
    Ok(config.real("rms_norm_eps", 1e-20..=1.0)? as f32)
}

/// The ids that inference needs. Files fill others, such as `pad_token_id`, with arbitrary values.
pub(super) fn special(config: &Config<'_>, vocab: usize) -> Result<Special> {
    let mask = config.token("mask_token_id", vocab)?;
    Ok(Special { mask, eos: config.stop_ids("eos_token_id", vocab)?.unwrap_or_default() })
}
