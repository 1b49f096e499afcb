//! Decoding policies, made of small parts: [`Policy`].
//!
//! A policy knows logits and never a model. `schedule` says how many positions a step should free, `draw` turns a logits row
//! into a token, `score` says how sure that is, `unmask` picks the positions, and `cache` says which keys and values are
//! kept between steps. The published samplers are values of this type: see [`Policy::named`].
#![forbid(unsafe_code)]

mod canvas;
mod draw;
mod filter;
mod grammar;
mod presets;
mod rng;
mod schedule;
mod unmask;

pub use canvas::Canvas;
pub use draw::{Basis, Draw, DrawKind, Drawn, Score, gumbel_argmax, log_probabilities};
pub use filter::{FilterOrder, Filters, Kept};
pub use grammar::{Grammar, Walk};
pub use rng::{Rng, Stream};
pub use schedule::{Pace, Quota, Want, timesteps};
pub use unmask::{Candidate, Edit, Floor, Unmask};

pub(crate) use unmask::from_stream;

use crate::cache::Blocks;
use crate::error::{Error, Result};

/// How many denoise steps a block may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// One for each position of the block.
    PerPosition,
    /// This many for every block.
    PerBlock(usize),
    /// This many for the whole generation, shared equally among the blocks, at least one each.
    Total(usize),
    /// As many as the unmasking rule takes.
    Unlimited,
}

impl Steps {
    /// Steps for a block of `block` positions, one of `blocks`.
    pub fn for_block(self, block: usize, blocks: usize) -> usize {
        match self {
            Self::PerPosition => block.max(1),
            Self::PerBlock(steps) => steps,
            Self::Total(steps) => (steps / blocks.max(1)).max(1),
            Self::Unlimited => usize::MAX,
        }
    }
}

/// Where the blocks of the text lie. Those of a bidirectional model begin at the first mask, unless they are [`Self::Cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// On multiples of the block from position 0 on. The last one is generated as a whole, and what was not requested is cut off.
    Whole,
    /// On multiples of the block from position 0 on. The last one ends with the text. Source: Stable-DiffCoder.
    Cut,
    /// From the first mask on, so that no block mixes given and new tokens. The last one ends with the text. Source: bd3lm of
    /// the dLLM framework.
    Open,
}

/// What becomes of a denoised block of a model that makes blocks final causally (Nemotron-Labs-Diffusion). Other models support
/// [`Self::Model`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is stored by the rule of the model.
    Model,
    /// It is stored from a pass in which it sees all of itself, as the prompt is, and predicts nothing of the next block.
    Full,
    /// It is a draft: the pass that stores it keeps what this pass itself predicts, up to the first token that differs. So the
    /// text is that of one token after the other. The unmasking rule does not matter.
    Verified,
}

/// How the sequence is decoded, block by block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Positions in a block. `None`: the model's own block, or the whole canvas for a model that has none.
    pub block: Option<usize>,
    /// Positions in a sub-block, which is finished before the next one begins. `None`: the block.
    pub sub_block: Option<usize>,
    /// The step budget of a block.
    pub steps: Steps,
    /// How the budget is spread.
    pub pace: Pace,
    /// Where the blocks lie.
    pub grid: Grid,
}

impl Schedule {
    /// Where blocks of `block` positions lie in text whose first mask is at `open`, of `len` positions in all.
    pub fn blocks(&self, block: usize, open: usize, len: usize) -> Blocks {
        // A block that is longer than the text is the text.
        let block = block.min(len.max(1));
        match self.grid {
            Grid::Whole | Grid::Cut => Blocks { len: block, offset: 0 },
            Grid::Open => Blocks::from(open, block),
        }
    }

    /// Steps for a block of `block` positions, one of `blocks`.
    pub fn steps_for(&self, block: usize, blocks: usize) -> usize {
        match (self.steps, self.pace) {
            (Steps::Total(steps), Pace::Rounded) => steps.div_ceil(blocks.max(1)).max(1),
            (steps, _) => steps.for_block(block, blocks),
        }
    }
}

/// Which keys and values are kept between denoise steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePlan {
    /// Nothing: every step is a full pass. Exact for bidirectional models.
    None,
    /// What precedes the block, as of the block's first step. Approximate for bidirectional models.
    Prefix,
    /// Everything outside the block, as of the block's first step. Approximate for bidirectional models.
    Dual,
    /// Finished blocks. Exact for block-causal models, and their only plan apart from [`Self::SubBlock`].
    Block,
    /// Finished blocks, and inside a block what is outside the sub-block, as of the latest pass over the whole block.
    /// Approximate.
    SubBlock,
}

