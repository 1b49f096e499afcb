//! The loop of bidirectional models: for each block { denoise steps }, over the whole canvas or what its cache plan leaves.

use super::{Block, News, Sequence, Stage};
use crate::cache::KvPool;
use crate::engine::event::PassKind;
use crate::sampler::{CachePlan, Grid, Quota, Schedule};

/// Where the first block begins that holds a mask; the first mask is at `open`.
pub(super) fn first_block(schedule: &Schedule, open: usize) -> usize {
    match (schedule.grid, schedule.block) {
        (Grid::Cut, Some(block)) => open / block * block,
        (Grid::Cut, None) => 0,
        (Grid::Whole | Grid::Open, _) => open,
    }
}

impl Sequence<'_> {
    /// One step of the loop, up to the next pass or event.
    pub(super) fn advance_bidirectional(&mut self, cache: &mut KvPool) {
        match self.stage {
            Stage::Begin(start) if start < self.canvas.len() => self.begin_block(cache, start),
            Stage::Denoise => self.denoise_block(),
            Stage::Finished => {
                let end = self.active.range.end;
                let over = self.cancelled || self.stop_in(self.canvas.prompt()..end);
                self.stage = if over { Stage::Stored } else { Stage::Begin(end) };
            }
            // Nothing that a later generation could use is left.
            _ => {
                self.slots().for_each(|slot| cache.rewind(slot, 0));
                self.stage = Stage::Done;
            }
        }
    }

    fn begin_block(&mut self, cache: &mut KvPool, start: usize) {
        let (len, schedule) = (self.canvas.len(), self.policy.schedule);
        // No larger than what there is: the end of a block is computed from its start.
        let block = schedule.block.unwrap_or(usize::MAX).clamp(1, (len - self.open).max(1));
        let blocks = (len - self.open).div_ceil(block);
        let range = start..(start + block).min(len);
        self.slots().for_each(|slot| cache.rewind(slot, 0));
        let masks = self.canvas.masks(range.clone()).count();
        let steps = schedule.steps_for(range.len(), blocks);
        let quota = Quota::new(schedule.pace, steps, masks, range.len());
        self.active = Block::new(range.clone(), range, quota, &self.canvas);
        self.unsure.clear();
        self.stage = Stage::Denoise;
    }

    fn denoise_block(&mut self) {
        let Block { range, quota, staged, .. } = &self.active;
        let (range, first_step, len) = (range.clone(), !staged, self.canvas.len());
        let masks_left = self.canvas.first_mask(range.clone()) < range.end;
        let goes_on = if self.rules.every_step() { !quota.is_over() } else { masks_left };
        if self.cancelled || self.is_complete() {
            self.stage = Stage::Stored;
            return;
        }
        if self.place_forced() {
            return;
        }
        if !goes_on {
            self.stage = Stage::Finished;
            self.news = Some(News::Block);
            return;
        }
        let rows = match self.policy.cache {
            CachePlan::Prefix if !first_step => range.start..len,
            CachePlan::Dual if !first_step => range.clone(),
            _ => 0..len,
        };
        self.visible.set_all(rows.clone(), self.padding..len);
        let cached = self.policy.cache != CachePlan::None;
        if first_step && cached && self.shifted && self.canvas.is_mask(range.start) {
            // The row that predicts the first position of the block is before the block, and only this pass computes it. It
            // reveals nothing else, and counts as a step.
            self.positions.clear();
            self.positions.push(range.start);
            self.leads = true;
        } else {
            self.want_tokens(range);
        }
        self.ask(PassKind::Denoise, rows);
    }
}
