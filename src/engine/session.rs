//! [`Session`]: one sequence at a time, with its own cache. Keys and values of finished blocks stay between calls, so a prompt
//! that begins as the previous one did (a chat) is not computed again.

use super::driver::Driver;
use super::sequence::{Next, Sequence};
use super::{Control, Engine, Event, Generation, Request, Rules};
use crate::cache::{Blocks, KvPool, SlotId, Visible};
use crate::error::Result;
use crate::model::{Choice, Probe, Segment};
use crate::tensor::{Rows, TokenId};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The engine of a session: borrowed, or owned together with others.
#[derive(Clone)]
pub(super) enum Held<'e> {
    Borrowed(&'e Engine),
    Shared(Arc<Engine>),
}

impl Deref for Held<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Self::Borrowed(engine) => engine,
            Self::Shared(engine) => engine,
        }
    }
}

/// A generation that its caller advances one pass at a time; see [`Session::begin`].
pub struct Generating<'r> {
    sequence: Sequence<'r>,
    /// The pass that it waits for: the time that was spent to prepare it, and whether it reads the prompt.
    asked: Option<(Duration, bool)>,
    cancelled: bool,
    /// Which generation of its session it is.
    number: u64,
}

impl Generating<'_> {
    /// Ends it with what there is: the next [`Session::step`] hands out the generation.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        self.sequence.cancel();
    }
}

/// One sequence at a time, with its own cache.
pub struct Session<'e> {
    engine: Held<'e>,
    cache: KvPool,
    slot: SlotId,
    /// For guidance; opened when it is first needed.
    unconditional: Option<SlotId>,
    driver: Driver,
    /// Tokens of the committed positions, and the blocks and first visible key under which they were computed.
    committed: Vec<TokenId>,
    rule: Option<(Blocks, usize)>,
    /// Generations so far.
    begun: u64,
}

impl<'e> Session<'e> {
    pub(super) fn new(engine: Held<'e>) -> Result<Self> {
        let driver = Driver::new(&engine)?;
        let room = engine.room();
        let mut cache = KvPool::new(engine.model.kv_shape(), engine.kv, room)?;
        let slot = cache.open(room).expect("the pool has as many pages");
        Ok(Self {
            cache,
            slot,
            engine,
            unconditional: None,
            driver,
            committed: Vec::new(),
            rule: None,
            begun: 0,
        })
    }

    /// The engine that this session decodes with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Positions `0..committed` are final: [`Self::commit`].
    pub fn committed(&self) -> usize {
        self.cache.committed(self.slot)
    }

    /// Positions `0..filled` hold keys and values, final or staged by [`Self::forward`].
    pub fn filled(&self) -> usize {
        self.cache.filled(self.slot)
    }

    /// Key and value of one position in one layer, for inspection: `[n_kv_heads * head_dim]` each.
    ///
    /// # Panics
    /// If the position holds nothing, or there is no such layer.
    pub fn position(&self, layer: usize, pos: usize) -> [Vec<f32>; 2] {
        self.cache.position(self.slot, layer, pos)
    }

    /// Generates. `on_event` is called for every pass and every revealed token and may end the generation; an error that it returns ends
    /// it too, and comes back.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) or [`Unsupported`](crate::Error::Unsupported) for a request that is invalid for this
    /// model, [`TokenId`](crate::Error::TokenId), [`Capacity`](crate::Error::Capacity) if prompt and new tokens do not fit the
    /// context; all of these before any work. [`Memory`](crate::Error::Memory) if there is not enough for a pass.
    /// [`NotFinite`](crate::Error::NotFinite) if the model computes a NaN.
    pub fn generate(
        &mut self,
        request: &Request<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> Result<Control>,
    ) -> Result<Generation> {
        let mut generating = self.begin(request, request.rules)?;
        loop {
            if let Some(generation) = self.step(&mut generating, on_event)? {
                return Ok(generation);
            }
        }
    }

    /// Begins a generation for [`Self::step`], which is [`Self::generate`] for callers with a loop of their own. `rules` are taken
    /// instead of [`Request::rules`], so that nothing of the request is borrowed. A session has one generation at a time.
    ///
    /// # Errors
    /// Those of [`Self::generate`] that come before any work.
    pub fn begin<'r>(&mut self, request: &Request<'_>, rules: &'r dyn Rules) -> Result<Generating<'r>> {
        let mut sequence = Sequence::new(&self.engine, request, rules)?;
        self.admit(&mut sequence)?;
        self.begun += 1;
        Ok(Generating { sequence, asked: None, cancelled: false, number: self.begun })
    }

