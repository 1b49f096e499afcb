//! [`Scheduler`]: many sequences, one forward pass for all that are ready.
//!
//! Every [`Scheduler::step`] admits waiting sequences while there is memory for their keys and values, asks those that run what
//! they need, makes one forward pass, and hands out what was drawn. Sequences join and leave between passes. The bits of a
//! sequence are those that it would have alone. Readings ([`Scheduler::read`]) take part in the same passes.

mod readings;

pub use readings::Read;

use self::readings::Readings;
use super::driver::Driver;
use super::sequence::{Next, PREFILL_ROWS, Sequence};
use super::session::Held;
use super::{Control, Engine, Event, Generation, Request, Rules};
use crate::cache::KvPool;
use crate::error::{Error, Result};
use crate::sampler::Canvas;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Names a sequence of a [`Scheduler`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// How much a [`Scheduler`] does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequences that run at a time; others wait.
    pub sequences: usize,
    /// Positions of all of them together, which decides the memory. In pages of [`crate::cache::PAGE`]; a sequence needs whole ones, with
    /// guidance twice as many.
    pub positions: usize,
    /// Rows of a forward pass. One sequence may need more: a bidirectional model computes its whole canvas.
    pub rows: usize,
    /// Rows of a pass over a prompt, so that a long one does not keep the others waiting.
    pub prefill_rows: usize,
}

impl Limits {
    /// For `sequences` sequences as long as the context of an engine.
    pub fn for_engine(engine: &Engine, sequences: usize) -> Self {
        let whole = engine.room().next_multiple_of(crate::cache::PAGE);
        Self {
            sequences,
            positions: sequences.saturating_mul(whole),
            rows: 2 * PREFILL_ROWS,
            prefill_rows: PREFILL_ROWS,
        }
    }
}

/// The outcome of a sequence.
pub struct Finished {
    /// Which.
    pub id: SequenceId,
    /// What was generated, or why it failed.
    pub result: Result<Generation>,
}

struct Member<'r> {
    id: SequenceId,
    sequence: Sequence<'r>,
    /// Passes that were made while this one was ready and had no place in them.
    waited: usize,
    /// Whether it needs a pass.
    ready: bool,
    failed: Option<Error>,
    done: bool,
}

/// Decodes many sequences at a time.
pub struct Scheduler<'e, 'r> {
    engine: Held<'e>,
    limits: Limits,
    cache: KvPool,
    driver: Driver,
    waiting: VecDeque<(SequenceId, Sequence<'r>)>,
    running: Vec<Member<'r>>,
    readings: Readings,
    rows: usize,
    next_id: u64,
}

/// One of those that run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Sequence(usize),
    Reading(usize),
}

/// Which have a place in the next pass.
#[derive(Default)]
struct Chosen {
    sequences: Vec<usize>,
    readings: Vec<usize>,
}

impl<'e, 'r> Scheduler<'e, 'r> {
    /// A scheduler with nothing to do, for sequences of `engine`.
    ///
    /// # Errors
    /// [`Error::Option`] if a limit is 0, [`Error::Capacity`] or [`Error::Memory`] if there is not enough memory.
    pub fn new(engine: &'e Engine, limits: Limits) -> Result<Self> {
        Self::with(Held::Borrowed(engine), limits)
    }

