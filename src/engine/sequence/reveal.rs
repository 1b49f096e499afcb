//! After a pass: what was drawn becomes candidates, and what the rules choose of them becomes tokens.

use super::{Ask, News, Sequence};
use crate::cache::KvPool;
use crate::engine::event::PassKind;
use crate::engine::rules::Step;
use crate::error::Result;
use crate::sampler::{CachePlan, Candidate, Drawn};
use std::ops::Range;

impl Sequence<'_> {
    /// Notes the masks of `region` as the positions that need a token, and what is known.
    pub(super) fn want_masks(&mut self, region: Range<usize>) {
        self.positions.clear();
        self.positions.extend(self.canvas.masks(region));
        (self.carries_on, self.leads) = (false, false);
        if self.drawer.has_penalty() {
            let (ids, mask) = (self.canvas.ids(), self.canvas.mask());
            self.drawer.seen.clear();
            self.drawer.seen.extend(ids.iter().copied().filter(|&id| id != mask));
            self.drawer.seen.sort_unstable();
            self.drawer.seen.dedup();
        }
    }

    /// Goes on with what was drawn for each of [`Self::wanted`] from the pass that was asked for.
    ///
    /// # Errors
    /// What the rules of the request say.
    pub(in crate::engine) fn take(&mut self, cache: &mut KvPool, drawn: &[Drawn]) -> Result<()> {
        let Ask { kind, rows, .. } = self.ask.take().expect("a pass was asked for");
        self.nfe += 1;
        self.carried = if self.carries_on { Some(drawn[drawn.len() - 1].token) } else { self.carried };
        match kind {
            PassKind::Prefill => {
                self.prefill_passes += 1;
                self.commit_to(cache, rows.end);
            }
            PassKind::Commit => self.commit_to(cache, rows.end),
            PassKind::Denoise => {
                self.denoised(drawn)?;
                let first_step = !std::mem::replace(&mut self.active.staged, true);
                let bidirectional_prefix = self.policy.cache == CachePlan::Prefix && first_step;
                if self.block.is_some() || bidirectional_prefix {
                    self.commit_to(cache, self.active.range.start);
                }
            }
        }
        self.carries_on = false;
        Ok(())
    }

    /// One denoise step.
    fn denoised(&mut self, drawn: &[Drawn]) -> Result<()> {
        self.candidates.clear();
        let candidate =
            |(&pos, drawn): (&usize, &Drawn)| Candidate { pos, token: drawn.token, score: drawn.score };
        self.candidates.extend(self.positions.iter().zip(drawn).map(candidate));
        self.chosen.clear();
        if std::mem::take(&mut self.leads) {
            self.active.quota = self.active.quota.clone().skip();
            self.chosen.push(0);
        } else {
            let want = self.active.quota.next(self.positions.len());
            let mut step = Step {
                policy: &self.policy,
                candidates: &self.candidates,
                want,
                stream: self.drawer.rng().stream(self.drawer.step, self.canvas.len()),
            };
            self.rules.choose(&mut step, &mut self.chosen)?;
            let kept_back = want.count.min(self.candidates.len()) - self.chosen.len().min(want.count);
            self.active.quota.rejected(kept_back);
        }
        let tokens: Vec<Candidate> = self.chosen.iter().map(|&i| self.candidates[i]).collect();
        self.reveal(&tokens);
        Ok(())
    }

    /// Turns masks into tokens, which is news.
    pub(super) fn reveal(&mut self, tokens: &[Candidate]) {
        let (mask, prompt) = (self.canvas.mask(), self.canvas.prompt());
        // Only rules that do not ban can draw the mask id; the position stays masked then.
        for candidate in tokens.iter().filter(|c| c.token != mask) {
            self.canvas.reveal(candidate);
            if self.is_guided() && candidate.pos >= prompt {
                self.masked[candidate.pos] = candidate.token;
            }
        }
        self.revealed.clear();
        self.revealed.extend_from_slice(tokens);
        self.news = Some(News::Revealed);
    }
}
