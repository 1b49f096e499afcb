//! Published samplers by the names and parameters under which they were recorded, as policies of this engine.
//!
//! A function or parameter that is not listed here makes the entry fail: silently ignoring one would compare something else.

mod later;

use self::later::{bd3lm, mdlm, mdlm_infill, nemotron, stable_diffcoder};
use super::recording::text;
use diffulex::json::Value;
use diffulex::sampler::{
    Basis, CachePlan, Draw, EarlyStop, Editing, Filters, Floor, Pace, Policy, Score, Steps, Unmask,
};
use diffulex::tensor::TokenId;

/// How to repeat a recorded generation.
pub(super) struct Recorded {
    pub(super) policy: Policy,
    /// Positions after the prompt.
    pub(super) max_new: usize,
    pub(super) stop: Vec<TokenId>,
    /// Whether the reference makes every scheduled pass.
    pub(super) every_step: bool,
    /// Which part of the canvas the reference returns.
    pub(super) returns: Returns,
    /// Which passes the reference makes.
    pub(super) passes: Passes,
    /// Which blocks it stores.
    pub(super) stores: Stores,
}

impl Recorded {
    /// A call that returns its canvas and runs the passes of this engine.
    fn new(policy: Policy, max_new: usize) -> Self {
        Self {
            policy,
            max_new,
            stop: Vec::new(),
            every_step: false,
            returns: Returns::Canvas,
            passes: Passes::Same,
            stores: Stores::All,
        }
    }
}

/// Which passes a reference makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    /// Those of this engine.
    Same,
    /// It keeps no keys and values: only denoising passes, each over everything up to the end of its block.
    Uncached,
    /// It computes everything before a block anew for each block, after this many positions of padding, and every pass a second time
    /// for guidance.
    Prefixes { padding: usize, guided: bool },
}

/// Which finished blocks a reference stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stores {
    /// All of them.
    All,
    /// Not one that ends the text.
    UnlessStopped,
    /// Not one that ends the text, and not the last one.
    IfOneFollows,
}

/// What a reference returns of its canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returns {
    /// All of it.
    Canvas,
    /// All of it up to the stop id, or with the token after its last block.
    Carried,
    /// The new tokens that were requested, up to the first one of this id.
    UpTo(TokenId),
    /// All of it up to the end of the last block that was finished.
    Blocks,
    /// The same, and what follows the first new one of this id is this id.
    FilledBlocks(TokenId),
}

/// Parameters of a recorded call; every key must be read.
struct Params<'a> {
    json: &'a Value,
    known: std::cell::RefCell<Vec<&'static str>>,
}

type Check<T> = Result<T, String>;

impl<'a> Params<'a> {
    fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(key);
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn number(&self, key: &'static str) -> Check<Option<f64>> {
        let value = self
            .get(key)
            .map(|value| value.as_f64().ok_or_else(|| format!("parameter `{key}` is not a number")));
        value.transpose()
    }

    fn count(&self, key: &'static str) -> Check<Option<usize>> {
        let whole = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let value = self
            .get(key)
            .map(|value| whole(value).ok_or_else(|| format!("parameter `{key}` is not a count")));
        value.transpose()
    }

    fn positive(&self, key: &'static str, default: Option<usize>) -> Check<usize> {
        let value = self.count(key)?.or(default).ok_or_else(|| format!("parameter `{key}` is missing"))?;
        if value == 0 { Err(format!("parameter `{key}` is 0")) } else { Ok(value) }
    }

    fn flag(&self, key: &'static str) -> Check<bool> {
        let value = self.get(key).map_or(Some(false), Value::as_bool);
        value.ok_or_else(|| format!("parameter `{key}` is not true or false"))
    }

    fn id(&self, key: &'static str) -> Check<TokenId> {
        let id = self.get(key).and_then(Value::as_u64).and_then(|id| id.try_into().ok());
        id.ok_or_else(|| format!("parameter `{key}` is not an id"))
    }

    /// Parameters that may be there and must have this value.
    fn must_be(&self, key: &'static str, expected: f64) -> Check<()> {
        match self.number(key)? {
            Some(value) if value != expected => {
                Err(format!("parameter `{key}` is {value}, only {expected} is repeatable"))
            }
            _ => Ok(()),
        }
    }

