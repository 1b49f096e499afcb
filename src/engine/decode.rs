//! The decoding loop of every policy: for each block { denoise steps; commit }, then stop.
//!
//! Block-causal models keep finished blocks in the cache. A pass over a block begins at the first position that is not
//! committed, so a finished block that still waits for its commit rides along with the first step of the next (merged
//! commit); policies that do not merge commit every block in a pass of its own. Bidirectional models see the whole canvas;
//! their prefix and dual caches are filled by the first step of every block.

mod step;

pub(super) use step::LOGIT_ROWS;

use super::event::{Control, Event, PassKind};
use super::generation::{Generation, Request, StopReason, Timings};
use super::session::Session;
use crate::cache::{Attention, Visible};
use crate::error::{Error, Result};
use crate::model::Alignment;
use crate::sampler::{CachePlan, Candidate, Canvas, Policy, Quota, Rng};
use crate::tensor::TokenId;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Prompt positions in one prefill pass, rounded down to whole blocks.
const PREFILL_ROWS: usize = 512;

/// Who is told of events, and how long that took: a caller that draws or waits does not make the engine slower than it is.
struct Listener<'r> {
    on_event: &'r mut dyn FnMut(Event<'_>) -> Control,
    time: Duration,
}

impl Listener<'_> {
    /// Tells of an event; returns whether the generation is to end.
    fn stops(&mut self, event: Event<'_>) -> bool {
        let start = Instant::now();
        let control = (self.on_event)(event);
        self.time += start.elapsed();
        control == Control::Stop
    }
}

/// A generation in progress.
pub(super) struct Decoder<'s, 'e, 'r> {
    session: &'s mut Session<'e>,
    request: &'r Request<'r>,
    policy: &'r Policy,
    listener: Listener<'r>,
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
        let engine = session.engine.clone();
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
            listener: Listener { on_event, time: Duration::ZERO },
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
        let spent = |listener: &Listener<'_>| start.elapsed().saturating_sub(listener.time);
        let len = self.canvas.len();
        let open = self.canvas.first_mask(0..len);
        let filled = super::plan::masked_runs(&self.canvas);
        let mut timings = Timings::default();
        if let Some(block) = super::plan::block_of(self.session.engine.arch(), self.policy)? {
            let first = open / block * block;
            self.prefill(first, block)?;
            timings.prefill = spent(&self.listener);
            if !self.cancelled {
                self.block_causal(first, block)?;
            }
        } else {
            self.session.reuse(&[], Attention::Bidirectional, self.request.padding, 0);
            self.bidirectional(open)?;
        }
        timings.decode = spent(&self.listener) - timings.prefill;
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
        let mut at = self.session.committed();
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
                self.reveal(&[Candidate { pos: start, token, score: 1.0 }], &[]);
                if self.cancelled || self.stop_in(prompt..start + 1) {
                    return Ok(());
                }
            }
            let stopped_inside = self.denoise_block(&range, blocks)?;
            if self.cancelled || stopped_inside {
                return Ok(());
            }
            self.cancelled |= self.listener.stops(Event::Block { range: &range, canvas: &self.canvas });
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
                let rows = if only_sub { sub.clone() } else { self.session.committed()..range.end };
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
        let rows = self.session.committed()..range.end;
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
        // No larger than what there is: the end of a block is computed from its start.
        let block = schedule.block.unwrap_or(usize::MAX).clamp(1, (len - open).max(1));
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
            self.cancelled |= self.listener.stops(Event::Block { range: &range, canvas: &self.canvas });
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
        self.reveal(&candidates, &candidates);
        Ok(())
    }

    /// Declares everything before `until` final.
    fn commit_to(&mut self, until: usize) {
        let committed = self.session.committed();
        if until > committed {
            self.session.cache.commit(self.session.slot, until - committed);
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
