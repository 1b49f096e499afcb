//! The published samplers as values of [`Policy`].

use super::{
    Basis, CachePlan, Commit, Draw, DrawKind, EarlyStop, Editing, FilterOrder, Filters, Floor, Grid, Pace,
    Policy, Schedule, Score, Steps, Unmask,
};
use crate::error::{Error, Result};

/// Name, one line of help, constructor.
type Preset = (&'static str, &'static str, fn() -> Policy);

/// Every named policy.
const PRESETS: [Preset; 24] = [
    ("sdar-dynamic", "SDAR: what exceeds the threshold, at least the schedule's share", sdar_dynamic),
    ("sdar-static", "SDAR: the schedule's share, surest first", sdar_static),
    ("sdar-sequential", "SDAR: the schedule's share, left to right", sdar_sequential),
    ("sdar-entropy", "SDAR: as many positions as an entropy budget allows", sdar_entropy),
    ("fast-dllm-v2", "Fast-dLLM v2: what exceeds the threshold, sub-block by sub-block", fast_dllm_v2),
    (
        "llada2-threshold",
        "LLaDA2.0: what exceeds the threshold, at least the schedule's share",
        llada2_threshold,
    ),
    (
        "llada2-editing",
        "LLaDA2.1: what exceeds the threshold, then tokens of the block may still change",
        llada2_editing,
    ),
    ("mdlm", "dLLM framework, bidirectional models: the schedule's share, surest first", mdlm),
    (
        "bd3lm",
        "dLLM framework, block-causal models: the same in blocks that begin where the prompt ends",
        bd3lm,
    ),
    (
        "stable-diffcoder",
        "Stable-DiffCoder: the schedule's share, surest first, in blocks of which the last may be short",
        stable_diffcoder,
    ),
    (
        "nemotron-diffusion",
        "Nemotron-Labs-Diffusion: what reaches the threshold, after a first token from the left",
        nemotron,
    ),
    (
        "nemotron-full",
        "Nemotron-Labs-Diffusion: the same without that token; blocks are final as they are seen",
        nemotron_full,
    ),
    (
        "nemotron-autoregressive",
        "Nemotron-Labs-Diffusion: one token after the other",
        nemotron_autoregressive,
    ),
    (
        "nemotron-speculative",
        "Nemotron-Labs-Diffusion: blocks as drafts for the text of greedy nemotron-autoregressive",
        nemotron_speculative,
    ),
    ("llada-low-confidence", "LLaDA: the schedule's share, surest first", llada),
    ("llada-random", "LLaDA: the schedule's share, at random", llada_random),
    ("llada-threshold", "Fast-dLLM on LLaDA: what reaches the threshold", llada_threshold),
    ("llada-factor", "Fast-dLLM on LLaDA: as many as the factor rule allows", llada_factor),
    ("dream-maskgit", "Dream: surest first along its time steps", dream_maskgit),
    ("dream-margin", "Dream: widest margin first along its time steps", dream_margin),
    ("dream-entropy", "Dream: lowest entropy first along its time steps", dream_entropy),
    ("dream-origin", "Dream: every position for itself along its time steps", dream_origin),
    (
        "dream-threshold",
        "Dream: the schedule's share of what reaches the threshold, the rest carried on",
        dream_carry,
    ),
    ("dream-block-threshold", "Fast-dLLM on Dream: what reaches the threshold", dream_block_threshold),
];

impl Policy {
    /// Names and one line of help of every published policy.
    pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
        PRESETS.iter().map(|&(name, help, _)| (name, help))
    }

    /// The published policy of this name.
    ///
    /// ```
    /// use diffulex::Policy;
    /// use diffulex::sampler::Steps;
    ///
    /// let mut policy = Policy::named("llada-low-confidence")?;
    /// policy.schedule.steps = Steps::Total(64);
    /// policy.validate()?;
    /// assert!(Policy::named("llada").unwrap_err().to_string().contains("llada-low-confidence"));
    /// # Ok::<(), diffulex::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] that lists the names.
    pub fn named(name: &str) -> Result<Self> {
        let preset = PRESETS.iter().find(|preset| preset.0 == name);
        preset.map(|preset| preset.2()).ok_or_else(|| {
            let known: Vec<_> = Self::names().map(|(name, _)| name).collect();
            Error::option("strategy", format!("`{name}` is not known, expected one of {}", known.join(", ")))
        })
    }
}

/// Greedy, without filters.
fn greedy(basis: Basis, kind: DrawKind, order: FilterOrder) -> Draw {
    let filters = Filters { order, ..Filters::OFF };
    Draw { temperature: 0.0, filters, kind, basis, repetition_penalty: 1.0 }
}

fn sdar(unmask: Unmask) -> Policy {
    Policy {
        schedule: Schedule {
            block: None,
            sub_block: None,
            steps: Steps::PerPosition,
            pace: Pace::EvenBlock,
            grid: Grid::Whole,
        },
        draw: greedy(Basis::Filtered, DrawKind::Multinomial, FilterOrder::TopKThenTopP),
        score: Score::Probability,
        unmask,
        cache: CachePlan::Block,
        guidance: 0.0,
        early_stop: EarlyStop::Never,
        editing: None,
        commit: Commit::Model,
        expert_budget: None,
        blocks_ahead: 0,
        right_shift: false,
        merge_commit: true,
    }
}

fn sdar_dynamic() -> Policy {
    sdar(Unmask::Threshold { tau: 0.85, strict: true, floor: Floor::Quota, capped: false })
}

