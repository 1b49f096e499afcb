//! Blocks that are denoised ahead of the first one that holds masks ([`crate::sampler::Policy::blocks_ahead`]), and the expert budget
//! ([`crate::sampler::Policy::expert_budget`]), which applies to each of these blocks.
//!
//! A pass covers the active block and those ahead, each of which sees what is before it as it is then. The active block is denoised as
//! usual. Of a block ahead, what passes the threshold is revealed; if the block before it held no mask in the pass, its own steps have
//! begun, and it is denoised as the active one is. Nothing is revealed twice, so that what is final from the left stays final.

use super::{Block, Sequence};
use crate::cache::Blocks;
use crate::error::Result;
use crate::model::{Budget, Choice};
use crate::sampler::OPENS_AT;
use std::ops::Range;

impl Sequence<'_> {
    /// Positions that are denoised now: the region of the active block, or all of it and of those ahead.
    pub(super) fn in_work(&self) -> Range<usize> {
        let end = self.ahead.back().map_or(self.active.region.end, |block| block.range.end);
        self.active.region.start..end
    }

    /// Opens the blocks that may be worked on, and drops those that no text can reach.
    pub(super) fn look_ahead(&mut self, blocks: Blocks) {
        let last = self.text_stop();
        self.ahead.retain(|block| last.is_none_or(|stop| block.range.start <= stop));
        while self.ahead.len() < self.policy.blocks_ahead {
            let block = self.ahead.back().unwrap_or(&self.active);
            let (masks, left) = (block.masks, self.canvas.masks(block.range.clone()).count());
            let start = block.range.end;
            let revealed = (masks - left) as f64 >= OPENS_AT * masks as f64;
            if start >= self.canvas.len() || !revealed || last.is_some_and(|stop| stop < start) {
                return;
            }
            let block = self.block_at(start, blocks);
            self.ahead.push_back(block);
        }
    }

    /// The first generated stop id so far, whatever is masked before it: the text ends there.
    fn text_stop(&self) -> Option<usize> {
        self.canvas.text_stop(self.canvas.len(), &self.stop)
    }

    /// The block that comes next was already begun: it becomes the active one.
    pub(super) fn take_ahead(&mut self) -> bool {
        let Some(mut block) = self.ahead.pop_front() else { return false };
        let generated = block.range.start.max(self.canvas.prompt())..block.range.end;
        block.stop_revealed = self.canvas.ids()[generated].iter().any(|id| self.stop.contains(id));
        self.active = block;
        true
    }

    /// Chooses among the candidates of a pass, block by block.
    ///
    /// # Errors
    /// The errors of the request's rules.
    pub(super) fn choose_ahead(&mut self) -> Result<()> {
        // As the pass saw it.
        let mut complete = true;
        let (mut first, mut chosen) = (0, Vec::new());
        for i in 0..=self.ahead.len() {
            let end = self.block_in_work(i).range.end;
            let count = self.candidates[first..].iter().take_while(|candidate| candidate.pos < end).count();
            let own = first..first + count;
            first = own.end;
            if complete && count > 0 {
                self.choose_among(i, own)?;
                chosen.append(&mut self.chosen);
            } else {
                chosen.extend(own.filter(|&c| self.policy.unmask.passes(self.candidates[c].score)));
            }
            complete = count == 0;
        }
        self.chosen = chosen;
        Ok(())
    }

    /// The active block, or one of those ahead.
    pub(super) fn block_in_work(&mut self, i: usize) -> &mut Block {
        match i.checked_sub(1) {
            None => &mut self.active,
            Some(i) => &mut self.ahead[i],
        }
    }

    /// Notes which masks the pass left unsure.
    pub(super) fn note_unsure(&mut self) {
        let Some(sure) = self.policy.expert_budget else { return };
        self.unsure.clear();
        self.unsure.extend(self.candidates.iter().filter(|c| c.score < sure).map(|c| c.pos));
    }

    /// Says which experts the rows of the next denoising pass may choose.
    pub(super) fn set_budget(&mut self, rows: &Range<usize>, denoises: bool) {
        self.budget = None;
        let unsure = |pos: &usize| rows.contains(pos) && self.canvas.is_mask(*pos);
        if !denoises || !self.unsure.iter().any(unsure) {
            return;
        }
        let in_work = std::iter::once(&self.active).chain(&self.ahead).map(|block| &block.range);
        let inside = |block: &Range<usize>| block.start.max(rows.start)..block.end.min(rows.end);
        let inside = in_work.map(inside).filter(|block| !block.is_empty());
        let mut budget = Budget {
            blocks: inside.map(|block| block.start - rows.start..block.end - rows.start).collect(),
            unsure: vec![false; rows.len()],
        };
        self.unsure.iter().filter(|pos| unsure(pos)).for_each(|pos| budget.unsure[pos - rows.start] = true);
        self.budget = Some(budget);
    }

    /// Who chooses the experts of the requested pass.
    pub(super) fn choice(&self) -> Choice<'_> {
        self.budget.as_ref().map_or(Choice::Router, Choice::Budget)
    }
}
