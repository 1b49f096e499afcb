//! The published samplers as values of [`Policy`].

use super::{
    Basis, CachePlan, Draw, DrawKind, EarlyStop, Editing, FilterOrder, Filters, Floor, Pace, Policy,
    Schedule, Score, Steps, Unmask,
};
use crate::error::{Error, Result};

/// Name, one line of help, constructor.
type Preset = (&'static str, &'static str, fn() -> Policy);

/// Every named policy.
const PRESETS: [Preset; 17] = [
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
        schedule: Schedule { block: None, sub_block: None, steps: Steps::PerPosition, pace: Pace::EvenBlock },
        draw: greedy(Basis::Filtered, DrawKind::Multinomial, FilterOrder::TopKThenTopP),
        score: Score::Probability,
        unmask,
        cache: CachePlan::Block,
        guidance: 0.0,
        early_stop: EarlyStop::Never,
        editing: None,
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
    let schedule =
        Schedule { block: None, sub_block: Some(8), steps: Steps::Unlimited, pace: Pace::EvenMasks };
    Policy {
        schedule,
        early_stop: EarlyStop::Settled,
        merge_commit: false,
        ..sdar(Unmask::Threshold { tau: 0.9, strict: true, floor: Floor::Count(1), capped: false })
    }
}

fn llada2_threshold() -> Policy {
    let unmask = Unmask::Threshold { tau: 0.95, strict: true, floor: Floor::Quota, capped: false };
    Policy { early_stop: EarlyStop::Revealed, ..sdar(unmask) }
}

fn llada2_editing() -> Policy {
    let unmask = Unmask::Threshold { tau: 0.95, strict: true, floor: Floor::Count(1), capped: false };
    Policy { editing: Some(Editing { tau: 0.9, passes: 16 }), ..unlimited(sdar(unmask), unmask) }
}

fn llada() -> Policy {
    Policy {
        schedule: Schedule {
            block: Some(32),
            sub_block: None,
            steps: Steps::PerPosition,
            pace: Pace::EvenMasks,
        },
        draw: greedy(Basis::Raw, DrawKind::Gumbel, FilterOrder::TopKThenTopP),
        score: Score::Probability,
        unmask: Unmask::TopK { alg_temp: 0.0 },
        cache: CachePlan::None,
        guidance: 0.0,
        early_stop: EarlyStop::Never,
        editing: None,
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
        schedule: Schedule { block: None, sub_block: None, steps: Steps::PerPosition, pace },
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