    /// The one way to choose positions that many functions have.
    fn low_confidence(&self) -> Check<()> {
        match self.get("remasking").map(|value| value.as_str().unwrap_or("?")) {
            None | Some("low_confidence") => Ok(()),
            Some(other) => Err(format!("remasking `{other}` is not repeatable")),
        }
    }

    fn check_known(&self) -> Check<()> {
        let known = self.known.borrow();
        let unknown =
            self.json.entries().unwrap_or(&[]).iter().find(|(key, _)| !known.contains(&key.as_str()));
        unknown.map_or(Ok(()), |(key, _)| Err(format!("parameter `{key}` is not understood")))
    }

    fn draw(&self, policy: &Policy) -> Check<Draw> {
        let filters = Filters {
            top_k: self.count("top_k")?.unwrap_or(0),
            top_p: self.number("top_p")?.unwrap_or(1.0) as f32,
            ..policy.draw.filters
        };
        Ok(Draw { filters, ..policy.draw })
    }
}

/// The policy of a recorded function with its parameters, for a prompt of `prompt` tokens.
pub(super) fn policy(function: &str, params: &Value, prompt: usize) -> Check<Recorded> {
    let params =
        Params { json: params, known: std::cell::RefCell::new(vec!["mask_id", "mask_token_id", "note"]) };
    let recorded = match function {
        "llada.generate (original repository)" => llada(&params, CachePlan::None, true)?,
        "fast_dllm.llada.generate" => llada(&params, CachePlan::None, false)?,
        "fast_dllm.llada.generate_with_prefix_cache" => llada(&params, CachePlan::Prefix, false)?,
        "fast_dllm.llada.generate_with_dual_cache" => llada(&params, CachePlan::Dual, false)?,
        "dream.diffusion_generate" => dream(&params)?,
        "fast_dllm.dream.diffusion_generate (block version)" => dream_blocks(&params)?,
        "sdar.block_diffusion_generate (evaluation version)" => sdar_evaluation(&params, prompt)?,
        "sdar.block_diffusion_generate (main repository version)" => sdar_main(&params, prompt)?,
        "fast_dllm_v2.generate" => fast_dllm_v2(&params, prompt)?,
        "llada2.generate (LLaDA2.0)" => llada2_threshold(&params)?,
        "llada2.generate (LLaDA2.1)" => llada2_editing(&params)?,
        "dllm.mdlm.sample" => mdlm(&params)?,
        "dllm.mdlm.infill" => mdlm_infill(&params, prompt)?,
        "dllm.bd3lm.sample" => bd3lm(&params, prompt)?,
        "stable_diffcoder.generate_block" => stable_diffcoder(&params)?,
        "nemotron_labs_diffusion.generate" => nemotron(&params)?,
        _ => return Err(format!("function `{function}` is not understood")),
    };
    params.check_known()?;
    recorded.policy.validate().map_err(|e| e.to_string())?;
    Ok(recorded)
}

fn named(name: &str) -> Check<Policy> {
    Policy::named(name).map_err(|e| e.to_string())
}

fn llada(params: &Params<'_>, cache: CachePlan, original: bool) -> Check<Recorded> {
    params.must_be("temperature", 0.0)?;
    params.low_confidence()?;
    let max_new = params.positive("gen_length", Some(128))?;
    let block = params.positive("block_length", Some(128))?;
    let steps = params.positive("steps", Some(128))?;
    let mut policy = named("llada-low-confidence")?;
    policy.cache = cache;
    policy.schedule.block = Some(block);
    policy.schedule.steps = Steps::PerBlock((steps / max_new.div_ceil(block)).max(1));
    if original {
        policy.guidance = params.number("cfg_scale")?.unwrap_or(0.0) as f32;
    } else if let Some(tau) = params.number("threshold")? {
        policy.unmask = Unmask::Threshold { tau, strict: false, floor: Floor::Count(1), capped: false };
    } else if let Some(factor) = params.number("factor")? {
        policy.unmask = Unmask::Factor { factor };
    }
    Ok(Recorded { every_step: original, ..Recorded::new(policy, max_new) })
}

