//! After a pass: what was drawn becomes candidates, and what the rules choose of them becomes tokens.

use super::{Ask, News, Sequence};
use crate::cache::KvPool;
use crate::engine::event::PassKind;
use crate::engine::rules::Step;
use crate::error::Result;
use crate::sampler::{CachePlan, Candidate, Commit, Drawn, Edit};
use std::ops::Range;

impl Sequence<'_> {
    /// Notes the positions of `region` that need a token, and what is known: its masks, and what may change.
    pub(super) fn want_tokens(&mut self, region: Range<usize>) {
        let (canvas, edits) = (&self.canvas, self.policy.editing.is_some());
        self.positions.clear();
        self.positions.extend(region.filter(|&pos| canvas.is_mask(pos) || (edits && !canvas.is_given(pos))));
        (self.carries_on, self.leads) = (false, false);
        if let Some(competing) = self.competing.filter(|competing| canvas.is_mask(competing.pos)) {
            self.positions.retain(|&pos| pos != competing.pos);
        }
    }

    /// Notes what the repetition penalty applies to.
    pub(super) fn note_seen(&mut self) {
        if self.drawer.has_penalty() {
            let (ids, mask) = (self.canvas.ids(), self.canvas.mask());
            self.drawer.seen.clear();
            self.drawer.seen.extend(ids.iter().copied().filter(|&id| id != mask));
            self.drawer.seen.sort_unstable();
            self.drawer.seen.dedup();
        }
    }

    /// Continues with what was drawn for each of [`Self::wanted`] from the requested pass.
    ///
    /// # Errors
    /// The errors of the request's rules.
    pub(in crate::engine) fn take(&mut self, cache: &mut KvPool, drawn: &[Drawn]) -> Result<()> {
        let Ask { kind, rows, .. } = self.ask.take().expect("a pass was asked for");
        self.nfe += 1;
        if self.carries_on {
            self.carry(drawn[drawn.len() - 1], rows.end)?;
        }
        match kind {
            PassKind::Prefill => {
                self.prefill_passes += 1;
                self.commit_to(cache, rows.end);
            }
            PassKind::Commit if !self.draft.is_empty() => self.accept(cache, drawn),
            PassKind::Commit => self.commit_to(cache, rows.end),
            PassKind::Denoise => {
                self.denoised(drawn)?;
                let first_step = !std::mem::replace(&mut self.active.staged, true);
                let bidirectional_prefix = self.policy.cache == CachePlan::Prefix && first_step;
                if self.blocks.is_some() || bidirectional_prefix {
                    self.commit_to(cache, self.active.range.start);
                }
            }
        }
        self.carries_on = false;
        Ok(())
    }

    /// One denoise step.
    fn denoised(&mut self, drawn: &[Drawn]) -> Result<()> {
        self.note(drawn);
        if self.policy.commit == Commit::Verified && self.active.range.len() > 1 {
            let range = self.active.range.clone();
            self.draft.extend_from_slice(&self.canvas.ids()[range.clone()]);
            self.candidates.iter().for_each(|c| self.draft[c.pos - range.start] = c.token);
            return Ok(());
        }
        self.chosen.clear();
        if std::mem::take(&mut self.leads) {
            self.active.quota = self.active.quota.clone().skip();
            self.chosen.push(0);
            self.keep_to_grammar()?;
        } else if self.policy.editing.is_none() || !self.candidates.is_empty() {
            if self.policy.blocks_ahead > 0 {
                self.choose_ahead()?;
            } else {
                self.choose_among(0, 0..self.candidates.len())?;
            }
        }
        let tokens: Vec<Candidate> = self.chosen.iter().map(|&i| self.candidates[i]).collect();
        self.reveal(&tokens);
        Ok(())
    }

    /// Chooses among some candidates, which are all of those of a block ([`Self::block_in_work`]).
    pub(super) fn choose_among(&mut self, block: usize, own: Range<usize>) -> Result<()> {
        let want = self.block_in_work(block).quota.next(own.len());
        let mut step = Step {
            policy: &self.policy,
            candidates: &self.candidates[own.clone()],
            want,
            stream: self.drawer.rng().stream(self.drawer.step, self.canvas.len()),
        };
        self.chosen.clear();
        self.rules.choose(&mut step, &mut self.chosen)?;
        self.chosen.iter_mut().for_each(|i| *i += own.start);
        self.keep_to_grammar()?;
        let kept_back = want.count.min(own.len()) - self.chosen.len().min(want.count);
        self.block_in_work(block).quota.rejected(kept_back);
        Ok(())
    }

    /// Keeps what the pass over a draft predicts, up to the first token that differs, and stores that.
    fn accept(&mut self, cache: &mut KvPool, drawn: &[Drawn]) {
        let start = self.active.range.start;
        let draft = std::mem::take(&mut self.draft);
        let agree = (1..draft.len()).take_while(|&i| draft[i] == drawn[i - 1].token).count();
        let kept = start..start + 1 + agree;
        let of = |(i, drawn): (usize, &Drawn)| Candidate {
            pos: start + 1 + i,
            token: drawn.token,
            score: drawn.score,
        };
        let tokens: Vec<Candidate> = drawn.iter().enumerate().take(agree).map(of).collect();
        self.candidates.clear();
        self.edits.clear();
        self.candidates.extend_from_slice(&tokens);
        if !tokens.is_empty() {
            self.reveal(&tokens);
        }
        self.carried = drawn.get(agree).copied();
        self.commit_to(cache, kept.end);
        (self.active.range, self.active.region) = (kept.clone(), kept);
    }

    /// What was drawn for masks are candidates; what was drawn for tokens may replace them.
    fn note(&mut self, drawn: &[Drawn]) {
        self.candidates.clear();
        self.edits.clear();
        let competing = self.competing.filter(|competing| self.canvas.is_mask(competing.pos));
        self.candidates.extend(competing);
        let tau = self.policy.editing.map_or(f64::INFINITY, |editing| editing.tau);
        for (&pos, &Drawn { token, score }) in self.positions.iter().zip(drawn) {
            let before = self.canvas.ids()[pos];
            if self.canvas.is_mask(pos) {
                self.candidates.push(Candidate { pos, token, score });
            } else if token != before && score > tau && token != self.canvas.mask() {
                self.edits.push(Edit { pos, before, token, score });
            }
        }
        self.note_unsure();
        self.active.quiet = self.candidates.is_empty() && self.edits.is_empty();
    }

    /// Turns masks into tokens, and tokens into those of `self.edits`, which is an event.
    pub(super) fn reveal(&mut self, tokens: &[Candidate]) {
        let (mask, prompt) = (self.canvas.mask(), self.canvas.prompt());
        // Only rules that do not ban can draw the mask id; the position stays masked then.
        for candidate in tokens.iter().filter(|c| c.token != mask) {
            self.canvas.reveal(candidate);
            if self.is_guided() && candidate.pos >= prompt {
                self.masked[candidate.pos] = candidate.token;
            }
        }
        for edit in &self.edits {
            self.canvas.edit(edit);
            if self.is_guided() && edit.pos >= prompt {
                self.masked[edit.pos] = edit.token;
            }
        }
        self.edited += self.edits.len();
        let stops = tokens.iter().any(|candidate| self.stop.contains(&candidate.token));
        // A block ahead may have revealed its own before it was the active one.
        self.active.stop_revealed = stops || (self.policy.blocks_ahead > 0 && self.active.stop_revealed);
        self.revealed.clear();
        self.revealed.extend_from_slice(tokens);
        self.news = Some(News::Revealed);
    }
}
