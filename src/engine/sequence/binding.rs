//! Answers bound by a grammar: [`Binding`].
//!
//! The canvas is filled from the left. A pass draws the token of the first mask from those that the grammar allows there; what the
//! policy chose to the right of it is taken as long as the grammar takes it, one token after the other. Tokens that are forced
//! need no pass.

use super::Sequence;
use crate::engine::generation::Request;
use crate::engine::plan::Lead;
use crate::error::{Error, Result};
use crate::sampler::{Candidate, Commit, Drawn, Grammar, Walk};
use crate::tensor::TokenId;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The grammar of an answer in progress.
pub(super) struct Binding {
    /// This lock is never contended: it lets the rows of a pass, which look at `allowed` alone, share the value.
    walk: Mutex<Box<dyn Walk>>,
    stop: Vec<TokenId>,
    /// The position of the first token that the grammar has not seen.
    next: usize,
    /// Tokens before that position which are not on the canvas yet.
    pending: Vec<TokenId>,
    /// Whether a stop id was taken.
    over: bool,
    /// What may come at `next`, as [`Walk::allowed`] says.
    allowed: Vec<u32>,
}

impl Binding {
    /// # Errors
    /// A request that cannot be combined with a grammar, or what is wrong with the grammar.
    pub(super) fn new(grammar: &dyn Grammar, request: &Request<'_>, first_mask: usize) -> Result<Self> {
        let wrong = |why: &str| Err(Error::unsupported(format!("an answer with a grammar {why}")));
        if first_mask < request.prompt.len() {
            return wrong("and a prompt with gaps to fill in");
        }
        if request.policy.editing.is_some() {
            return wrong("and a policy that changes tokens once they are revealed");
        }
        if request.policy.blocks_ahead > 0 {
            return wrong("and a policy that works on blocks ahead");
        }
        if request.policy.commit == Commit::Verified {
            return wrong("and a policy that verifies drafts");
        }
        if request.stop.is_empty() {
            return wrong("without a stop id, by which its end could be told");
        }
        let mut binding = Self {
            walk: Mutex::new(grammar.begin(request.stop)?),
            stop: request.stop.to_vec(),
            next: request.prompt.len(),
            pending: Vec::new(),
            over: false,
            allowed: Vec::new(),
        };
        binding.look_ahead()?;
        Ok(binding)
    }

    fn walk(&mut self) -> &mut dyn Walk {
        &mut **self.walk.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a token at `next`, if it may come there.
    fn accept(&mut self, token: TokenId) -> Result<bool> {
        if self.over || !self.walk().accept(token)? {
            return Ok(false);
        }
        self.next += 1;
        self.over = self.stop.contains(&token);
        Ok(true)
    }

    /// Finds out what comes next.
    fn look_ahead(&mut self) -> Result<()> {
        if self.over {
            return Ok(());
        }
        let forced = self.walk().forced()?;
        self.next += forced.len();
        self.pending.extend(forced);
        if self.walk().is_over() {
            self.pending.push(self.stop[0]);
            self.next += 1;
            self.over = true;
            return Ok(());
        }
        let walk = self.walk.get_mut().unwrap_or_else(PoisonError::into_inner);
        walk.allowed(&mut self.allowed)?;
        if self.allowed.iter().all(|&word| word == 0) {
            return Err(Error::unsupported("a grammar that lets nothing follow what it allowed before"));
        }
        Ok(())
    }

    /// Bans every token that may not come at `pos`; only the first position without a token is known.
    pub(super) fn restrict(&self, pos: usize, row: &mut [f32]) {
        if self.over || pos != self.next || !self.pending.is_empty() {
            return;
        }
        for (i, logit) in row.iter_mut().enumerate() {
            let word = self.allowed.get(i / 32).copied().unwrap_or(0);
            if word >> (i % 32) & 1 == 0 {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Positions of tokens that are not on the canvas yet.
    fn pending(&self) -> Range<usize> {
        self.next - self.pending.len()..self.next
    }
}

impl Sequence<'_> {
    /// Puts the tokens on the canvas that need no pass, which is an event. Returns whether there were any.
    pub(super) fn place_forced(&mut self) -> bool {
        let Some(binding) = self.drawer.binding.as_mut() else { return false };
        let len = self.canvas.len();
        let tokens: Vec<Candidate> = binding
            .pending()
            .zip(binding.pending.drain(..))
            .filter(|(pos, _)| *pos < len)
            .map(|(pos, token)| Candidate { pos, token, score: 1.0 })
            .collect();
        if tokens.is_empty() {
            return false;
        }
        // What was drawn there before does not matter.
        tokens.iter().for_each(|token| drop(self.alternatives.remove(&token.pos)));
        self.candidates.clear();
        self.edits.clear();
        self.reveal(&tokens);
        true
    }

    /// Whether the answer is complete, and on the canvas.
    pub(super) fn is_complete(&self) -> bool {
        self.drawer.binding.as_ref().is_some_and(|binding| binding.over && binding.pending.is_empty())
    }

    /// Of what was chosen, keeps what the grammar takes: the first mask, and what follows it without a gap.
    ///
    /// # Errors
    /// As [`Walk`].
    pub(super) fn keep_to_grammar(&mut self) -> Result<()> {
        let Some(binding) = self.drawer.binding.as_mut() else { return Ok(()) };
        let chosen = std::mem::take(&mut self.chosen);
        for (i, candidate) in self.candidates.iter().enumerate() {
            let wanted = candidate.pos == binding.next && (i == 0 || chosen.contains(&i));
            if !wanted || !binding.accept(candidate.token)? {
                break;
            }
            self.chosen.push(i);
        }
        if self.chosen.is_empty() {
            return Err(Error::unsupported("a grammar that refuses a token which it allowed"));
        }
        binding.look_ahead()
    }

    /// What a commit predicted for the position `at`, if the answer continues there.
    ///
    /// # Errors
    /// As [`Walk`].
    pub(super) fn carry(&mut self, drawn: Drawn, at: usize) -> Result<()> {
        self.carried = Some(drawn);
        let Some(binding) = self.drawer.binding.as_mut() else { return Ok(()) };
        let goes_on = binding.next == at && binding.pending.is_empty() && at < self.canvas.len();
        if goes_on && self.lead == Lead::Competing {
            // It is one candidate among others, and taken with them.
            return Ok(());
        }
        if !goes_on || !binding.accept(drawn.token)? {
            self.carried = None;
            return Ok(());
        }
        binding.look_ahead()
    }
}
