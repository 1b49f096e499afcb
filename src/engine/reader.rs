//! [`Reader`]: how probable tokens are at the next position of a text, without generating.
//!
//! What a position sees is what it would see if an answer were decoded from the left: the text before it and masks after it. A
//! model whose blocks begin with a token that a causal pass predicts is read causally throughout, which is how it stores text.

use super::Engine;
use super::driver::{Driver, LOGIT_ROWS};
use super::plan::{self, Lead};
use super::sequence::PREFILL_ROWS;
use super::session::Held;
use crate::cache::{Blocks, KvPool, PAGE, SlotId, Visible};
use crate::error::{Error, Result};
use crate::model::{Alignment, Choice, CommitRule, Probe, Segment};
use crate::sampler::{self, Policy};
use crate::tensor::TokenId;
use std::ops::Range;
use std::sync::Arc;

/// Masks after the text in a bidirectional model, as far as the context has room for them: with one alone the model would know that
/// the text ends there.
pub const OPEN: usize = 32;

/// Rows of a pass over several places, unless one of them needs more.
const ROWS: usize = 2 * PREFILL_ROWS;

/// A place in a text whose next token is of interest.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The text that many places have in common. Where the model is block-causal, it is computed once.
    pub prompt: &'a [TokenId],
    /// The text between that and the place.
    pub rest: &'a [TokenId],
    /// The tokens whose probabilities are wanted.
    pub tokens: &'a [TokenId],
}

/// Reads probabilities, in as few forward passes as its memory allows.
pub struct Reader<'e> {
    engine: Held<'e>,
    pool: KvPool,
    driver: Driver,
    passes: usize,
}

/// What is computed for a place: which rows, and what they see.
struct View {
    /// The blocks of a block-causal model.
    blocks: Option<Blocks>,
    ids: Vec<TokenId>,
    /// Positions before this one depend on nothing after it.
    until: usize,
    /// The position whose row predicts the next token.
    row: usize,
}

/// A place with its memory in the pass that reads it.
struct Seat {
    slot: SlotId,
    rows: Range<usize>,
    visible: Visible,
}

impl<'e> Reader<'e> {
    /// A reader with memory for twice the context of `engine`.
    ///
    /// # Errors
    /// [`Error::Capacity`] or [`Error::Memory`] if there is not enough.
    pub fn new(engine: &'e Engine) -> Result<Self> {
        Self::with(Held::Borrowed(engine))
    }

