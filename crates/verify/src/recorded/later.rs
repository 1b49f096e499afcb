//! The loops of the dLLM framework, Stable-DiffCoder and Nemotron-Labs-Diffusion, by their recorded parameters.

use super::{Check, Params, Passes, Recorded, Returns, Stores, named};
use diffulex::cache::Blocks;
use diffulex::sampler::{Commit, EarlyStop, Floor, Grid, Policy, Steps, Unmask};

/// What the samplers of the dLLM framework share, for an answer in `blocks` blocks.
fn dllm(params: &Params<'_>, name: &str, blocks: usize) -> Check<Policy> {
    params.must_be("temperature", 0.0)?;
    params.low_confidence()?;
    let mut policy = named(name)?;
    policy.guidance = params.number("cfg_scale")?.unwrap_or(0.0) as f32;
    policy.right_shift = params.flag("right_shift_logits")?;
    let steps = params.positive("steps", Some(128))?;
    policy.schedule.steps = Steps::PerBlock(match params.count("steps_per_block")? {
        Some(steps) => steps,
        None => steps.div_ceil(blocks),
    });
    Ok(policy)
}

pub(super) fn mdlm(params: &Params<'_>) -> Check<Recorded> {
    let max_new = params.positive("max_new_tokens", Some(128))?;
    let block = params.positive("block_size", Some(128))?;
    let mut policy = dllm(params, "mdlm", max_new.div_ceil(block))?;
    policy.schedule.block = Some(block);
    Ok(Recorded::new(policy, max_new))
}

pub(super) fn mdlm_infill(params: &Params<'_>, prompt: usize) -> Check<Recorded> {
    let block = params.positive("block_size", Some(128))?;
    let mut policy = dllm(params, "mdlm", prompt.div_ceil(block).max(1))?;
    policy.schedule.block = Some(block);
    policy.schedule.grid = Grid::Cut;
    Ok(Recorded::new(policy, 0))
}

pub(super) fn bd3lm(params: &Params<'_>, prompt: usize) -> Check<Recorded> {
    let max_new = params.positive("max_new_tokens", Some(128))?;
    let block = params.positive("block_size", Some(32))?;
    let mut policy = dllm(params, "bd3lm", max_new.div_ceil(block))?;
    policy.schedule.block = Some(block);
    let (stop, _) = (vec![params.id("eos_id")?], params.id("pad_id")?);
    let passes =
        Passes::Prefixes { padding: Blocks::from(prompt, block).offset, guided: policy.guidance > 0.0 };
    let (returns, stores) = (Returns::Blocks, Stores::IfOneFollows);
    Ok(Recorded { stop, returns, passes, stores, ..Recorded::new(policy, max_new) })
}

/// A threshold, or the schedule without one.
fn unmask(params: &Params<'_>) -> Check<Unmask> {
    let threshold = |tau| Unmask::Threshold { tau, strict: false, floor: Floor::Count(1), capped: false };
    Ok(params.number("threshold")?.map_or(Unmask::TopK { alg_temp: 0.0 }, threshold))
}

pub(super) fn stable_diffcoder(params: &Params<'_>) -> Check<Recorded> {
    params.must_be("temperature", 0.0)?;
    params.low_confidence()?;
    if params.flag("shift")? {
        return Err("`shift` true is not repeatable: it reveals masks".into());
    }
    let max_new = params.positive("gen_length", Some(128))?;
    let block = params.positive("block_length", Some(4))?;
    let steps = params.positive("steps", Some(128))?;
    let mut policy = Policy { unmask: unmask(params)?, ..named("stable-diffcoder")? };
    policy.schedule.block = Some(block);
    policy.schedule.steps = Steps::PerBlock((steps / (max_new / block).max(1)).max(1));
    let eos = params.id("eos_id")?;
    let (returns, stores) = (Returns::FilledBlocks(eos), Stores::UnlessStopped);
    Ok(Recorded { stop: vec![eos], returns, stores, ..Recorded::new(policy, max_new) })
}

pub(super) fn nemotron(params: &Params<'_>) -> Check<Recorded> {
    params.must_be("temperature", 0.0)?;
    let max_new = params.positive("max_new_tokens", None)?;
    let mut policy = Policy { unmask: unmask(params)?, ..named("nemotron-diffusion")? };
    policy.schedule.block = Some(params.positive("block_length", None)?);
    policy.schedule.steps = Steps::PerPosition;
    policy.early_stop = EarlyStop::Settled;
    // True where it is not given.
    if params.get("causal_context").is_some() && !params.flag("causal_context")? {
        policy.commit = Commit::Full;
    }
    let eos = params.id("eos_token_id")?;
    Ok(Recorded { stop: vec![eos], returns: Returns::UpTo(eos), ..Recorded::new(policy, max_new) })
}
