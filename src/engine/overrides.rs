//! [`Overrides`]: how a caller departs from the model's own policy, and the policy in force that follows from it.

use super::Engine;
use super::options::OPTIONS;
use crate::cache::Attention;
use crate::error::{Error, Result};
use crate::sampler::{CachePlan, Editing, Floor, Pace, Policy, Score, Steps, Unmask};

/// Changes to a policy, by the names of the decode options ([`OPTIONS`]). What is `None` stays as it is.
///
/// ```
/// use diffulex::Engine;
/// use diffulex::engine::Overrides;
///
/// let engine = Engine::open("demo/sdar")?;
/// let faster = "sdar-dynamic threshold=0.8".parse::<Overrides>()?.policy(&engine)?;
/// let error = "temprature=1".parse::<Overrides>().unwrap_err();
/// assert!(error.to_string().contains("temprature"), "{error}");
/// assert!(engine.check(&faster).is_ok());
/// # Ok::<(), diffulex::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// A published policy instead of the model's own; see [`Policy::named`].
    pub strategy: Option<String>,
    /// 0 takes the most probable token.
    pub temperature: Option<f32>,
    /// Only this many of the most probable tokens are drawn from; 0 is off.
    pub top_k: Option<usize>,
    /// Only the most probable tokens that make up this are drawn from; 1 is off, 0 leaves the most probable one.
    pub top_p: Option<f32>,
    /// Makes tokens of the text less probable; 1 is off.
    pub repetition_penalty: Option<f32>,
    /// Denoise steps: of a block (block-causal models), of the whole generation (bidirectional models).
    pub steps: Option<usize>,
    /// Denoise steps of a block, in every family.
    pub steps_per_block: Option<usize>,
    /// Positions in a block.
    pub block: Option<usize>,
    /// Positions in a sub-block.
    pub sub_block: Option<usize>,
    /// Reveal what is at least this sure.
    pub threshold: Option<f64>,
    /// Reveal as many as the factor rule allows.
    pub factor: Option<f64>,
    /// Reveal as many as this entropy budget allows, in nats.
    pub entropy_bound: Option<f64>,
    /// Change tokens of the active block if another one is surer than this.
    pub edit_threshold: Option<f64>,
    /// Passes over a block without masks, in which its tokens may change.
    pub edit_passes: Option<usize>,
    /// Masks that are less sure than this choose among the experts of the rest of their block.
    pub expert_budget: Option<f64>,
    /// Blocks that are denoised ahead of the first one with masks; 0 is off.
    pub blocks_ahead: Option<usize>,
    /// How sure the model is of a token.
    pub confidence: Option<Score>,
    /// Randomness in the choice of positions; 0 is off.
    pub alg_temp: Option<f64>,
    /// Last time step of Dream's schedule.
    pub eps: Option<f32>,
    /// Classifier-free guidance; 0 is off.
    pub cfg: Option<f32>,
    /// What is kept between steps.
    pub cache: Option<CachePlan>,
    /// The row before a position predicts it, whatever the model says.
    pub right_shift: Option<bool>,
    /// Commit every block in a forward pass of its own.
    pub no_merge: Option<bool>,
}

impl Overrides {
    /// The policy in force: these win over generation_config.json, which wins over the model's own policy.
    ///
    /// # Errors
    /// [`Error::Option`] for a value out of range, an option that the chosen sampler does not use, or what the model cannot do;
    /// [`Error::Unsupported`] for guidance with a cache.
    pub fn policy(&self, engine: &Engine) -> Result<Policy> {
        exclusive(self)?;
        let mut policy = Policy::named(self.strategy.as_deref().unwrap_or(engine.arch().policy))?;
        drawing(self, engine, &mut policy);
        if let Some(cache) = self.cache {
            policy.cache = cache;
        }
        schedule(self, &mut policy)?;
        unmasking(self, &mut policy)?;
        if let Some(confidence) = self.confidence {
            policy.score = confidence;
        }
        if let Some(guidance) = self.cfg {
            policy.guidance = guidance;
        }
        policy.expert_budget = self.expert_budget.or(policy.expert_budget);
        policy.blocks_ahead = self.blocks_ahead.unwrap_or(policy.blocks_ahead);
        policy.right_shift = self.right_shift.unwrap_or(policy.right_shift);
        policy.merge_commit &= self.no_merge != Some(true);
        policy.validate()?;
        fits(self, engine, &policy)?;
        engine.check(&policy)?;
        Ok(policy)
    }
}

/// Refuses options that mean different things for the same part, as the command line does by itself.
fn exclusive(overrides: &Overrides) -> Result<()> {
    let given: Vec<_> = OPTIONS.iter().filter(|option| option.get(overrides).is_some()).collect();
    for (i, option) in given.iter().enumerate().filter(|(_, option)| !option.group.is_empty()) {
        if let Some(other) = given[..i].iter().find(|other| other.group == option.group) {
            let reason = format!("given together with `{}`, only one of them expected", other.name);
            return Err(Error::option(option.name, reason));
        }
    }
    Ok(())
}