fn sdar_static() -> Policy {
    sdar(Unmask::TopK { alg_temp: 0.0 })
}

fn sdar_sequential() -> Policy {
    sdar(Unmask::LeftToRight)
}

fn sdar_entropy() -> Policy {
    Policy { score: Score::NegEntropy, ..sdar(Unmask::EntropyBudget { bound: 0.35 }) }
}

fn fast_dllm_v2() -> Policy {
    let unmask = Unmask::Threshold { tau: 0.9, strict: true, floor: Floor::Count(1), capped: false };
    let mut policy =
        Policy { early_stop: EarlyStop::Settled, merge_commit: false, ..unlimited(sdar(unmask), unmask) };
    policy.schedule.sub_block = Some(8);
    policy.schedule.pace = Pace::EvenMasks;
    policy
}

fn llada2_threshold() -> Policy {
    let unmask = Unmask::Threshold { tau: 0.95, strict: true, floor: Floor::Quota, capped: false };
    Policy { early_stop: EarlyStop::Revealed, ..sdar(unmask) }
}

fn llada2_editing() -> Policy {
    let unmask = Unmask::Threshold { tau: 0.95, strict: true, floor: Floor::Count(1), capped: false };
    Policy { editing: Some(Editing { tau: 0.9, passes: 16 }), ..unlimited(sdar(unmask), unmask) }
}

/// The samplers of the dLLM framework rank by the probability of the most probable token.
fn mdlm() -> Policy {
    let mut policy = llada();
    policy.schedule.pace = Pace::Rounded;
    policy
}

fn bd3lm() -> Policy {
    let mut policy = Policy { cache: CachePlan::Block, merge_commit: true, ..mdlm() };
    policy.schedule.block = None;
    policy.schedule.grid = Grid::Open;
    policy
}

fn stable_diffcoder() -> Policy {
    let mut policy = Policy { cache: CachePlan::Block, merge_commit: true, ..llada() };
    policy.schedule.block = None;
    policy.schedule.grid = Grid::Cut;
    policy
}

fn nemotron() -> Policy {
    let mut policy = unlimited(stable_diffcoder(), threshold(0.9));
    policy.schedule.grid = Grid::Open;
    Policy { early_stop: EarlyStop::Settled, merge_commit: false, ..policy }
}

fn nemotron_full() -> Policy {
    Policy { commit: Commit::Full, ..nemotron() }
}

fn nemotron_autoregressive() -> Policy {
    let mut policy = nemotron();
    policy.schedule.block = Some(1);
    policy
}

fn nemotron_speculative() -> Policy {
    let mut policy =
        Policy { commit: Commit::Verified, unmask: Unmask::TopK { alg_temp: 0.0 }, ..nemotron() };
    policy.schedule.steps = Steps::PerBlock(1);
    policy
}

fn llada() -> Policy {
    Policy {
        schedule: Schedule {
            block: Some(32),
            sub_block: None,
            steps: Steps::PerPosition,
            pace: Pace::EvenMasks,
            grid: Grid::Whole,
        },
        draw: greedy(Basis::Raw, DrawKind::Gumbel, FilterOrder::TopKThenTopP),
        score: Score::Probability,
        unmask: Unmask::TopK { alg_temp: 0.0 },
        cache: CachePlan::None,
        guidance: 0.0,
        early_stop: EarlyStop::Never,
        editing: None,
        commit: Commit::Model,
        expert_budget: None,
        blocks_ahead: 0,
        right_shift: false,
        merge_commit: false,
    }
}

fn llada_random() -> Policy {
    Policy { score: Score::Random, ..llada() }
}

/// The same policy with an unmasking rule that decides by itself how many steps a block takes.
fn unlimited(policy: Policy, unmask: Unmask) -> Policy {
    let schedule = Schedule { steps: Steps::Unlimited, ..policy.schedule };
    Policy { schedule, unmask, ..policy }
}

fn threshold(tau: f64) -> Unmask {
    Unmask::Threshold { tau, strict: false, floor: Floor::Count(1), capped: false }
}

fn llada_threshold() -> Policy {
    unlimited(llada(), threshold(0.9))
}

fn llada_factor() -> Policy {
    unlimited(llada(), Unmask::Factor { factor: 1.0 })
}

fn dream(score: Score) -> Policy {
    let pace = Pace::Timesteps { eps: 1e-3 };
    Policy {
        schedule: Schedule { block: None, pace, ..llada().schedule },
        draw: greedy(Basis::AlwaysFiltered, DrawKind::Multinomial, FilterOrder::TopPThenTopK),
        score,
        ..llada()
    }
}

fn dream_maskgit() -> Policy {
    dream(Score::Probability)
}

fn dream_margin() -> Policy {
    dream(Score::Margin)
}

fn dream_entropy() -> Policy {
    dream(Score::NegEntropy)
}

fn dream_origin() -> Policy {
    Policy { unmask: Unmask::Independent, ..dream(Score::Probability) }
}

fn dream_carry() -> Policy {
    let mut policy = dream(Score::Probability);
    policy.schedule.pace = Pace::Carry;
    policy.unmask = Unmask::Threshold { tau: 0.9, strict: false, floor: Floor::Count(1), capped: true };
    policy
}

fn dream_block_threshold() -> Policy {
    let mut policy = unlimited(dream(Score::Probability), threshold(0.9));
    policy.schedule.block = Some(32);
    policy
}
