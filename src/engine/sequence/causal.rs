//! The loop of block-causal models: prefill; for each block { denoise steps; commit }.

use super::{Block, News, Sequence, Stage};
use crate::cache::{Blocks, KvPool};
use crate::engine::event::PassKind;
use crate::engine::plan::Lead;
use crate::engine::rules::BlockEnd;
use crate::model::CommitRule;
use crate::sampler::{CachePlan, Candidate, Commit, EarlyStop, Quota};
use std::ops::Range;

impl Sequence<'_> {
    /// One step of the loop, up to the next pass or event.
    pub(super) fn advance_causal(&mut self, cache: &mut KvPool) {
        let blocks = self.blocks.expect("the model is block-causal");
        match self.stage {
            Stage::Prefill => self.prefill(cache, blocks),
            Stage::Begin(start) => self.begin(start),
            Stage::Carried(start) => {
                let stopped = self.stop_in(self.canvas.prompt()..start + 1);
                if self.cancelled || stopped {
                    self.stage = Stage::Done;
                } else {
                    self.enter(start, blocks);
                }
            }
            Stage::Denoise => self.denoise(cache, blocks),
            Stage::Finished => self.store(cache),
            Stage::Stored => {
                let end = self.active.range.end;
                let over = self.cancelled || self.stop_in(self.canvas.prompt()..end);
                self.stage = if over { Stage::Done } else { Stage::Begin(end) };
            }
            Stage::Done => {}
        }
    }

    /// Requests the next piece of the prompt, except what is in the cache.
    fn prefill(&mut self, cache: &KvPool, blocks: Blocks) {
        let (at, until) = (cache.committed(self.slot()), self.open);
        if self.cancelled || at >= until {
            self.stage = if self.cancelled { Stage::Done } else { Stage::Begin(until) };
            return;
        }
        // Pieces end where blocks end, even if the first one begins inside a block that others have computed in part.
        let end = match self.policy.commit {
            Commit::Full => until,
            _ => blocks.end(at, (self.prefill_rows / blocks.len).max(1)).min(until),
        };
        let rows = at..end;
        self.see_finally(rows.clone());
        self.positions.clear();
        // The last row of the prompt predicts the first token after it.
        self.carries_on =
            self.carries() && rows.end == until && until < self.canvas.len() && self.canvas.is_mask(until);
        self.ask(PassKind::Prefill, rows);
    }

    fn begin(&mut self, start: usize) {
        if start >= self.canvas.len() {
            self.stage = Stage::Done;
            return;
        }
        self.stage = Stage::Carried(start);
        let carried = self.carried.take().filter(|_| self.canvas.is_mask(start));
        let carried = carried.map(|drawn| Candidate { pos: start, token: drawn.token, score: drawn.score });
        self.competing = carried.filter(|_| self.lead == Lead::Competing);
        match carried {
            Some(carried) if self.competing.is_none() => {
                self.candidates.clear();
                self.edits.clear();
                self.reveal(&[carried]);
            }
            _ => self.enter(start, self.blocks.expect("the model is block-causal")),
        }
    }

    /// Makes the block at `start` the active one.
    fn enter(&mut self, start: usize, blocks: Blocks) {
        self.stage = Stage::Denoise;
        if !self.take_ahead() {
            self.active = self.block_at(start, blocks);
            self.unsure.clear();
        }
    }

    /// A newly begun block at `start`.
    pub(super) fn block_at(&self, start: usize, blocks: Blocks) -> Block {
        // What a verified draft leaves may continue inside a block.
        let blocks = match self.policy.commit {
            // A draft begins with what the pass before it predicts; without one, that token is made alone.
            Commit::Verified if self.canvas.is_mask(start) => Blocks::CAUSAL,
            Commit::Verified => Blocks::from(start, blocks.len),
            _ => blocks,
        };
        let range = start..blocks.end(start, 1).min(self.canvas.len());
        let sub_block = self.policy.schedule.sub_block.unwrap_or(blocks.len).min(blocks.len);
        let region = start..(start + sub_block).min(range.end);
        let quota = self.quota(&region, blocks.len);
        Block::new(range, region, quota, &self.canvas)
    }

    /// The schedule of a sub-block.
    fn quota(&self, region: &Range<usize>, block: usize) -> Quota {
        let schedule = self.policy.schedule;
        let sub_block = schedule.sub_block.unwrap_or(block).min(block);
        let blocks = (self.canvas.len() - self.open).div_ceil(block) * block.div_ceil(sub_block);
        let masks = self.canvas.masks(region.clone()).count();
        Quota::new(schedule.pace, schedule.steps_for(region.len(), blocks), masks, region.len())
    }

    fn denoise(&mut self, cache: &KvPool, blocks: Blocks) {
        let (range, region) = (self.active.range.clone(), self.active.region.clone());
        if self.cancelled || self.is_complete() {
            self.draft.clear();
            self.stage = Stage::Done;
            return;
        }
        if self.place_forced() {
            return;
        }
        if !self.draft.is_empty() {
            return self.verify(range);
        }
        if self.canvas.first_mask(region.clone()) == region.end && !self.reconsiders() {
            if region.end == range.end {
                self.canvas.fix(self.canvas.fixed().max(range.end));
                self.stage = Stage::Finished;
                self.news = Some(News::Block);
            } else {
                let next = region.end..(region.end + region.len()).min(range.end);
                self.active.quota = self.quota(&next, blocks.len);
                self.active.region = next;
            }
            return;
        }
        let may_stop = match self.policy.early_stop {
            EarlyStop::Never => false,
            EarlyStop::Settled => true,
            EarlyStop::Revealed => self.active.stop_revealed,
        };
        if may_stop && self.stops_inside(self.active.first_mask..range.end) {
            self.stage = Stage::Finished;
            return;
        }
        let only_region = self.policy.cache == CachePlan::SubBlock
            && self.active.staged
            && !self.canvas.is_mask(region.start);
        self.look_ahead(blocks);
        let end = self.in_work().end.max(range.end);
        let rows = if only_region { region.clone() } else { cache.committed(self.slot())..end };
        if only_region {
            self.visible.set_all(rows.clone(), self.padding..range.end);
        } else {
            self.visible.set_by_blocks(blocks, rows.clone(), self.padding, rows.end);
        }
        self.active.staged |= !only_region;
        self.want_tokens(self.in_work());
        self.ask(PassKind::Denoise, rows);
    }

    /// Requests the pass over a draft that stores what it predicts itself.
    fn verify(&mut self, range: Range<usize>) {
        self.positions.clear();
        self.positions.extend(range.start + 1..range.end + 1);
        self.carries_on = false;
        self.see_finally(range.clone());
        self.ask(PassKind::Commit, range);
    }

    /// Whether a block without masks gets another pass, because its tokens may change. Counts these passes.
    fn reconsiders(&mut self) -> bool {
        let Some(editing) = self.policy.editing else { return false };
        let given = |pos| self.canvas.is_given(pos);
        if self.active.quiet || self.active.range.clone().all(given) {
            return false;
        }
        self.active.reconsidered += 1;
        self.active.reconsidered <= editing.passes
    }

    /// Requests a pass that stores the finished block, and whatever waits before it, if one is needed.
    fn store(&mut self, cache: &mut KvPool) {
        let range = self.active.range.clone();
        let end = BlockEnd {
            stopped: self.stop_in(self.canvas.prompt()..range.end),
            last: range.end == self.canvas.len(),
            merges: self.policy.merge_commit && !self.carries() && self.commit == CommitRule::AsDenoised,
        };
        self.stage = Stage::Stored;
        if cache.committed(self.slot()) >= range.end {
            return;
        }
        if self.active.quiet && self.commit == CommitRule::AsDenoised {
            return self.commit_to(cache, range.end);
        }
        if !self.rules.commits(end) {
            return;
        }
        let rows = cache.committed(self.slot())..range.end;
        self.see_finally(rows.clone());
        self.positions.clear();
        self.carries_on = self.carries();
        self.ask(PassKind::Commit, rows);
    }

    /// Sets what rows see in the passes whose keys and values stay.
    fn see_finally(&mut self, rows: Range<usize>) {
        let blocks = match (self.policy.commit, self.commit) {
            (Commit::Full, _) => {
                // Only padding sees padding.
                let first = if self.padding < rows.end { self.padding } else { rows.start };
                return self.visible.set_all(rows.clone(), first..rows.end);
            }
            (_, CommitRule::Causal) => Blocks::CAUSAL,
            (_, CommitRule::AsDenoised) => self.blocks.expect("the model is block-causal"),
        };
        self.visible.set_by_blocks(blocks, rows.clone(), self.padding, rows.end);
    }

    /// Whether the commit of a block predicts the first token of the next one.
    fn carries(&self) -> bool {
        self.lead != Lead::None
    }
}