    /// As [`Self::new`], for a scheduler that keeps its engine alive.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn shared(engine: &Arc<Engine>, limits: Limits) -> Result<Scheduler<'static, 'r>> {
        Scheduler::with(Held::Shared(Arc::clone(engine)), limits)
    }

    fn with(engine: Held<'e>, limits: Limits) -> Result<Self> {
        let Limits { sequences, positions, rows, prefill_rows } = limits;
        for (name, value) in [
            ("parallel", sequences),
            ("positions", positions),
            ("rows", rows),
            ("prefill-rows", prefill_rows),
        ] {
            if value == 0 {
                return Err(Error::option(name, "0 given, at least 1 expected"));
            }
        }
        Ok(Self {
            cache: KvPool::new(engine.model.kv_shape(), engine.kv, positions)?,
            driver: Driver::new(&engine)?,
            engine,
            limits,
            waiting: VecDeque::new(),
            running: Vec::new(),
            readings: Readings::default(),
            rows: 0,
            next_id: 0,
        })
    }

    /// Takes a request, which begins to run when there is a place for it.
    ///
    /// # Errors
    /// As [`super::Session::generate`], before any work; [`Error::Capacity`] also if it would not fit the memory alone.
    pub fn add(&mut self, request: &Request<'r>) -> Result<SequenceId> {
        self.add_with_rules(request, request.rules)
    }

    /// As [`Self::add`], with `rules` in place of those of the request, which need not outlive this call then.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_with_rules(&mut self, request: &Request<'_>, rules: &'r dyn Rules) -> Result<SequenceId> {
        let mut sequence = Sequence::new(&self.engine, request, rules)?;
        let asked = self.positions(&sequence);
        if asked > self.cache.capacity() {
            let what = "positions in the key/value memory of all sequences";
            return Err(Error::Capacity { what, limit: self.cache.capacity(), asked });
        }
        sequence.prefill_in_pieces(self.limits.prefill_rows);
        let id = self.new_id();
        self.waiting.push_back((id, sequence));
        Ok(id)
    }

    fn new_id(&mut self) -> SequenceId {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        id
    }

    /// Positions in whole pages that a sequence takes.
    fn positions(&self, sequence: &Sequence<'_>) -> usize {
        let slots = 1 + usize::from(sequence.is_guided());
        sequence.canvas().len().next_multiple_of(crate::cache::PAGE) * slots
    }

    /// Ends a sequence with what there is so far, before its next pass. [`Self::step`] hands it out as finished. A reading is forgotten.
    pub fn cancel(&mut self, id: SequenceId) {
        self.readings.cancel(&mut self.cache, id);
        if let Some(at) = self.waiting.iter().position(|(other, _)| *other == id) {
            let (id, sequence) = self.waiting.remove(at).expect("it was found there");
            self.running.push(Member::new(id, sequence));
        }
        for member in self.running.iter_mut().filter(|member| member.id == id) {
            member.sequence.cancel();
            member.done = true;
        }
    }

    /// Whether nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.load() == (0, 0)
    }

    /// Sequences and readings that run, and those that wait.
    pub fn load(&self) -> (usize, usize) {
        let (running, waiting) = self.readings.load();
        (self.running.len() + running, self.waiting.len() + waiting)
    }

    /// Rows of the latest [`Self::step`], of the model: two for each position of a sequence with guidance.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The memory of keys and values, for inspection.
    pub fn cache(&self) -> &KvPool {
        &self.cache
    }

    /// The sequence as it is, unless it is finished.
    pub fn canvas(&self, id: SequenceId) -> Option<&Canvas> {
        let running = self.running.iter().map(|member| (member.id, &member.sequence));
        let waiting = self.waiting.iter().map(|(id, sequence)| (*id, sequence));
        running.chain(waiting).find(|(other, _)| *other == id).map(|(_, sequence)| sequence.canvas())
    }

    /// Makes one forward pass for sequences and readings that are ready, and returns the sequences that are finished. `on_event` is told what
    /// happens to each, and may end it; an error of its own fails that sequence alone. What goes wrong in a pass fails the sequences
    /// concerned, [`Error::Memory`] included.
    pub fn step(
        &mut self,
        on_event: &mut dyn FnMut(SequenceId, Event<'_>) -> Result<Control>,
    ) -> Vec<Finished> {
        let mut finished = Vec::new();
        loop {
            self.admit();
            self.ask(on_event);
            let before = finished.len();
            self.collect(&mut finished);
            // The memory that was given back may be enough for another.
            if finished.len() == before || self.load().1 == 0 {
                break;
            }
        }
        let chosen = self.choose();
        let prefill: Vec<bool> = self.running.iter().map(|member| member.sequence.in_prefill()).collect();
        // What the caller did with events is not counted.
        let start = Instant::now();
        self.pass(&chosen);
        let time = start.elapsed();
        for (member, prefill) in self.running.iter_mut().zip(prefill) {
            // A sequence waits for the whole pass, whatever else is in it.
            member.sequence.spent(time, prefill);
        }
        self.collect(&mut finished);
        finished
    }

    /// Gives memory to those that wait, in their order.
    fn admit(&mut self) {
        while self.load().0 < self.limits.sequences {
            let first = self.waiting.front().map(|(id, _)| *id);
            if self.readings.is_next(first) {
                if !self.readings.admit(&self.cache) {
                    return;
                }
                continue;
            }
            let Some((_, sequence)) = self.waiting.front() else { return };
            let reserved = self.readings.reserved();
            if reserved > 0 && self.cache.available() < self.positions(sequence) + reserved {
                return;
            }
            let (len, known) = (sequence.canvas().len(), sequence.known());
            let slot = match sequence.rule() {
                Some((blocks, first_visible)) => self.cache.open_after(blocks, first_visible, known, len),
                None => self.cache.open(len),
            };
            let Some(slot) = slot else { return };
            let mut unconditional = None;
            if sequence.is_guided() {
                unconditional = self.cache.open(len);
                if unconditional.is_none() {
                    self.cache.close(slot, &[]);
                    return;
                }
            }
            let (id, mut sequence) = self.waiting.pop_front().expect("there is a first one");
            sequence.place(slot, unconditional);
            self.running.push(Member::new(id, sequence));
        }
    }

    /// Advances every sequence to the pass that it needs next, or to its end.
    fn ask(&mut self, on_event: &mut dyn FnMut(SequenceId, Event<'_>) -> Result<Control>) {
        for member in self.running.iter_mut().filter(|member| !member.ready) {
            while !member.done && member.failed.is_none() {
                match member.sequence.next(&mut self.cache) {
                    Next::Event(event) => match on_event(member.id, event) {
                        Ok(Control::Continue) => {}
                        Ok(Control::Stop) => member.sequence.cancel(),
                        Err(error) => member.failed = Some(error),
                    },
                    Next::Pass => {
                        member.ready = true;
                        break;
                    }
                    Next::Done => member.done = true,
                }
            }
        }
    }

    /// Which have a place in the next pass: those that waited longest first, and those that denoise before those that read.
    fn choose(&mut self) -> Chosen {
        let Self { limits, cache, running, readings, .. } = self;
        let ready = (0..running.len()).filter(|&i| running[i].ready);
        let sequence =
            |i: usize| (Reverse(running[i].waited), running[i].sequence.in_prefill(), Who::Sequence(i));
        let reading = |(i, waited)| (Reverse(waited), true, Who::Reading(i));
        let mut order: Vec<_> = ready.map(sequence).chain(readings.waited().map(reading)).collect();
        order.sort();
        let (mut rows, mut chosen) = (0, Chosen::default());
        for (.., who) in order {
            match who {
                Who::Sequence(i) => {
                    let (_, own) = running[i].sequence.asked();
                    let fits = rows == 0 || rows + own <= limits.rows;
                    running[i].waited = if fits { 0 } else { running[i].waited + 1 };
                    if fits {
                        rows += own;
                        chosen.sequences.push(i);
                    }
                }
                Who::Reading(i) => {
                    let own = readings.sit(cache, i, limits, rows);
                    rows += own;
                    chosen.readings.extend((own > 0).then_some(i));
                }
            }
        }
        chosen
    }

    /// One pass for all that were chosen. If it fails, for lack of memory or because of one sequence's numbers, each gets a pass of its own.
    fn pass(&mut self, chosen: &Chosen) {
        self.rows = 0;
        if chosen.sequences.is_empty() && chosen.readings.is_empty() {
            return;
        }
        let Self { engine, cache, driver, running, readings, .. } = self;
        let mut outcomes = Vec::with_capacity(chosen.sequences.len());
        let mut members: Vec<(usize, &mut Sequence<'r>)> = running
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| chosen.sequences.contains(i))
            .map(|(i, member)| (i, &mut member.sequence))
            .collect();
        let places: Vec<usize> = members.iter().map(|(i, _)| *i).collect();
        let mut sequences: Vec<&mut Sequence<'r>> =
            members.iter_mut().map(|(_, sequence)| &mut **sequence).collect();
        let mut readings = readings.chosen(&chosen.readings);
        let mut done = |i: usize, outcome| outcomes.push((places[i], outcome));
        let all = driver.run(engine, cache, &mut sequences, &mut readings, &mut done);
        self.rows = driver.rows();
        if all.is_err() {
            outcomes.clear();
            for (sequence, &place) in sequences.into_iter().zip(&places) {
                let mut own = Ok(());
                let ran =
                    driver.run(engine, cache, &mut [sequence], &mut [], &mut |_, outcome| own = outcome);
                outcomes.push((place, ran.and(own)));
            }
            for reading in readings {
                let ran = driver.run(engine, cache, &mut [], &mut [&mut *reading], &mut |_, _| {});
                ran.unwrap_or_else(|error| reading.fail(cache, error));
            }
        }
        for (place, outcome) in outcomes {
            self.running[place].ready = false;
            self.running[place].failed = outcome.err();
        }
    }

    /// Takes out what has ended, and gives its memory back.
    fn collect(&mut self, finished: &mut Vec<Finished>) {
        let ended = |member: &mut Member<'r>| member.done || member.failed.is_some();
        for mut member in self.running.extract_if(.., ended) {
            for slot in member.sequence.slots() {
                let committed = self.cache.committed(slot);
                self.cache.close(slot, &member.sequence.canvas().ids()[..committed]);
            }
            let result = match member.failed {
                Some(error) => Err(error),
                None => Ok(member.sequence.finish()),
            };
            finished.push(Finished { id: member.id, result });
        }
    }
}

impl<'r> Member<'r> {
    fn new(id: SequenceId, sequence: Sequence<'r>) -> Self {
        Self { id, sequence, waited: 0, ready: false, failed: None, done: false }
    }
}
