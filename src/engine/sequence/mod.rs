//! [`Sequence`]: the state of one generation, as a value that says which pass it needs next.
//!
//! ```text
//! next() -> Event | Pass | Done;   after Pass: a forward pass over segments(), a draw for each of wanted(), take(draws)
//! ```
//!
//! Every policy is one loop: for each block { denoise steps; commit }, then stop. Block-causal models keep finished blocks in the
//! cache (`causal.rs`). A pass over a block begins at the first position that is not committed, so a finished block that still
//! waits for its commit rides along with the first step of the next (merged commit); policies that do not merge commit every
//! block in a pass of its own. Bidirectional models see the whole canvas; their prefix and dual caches are filled by the first
//! step of every block (`bidirectional.rs`).

mod admission;
mod ahead;
mod bidirectional;
mod binding;
mod causal;
mod draw;
mod reveal;
mod stage;

pub(super) use draw::{Drawer, Picked, Wanted};

use self::admission::Admission;
use self::stage::{Ask, Block, News, Stage};
use super::Engine;
use super::event::{Alternatives, Event, PassKind};
use super::generation::{Generation, Request, StopReason, Timings};
use super::plan::Lead;
use super::rules::Rules;
use crate::cache::{Blocks, KvPool, SlotId, Visible};
use crate::error::Result;
use crate::model::{Alignment, Budget, CommitRule, Segment};
use crate::sampler::{CachePlan, Candidate, Canvas, Drawn, Edit, Policy, Quota};
use crate::tensor::TokenId;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// Prompt positions in one prefill pass, rounded down to whole blocks.
pub(super) const PREFILL_ROWS: usize = 512;

/// What a sequence needs.
pub(super) enum Next<'s> {
    /// Nothing: this happened. Ask again.
    Event(Event<'s>),
    /// A forward pass over [`Sequence::segments`], and [`Sequence::take`] with what was drawn from it.
    Pass,
    /// Nothing more: it is finished.
    Done,
}

/// A generation in progress.
pub(super) struct Sequence<'r> {
    slot: Option<SlotId>,
    /// Where the pass without a prompt keeps its keys and values, with guidance.
    unconditional: Option<SlotId>,
    policy: Policy,
    rules: &'r dyn Rules,
    stop: Vec<TokenId>,
    max_new: usize,
    padding: usize,
    /// Whether the row before a position predicts it.
    shifted: bool,
    commit: CommitRule,
    /// The blocks of a block-causal model.
    blocks: Option<Blocks>,
    final_blocks: Option<Blocks>,
    lead: Lead,
    reusable: usize,
    /// Where prefill ends and denoising begins.
    open: usize,
    prefill_rows: usize,
    canvas: Canvas,
    /// The canvas without its prompt, with guidance.
    masked: Vec<TokenId>,
    filled: Vec<Range<usize>>,
    stage: Stage,
    active: Block,
    /// Blocks that are denoised ahead of the active one, in order.
    ahead: VecDeque<Block>,
    /// Masks that the last pass was unsure of, with an expert budget, and what that means for the requested pass.
    unsure: Vec<usize>,
    budget: Option<Budget>,
    ask: Option<Ask>,
    visible: Visible,
    /// Positions that need a token from the pass.
    positions: Vec<usize>,
    /// Whether the last row of the pass predicts the position after it.
    carries_on: bool,
    /// Whether the pass reveals the first position of a block and nothing else.
    leads: bool,
    news: Option<News>,
    drawer: Drawer,
    candidates: Vec<Candidate>,
    alternatives: Alternatives,
    chosen: Vec<usize>,
    revealed: Vec<Candidate>,
    edits: Vec<Edit>,
    edited: usize,
    nfe: usize,
    prefill_passes: usize,
    /// Distinct experts that the passes but those over the prompt read, for each block with experts.
    experts: Vec<usize>,
    cancelled: bool,
    /// What the last pass that stored something predicts for the position after it.
    carried: Option<Drawn>,
    /// The same for the first position of the active block, if it is a candidate like others.
    competing: Option<Candidate>,
    /// Ids of the active block that wait to be verified; empty: none do.
    draft: Vec<TokenId>,
    timings: Timings,
}

