//! Decoding options, and from them, checkpoint defaults and the model's own policy to the policy in force.

use clap::{Args, ValueEnum};
use diffulex::cache::Attention;
use diffulex::engine::{Engine, Overrides};
use diffulex::error::Result;
use diffulex::model::GenerationConfig;
use diffulex::sampler::{CachePlan, FilterOrder, Floor, Pace, Policy, Score, Steps, Unmask};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How to decode.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Decoding")]
#[serde(default, deny_unknown_fields)]
pub struct DecodingArgs {
    /// Published sampler by name; --list-strategies lists them [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// 0 takes the most probable token [default: generation_config.json, else 0]
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Draw from the K most probable tokens; 0 is off [default: generation_config.json, else 0]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Draw from the most probable tokens that make up P; 1 is off [default: generation_config.json, else 1]
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Makes tokens of the text less probable; 1 is off [default: generation_config.json, else 1]
    #[arg(long, value_name = "R")]
    pub repetition_penalty: Option<f32>,
    /// Denoise steps: of a block (SDAR, Fast-dLLM v2), of the whole generation (Dream, LLaDA)
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Denoise steps of a block, in every family
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub steps_per_block: Option<usize>,
    /// Positions in a block
    #[arg(long, value_name = "N")]
    pub block: Option<usize>,
    /// Positions in a sub-block
    #[arg(long, value_name = "N")]
    pub sub_block: Option<usize>,
    /// Reveal what is at least this sure (from 0 to 1)
    #[arg(long, value_name = "P", conflicts_with_all = ["factor", "entropy_bound"])]
    pub threshold: Option<f64>,
    /// Reveal as many as the factor rule allows
    #[arg(long, value_name = "F", conflicts_with = "entropy_bound")]
    pub factor: Option<f64>,
    /// Reveal as many as this entropy budget allows, in nats
    #[arg(long, value_name = "NATS")]
    pub entropy_bound: Option<f64>,
    /// How sure the model is of a token
    #[arg(long, value_enum)]
    pub confidence: Option<Confidence>,
    /// Randomness in the choice of positions; 0 is off
    #[arg(long, value_name = "T")]
    pub alg_temp: Option<f64>,
    /// Last time step of Dream's schedule
    #[arg(long, value_name = "EPS")]
    pub eps: Option<f32>,
    /// Classifier-free guidance; 0 is off
    #[arg(long, value_name = "SCALE")]
    pub cfg: Option<f32>,
    /// What is kept between steps; prefix, dual and sub-block are approximate
    #[arg(long, value_enum)]
    pub cache: Option<Cache>,
    /// Commit every block in a forward pass of its own
    #[arg(long)]
    pub no_merge: bool,
}

/// See [`Score`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The probability of the token.
    Probability,
    /// Its distance from the second.
    Margin,
    /// The entropy of the distribution, negated.
    Entropy,
    /// Not at all: a random order.
    Random,
}

impl From<Confidence> for Score {
    fn from(confidence: Confidence) -> Self {
        match confidence {
            Confidence::Probability => Self::Probability,
            Confidence::Margin => Self::Margin,
            Confidence::Entropy => Self::NegEntropy,
            Confidence::Random => Self::Random,
        }
    }
}

/// See [`CachePlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// Nothing: every pass computes the whole canvas (bidirectional models).
    None,
    /// What stands before the block (bidirectional models).
    Prefix,
    /// Everything but the block (bidirectional models).
    Dual,
    /// Finished blocks (block-causal models).
    Block,
    /// Finished blocks, and the rest of the block (Fast-dLLM v2).
    SubBlock,
}

impl From<Cache> for CachePlan {
    fn from(cache: Cache) -> Self {
        match cache {
            Cache::None => Self::None,
            Cache::Prefix => Self::Prefix,
            Cache::Dual => Self::Dual,
            Cache::Block => Self::Block,
            Cache::SubBlock => Self::SubBlock,
        }
    }
}

impl DecodingArgs {
    /// The same without the command line.
    fn overrides(&self) -> Overrides {
        Overrides {
            strategy: self.strategy.clone(),
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            steps: self.steps,
            steps_per_block: self.steps_per_block,
            block: self.block,
            sub_block: self.sub_block,
            threshold: self.threshold,
            factor: self.factor,
            entropy_bound: self.entropy_bound,
            confidence: self.confidence.map(Into::into),
            alg_temp: self.alg_temp,
            eps: self.eps,
            cfg: self.cfg,
            cache: self.cache.map(Into::into),
            no_merge: Some(self.no_merge),
        }
    }
}

/// The policy in force. Options win over generation_config.json, which wins over the model's own policy.
///
/// # Errors
/// As [`Overrides::policy`].
pub fn policy(args: &DecodingArgs, defaults: &GenerationConfig, engine: &Engine) -> Result<Policy> {
    args.overrides().policy(defaults, engine)
}

/// Every setting in force, as JSON.
pub fn describe(policy: &Policy, engine: &Engine) -> Value {
    let Policy { schedule, draw, score, unmask, cache, guidance, .. } = policy;
    let steps = match schedule.steps {
        Steps::PerPosition => json!("one for each position of a block"),
        Steps::PerBlock(n) => json!({ "per_block": n }),
        Steps::Total(n) => json!({ "total": n }),
        Steps::Unlimited => json!("as many as the rule takes"),
    };
    let block = match engine.arch().attention {
        Attention::BlockCausal { block } => Some(schedule.block.unwrap_or(block)),
        Attention::Bidirectional => schedule.block,
    };
    json!({
        "block": block,
        "sub_block": schedule.sub_block,
        "steps": steps,
        "pace": pace(schedule.pace),
        "temperature": decimal(draw.temperature),
        "top_k": draw.filters.top_k,
        "top_p": decimal(draw.filters.top_p),
        "filter_order": match draw.filters.order {
            FilterOrder::TopKThenTopP => "top-k, top-p",
            FilterOrder::TopPThenTopK => "top-p, top-k",
        },
        "repetition_penalty": decimal(draw.repetition_penalty),
        "confidence": score.name(),
        "unmask": unmask_name(unmask),
        "cache": cache.name(),
        "cfg": decimal(*guidance),
        "stop_ids": engine.stop(),
        "mask_id": engine.mask().ok(),
    })
}

/// A number as a person would write it: 0.7, not the digits of the nearest f32.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

fn pace(pace: Pace) -> Value {
    match pace {
        Pace::EvenMasks => json!("even over the masks"),
        Pace::EvenBlock => json!("even over the block"),
        Pace::Timesteps { eps } => json!({ "time_steps_to": decimal(eps) }),
        Pace::Carry => json!("even, what is rejected is carried on"),
    }
}

fn unmask_name(unmask: &Unmask) -> Value {
    match *unmask {
        Unmask::TopK { alg_temp } => json!({ "rule": "top-k", "alg_temp": alg_temp }),
        Unmask::Threshold { tau, strict, floor, capped } => json!({
            "rule": "threshold", "threshold": tau, "strict": strict, "capped": capped,
            "floor": if floor == Floor::One { "one" } else { "the schedule" },
        }),
        Unmask::Factor { factor } => json!({ "rule": "factor", "factor": factor }),
        Unmask::LeftToRight => json!({ "rule": "left to right" }),
        Unmask::EntropyBudget { bound } => json!({ "rule": "entropy budget", "bound": bound }),
        Unmask::Independent => json!({ "rule": "every position for itself" }),
    }
}