fn dream_common(params: &Params<'_>, mut policy: Policy) -> Check<(Policy, usize, usize)> {
    params.must_be("temperature", 0.0)?;
    params.must_be("alg_temp", 0.0)?;
    policy.draw = params.draw(&policy)?;
    let eps = params.number("eps")?.unwrap_or(1e-3) as f32;
    policy.schedule.pace = Pace::Timesteps { eps };
    Ok((policy, params.positive("max_new_tokens", None)?, params.positive("steps", Some(512))?))
}

fn dream(params: &Params<'_>) -> Check<Recorded> {
    let algorithm = text(params.json, "alg")?;
    params.get("alg");
    let base = match algorithm {
        "maskgit_plus" => "dream-maskgit",
        "topk_margin" => "dream-margin",
        "entropy" => "dream-entropy",
        "origin" => "dream-origin",
        "confidence_threshold" => "dream-threshold",
        other => return Err(format!("alg `{other}` is not understood")),
    };
    let (mut policy, max_new, steps) = dream_common(params, named(base)?)?;
    policy.schedule.steps = Steps::PerBlock(steps);
    if let Unmask::Threshold { tau, .. } = &mut policy.unmask {
        *tau = params.number("threshold")?.unwrap_or(0.9);
        policy.schedule.pace = Pace::Carry;
    }
    Ok(Recorded { every_step: true, ..Recorded::new(policy, max_new) })
}

fn dream_blocks(params: &Params<'_>) -> Check<Recorded> {
    let threshold = text(params.json, "alg")? == "confidence_threshold";
    params.get("alg");
    // Every other name means the negative entropy there.
    let base = if threshold { "dream-block-threshold" } else { "dream-entropy" };
    let (mut policy, max_new, steps) = dream_common(params, named(base)?)?;
    let block = params.positive("block_length", Some(32))?;
    let dual = params.get("dual_cache").is_some_and(|value| value.as_bool() == Some(true));
    policy.cache = if dual { CachePlan::Dual } else { CachePlan::Prefix };
    policy.schedule.block = Some(block);
    policy.schedule.steps = Steps::PerBlock((steps / max_new.div_ceil(block)).max(1));
    if threshold {
        let tau = params.number("threshold")?.unwrap_or(0.9);
        policy.unmask = Unmask::Threshold { tau, strict: false, floor: Floor::Count(1), capped: false };
    }
    Ok(Recorded::new(policy, max_new))
}

/// The last position is the end of a block, counted from position 0.
fn sdar_length(params: &Params<'_>, prompt: usize, policy: &mut Policy) -> Check<usize> {
    let block = params.positive("block_length", Some(4))?;
    policy.schedule.block = Some(block);
    policy.schedule.steps = Steps::PerBlock(params.positive("denoising_steps", Some(block))?);
    let generated = params.positive("gen_length", None)?;
    Ok((prompt + generated).div_ceil(block) * block - prompt)
}

fn sdar_evaluation(params: &Params<'_>, prompt: usize) -> Check<Recorded> {
    params.low_confidence()?;
    let tau = params.number("threshold")?.unwrap_or(1.0);
    let mut policy = named(if tau < 1.0 { "sdar-dynamic" } else { "sdar-static" })?;
    let temperature = params.number("temperature")?.unwrap_or(1.0) as f32;
    policy.draw = Draw { temperature, basis: Basis::Tempered, ..params.draw(&policy)? };
    match (params.get("top_k"), policy.draw.filters.top_k) {
        // The recorded end-to-end calls leave the greedy settings out.
        (None, _) => policy.draw.filters.top_k = 1,
        (_, 1) => {}
        _ => return Err("a draw that is not repeatable (top_k is not 1)".into()),
    }
    if let Unmask::Threshold { tau: limit, .. } = &mut policy.unmask {
        *limit = tau;
    }
    let stop = match params.get("stopping_criteria_idx") {
        None => Vec::new(),
        ids => super::recording::ids(ids, "stopping_criteria_idx")?,
    };
    let max_new = sdar_length(params, prompt, &mut policy)?;
    Ok(Recorded { stop, ..Recorded::new(policy, max_new) })
}