impl<'r> Sequence<'r> {
    /// The beginning of a generation, which has no memory yet: [`Self::place`].
    ///
    /// # Errors
    /// As [`super::Session::generate`], before any work.
    pub(super) fn new(engine: &Engine, request: &Request<'_>, rules: &'r dyn Rules) -> Result<Self> {
        let Admission { mut canvas, blocks, final_blocks, lead, reusable } = Admission::new(engine, request)?;
        let first_mask = canvas.first_mask(0..canvas.len());
        let masked = if request.policy.guidance > 0.0 { without_prompt(&canvas) } else { Vec::new() };
        let (open, stage) = beginning(request.policy, blocks, first_mask);
        if request.policy.editing.is_some() {
            canvas.fix(open);
        }
        let nothing = Quota::new(request.policy.schedule.pace, 1, 0, 1);
        let active = Block::new(0..0, 0..0, nothing, &canvas);
        Ok(Self {
            slot: None,
            unconditional: None,
            policy: request.policy.clone(),
            rules,
            stop: request.stop.to_vec(),
            max_new: request.max_new,
            padding: request.padding,
            shifted: request.policy.right_shift || engine.arch().alignment == Alignment::Shifted,
            commit: engine.arch().commit,
            blocks,
            final_blocks,
            lead,
            reusable,
            open,
            prefill_rows: PREFILL_ROWS,
            filled: super::plan::masked_runs(&canvas),
            canvas,
            masked,
            stage,
            active,
            ahead: VecDeque::new(),
            unsure: Vec::new(),
            budget: None,
            ask: None,
            visible: Visible::default(),
            positions: Vec::new(),
            carries_on: false,
            leads: false,
            news: None,
            drawer: Drawer::new(request, rules.bans(), first_mask)?,
            candidates: Vec::new(),
            alternatives: Alternatives::new(),
            chosen: Vec::new(),
            revealed: Vec::new(),
            edits: Vec::new(),
            edited: 0,
            nfe: 0,
            prefill_passes: 0,
            experts: Vec::new(),
            cancelled: false,
            carried: None,
            competing: None,
            draft: Vec::new(),
            timings: Timings::default(),
        })
    }

    /// Gives the sequence its memory. What `slot` has committed are the keys and values of [`Self::known`] ids; `unconditional` is
    /// another slot, if [`Self::is_guided`].
    pub(super) fn place(&mut self, slot: SlotId, unconditional: Option<SlotId>) {
        assert_eq!(
            unconditional.is_some(),
            self.is_guided(),
            "guidance takes two slots, other sequences one"
        );
        (self.slot, self.unconditional) = (Some(slot), unconditional);
    }

    /// Ids at the beginning whose keys and values may come from another sequence: whole blocks of the prompt.
    pub(super) fn known(&self) -> &[TokenId] {
        &self.canvas.ids()[..self.reusable]
    }

    /// Whether every pass is made with and without the prompt.
    pub(super) fn is_guided(&self) -> bool {
        self.policy.guidance > 0.0
    }

    /// What decides keys and values apart from the ids, if others can use them: the blocks up to whose ends they depend on ids, and the
    /// first position that may be attended to.
    pub(super) fn rule(&self) -> Option<(Blocks, usize)> {
        self.final_blocks.map(|blocks| (blocks, self.padding))
    }

    /// Prefill passes of at most `rows` positions, in whole blocks. Their number does not change a bit of the text.
    pub(super) fn prefill_in_pieces(&mut self, rows: usize) {
        self.prefill_rows = rows;
    }

