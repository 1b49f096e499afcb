//! One step of the decoding loop: a forward pass, candidates from its logits, and what the policy reveals of them.

use super::Decoder;
use crate::cache::Visible;
use crate::engine::event::{Event, PassKind};
use crate::engine::session::Session;
use crate::error::{Error, Result};
use crate::exec;
use crate::model::{Alignment, Probe, Segment};
use crate::sampler::{CachePlan, Candidate, Drawn, Quota, Want, from_stream};
use crate::tensor::{Rows, RowsMut, TokenId};
use std::ops::Range;

/// Logits rows that are held at a time. A vocabulary of 150 000 makes that 40 MB.
pub(in crate::engine) const LOGIT_ROWS: usize = 64;

impl Decoder<'_, '_, '_> {
    /// One denoise step: a pass over `rows`, candidates for the masks of `region`, and what the policy reveals of them.
    pub(super) fn step(
        &mut self,
        rows: Range<usize>,
        visible: &Visible,
        region: &Range<usize>,
        quota: &mut Quota,
    ) -> Result<()> {
        let positions: Vec<usize> = self.canvas.masks(region.clone()).collect();
        self.pass(PassKind::Denoise, rows.clone(), visible)?;
        let candidates = self.candidates(&rows, visible, &positions)?;
        let want = quota.next(positions.len());
        let chosen = self.choose(&candidates, want)?;
        let tokens: Vec<Candidate> = chosen.iter().map(|&i| candidates[i]).collect();
        quota.rejected(want.count.min(candidates.len()) - chosen.len().min(want.count));
        self.reveal(&tokens, &candidates);
        Ok(())
    }

    /// Indices of the candidates to reveal.
    fn choose(&mut self, candidates: &[Candidate], want: Want) -> Result<Vec<usize>> {
        let mut chosen = Vec::new();
        let Some(replay) = self.request.replay else {
            if want.last {
                return Ok((0..candidates.len()).collect());
            }
            if let Some(rule) = self.request.choose {
                rule(candidates, want, &mut chosen);
                check_choice(&chosen, candidates.len())?;
            } else {
                let mut uniform = from_stream(self.rng.stream(self.steps, self.canvas.len()));
                self.policy.unmask.choose(candidates, want, &mut uniform, &mut chosen);
            }
            if chosen.is_empty() {
                // Every step makes progress, whatever the rule says.
                let surest = (0..candidates.len())
                    .rev()
                    .max_by(|&a, &b| candidates[a].score.total_cmp(&candidates[b].score));
                chosen.extend(surest);
            }
            return Ok(chosen);
        };
        let recorded = replay.uniforms.unwrap_or(&[]);
        let replayed = &mut self.replayed;
        let mut uniform = || {
            *replayed += 1;
            recorded.get(*replayed - 1).map_or(f64::NAN, |&u| f64::from(u))
        };
        self.policy.unmask.choose(candidates, want, &mut uniform, &mut chosen);
        if self.nfe > 16 * self.canvas.len() + 1024 {
            return Err(Error::unsupported("a recorded loop that makes no progress"));
        }
        Ok(chosen)
    }

    /// Runs the model over the canvas positions `rows`. Counts as one pass, also with guidance.
    pub(super) fn pass(&mut self, kind: PassKind, rows: Range<usize>, visible: &Visible) -> Result<()> {
        let (index, cached) = (self.nfe, self.cached_before(&rows));
        self.cancelled |=
            self.listener.stops(Event::Pass { kind, index, rows: &rows, cached, canvas: &self.canvas });
        let Session { engine, cache, slot, scratch, .. } = &mut *self.session;
        let (ctx, ids) = (engine.context_of(), &self.canvas.ids()[rows.clone()]);
        let [conditional, unconditional] = scratch;
        if self.policy.guidance > 0.0 {
            let prompt = self.canvas.prompt().saturating_sub(rows.start).min(ids.len());
            let mut ids = ids.to_vec();
            ids[..prompt].fill(self.canvas.mask());
            let batch = [Segment { slot: *slot, first: rows.start, ids: &ids, visible }];
            engine.model.forward(&ctx, unconditional, &engine.rope, cache, &batch, &mut Probe::none())?;
        }
        let batch = [Segment { slot: *slot, first: rows.start, ids, visible }];
        engine.model.forward(&ctx, conditional, &engine.rope, cache, &batch, &mut Probe::none())?;
        self.nfe += 1;
        self.steps += usize::from(kind == PassKind::Denoise);
        Ok(())
    }

    /// Positions whose keys and values a pass over `rows` takes from the cache.
    fn cached_before(&self, rows: &Range<usize>) -> usize {
        match self.policy.cache {
            CachePlan::Dual if rows.len() < self.canvas.len() => self.canvas.len(),
            _ => self.session.committed(),
        }
    }

    /// Draws a token for each of `positions` from the logits of the latest pass, which was over `rows`.
    pub(super) fn candidates(
        &mut self,
        rows: &Range<usize>,
        visible: &Visible,
        positions: &[usize],
    ) -> Result<Vec<Candidate>> {
        let shift = usize::from(self.session.engine.arch().alignment == Alignment::Shifted);
        let seen = self.seen();
        let mut candidates = Vec::with_capacity(positions.len());
        for positions in positions.chunks(LOGIT_ROWS) {
            let wanted: Vec<usize> =
                positions.iter().map(|pos| (pos - rows.start).saturating_sub(shift)).collect();
            let drawn = self.draw(&wanted, positions, &seen);
            for (&pos, drawn) in positions.iter().zip(drawn) {
                let Some(Drawn { token, score }) = drawn else {
                    return Err(self.session.locate_not_finite(self.canvas.ids(), rows.clone(), visible));
                };
                candidates.push(Candidate { pos, token, score });
            }
        }
        Ok(candidates)
    }

    /// Logits of the rows `wanted`, one draw each. `None` where the row is not finite.
    fn draw(&mut self, wanted: &[usize], positions: &[usize], seen: &[TokenId]) -> Vec<Option<Drawn>> {
        let Session { engine, scratch, buffers: [buffers, unconditional], .. } = &mut *self.session;
        let (ctx, model, vocab) = (engine.context_of(), &engine.model, engine.arch().dims.vocab);
        let hidden = model.hidden(&scratch[0]);
        model.logits(&ctx, hidden, wanted, buffers, &mut Probe::none());
        if self.policy.guidance > 0.0 {
            let hidden = model.hidden(&scratch[1]);
            model.logits(&ctx, hidden, wanted, unconditional, &mut Probe::none());
            let scale = self.policy.guidance + 1.0;
            let (x, y) = (&mut buffers.logits, &unconditional.logits);
            ctx.kernels.guide(ctx.exec, RowsMut::new(x, vocab), Rows::new(y, vocab), scale);
        }
        let replay = self.request.replay.is_some();
        let penalty = self.policy.draw.repetition_penalty;
        exec::split(ctx.exec, &mut buffers.logits, vocab, |_, row| {
            for &id in seen {
                let logit = &mut row[id as usize];
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
            if !replay {
                engine.ban(row);
            }
        });
        let (logits, policy, rng, step) = (&buffers.logits, self.policy, self.rng, self.steps);
        let mut drawn = vec![None; wanted.len()];
        exec::split(ctx.exec, &mut drawn, 1, |i, slot| {
            let row = &logits[i * vocab..][..vocab];
            slot[0] = policy.draw.draw(ctx.kernels, row, policy.score, &mut rng.stream(step, positions[i]));
        });
        drawn
    }

    /// Tokens that a repetition penalty applies to: everything known, once.
    fn seen(&self) -> Vec<TokenId> {
        if self.policy.draw.repetition_penalty == 1.0 {
            return Vec::new();
        }
        let mut seen: Vec<_> =
            self.canvas.ids().iter().copied().filter(|&id| id != self.canvas.mask()).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    pub(super) fn reveal(&mut self, tokens: &[Candidate], candidates: &[Candidate]) {
        // Only a replay can draw the mask id; the position then stays masked, as it does in the reference code.
        let mask = self.canvas.mask();
        tokens.iter().filter(|c| c.token != mask).for_each(|c| self.canvas.reveal(c));
        let event = Event::Revealed { tokens, candidates, canvas: &self.canvas };
        self.cancelled |= self.listener.stops(event);
    }

    /// Whether the commit of a block predicts the first token of the next one.
    pub(super) fn carries(&self) -> bool {
        self.session.engine.arch().alignment == Alignment::Shifted
    }

    /// Whether a finished block waits for the next pass instead of having a commit pass of its own.
    pub(super) fn merges(&self) -> bool {
        self.policy.merge_commit && !self.carries()
    }

    /// Takes the most probable token of the last row of the latest pass for the position after it.
    pub(super) fn carry(&mut self, rows: &Range<usize>, visible: &Visible) -> Result<()> {
        let drawn = self.draw(&[rows.len() - 1], &[rows.end], &[]);
        if drawn[0].is_none() {
            return Err(self.session.locate_not_finite(self.canvas.ids(), rows.clone(), visible));
        }
        // Greedy at any temperature: this is how the model was trained to go on.
        let vocab = self.session.engine.arch().dims.vocab;
        let row = &self.session.buffers[0].logits[..vocab];
        self.carried = Some(self.session.engine.kernels.scan(row).argmax as TokenId);
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