    /// Makes the forward pass that a generation waits for, and tells `on_event` the outcome and which pass is next. The first
    /// call makes none. Returns the generation when it is finished.
    ///
    /// # Errors
    /// As [`Self::generate`]. The generation is over then.
    ///
    /// # Panics
    /// If it is not the generation that this session began last.
    pub fn step(
        &mut self,
        generating: &mut Generating<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> Result<Control>,
    ) -> Result<Option<Generation>> {
        assert!(generating.number == self.begun, "the session has begun another generation");
        let outcome = self.advance(generating, on_event);
        if let Ok(false) = outcome {
            return Ok(None);
        }
        let sequence = &mut generating.sequence;
        let committed = self.committed();
        self.committed.clear();
        self.committed.extend_from_slice(&sequence.canvas().ids()[..committed]);
        self.rule = sequence.rule();
        outcome?;
        Ok(Some(sequence.finish()))
    }

    /// Prepares the memory: what an earlier generation committed under the same rule is kept, as far as both begin alike.
    fn admit(&mut self, sequence: &mut Sequence<'_>) -> Result<()> {
        let rule = sequence.rule();
        let common = match (self.rule.take(), rule) {
            (Some(before), Some(now)) if before == now => {
                let alike = self.committed.iter().zip(sequence.known()).take_while(|(a, b)| a == b).count();
                now.0.floor(alike)
            }
            _ => 0,
        };
        self.rewind(common);
        if !sequence.is_guided() {
            sequence.place(self.slot, None);
            return Ok(());
        }
        let room = self.engine.room();
        let other = match self.unconditional {
            Some(slot) => slot,
            None => {
                self.cache.grow(room)?;
                self.cache.open(room).expect("the pool has grown by as many pages")
            }
        };
        self.unconditional = Some(other);
        self.cache.rewind(other, 0);
        sequence.place(self.slot, Some(other));
        Ok(())
    }

    /// Whether the generation is finished.
    fn advance(
        &mut self,
        generating: &mut Generating<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> Result<Control>,
    ) -> Result<bool> {
        let engine = self.engine.clone();
        let Generating { sequence, asked, cancelled, .. } = generating;
        if *cancelled {
            return Ok(true);
        }
        if let Some((before, prefill)) = asked.take() {
            let start = Instant::now();
            let mut outcome = Ok(());
            let mut done = |_, result| outcome = result;
            self.driver.run(&engine, &mut self.cache, &mut [sequence], &mut [], &mut done)?;
            outcome?;
            sequence.spent(before + start.elapsed(), prefill);
        }
        loop {
            // A caller that draws or waits does not make the engine slower than it is.
            let (start, prefill) = (Instant::now(), sequence.in_prefill());
            match sequence.next(&mut self.cache) {
                Next::Event(event) => match on_event(event)? {
                    Control::Continue => {}
                    Control::Stop => sequence.cancel(),
                },
                Next::Pass => {
                    *asked = Some((start.elapsed(), prefill));
                    return Ok(false);
                }
                Next::Done => return Ok(true),
            }
        }
    }

    /// One forward pass for callers with a loop of their own: computes `ids` at the positions from `first` on and stages their
    /// keys and values. Follow with [`Self::logits`].
    ///
    /// # Errors
    /// [`TokenId`](crate::Error::TokenId), [`Capacity`](crate::Error::Capacity), [`Memory`](crate::Error::Memory), and those of
    /// [`KvPool::stage`](crate::cache::KvPool::stage).
    ///
    /// # Panics
    /// If the pass has no row, touches committed rows, leaves a hole, or sees rows that are not there.
    pub fn forward(
        &mut self,
        ids: &[TokenId],
        first: usize,
        visible: &Visible,
        probe: &mut Probe<'_>,
    ) -> Result<()> {
        let batch = [Segment { slot: self.slot, first, ids, visible, experts: Choice::Router }];
        let _turn = self.engine.turns.get().take();
        let ctx = self.engine.context_of();
        self.engine.model.forward(
            &ctx,
            &mut self.driver.scratch,
            &self.engine.rope,
            &mut self.cache,
            &batch,
            probe,
        )
    }

    /// Logits of some rows of the latest pass, `[rows.len(), vocab]`, as the model computes them: row `i` belongs to the
    /// `i`-th id of the pass and predicts what [`crate::model::Alignment`] says.
    ///
    /// # Panics
    /// If a row does not exist.
    pub fn logits(&mut self, rows: &[usize], probe: &mut Probe<'_>) -> Rows<'_> {
        let _turn = self.engine.turns.get().take();
        let model = &self.engine.model;
        let hidden = model.hidden(&self.driver.scratch);
        model.logits(&self.engine.context_of(), hidden, rows, &mut self.driver.logits, probe);
        Rows::new(&self.driver.logits.logits, model.arch().dims.vocab)
    }

    /// Declares the next `rows` staged positions final.
    ///
    /// # Panics
    /// If they were not staged.
    pub fn commit(&mut self, rows: usize) {
        self.cache.commit(self.slot, rows);
        self.rule = None;
    }

    /// Forgets everything after the first `length` committed positions.
    ///
    /// # Panics
    /// If they are not all committed.
    pub fn rewind(&mut self, length: usize) {
        self.cache.rewind(self.slot, length);
        self.committed.truncate(length);
    }
}