    /// What the sequence needs next.
    pub(super) fn next(&mut self, cache: &mut KvPool) -> Next<'_> {
        loop {
            if let Some(news) = self.news.take() {
                let canvas = &self.canvas;
                return Next::Event(match news {
                    News::Revealed => Event::Revealed {
                        tokens: &self.revealed,
                        edits: &self.edits,
                        candidates: &self.candidates,
                        alternatives: &self.alternatives,
                        canvas,
                    },
                    News::Block => Event::Block { range: &self.active.range, canvas },
                });
            }
            if let Some(ask) = &mut self.ask {
                if ask.told {
                    return Next::Pass;
                }
                ask.told = true;
                let (kind, rows, index) = (ask.kind, ask.rows.clone(), self.nfe);
                let cached = self.cached_before(cache, &rows);
                let rows = &self.ask.as_ref().expect("a pass is asked for").rows;
                return Next::Event(Event::Pass { kind, index, rows, cached, canvas: &self.canvas });
            }
            match self.stage {
                Stage::Done => return Next::Done,
                _ if self.blocks.is_some() => self.advance_causal(cache),
                _ => self.advance_bidirectional(cache),
            }
        }
    }

    /// Requests a pass over `rows`, whose visibility was set, and tokens at the positions in `self.positions`.
    fn ask(&mut self, kind: PassKind, rows: Range<usize>) {
        // Random numbers follow this count, because what was in the cache and how blocks are committed change the number of
        // all passes but must not change the text.
        self.drawer.step += usize::from(kind == PassKind::Denoise);
        self.note_seen();
        self.set_budget(&rows, kind == PassKind::Denoise);
        self.ask = Some(Ask { kind, rows, told: false });
    }

    /// Why the requested pass is made, and over how many rows of the model (two for each position with guidance).
    pub(super) fn asked(&self) -> (PassKind, usize) {
        let ask = self.ask.as_ref().expect("a pass is asked for");
        (ask.kind, ask.rows.len() * (1 + usize::from(self.unconditional.is_some())))
    }

    /// What the pass computes: the sequence, and with guidance the same positions without a prompt.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let rows = self.ask.as_ref().expect("a pass is asked for").rows.clone();
        let (first, visible) = (rows.start, &self.visible);
        let ids = if self.draft.is_empty() { &self.canvas.ids()[rows.clone()] } else { &self.draft };
        let own = Segment { slot: self.slot(), first, ids, visible, experts: self.choice() };
        let masked = self.unconditional.map(|slot| Segment { slot, ids: &self.masked[rows], ..own });
        std::iter::once(own).chain(masked)
    }

    /// Positions whose keys and values a pass over `rows` takes from the cache.
    fn cached_before(&self, cache: &KvPool, rows: &Range<usize>) -> usize {
        match self.policy.cache {
            CachePlan::Dual if rows.len() < self.canvas.len() => self.canvas.len(),
            _ => cache.committed(self.slot()),
        }
    }

    pub(super) fn slot(&self) -> SlotId {
        self.slot.expect("a sequence that runs has its memory")
    }

    /// Its memory: one slot, or two with guidance, or none before [`Self::place`].
    pub(super) fn slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        self.slot.into_iter().chain(self.unconditional)
    }

    /// Declares everything before `until` final.
    fn commit_to(&mut self, cache: &mut KvPool, until: usize) {
        for slot in self.slots() {
            cache.commit(slot, until.saturating_sub(cache.committed(slot)));
        }
        let slot = self.slot();
        cache.publish(slot, &self.canvas.ids()[..cache.committed(slot)]);
    }

    /// Ends the generation with what there is; a pass that was announced is still made, and what it reveals counts.
    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// The sequence as it is.
    pub(super) fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    /// What draws tokens from logits.
    pub(super) fn drawer(&self) -> &Drawer {
        &self.drawer
    }

    /// Counts time that was spent on what the sequence needed; prefill apart.
    pub(super) fn spent(&mut self, time: Duration, prefill: bool) {
        *if prefill { &mut self.timings.prefill } else { &mut self.timings.decode } += time;
    }

    /// Counts the distinct experts that the pass read, for each block with experts, unless it is a pass over the prompt.
    pub(super) fn read(&mut self, experts: &[usize]) {
        if self.asked().0 != PassKind::Prefill {
            self.experts.resize(experts.len(), 0);
            self.experts.iter_mut().zip(experts).for_each(|(sum, count)| *sum += count);
        }
    }

    /// Whether the prompt is being computed.
    pub(super) fn in_prefill(&self) -> bool {
        self.stage == Stage::Prefill
    }

    /// Whether a stop id is in the range with no mask before it.
    fn stop_in(&self, range: Range<usize>) -> bool {
        self.canvas.settled_stop(range, &self.stop).is_some()
    }

    /// As [`Self::stop_in`], for generated ids only: a stop id of the prompt ends nothing.
    fn stops_inside(&self, range: Range<usize>) -> bool {
        let generated = self.canvas.prompt().max(range.start);
        self.canvas.first_mask(range.start..generated) == generated && self.stop_in(generated..range.end)
    }

    /// What was generated.
    pub(super) fn finish(&mut self) -> Generation {
        // Nothing will change any more, wherever the loop was cut off.
        self.canvas.fix(self.canvas.len());
        // Whole blocks are generated; what was not requested is cut off.
        let settled = self.canvas.settled_text(self.max_new, &self.stop);
        let stop = self.canvas.text_stop(self.max_new, &self.stop).filter(|pos| *pos == settled.end);
        let reason = match stop {
            Some(pos) => StopReason::Stop(self.canvas.ids()[pos]),
            None if self.cancelled => StopReason::Cancelled,
            None => StopReason::Length,
        };
        let passes = (self.nfe - self.prefill_passes).max(1) as f64;
        let mut filled = std::mem::take(&mut self.filled);
        filled.retain(|run| self.canvas.first_mask(run.clone()) == run.end);
        Generation {
            tokens: self.canvas.ids()[settled].to_vec(),
            canvas: self.canvas.ids().to_vec(),
            filled,
            carried: self.carried.map(|drawn| drawn.token),
            edited: self.edited,
            nfe: self.nfe,
            prefill_passes: self.prefill_passes,
            experts: self.experts.iter().map(|&sum| sum as f64 / passes).collect(),
            stop: reason,
            cache: self.policy.cache,
            timings: self.timings,
        }
    }
}

/// Where prefill ends and denoising begins, and what comes first.
fn beginning(policy: &Policy, blocks: Option<Blocks>, first_mask: usize) -> (usize, Stage) {
    match blocks {
        Some(blocks) => (blocks.floor(first_mask), Stage::Prefill),
        None => {
            let open = bidirectional::first_block(&policy.schedule, first_mask);
            (open, Stage::Begin(open))
        }
    }
}

/// The canvas with masks for a prompt.
fn without_prompt(canvas: &Canvas) -> Vec<TokenId> {
    let mut masked = canvas.ids().to_vec();
    masked[..canvas.prompt()].fill(canvas.mask());
    masked
}
