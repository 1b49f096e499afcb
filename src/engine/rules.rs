//! [`Rules`]: what the decoding loop leaves to others.
//!
//! The loop itself keeps what always holds: positions are drawn from the logits of one pass, revealed tokens never change, ties
//! go to the lowest id and position. What a caller may want to change is a method here, and the defaults are this engine's own
//! rules. `diffulex-verify` repeats recorded loops of other engines with rules of its own.

use crate::error::{Error, Result};
use crate::sampler::{Candidate, Policy, Stream, Want, from_stream};

/// One denoise step, for [`Rules::choose`].
pub struct Step<'a> {
    /// The policy of the request.
    pub policy: &'a Policy,
    /// A token for every masked position of the region, in order of position.
    pub candidates: &'a [Candidate],
    /// What the schedule says.
    pub want: Want,
    /// Random numbers of this step.
    pub stream: Stream,
}

/// How a block ended, for [`Rules::commits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEnd {
    /// A stop id ends the text here.
    pub stopped: bool,
    /// No block follows.
    pub last: bool,
    /// The first pass over the next block can take the commit along.
    pub merges: bool,
}

/// Decisions of the decoding loop that a request can replace ([`super::Request::rules`]).
pub trait Rules: Send + Sync {
    /// Pushes the indices of the candidates to reveal, each once.
    ///
    /// # Errors
    /// What ends the generation.
    fn choose(&self, step: &mut Step<'_>, chosen: &mut Vec<usize>) -> Result<()> {
        if step.want.last {
            chosen.extend(0..step.candidates.len());
            return Ok(());
        }
        let mut uniform = from_stream(step.stream.clone());
        step.policy.unmask.choose(step.candidates, step.want, &mut uniform, chosen);
        step.choose_at_least_one(chosen);
        Ok(())
    }

    /// Whether the mask and ids that the tokenizer does not know are never drawn.
    fn bans(&self) -> bool {
        true
    }

    /// Whether a finished block is stored by a pass of its own.
    fn commits(&self, end: BlockEnd) -> bool {
        !(end.stopped || end.last || end.merges)
    }

    /// Whether a bidirectional block makes every pass of its schedule, even when no mask is left.
    fn every_step(&self) -> bool {
        false
    }
}

impl Step<'_> {
    /// Pushes the surest candidate if nothing was chosen: every step makes progress.
    pub fn choose_at_least_one(&self, chosen: &mut Vec<usize>) {
        if chosen.is_empty() {
            let surest = (0..self.candidates.len())
                .rev()
                .max_by(|&a, &b| self.candidates[a].score.total_cmp(&self.candidates[b].score));
            chosen.extend(surest);
        }
    }
}

/// The rules of this engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standard;

impl Rules for Standard {}

/// A caller's own rule for what a step reveals: looks at the candidates (in order of position), and pushes the indices of those
/// to reveal. If it pushes none, the surest one is revealed; where the step budget of a block ends ([`Want::last`]) the rule is
/// not asked, and everything is.
pub struct Choose<F>(
    /// The rule.
    pub F,
);

impl<F: Fn(&[Candidate], Want, &mut Vec<usize>) + Send + Sync> Rules for Choose<F> {
    fn choose(&self, step: &mut Step<'_>, chosen: &mut Vec<usize>) -> Result<()> {
        if step.want.last {
            return Standard.choose(step, chosen);
        }
        (self.0)(step.candidates, step.want, chosen);
        check_choice(chosen, step.candidates.len())?;
        step.choose_at_least_one(chosen);
        Ok(())
    }
}

/// What the caller's own rule chose must be indices of candidates, each once.
fn check_choice(chosen: &[usize], candidates: usize) -> Result<()> {
    let mut seen = vec![false; candidates];
    for &i in chosen {
        match seen.get_mut(i) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => return Err(Error::option("choose", format!("candidate {i} was chosen twice"))),
            None => {
                let reason = format!("candidate {i} was chosen, there are {candidates}");
                return Err(Error::option("choose", reason));
            }
        }
    }
    Ok(())
}
