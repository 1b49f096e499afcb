//! What a request means for a model: its block, and which combinations make no sense.

use super::generation::Request;
use crate::cache::Attention;
use crate::error::{Error, Result};
use crate::model::{Alignment, Architecture};
use crate::sampler::{CachePlan, Canvas, Policy};
use std::ops::Range;

/// The block of a block-causal model, or `None` for a bidirectional one. Refuses a policy that makes no sense for the model,
/// whatever the request.
///
/// # Errors
/// [`Error::Option`] if the cache plan is not one of the model's, or the sub-block does not divide the block.
pub(super) fn block_of(arch: &Architecture, policy: &Policy) -> Result<Option<usize>> {
    let wrong = |expected: &str| {
        let family = arch.family;
        Err(Error::option(
            "cache",
            format!("`{}` given, {family} models know {expected}", policy.cache.name()),
        ))
    };
    if policy.editing.is_some()
        && (arch.attention == Attention::Bidirectional || arch.alignment == Alignment::Shifted)
    {
        let family = arch.family;
        let reason =
            format!("given, but the blocks of {family} models are not predicted from themselves alone");
        return Err(Error::option("edit-threshold", reason));
    }
    match (arch.attention, policy.cache) {
        (Attention::BlockCausal { block }, CachePlan::Block | CachePlan::SubBlock) => {
            let block = policy.schedule.block.unwrap_or(block);
            if let Some(sub) =
                policy.schedule.sub_block.filter(|&sub| sub < block && !block.is_multiple_of(sub))
            {
                return Err(Error::option(
                    "sub-block",
                    format!("{sub} given, a divisor of the block ({block}) expected"),
                ));
            }
            Ok(Some(block))
        }
        (Attention::BlockCausal { .. }, _) => wrong("block and sub-block"),
        (Attention::Bidirectional, CachePlan::None | CachePlan::Prefix | CachePlan::Dual) => Ok(None),
        (Attention::Bidirectional, _) => wrong("none, prefix and dual"),
    }
}

/// Refuses requests that make no sense.
///
/// # Errors
/// [`Error::Option`] or [`Error::Unsupported`].
pub(super) fn check(arch: &Architecture, request: &Request<'_>, canvas: &Canvas) -> Result<()> {
    let prompt = canvas.prompt();
    // The rest of the last block is no reason to compute it.
    if request.max_new == 0 && canvas.first_mask(0..prompt) == prompt {
        return Err(Error::option(
            "max-tokens",
            "0 given and no mask in the prompt: there is nothing to generate",
        ));
    }
    if request.padding > request.prompt.len() {
        let reason =
            format!("{} given, at most the prompt's {} expected", request.padding, request.prompt.len());
        return Err(Error::option("padding", reason));
    }
    if canvas.first_mask(0..request.padding) < request.padding {
        return Err(Error::option("padding", "a mask stands in the padding, only known ids expected"));
    }
    let Some(block) = block_of(arch, request.policy)? else { return Ok(()) };
    // Where the prompt holds no mask, this is past its end.
    let after_first_mask = (canvas.first_mask(0..canvas.prompt()) / block + 1) * block;
    if (after_first_mask..canvas.prompt()).any(|pos| !canvas.is_mask(pos)) {
        return Err(Error::unsupported(format!(
            "infilling with known text after the block of the mask: {} models see only the blocks up to their own \
             ({block} positions each); a larger block that holds the gap and all that follows would do, or a bidirectional model \
             (Dream, LLaDA)",
            arch.family
        )));
    }
    Ok(())
}

/// Runs of masks inside the prompt.
pub(super) fn masked_runs(canvas: &Canvas) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for pos in canvas.masks(0..canvas.prompt()) {
        match runs.last_mut() {
            Some(run) if run.end == pos => run.end += 1,
            _ => runs.push(pos..pos + 1),
        }
    }
    runs
}
