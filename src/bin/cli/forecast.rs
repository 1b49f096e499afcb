//! [`Forecast`]: about how many passes an answer takes, and how large they are.

use super::work::PassSize;
use diffulex::model::Architecture;
use diffulex::sampler::{CachePlan, Policy, Unmask};

/// About how many tokens a pass reveals where a threshold decides. Published schedules reveal one.
pub const REVEALED: usize = 3;

/// Roughly what an answer computes. Stop ids may end it sooner.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Passes that reveal tokens.
    pub passes: usize,
    /// The size of most of them.
    pub pass: PassSize,
    /// Kinds of passes, those over the prompt included, and how many there are of each.
    parts: Vec<(usize, PassSize)>,
}

impl Forecast {
    /// For `new` tokens after a prompt of `prompt`.
    pub fn new(arch: &Architecture, policy: &Policy, prompt: usize, new: usize) -> Self {
        let block = policy.schedule.block.or(arch.block()).unwrap_or(new).clamp(1, new.max(1));
        let blocks = new.div_ceil(block);
        // A step reveals at least one token. Rules with thresholds need fewer steps than they may take.
        let rule = match policy.unmask {
            Unmask::Threshold { capped: false, .. }
            | Unmask::Factor { .. }
            | Unmask::EntropyBudget { .. } => block.div_ceil(REVEALED),
            Unmask::Threshold { capped: true, .. }
            | Unmask::TopK { .. }
            | Unmask::LeftToRight
            | Unmask::Independent => block,
        };
        let steps = policy.schedule.steps_for(block, blocks).clamp(1, rule);
        let guided = if policy.guidance > 0.0 { 2 } else { 1 };
        let (passes, len) = (guided * blocks * steps, prompt + new);
        let size = |rows, context| PassSize { rows, context, logit_rows: rows };
        // In a block in the middle of the answer.
        let inside = prompt + new / 2;
        let full = guided * blocks;
        let whole = (full, size(len, 0));
        let (first, pass) = match policy.cache {
            CachePlan::None => (whole, whole.1),
            CachePlan::Prefix => (whole, size(len - inside, inside)),
            CachePlan::Dual => (whole, size(block, len.saturating_sub(block))),
            CachePlan::Block | CachePlan::SubBlock => {
                ((guided, PassSize { logit_rows: 0, ..size(prompt, 0) }), size(block, inside))
            }
        };
        let rest = if policy.cache.keeps_blocks() { passes } else { passes - full };
        let parts = [first, (rest, pass)].into_iter().filter(|(count, size)| *count > 0 && size.rows > 0);
        Self { passes, pass, parts: parts.collect() }
    }

    /// The time of all passes, if `seconds` says that of one.
    pub fn seconds(&self, seconds: impl Fn(PassSize) -> f64) -> f64 {
        self.parts.iter().map(|&(count, size)| count as f64 * seconds(size)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::presets::Preset;
    use diffulex::sampler::Steps;

    /// Passes that reveal tokens, and rows of all passes.
    fn cost(preset: &str, policy: &Policy, prompt: usize, new: usize) -> (usize, usize) {
        let arch = Preset::named(preset).unwrap().architecture().unwrap();
        let forecast = Forecast::new(&arch, policy, prompt, new);
        (forecast.passes, forecast.seconds(|size| size.rows as f64) as usize)
    }

    #[test]
    fn passes_follow_from_schedule_rule_and_cache() {
        let named = |name: &str| Policy::named(name).unwrap();
        // Blocks of four, one token a pass; the prompt once.
        assert_eq!(cost("sdar-1.7b", &named("sdar-static"), 50, 128), (128, 50 + 128 * 4));
        // A threshold: two passes for a block of four.
        assert_eq!(cost("sdar-1.7b", &named("sdar-dynamic"), 50, 128), (64, 50 + 64 * 4));
        // Everything in every pass.
        let llada = named("llada-low-confidence");
        assert_eq!(cost("llada-8b", &llada, 72, 128), (128, 128 * 200));
        let mut few = llada.clone();
        few.schedule.steps = Steps::Total(32);
        assert_eq!(cost("llada-8b", &few, 72, 128), (32, 32 * 200));
        let guided = Policy { guidance: 1.0, ..few.clone() };
        assert_eq!(cost("llada-8b", &guided, 72, 128), (64, 64 * 200));
        // Four blocks of 32: a full pass for each, then the block alone, or it and what follows.
        let dual = Policy { cache: CachePlan::Dual, ..few.clone() };
        assert_eq!(cost("llada-8b", &dual, 72, 128), (32, 4 * 200 + 28 * 32));
        let prefix = Policy { cache: CachePlan::Prefix, ..few };
        assert_eq!(cost("llada-8b", &prefix, 72, 128), (32, 4 * 200 + 28 * 64));
        // Nothing to do costs nothing, and a short answer is one short block.
        assert_eq!(cost("llada-8b", &llada, 0, 0), (0, 0));
        assert_eq!(cost("llada-8b", &llada, 10, 5), (5, 5 * 15));
    }
}