    /// As [`Self::new`], for a reader that keeps its engine alive.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn shared(engine: &Arc<Engine>) -> Result<Reader<'static>> {
        Reader::with(Held::Shared(Arc::clone(engine)))
    }

    fn with(engine: Held<'e>) -> Result<Self> {
        let positions = (2 * engine.room().max(OPEN)).next_multiple_of(PAGE) + PAGE;
        let pool = KvPool::new(engine.model.kv_shape(), engine.kv, positions)?;
        Ok(Self { driver: Driver::new(&engine)?, pool, engine, passes: 0 })
    }

    /// Forward passes so far.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// The logarithms of the probabilities that the model gives to [`Place::tokens`] at each place, in their order, at temperature 1.
    /// The mask and ids that are no tokens have none. Of the policy counts what positions see. The numbers of a place do not depend on
    /// the others, nor on what was read before.
    ///
    /// # Errors
    /// As [`super::Session::generate`]; before any work what concerns the places.
    pub fn read(&mut self, policy: &Policy, places: &[Place<'_>]) -> Result<Vec<Vec<f64>>> {
        let views: Vec<View> =
            places.iter().map(|place| self.view(policy, place)).collect::<Result<Vec<_>>>()?;
        self.read_prompts(places, &views)?;
        let mut read = Vec::with_capacity(places.len());
        while read.len() < places.len() {
            let rest = read.len()..places.len();
            self.pass(&places[rest.clone()], &views[rest], &mut read)?;
        }
        Ok(read)
    }

    /// # Errors
    /// Ids that are none, and no room in the context.
    fn view(&self, policy: &Policy, place: &Place<'_>) -> Result<View> {
        let (engine, arch) = (&*self.engine, self.engine.arch());
        policy.validate()?;
        let block = plan::block_of(arch, policy)?;
        let (vocab, mask) = (arch.dims.vocab, engine.mask()?);
        let ids = [place.prompt, place.rest].concat();
        if let Some(&id) = ids.iter().chain(place.tokens).find(|&&id| id as usize >= vocab) {
            return Err(Error::TokenId { id: i64::from(id), vocab });
        }
        if ids.is_empty() {
            return Err(Error::option("prompt", "it is empty, at least one token expected"));
        }
        let what = "positions of the text and the next token (option `context`)";
        let (len, context) = (ids.len(), engine.context);
        let no_room = |asked| Err(Error::Capacity { what, limit: context, asked });
        if len >= context {
            return no_room(len + 1);
        }
        let Some(block) = block else {
            let row = if policy.right_shift || arch.alignment == Alignment::Shifted { len - 1 } else { len };
            let mut ids = ids;
            ids.resize((len + OPEN).min(context), mask);
            return Ok(View { blocks: None, ids, until: 0, row });
        };
        let (blocks, row) = match Lead::of(arch, policy) {
            Lead::Drawn => (Blocks::CAUSAL, len - 1),
            _ if arch.commit == CommitRule::Causal => (Blocks::CAUSAL, len - 1),
            Lead::None => (policy.schedule.blocks(block, len, usize::MAX), len),
            Lead::Argmax | Lead::Competing => (policy.schedule.blocks(block, len, usize::MAX), len - 1),
        };
        let end = blocks.end(row, 1);
        if end > engine.room() {
            return no_room(end);
        }
        let mut ids = ids;
        ids.resize(end, mask);
        Ok(View { blocks: Some(blocks), until: blocks.floor(row), ids, row })
    }

    /// Computes what several places have in common, once.
    fn read_prompts(&mut self, places: &[Place<'_>], views: &[View]) -> Result<()> {
        let mut done: Vec<(Blocks, &[TokenId])> = Vec::new();
        for (place, view) in places.iter().zip(views) {
            let Some(blocks) = view.blocks else { continue };
            let known = &view.ids[..blocks.floor(place.prompt.len().min(view.until))];
            let same =
                |other: &(&Place<'_>, &View)| other.0.prompt == place.prompt && other.1.blocks == view.blocks;
            let alone = places.iter().zip(views).filter(same).count() == 1;
            if done.contains(&(blocks, known)) || (alone && view.ids.len() <= PREFILL_ROWS) {
                continue;
            }
            done.push((blocks, known));
            self.store(blocks, known)?;
        }
        Ok(())
    }

    /// Computes the keys and values of whole blocks, unless they are there.
    fn store(&mut self, blocks: Blocks, known: &[TokenId]) -> Result<()> {
        let slot = self.pool.open_after(blocks, 0, known, known.len());
        let slot = slot.expect("nothing else is held, and the pool has room for more than the context");
        let mut outcome = Ok(());
        while outcome.is_ok() && self.pool.committed(slot) < known.len() {
            let at = self.pool.committed(slot);
            let end = blocks.end(at, (PREFILL_ROWS / blocks.len).max(1)).min(known.len());
            let mut visible = Visible::default();
            visible.set_by_blocks(blocks, at..end, 0, end);
            let segment =
                Segment { slot, first: at, ids: &known[at..end], visible: &visible, experts: Choice::Router };
            outcome = self.forward(&[segment]);
            if outcome.is_ok() {
                self.pool.commit(slot, end - at);
            }
        }
        let committed = self.pool.committed(slot);
        self.pool.close(slot, &known[..committed]);
        outcome
    }

    /// Reads as many of the places, from the first on, as fit a pass.
    fn pass(&mut self, places: &[Place<'_>], views: &[View], read: &mut Vec<Vec<f64>>) -> Result<()> {
        let (mut seats, mut rows) = (Vec::new(), 0);
        for view in views {
            if rows > 0 && rows + view.ids.len() - view.until > ROWS {
                break;
            }
            let Some(seat) = self.seat(view) else { break };
            rows += seat.rows.len();
            seats.push(seat);
        }
        assert!(!seats.is_empty(), "the pool has room for more than the context");
        let outcome = self.read_seats(places, views, &seats);
        for (seat, view) in seats.iter().zip(views) {
            let committed = self.pool.committed(seat.slot);
            self.pool.close(seat.slot, &view.ids[..committed]);
        }
        read.extend(outcome?);
        Ok(())
    }

    /// Memory for a place, if there is some.
    fn seat(&mut self, view: &View) -> Option<Seat> {
        let (len, mut visible) = (view.ids.len(), Visible::default());
        let Some(blocks) = view.blocks else {
            visible.set_all(0..len, 0..len);
            return Some(Seat { slot: self.pool.open(len)?, rows: 0..len, visible });
        };
        let slot = self.pool.open_after(blocks, 0, &view.ids[..view.until], len)?;
        let rows = self.pool.committed(slot)..len;
        visible.set_by_blocks(blocks, rows.clone(), 0, len);
        Some(Seat { slot, rows, visible })
    }

    /// The pass itself, and what it says.
    fn read_seats(&mut self, places: &[Place<'_>], views: &[View], seats: &[Seat]) -> Result<Vec<Vec<f64>>> {
        let seated = || seats.iter().zip(views);
        let segments: Vec<_> = seated()
            .map(|(seat, view)| Segment {
                slot: seat.slot,
                first: seat.rows.start,
                ids: &view.ids[seat.rows.clone()],
                visible: &seat.visible,
                experts: Choice::Router,
            })
            .collect();
        self.forward(&segments)?;
        let mut at = 0;
        let rows: Vec<usize> = seated()
            .map(|(seat, view)| {
                let row = at + view.row - seat.rows.start;
                at += seat.rows.len();
                row
            })
            .collect();
        let mut read = Vec::with_capacity(rows.len());
        for (rows, places) in rows.chunks(LOGIT_ROWS).zip(places.chunks(LOGIT_ROWS)) {
            self.logits(rows, places, &mut read)?;
        }
        // What whole blocks became can be of use to the next places.
        for (seat, view) in seated() {
            self.pool.commit(seat.slot, view.until.saturating_sub(seat.rows.start));
        }
        Ok(read)
    }

    fn forward(&mut self, segments: &[Segment<'_>]) -> Result<()> {
        let Self { engine, pool, driver, passes } = self;
        let _turn = engine.turns.get().take();
        let (ctx, rope) = (engine.context_of(), &engine.rope);
        engine.model.forward(&ctx, &mut driver.scratch, rope, pool, segments, &mut Probe::none())?;
        *passes += 1;
        Ok(())
    }

    /// The probabilities of the tokens of `places`, which are predicted by these rows of the latest pass.
    fn logits(&mut self, rows: &[usize], places: &[Place<'_>], read: &mut Vec<Vec<f64>>) -> Result<()> {
        let Self { engine, driver, .. } = self;
        let _turn = engine.turns.get().take();
        let (model, vocab) = (&engine.model, engine.arch().dims.vocab);
        let hidden = model.hidden(&driver.scratch);
        model.logits(&engine.context_of(), hidden, rows, &mut driver.logits, &mut Probe::none());
        for (row, place) in driver.logits.logits.chunks_mut(vocab).zip(places) {
            engine.ban(row);
            let logs = sampler::log_probabilities(&engine.kernels, row, place.tokens);
            read.push(logs.ok_or_else(|| Error::NotFinite { place: "logits of the next token".into() })?);
        }
        Ok(())
    }
}
