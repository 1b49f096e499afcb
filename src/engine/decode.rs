//! The decoding loop of every policy: for each block { denoise steps; commit }, then stop.
//!
//! Block-causal models keep finished blocks in the cache. A pass over a block begins at the first position that is not
//! committed, so a finished block that still waits for its commit rides along with the first step of the next (merged
//! commit); policies that do not merge commit every block in a pass of its own. Bidirectional models see the whole canvas;
//! their prefix and dual caches are filled by the first step of every block.

use super::event::{Control, Event, PassKind};
use super::generation::{Generation, Request, StopReason, Timings};
use super::session::Session;
use crate::cache::{Attention, Visible};
use crate::error::{Error, Result};
use crate::exec;
use crate::model::{Alignment, Pass, Probe};
use crate::sampler::{CachePlan, Candidate, Canvas, Drawn, Policy, Quota, Rng, Want, from_stream};
use crate::tensor::TokenId;
use std::ops::Range;
use std::time::Instant;

/// Logits rows that are held at a time. A vocabulary of 150 000 makes that 40 MB.
const LOGIT_ROWS: usize = 64;
/// Prompt positions in one prefill pass, rounded down to whole blocks.
const PREFILL_ROWS: usize = 512;

/// A generation in progress.
pub(super) struct Decoder<'s, 'e, 'r> {
    session: &'s mut Session<'e>,
    request: &'r Request<'r>,
    policy: &'r Policy,
    on_event: &'r mut dyn FnMut(Event<'_>) -> Control,
    canvas: Canvas,
    rng: Rng,
    /// How many of the recorded uniform numbers were used.
    replayed: usize,
    nfe: usize,
    /// Denoise passes made. Random numbers hang on this count, because what was in the cache already and how blocks are committed
    /// change the number of all passes but must not change the text.
    steps: usize,
    prefill_passes: usize,
    cancelled: bool,
    carried: Option<TokenId>,
}