impl CachePlan {
    /// Whether finished blocks are kept, as block-causal models allow.
    pub fn keeps_blocks(self) -> bool {
        matches!(self, Self::Block | Self::SubBlock)
    }

    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Prefix, Self::Dual, Self::Block, Self::SubBlock];

    /// The plan with this name.
    ///
    /// # Errors
    /// [`Error::Option`] that lists the names.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|plan| plan.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::option("cache", format!("`{name}` given, one of {names} expected"))
        })
    }

    /// The name used in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Prefix => "prefix",
            Self::Dual => "dual",
            Self::Block => "block",
            Self::SubBlock => "sub-block",
        }
    }

    /// What it keeps, for the help of programs.
    pub fn help(self) -> &'static str {
        match self {
            Self::None => "Nothing: every pass computes the whole canvas (bidirectional models)",
            Self::Prefix => "What precedes the block (bidirectional models)",
            Self::Dual => "Everything but the block (bidirectional models)",
            Self::Block => "Finished blocks (block-causal models)",
            Self::SubBlock => "Finished blocks, and the rest of the block (Fast-dLLM v2)",
        }
    }

    /// Whether the logits differ from those of a full pass.
    pub fn is_approximate(self) -> bool {
        matches!(self, Self::Prefix | Self::Dual | Self::SubBlock)
    }
}

/// When generation may end inside a block, so that its last positions stay masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyStop {
    /// Never.
    Never,
    /// As soon as nothing is masked before a stop id. Source: Fast-dLLM v2.
    Settled,
    /// After a step that reveals a stop id, if nothing is masked before the first one. Source: LLaDA2.0, `eos_early_stop`.
    Revealed,
}

/// Tokens of the active block may change after they were revealed: one that is not part of the prompt gives way to the most
/// probable token of its position. A block is left after a pass over it that finds no mask and changes nothing. Source: LLaDA2.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Editing {
    /// Only tokens that are surer than this replace others.
    pub tau: f64,
    /// Passes over a block without masks, at most.
    pub passes: usize,
}

/// The share of its masks that a block has revealed when the next one is opened, if [`Policy::blocks_ahead`] allows. With the tenth that models trained for
/// it take (D2F), the demo model ends stories too early; with half it answers as it does without.
pub const OPENS_AT: f64 = 0.5;

/// A way to decode.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How the sequence is decoded, block by block.
    pub schedule: Schedule,
    /// How a logits row becomes a token.
    pub draw: Draw,
    /// How sure the model is of it.
    pub score: Score,
    /// Which positions are revealed.
    pub unmask: Unmask,
    /// What is kept between steps.
    pub cache: CachePlan,
    /// Classifier-free guidance: logits become `u + (guidance + 1) * (x - u)`, where `u` sees masks for a prompt. 0 is off.
    pub guidance: f32,
    /// When generation may end inside a block.
    pub early_stop: EarlyStop,
    /// Whether revealed tokens may change, and when. `None`: they never do.
    pub editing: Option<Editing>,
    /// What becomes of a denoised block.
    pub commit: Commit,
    /// An expert budget for models with experts: a mask of the block being denoised that the pass before was less sure of than this chooses among
    /// the experts that the other positions of its block have chosen ([`crate::model::Budget`]). In the first pass over a block no mask is
    /// unsure. No published model is decoded this way; `None` is off.
    pub expert_budget: Option<f64>,
    /// Blocks that may be denoised ahead of the first one that holds masks. The next one is opened when the last open one has revealed
    /// [`OPENS_AT`] of its masks. A block sees what is before it as it is then. In one whose predecessor holds masks a pass reveals what passes
    /// the threshold and nothing else, and its steps are not counted. No published model is decoded this way; 0 is off.
    pub blocks_ahead: usize,
    /// Whether the row before a position predicts it although the model was not made that way, also the first position of a block,
    /// for which the last row before the block is kept. Source: `right_shift_logits` of the dLLM framework.
    pub right_shift: bool,
    /// Whether the commit of a finished block and the first step of the next are one forward pass where that is exact.
    pub merge_commit: bool,
}