/// Refuses a sampler for the other kind of model, naming the option that the user gave and not its cache plan.
fn fits(overrides: &Overrides, engine: &Engine, policy: &Policy) -> Result<()> {
    let Some(name) = overrides.strategy.as_deref().filter(|_| overrides.cache.is_none()) else {
        return Ok(());
    };
    let finished_blocks = policy.cache.keeps_blocks();
    let family = engine.arch().family;
    let reason = match engine.arch().attention {
        Attention::BlockCausal { .. } if !finished_blocks => "block-causal (SDAR, Fast-dLLM v2)",
        Attention::Bidirectional if finished_blocks && engine.arch().trained_block.is_none() => {
            "bidirectional (Dream, LLaDA)"
        }
        _ => return Ok(()),
    };
    Err(Error::option("strategy", format!("`{name}` given, {family} models need one for {reason} models")))
}

pub(super) fn drawing(overrides: &Overrides, engine: &Engine, policy: &mut Policy) {
    let (draw, defaults) = (&mut policy.draw, engine.defaults());
    let (temperature, top_k, top_p) = match defaults.do_sample {
        Some(false) => (None, None, None),
        Some(true) => (defaults.temperature.or(Some(1.0)), defaults.top_k, defaults.top_p),
        None => (defaults.temperature, defaults.top_k, defaults.top_p),
    };
    draw.temperature = overrides.temperature.or(temperature).unwrap_or(draw.temperature);
    draw.filters.top_k = overrides.top_k.or(top_k).unwrap_or(draw.filters.top_k);
    draw.filters.top_p = overrides.top_p.or(top_p).unwrap_or(draw.filters.top_p);
    draw.repetition_penalty =
        overrides.repetition_penalty.or(defaults.repetition_penalty).unwrap_or(draw.repetition_penalty);
}

fn schedule(overrides: &Overrides, policy: &mut Policy) -> Result<()> {
    let keeps_blocks = policy.cache.keeps_blocks();
    let schedule = &mut policy.schedule;
    schedule.block = overrides.block.or(schedule.block);
    schedule.sub_block = overrides.sub_block.or(schedule.sub_block);
    if let (Some(block), None, Some(sub_block)) = (overrides.block, overrides.sub_block, schedule.sub_block) {
        // A smaller block than the sampler's sub-block is one sub-block.
        schedule.sub_block = Some(sub_block.min(block));
    }
    if let Some(steps) = overrides.steps {
        schedule.steps = if keeps_blocks { Steps::PerBlock(steps) } else { Steps::Total(steps) };
    }
    if let Some(steps) = overrides.steps_per_block {
        schedule.steps = Steps::PerBlock(steps);
    }
    if let Some(value) = overrides.eps {
        let Pace::Timesteps { eps } = &mut schedule.pace else { return Err(useless("eps", "time steps")) };
        *eps = value;
    }
    Ok(())
}

fn unmasking(overrides: &Overrides, policy: &mut Policy) -> Result<()> {
    if let Some(value) = overrides.threshold {
        match &mut policy.unmask {
            Unmask::Threshold { tau, .. } => *tau = value,
            unmask => {
                *unmask =
                    Unmask::Threshold { tau: value, strict: false, floor: Floor::Count(1), capped: false }
            }
        }
        comparable(policy);
        without_schedule(overrides, policy);
    }
    if let Some(factor) = overrides.factor {
        policy.unmask = Unmask::Factor { factor };
        comparable(policy);
        without_schedule(overrides, policy);
    }
    if let Some(bound) = overrides.entropy_bound {
        policy.unmask = Unmask::EntropyBudget { bound };
        policy.score = Score::NegEntropy;
        without_schedule(overrides, policy);
    }
    if let Some(tau) = overrides.edit_threshold {
        policy.editing = Some(Editing { tau, passes: policy.editing.map_or(16, |editing| editing.passes) });
    }
    if let Some(passes) = overrides.edit_passes {
        let Some(editing) = &mut policy.editing else { return Err(useless("edit-passes", "edits")) };
        editing.passes = passes;
    }
    if let Some(value) = overrides.alg_temp {
        let Unmask::TopK { alg_temp } = &mut policy.unmask else {
            return Err(useless("alg-temp", "a fixed number of positions in each step"));
        };
        *alg_temp = value;
    }
    Ok(())
}

/// A rule that compares with a number from 0 to 1 does so with probabilities where the sampler ranks by entropy.
fn comparable(policy: &mut Policy) {
    if policy.score == Score::NegEntropy {
        policy.score = Score::Probability;
    }
}

/// A rule that decides by itself how much a step reveals takes as many steps as it needs, unless the user limits them.
fn without_schedule(overrides: &Overrides, policy: &mut Policy) {
    let floored = matches!(policy.unmask, Unmask::Threshold { floor: Floor::Quota, .. });
    let carried = policy.schedule.pace == Pace::Carry;
    if overrides.steps.or(overrides.steps_per_block).is_none() && !floored && !carried {
        policy.schedule.steps = Steps::Unlimited;
    }
}

fn useless(name: &'static str, needs: &str) -> Error {
    Error::option(name, format!("the chosen sampler does not use {needs}"))
}