impl<'s, 'e, 'r> Decoder<'s, 'e, 'r> {
    /// Checks the request against the model.
    pub(super) fn new(
        session: &'s mut Session<'e>,
        request: &'r Request<'r>,
        on_event: &'r mut dyn FnMut(Event<'_>) -> Control,
    ) -> Result<Self> {
        let engine = session.engine;
        let (arch, policy, mask) = (engine.arch(), request.policy, engine.mask()?);
        policy.validate()?;
        if let Some(&id) =
            request.prompt.iter().chain(request.stop).find(|&&id| id as usize >= arch.dims.vocab)
        {
            return Err(Error::TokenId { id: i64::from(id), vocab: arch.dims.vocab });
        }
        let wanted = request.prompt.len().saturating_add(request.max_new);
        let len = match super::plan::block_of(arch, policy)? {
            Some(block) => wanted.div_ceil(block).saturating_mul(block),
            None => wanted,
        };
        if len > engine.context {
            let what = "positions of prompt and new tokens, in whole blocks (option `context`)";
            return Err(Error::Capacity { what, limit: engine.context, asked: len });
        }
        let canvas = Canvas::new(request.prompt, len, mask);
        super::plan::check(arch, request, &canvas)?;
        let rng = Rng::new(request.seed);
        Ok(Self {
            session,
            request,
            policy,
            on_event,
            canvas,
            rng,
            replayed: 0,
            nfe: 0,
            steps: 0,
            prefill_passes: 0,
            cancelled: false,
            carried: None,
        })
    }

    pub(super) fn run(mut self) -> Result<Generation> {
        let start = Instant::now();
        let (arch, len) = (self.session.engine.arch(), self.canvas.len());
        let open = self.canvas.first_mask(0..len);
        let filled = super::plan::masked_runs(&self.canvas);
        let mut timings = Timings::default();
        if let Some(block) = super::plan::block_of(arch, self.policy)? {
            let first = open / block * block;
            self.prefill(first, block)?;
            timings.prefill = start.elapsed();
            if !self.cancelled {
                self.block_causal(first, block)?;
            }
        } else {
            self.session.reuse(&[], Attention::Bidirectional, self.request.padding, 0);
            self.bidirectional(open)?;
        }
        timings.decode = start.elapsed() - timings.prefill;
        Ok(self.finish(filled, timings))
    }

    /// Computes the keys and values of the known blocks before position `until`, except those that are still in the cache.
    fn prefill(&mut self, until: usize, block: usize) -> Result<()> {
        let (rule, padding) = (Attention::BlockCausal { block }, self.request.padding);
        // A carried token needs the last row of the prompt, so that row has to be computed.
        let carries = self.carries() && until > 0 && until < self.canvas.len() && self.canvas.is_mask(until);
        let reusable = if carries { until - 1 } else { until };
        self.session.reuse(self.request.prompt, rule, padding, reusable);
        let piece = (PREFILL_ROWS / block).max(1) * block;
        let mut at = self.session.cache.committed();
        while at < until && !self.cancelled {
            let rows = at..(at + piece).min(until);
            let visible = Visible::by_rule(rule, rows.clone(), padding, rows.end);
            self.pass(PassKind::Prefill, rows.clone(), &visible)?;
            self.prefill_passes += 1;
            if carries && rows.end == until {
                self.carry(&rows, &visible)?;
            }
            self.commit_to(rows.end);
            at = rows.end;
        }
        Ok(())
    }

    fn block_causal(&mut self, first: usize, block: usize) -> Result<()> {
        let len = self.canvas.len();
        let (prompt, replay) = (self.canvas.prompt(), self.request.replay.is_some());
        let blocks = (len - first) / block;
        for start in (first..len).step_by(block) {
            let range = start..start + block;
            if let Some(token) = self.carried.take().filter(|_| self.canvas.is_mask(start)) {
                self.reveal(&[Candidate { pos: start, token, score: 1.0 }]);
                if self.cancelled || self.stop_in(prompt..start + 1) {
                    return Ok(());
                }
            }
            let stopped_inside = self.denoise_block(&range, blocks)?;
            if self.cancelled || stopped_inside {
                return Ok(());
            }
            self.cancelled |=
                (self.on_event)(Event::Block { range: &range, canvas: &self.canvas }) == Control::Stop;
            let stopped = !replay && self.stop_in(prompt..range.end);
            let last = range.end == len;
            if replay || !(stopped || last || self.merges()) {
                self.commit_block(&range)?;
            }
            if stopped || self.cancelled || (replay && self.stop_in(prompt..range.end)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Denoises one of the `blocks` blocks of a block-causal model. Returns whether the text ends inside it.
    fn denoise_block(&mut self, range: &Range<usize>, blocks: usize) -> Result<bool> {
        let rule = Attention::BlockCausal { block: range.len() };
        let schedule = self.policy.schedule;
        let sub_block = schedule.sub_block.unwrap_or(range.len()).min(range.len());
        let known = self.canvas.first_mask(range.clone());
        let mut whole_block_staged = false;
        for start in range.clone().step_by(sub_block) {
            let sub = start..(start + sub_block).min(range.end);
            let masks = self.canvas.masks(sub.clone()).count();
            let steps = schedule.steps.for_block(sub.len(), blocks * range.len().div_ceil(sub_block));
            let mut quota = Quota::new(schedule.pace, steps, masks, sub.len());
            while self.canvas.first_mask(sub.clone()) < sub.end {
                if self.policy.stop_inside_block && self.stops_inside(known..range.end) {
                    return Ok(true);
                }
                let only_sub = self.policy.cache == CachePlan::SubBlock
                    && whole_block_staged
                    && !self.canvas.is_mask(start);
                let rows = if only_sub { sub.clone() } else { self.session.cache.committed()..range.end };
                let visible = if only_sub {
                    Visible::all(rows.clone(), self.request.padding..range.end)
                } else {
                    Visible::by_rule(rule, rows.clone(), self.request.padding, range.end)
                };
                self.step(rows, &visible, &sub, &mut quota)?;
                whole_block_staged |= !only_sub;
                self.commit_to(range.start);
                if self.cancelled {
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Stores the keys and values of a finished block, and of whatever waits before it.
    fn commit_block(&mut self, range: &Range<usize>) -> Result<()> {
        let rows = self.session.cache.committed()..range.end;
        let rule = Attention::BlockCausal { block: range.len() };
        let visible = Visible::by_rule(rule, rows.clone(), self.request.padding, range.end);
        self.pass(PassKind::Commit, rows.clone(), &visible)?;
        if self.carries() {
            self.carry(&rows, &visible)?;
        }
        self.commit_to(range.end);
        Ok(())
    }

    fn bidirectional(&mut self, open: usize) -> Result<()> {
        let (len, schedule) = (self.canvas.len(), self.policy.schedule);
        let block = schedule.block.unwrap_or(len - open).max(1);
        let blocks = (len - open).div_ceil(block);
        for start in (open..len).step_by(block) {
            let range = start..(start + block).min(len);
            self.session.rewind(0);
            let masks = self.canvas.masks(range.clone()).count();
            let quota =
                Quota::new(schedule.pace, schedule.steps.for_block(range.len(), blocks), masks, range.len());
            self.denoise_range(&range, quota)?;
            if self.cancelled {
                break;
            }
            self.cancelled |=
                (self.on_event)(Event::Block { range: &range, canvas: &self.canvas }) == Control::Stop;
            if self.cancelled || self.stop_in(self.canvas.prompt()..range.end) {
                break;
            }
        }
        self.session.rewind(0);
        Ok(())
    }

    /// Denoises a block of a bidirectional model.
    fn denoise_range(&mut self, range: &Range<usize>, mut quota: Quota) -> Result<()> {
        let (len, padding) = (self.canvas.len(), self.request.padding);
        let every_step = self.request.replay.is_some_and(|replay| replay.every_step);
        let cached = self.policy.cache != CachePlan::None;
        let shifted = self.session.engine.arch().alignment == Alignment::Shifted;
        let mut first_step = true;
        loop {
            let done = self.canvas.first_mask(range.clone()) == range.end;
            if self.cancelled || if every_step { quota.is_over() } else { done } {
                return Ok(());
            }
            let rows = match self.policy.cache {
                CachePlan::Prefix if !first_step => range.start..len,
                CachePlan::Dual if !first_step => range.clone(),
                _ => 0..len,
            };
            let visible = Visible::all(rows.clone(), padding..len);
            if first_step && cached && shifted && self.canvas.is_mask(range.start) {
                // The row that predicts the block's first position stands before the block: only this pass computes it.
                self.lead(rows, &visible, range.start)?;
                quota = quota.skip();
            } else {
                self.step(rows, &visible, range, &mut quota)?;
            }
            if first_step && self.policy.cache == CachePlan::Prefix {
                self.commit_to(range.start);
            }
            first_step = false;
        }
    }

    /// A full pass that reveals nothing but the first position of a block.
    fn lead(&mut self, rows: Range<usize>, visible: &Visible, pos: usize) -> Result<()> {
        self.pass(PassKind::Denoise, rows.clone(), visible)?;
        let candidates = self.candidates(&rows, visible, &[pos])?;
        self.reveal(&candidates);
        Ok(())
    }

    /// One denoise step: a pass over `rows`, candidates for the masks of `region`, and what the policy reveals of them.
    fn step(
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
        self.reveal(&tokens);
        Ok(())
    }

    /// Indices of the candidates to reveal.
    fn choose(&mut self, candidates: &[Candidate], want: Want) -> Result<Vec<usize>> {
        let mut chosen = Vec::new();
        let Some(replay) = self.request.replay else {
            if want.last {
                return Ok((0..candidates.len()).collect());
            }
            let mut uniform = from_stream(self.rng.stream(self.steps, self.canvas.len()));
            self.policy.unmask.choose(candidates, want, &mut uniform, &mut chosen);
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
    fn pass(&mut self, kind: PassKind, rows: Range<usize>, visible: &Visible) -> Result<()> {
        let (index, cached) = (self.nfe, self.cached_before(&rows));
        self.cancelled |=
            (self.on_event)(Event::Pass { kind, index, rows: &rows, cached, canvas: &self.canvas })
                == Control::Stop;
        let Session { engine, cache, scratch, .. } = &mut *self.session;
        let (ctx, ids) = (engine.context_of(), &self.canvas.ids()[rows.clone()]);
        let [conditional, unconditional] = scratch;
        if self.policy.guidance > 0.0 {
            let prompt = self.canvas.prompt().saturating_sub(rows.start).min(ids.len());
            let mut ids = ids.to_vec();
            ids[..prompt].fill(self.canvas.mask());
            let pass = Pass { ids: &ids, first: rows.start, visible };
            engine.model.forward(&ctx, unconditional, &engine.rope, cache, &pass, &mut Probe::none())?;
        }
        let pass = Pass { ids, first: rows.start, visible };
        engine.model.forward(&ctx, conditional, &engine.rope, cache, &pass, &mut Probe::none())?;
        self.nfe += 1;
        self.steps += usize::from(kind == PassKind::Denoise);
        Ok(())
    }

    /// Positions whose keys and values a pass over `rows` takes from the cache.
    fn cached_before(&self, rows: &Range<usize>) -> usize {
        match self.policy.cache {
            CachePlan::Dual if rows.len() < self.canvas.len() => self.canvas.len(),
            _ => self.session.cache.committed(),
        }
    }

    /// Draws a token for each of `positions` from the logits of the latest pass, which was over `rows`.
    fn candidates(
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
            ctx.kernels.guide(
                ctx.exec,
                crate::tensor::RowsMut::new(x, vocab),
                crate::tensor::Rows::new(y, vocab),
                scale,
            );
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

    fn reveal(&mut self, tokens: &[Candidate]) {
        // Only a replay can draw the mask id; the position then stays masked, as it does in the reference code.
        let mask = self.canvas.mask();
        tokens.iter().filter(|c| c.token != mask).for_each(|c| self.canvas.reveal(c));
        self.cancelled |= (self.on_event)(Event::Revealed { tokens, canvas: &self.canvas }) == Control::Stop;
    }

    /// Whether the commit of a block predicts the first token of the next one.
    fn carries(&self) -> bool {
        self.session.engine.arch().alignment == Alignment::Shifted
    }

    /// Whether a finished block waits for the next pass instead of having a commit pass of its own.
    fn merges(&self) -> bool {
        self.policy.merge_commit && !self.carries()
    }

    /// Takes the most probable token of the last row of the latest pass for the position after it.
    fn carry(&mut self, rows: &Range<usize>, visible: &Visible) -> Result<()> {
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

    /// Declares everything before `until` final.
    fn commit_to(&mut self, until: usize) {
        let committed = self.session.cache.committed();
        if until > committed {
            self.session.cache.commit(until - committed);
            self.session.committed.extend_from_slice(&self.canvas.ids()[committed..until]);
        }
    }

    /// Whether a stop id stands in the range with no mask before it.
    fn stop_in(&self, range: Range<usize>) -> bool {
        self.canvas.settled_stop(range, self.request.stop).is_some()
    }

    /// As [`Self::stop_in`], for generated ids only: a stop id of the prompt ends nothing.
    fn stops_inside(&self, range: Range<usize>) -> bool {
        let generated = self.canvas.prompt().max(range.start);
        self.canvas.first_mask(range.start..generated) == generated && self.stop_in(generated..range.end)
    }

    fn finish(self, filled: Vec<Range<usize>>, timings: Timings) -> Generation {
        let (prompt, wanted) = (self.canvas.prompt(), self.canvas.prompt() + self.request.max_new);
        // Whole blocks are generated; what was not asked for is cut off.
        let end =
            if self.request.replay.is_some() { self.canvas.len() } else { wanted.min(self.canvas.len()) };
        let settled = self.canvas.first_mask(prompt..end);
        let stop = self.canvas.settled_stop(prompt..settled, self.request.stop);
        let reason = match stop {
            Some(pos) => StopReason::Stop(self.canvas.ids()[pos]),
            None if self.cancelled => StopReason::Cancelled,
            None => StopReason::Length,
        };
        let filled =
            filled.into_iter().filter(|run| self.canvas.first_mask(run.clone()) == run.end).collect();
        Generation {
            tokens: self.canvas.ids()[prompt..stop.unwrap_or(settled)].to_vec(),
            canvas: self.canvas.ids().to_vec(),
            filled,
            carried: self.carried,
            nfe: self.nfe,
            prefill_passes: self.prefill_passes,
            stop: reason,
            cache: self.policy.cache,
            timings,
        }
    }
}