impl Policy {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Option`] that names the option, what was found and what was expected.
    pub fn validate(&self) -> Result<()> {
        let Schedule { block, sub_block, steps, pace, grid: _ } = self.schedule;
        positive("block", block)?;
        positive("sub-block", sub_block)?;
        let steps = match steps {
            Steps::PerBlock(n) | Steps::Total(n) => Some(n),
            Steps::PerPosition | Steps::Unlimited => None,
        };
        positive("steps", steps)?;
        if let Pace::Timesteps { eps } = pace {
            range("eps", f64::from(eps), eps > 0.0 && eps < 1.0, "above 0 and below 1")?;
        }
        if !self.guidance.is_finite() || self.guidance < 0.0 {
            return Err(Error::option("cfg", format!("{} is not a number of at least 0", self.guidance)));
        }
        match self.unmask {
            Unmask::TopK { alg_temp } => range("alg-temp", alg_temp, alg_temp >= 0.0, "at least 0")?,
            Unmask::Threshold { tau, .. } => {
                range("threshold", tau, (0.0..=1.0).contains(&tau), "from 0 to 1")?;
                self.needs_probability("a threshold")?;
            }
            Unmask::Factor { factor } => {
                range("factor", factor, factor > 0.0, "above 0")?;
                self.needs_probability("the factor rule")?;
            }
            Unmask::EntropyBudget { bound } => {
                range("entropy-bound", bound, bound >= 0.0, "at least 0")?;
                if self.score != Score::NegEntropy {
                    return Err(Error::option("confidence", "an entropy budget needs entropy"));
                }
            }
            Unmask::LeftToRight | Unmask::Independent => {}
        }
        if let Some(Editing { tau, .. }) = self.editing {
            range("edit-threshold", tau, (0.0..=1.0).contains(&tau), "from 0 to 1")?;
            self.needs_probability("editing")?;
            if let Some(sub_block) = sub_block {
                let reason = format!("{sub_block} given, but editing is about whole blocks");
                return Err(Error::option("sub-block", reason));
            }
        }
        if let Some(sure) = self.expert_budget {
            range("expert-budget", sure, (0.0..=1.0).contains(&sure), "from 0 to 1")?;
            self.needs_probability("an expert budget")?;
        }
        if self.blocks_ahead > 0 {
            self.goes_ahead()?;
        }
        if self.commit == Commit::Verified {
            self.drafts()?;
        }
        self.draw.validate()
    }

    /// For blocks ahead of the first one only a threshold can say what they reveal.
    fn goes_ahead(&self) -> Result<()> {
        let own = matches!(self.unmask, Unmask::Threshold { capped: false, .. });
        let reasons = [
            (!own, "needs a threshold"),
            (self.cache != CachePlan::Block, "needs the cache plan block"),
            (self.schedule.sub_block.is_some(), "does not support sub-blocks"),
            (self.editing.is_some(), "does not support tokens that change"),
            (
                self.commit != Commit::Model || self.right_shift,
                "needs blocks that are predicted from themselves alone",
            ),
        ];
        match reasons.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, what)) => {
                let reason = format!("{} given, but working ahead {what}", self.blocks_ahead);
                Err(Error::option("blocks-ahead", reason))
            }
            None => Ok(()),
        }
    }

    /// How this decodes differently from anything published, for reports: a few words for each difference.
    pub fn departures(&self) -> Vec<String> {
        let budget = self.expert_budget.map(|sure| format!("expert budget {sure}"));
        let ahead = (self.blocks_ahead > 0).then(|| format!("blocks ahead {}", self.blocks_ahead));
        budget.into_iter().chain(ahead).collect()
    }

    /// A draft is one pass, and what is kept of it is decided by greedy decoding, one token after the other.
    fn drafts(&self) -> Result<()> {
        let wrong =
            |name, what: &str| Err(Error::option(name, format!("{what}, but drafts are verified greedily")));
        if self.schedule.steps != Steps::PerBlock(1) {
            return wrong("steps", "more than 1 step for a block");
        }
        if self.schedule.grid != Grid::Open || self.schedule.sub_block.is_some() || self.right_shift {
            return Err(Error::option(
                "strategy",
                "drafts are blocks from the first mask on, not shifted and without sub-blocks",
            ));
        }
        if self.unmask != (Unmask::TopK { alg_temp: 0.0 }) {
            return wrong("threshold", "another rule than the schedule given");
        }
        if self.draw.temperature != 0.0 {
            return wrong("temperature", &format!("{} given", self.draw.temperature));
        }
        if self.draw.repetition_penalty != 1.0 {
            return wrong("repetition-penalty", &format!("{} given", self.draw.repetition_penalty));
        }
        if self.guidance != 0.0 {
            return wrong("cfg", &format!("{} given", self.guidance));
        }
        Ok(())
    }

    /// Whether anything is left to chance, so that the seed of a request matters.
    pub fn is_random(&self) -> bool {
        let positions = match self.unmask {
            Unmask::Independent => true,
            Unmask::TopK { alg_temp } => alg_temp > 0.0,
            Unmask::Threshold { .. }
            | Unmask::Factor { .. }
            | Unmask::LeftToRight
            | Unmask::EntropyBudget { .. } => false,
        };
        positions || self.draw.temperature > 0.0 || self.score == Score::Random
    }

    /// Refuses rules that compare a score with a number from 0 to 1 if the score is a negative entropy, which none reaches.
    fn needs_probability(&self, rule: &str) -> Result<()> {
        if self.score != Score::NegEntropy {
            return Ok(());
        }
        let reason = format!("entropy given, {rule} needs probability or margin");
        Err(Error::option("confidence", reason))
    }
}

fn positive(name: &'static str, value: Option<usize>) -> Result<()> {
    match value {
        Some(0) => Err(Error::option(name, "0 given, at least 1 expected")),
        _ => Ok(()),
    }
}

fn range(name: &'static str, value: f64, inside: bool, expected: &str) -> Result<()> {
    if inside && value.is_finite() {
        return Ok(());
    }
    Err(Error::option(name, format!("{value} given, a number {expected} expected")))
}

#[cfg(test)]
mod tests;
