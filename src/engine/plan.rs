//! What a request means for a model: its block, and which combinations are invalid.

use super::generation::Request;
use crate::cache::Attention;
use crate::error::{Error, Result};
use crate::model::{Alignment, Architecture, CommitRule};
use crate::sampler::{Canvas, Commit, Policy};
use std::ops::Range;

/// The length of a block of a block-causal model, or `None` for a bidirectional one. Refuses a policy that does not suit the model,
/// whatever the request.
///
/// # Errors
/// [`Error::Option`] if the cache plan is not one of the model's, or the sub-block does not divide the block.
pub(super) fn block_of(arch: &Architecture, policy: &Policy) -> Result<Option<usize>> {
    let wrong = |expected: &str| {
        let family = arch.family;
        Err(Error::option(
            "cache",
            format!("`{}` given, {family} models support {expected}", policy.cache.name()),
        ))
    };
    let family = arch.family;
    if policy.editing.is_some() && (!policy.cache.keeps_blocks() || Lead::of(arch, policy) != Lead::None) {
        let reason =
            format!("given, but the blocks of {family} models are not predicted from themselves alone");
        return Err(Error::option("edit-threshold", reason));
    }
    let predicts = arch.commit == CommitRule::Causal && arch.alignment == Alignment::Seeded;
    if policy.commit != Commit::Model && !predicts {
        let reason = format!("given, but {family} models do not make blocks final causally");
        return Err(Error::option("strategy", reason));
    }
    if policy.expert_budget.is_some() && arch.mixture.is_none() {
        return Err(Error::option("expert-budget", format!("given, but {family} models have no experts")));
    }
    if policy.blocks_ahead > 0 && Lead::of(arch, policy) != Lead::None {
        let reason =
            format!("given, but a block of {family} models begins with what the one before it predicts");
        return Err(Error::option("blocks-ahead", reason));
    }
    match (arch.block(), policy.cache.keeps_blocks()) {
        (Some(block), true) => {
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
        (None, true) => wrong("none, prefix and dual"),
        (_, false) if arch.attention == Attention::Bidirectional => Ok(None),
        (_, false) => wrong("block and sub-block"),
    }
}

/// What the pass that makes a block final, or the prompt, says of the first position after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// Nothing.
    None,
    /// The token there: the most probable one, whatever the policy draws, because models were trained to continue that way.
    Argmax,
    /// The token there, as the policy draws it.
    Drawn,
    /// One of the candidates for the steps of the next block.
    Competing,
}

impl Lead {
    pub(super) fn of(arch: &Architecture, policy: &Policy) -> Self {
        match arch.alignment {
            _ if policy.right_shift => Self::Competing,
            Alignment::Own => Self::None,
            Alignment::Shifted => Self::Argmax,
            Alignment::Seeded if policy.commit == Commit::Full => Self::None,
            Alignment::Seeded => Self::Drawn,
        }
    }
}

/// Refuses invalid requests.
///
/// # Errors
/// [`Error::Option`] or [`Error::Unsupported`].
pub(super) fn check(arch: &Architecture, request: &Request<'_>, canvas: &Canvas) -> Result<()> {
    let prompt = canvas.prompt();
    // The rest of the last block need not be computed for its own sake.
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
        return Err(Error::option("padding", "the padding has a mask token, only known ids expected"));
    }
    let Some(block) = block_of(arch, request.policy)? else { return Ok(()) };
    // Where the prompt holds no mask, this is past its end.
    let first_mask = canvas.first_mask(0..canvas.prompt());
    let after_first_mask = request.policy.schedule.blocks(block, first_mask, canvas.len()).end(first_mask, 1);
    let known_after = |from: usize| (from..canvas.prompt()).any(|pos| !canvas.is_mask(pos));
    if request.policy.commit == Commit::Verified && known_after(first_mask) {
        let reason = "given, but known text follows a mask, which one token after the other does not see";
        return Err(Error::option("strategy", reason));
    }
    if known_after(after_first_mask) {
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