fn sdar_main(params: &Params<'_>, prompt: usize) -> Check<Recorded> {
    params.get("remasking_strategy");
    let mut policy = match text(params.json, "remasking_strategy")? {
        "low_confidence_static" => named("sdar-static")?,
        "low_confidence_dynamic" => named("sdar-dynamic")?,
        "sequential" => named("sdar-sequential")?,
        other => return Err(format!("remasking_strategy `{other}` is not understood")),
    };
    let sampler = params.get("sampler").and_then(Value::as_str).unwrap_or("greedy");
    if sampler.starts_with("temperature 1.0, top_k 1") {
        policy.draw.temperature = 1.0;
        policy.draw.filters.top_k = 1;
    } else if !sampler.starts_with("greedy") {
        return Err(format!("sampler `{sampler}` is not understood"));
    }
    if let Unmask::Threshold { tau, .. } = &mut policy.unmask {
        *tau = params.number("confidence_threshold")?.unwrap_or(0.85);
    }
    let max_new = sdar_length(params, prompt, &mut policy)?;
    Ok(Recorded::new(policy, max_new))
}

fn fast_dllm_v2(params: &Params<'_>, prompt: usize) -> Check<Recorded> {
    params.must_be("temperature", 0.0)?;
    // Top-p is not used in a greedy draw there.
    params.get("top_p");
    let mut policy = named("fast-dllm-v2")?;
    let block = params.positive("block_size", Some(32))?;
    let tau = params.number("threshold")?.unwrap_or(0.9);
    policy.schedule.block = Some(block);
    policy.schedule.sub_block = Some(params.positive("small_block_size", Some(8))?);
    policy.unmask = Unmask::Threshold { tau, strict: true, floor: Floor::Count(1), capped: false };
    policy.score = Score::Probability;
    if params.get("use_block_cache").is_some_and(|value| value.as_bool() == Some(true)) {
        policy.cache = CachePlan::SubBlock;
    }
    let blocks = params.positive("max_new_tokens", None)? / block;
    let max_new = ((prompt / block + blocks) * block).checked_sub(prompt).ok_or("no block to generate")?;
    let stop = match params.get("stop_token") {
        None => Vec::new(),
        Some(id) => vec![id.as_u64().and_then(|id| id.try_into().ok()).ok_or("stop_token is not an id")?],
    };
    let stores = Stores::UnlessStopped;
    Ok(Recorded { stop, returns: Returns::Carried, stores, ..Recorded::new(policy, max_new) })
}

/// What the two loops of LLaDA2 share.
fn llada2(params: &Params<'_>, name: &str) -> Check<Recorded> {
    params.must_be("temperature", 0.0)?;
    let mut policy = named(name)?;
    policy.schedule.block = Some(params.positive("block_length", Some(32))?);
    if let Unmask::Threshold { tau, .. } = &mut policy.unmask {
        *tau = params.number("threshold")?.unwrap_or(0.95);
    }
    let (max_new, eos) = (params.positive("gen_length", Some(2048))?, params.id("eos_id")?);
    let (stop, returns) = (vec![eos], Returns::UpTo(eos));
    Ok(Recorded { stop, returns, passes: Passes::Uncached, ..Recorded::new(policy, max_new) })
}

fn llada2_threshold(params: &Params<'_>) -> Check<Recorded> {
    let mut recorded = llada2(params, "llada2-threshold")?;
    let most = recorded.max_new / params.positive("minimal_topk", Some(1))?;
    recorded.policy.schedule.steps = Steps::PerBlock(params.positive("steps", Some(32))?.min(most).max(1));
    if !params.flag("eos_early_stop")? {
        recorded.policy.early_stop = EarlyStop::Never;
    }
    Ok(recorded)
}

fn llada2_editing(params: &Params<'_>) -> Check<Recorded> {
    let mut recorded = llada2(params, "llada2-editing")?;
    let policy = &mut recorded.policy;
    // Accepted and not used there.
    params.get("steps");
    params.get("minimal_topk");
    policy.editing = Some(Editing {
        tau: params.number("editing_threshold")?.unwrap_or(0.9),
        passes: params.count("max_post_steps")?.unwrap_or(16),
    });
    if let Unmask::Threshold { floor, .. } = &mut policy.unmask {
        *floor = Floor::Count(params.count("num_to_transfer")?.unwrap_or(1));
    }
    if !params.flag("eos_early_stop")? {
        recorded.stop.clear();
    }
    Ok(recorded)
}
