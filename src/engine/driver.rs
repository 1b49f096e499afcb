//! [`Driver`]: one forward pass for one sequence or many.

use super::Engine;
use super::reading::{Probabilities, Reading};
use super::sequence::{Picked, Sequence, Wanted};
use crate::cache::KvPool;
use crate::error::{Error, Result};
use crate::exec;
use crate::model::{LogitBuffers, Probe, Scratch, Segment};
use crate::sampler::{self, Drawn};

/// Rows of logits that are held at a time. A vocabulary of 150 000 makes that 40 MB.
pub const LOGIT_ROWS: usize = 64;

/// The buffers of forward passes, sized for the largest so far.
#[derive(Default)]
pub(super) struct Driver {
    pub(super) scratch: Scratch,
    pub(super) logits: LogitBuffers,
    rows: Vec<LogitRow>,
    /// Rows of the pass whose logits are computed now: those of some sequences, then those without prompts.
    gathered: Vec<usize>,
    drawn: Vec<Option<Picked>>,
    taken: Vec<Drawn>,
    /// Rows of the pass.
    count: usize,
    /// Where the rows of readings begin.
    first_read: usize,
}

/// A row of the batch that a token is drawn from.
#[derive(Clone, Copy)]
struct LogitRow {
    /// Which sequence of the batch.
    sequence: usize,
    wanted: Wanted,
    /// The row in the batch, and the same one without a prompt.
    row: usize,
    unconditional: Option<usize>,
}

impl Driver {
    /// Buffers for the logits of a session.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is not enough.
    pub(super) fn new(engine: &Engine) -> Result<Self> {
        let mut driver = Self::default();
        driver.logits.reserve(&engine.arch().dims, LOGIT_ROWS.min(engine.context))?;
        Ok(driver)
    }

    /// Makes the passes that all of `batch` and `readings` need as one, and lets them continue. `done` is told the outcome of each
    /// sequence.
    ///
    /// # Errors
    /// [`Error::Memory`], and those of [`KvPool::stage`]; then none has advanced, and all may be asked again.
    pub(super) fn run(
        &mut self,
        engine: &Engine,
        cache: &mut KvPool,
        batch: &mut [&mut Sequence<'_>],
        readings: &mut [&mut Reading],
        done: &mut dyn FnMut(usize, Result<()>),
    ) -> Result<()> {
        let read = match engine.turns.get().run(|| self.pass(engine, cache, batch, readings)) {
            Ok(read) => read,
            Err(error) => {
                return Err(match (&batch[..], &readings[..], error) {
                    ([sequence], [], Error::NotFinite { .. }) => {
                        self.locate_not_finite(engine, cache, sequence)
                    }
                    (_, _, error) => error,
                });
            }
        };
        readings.iter_mut().zip(read).for_each(|(reading, logs)| reading.take(cache, logs));
        let read = self.experts(engine);
        let mut first = 0;
        for (i, sequence) in batch.iter_mut().enumerate() {
            let count = self.rows[first..].iter().take_while(|row| row.sequence == i).count();
            self.taken.clear();
            let picked = self.rows[first..].iter().zip(&mut self.drawn[first..first + count]);
            for (row, picked) in picked.filter_map(|(row, picked)| Some((row, picked.as_mut()?))) {
                self.taken.push(picked.drawn);
                sequence.note_alternatives(row.wanted, picked);
            }
            sequence.read(&read);
            let outcome = if self.taken.len() == count {
                sequence.take(cache, &self.taken)
            } else {
                Err(self.locate_not_finite(engine, cache, sequence))
            };
            done(i, outcome);
            first += count;
        }
        Ok(())
    }

    /// Distinct experts that the pass read, for each block with experts.
    fn experts(&self, engine: &Engine) -> Vec<usize> {
        let of = |layer| engine.model.touched(&self.scratch, layer);
        let counts = (0..engine.arch().dims.layers).map(of).filter(|touched| !touched.is_empty());
        counts.map(|touched| touched.iter().filter(|&&touched| touched).count()).collect()
    }

    /// Rows of the latest pass.
    pub(super) fn rows(&self) -> usize {
        self.count
    }

    /// One forward pass, the tokens that are drawn from it, and what is read from it.
    fn pass(
        &mut self,
        engine: &Engine,
        cache: &mut KvPool,
        batch: &[&mut Sequence<'_>],
        readings: &[&mut Reading],
    ) -> Result<Vec<Result<Probabilities>>> {
        self.forward(engine, cache, batch, readings)?;
        self.drawn.clear();
        let mut first = 0;
        while first < self.rows.len() {
            first = self.draw(engine, batch, first);
        }
        let mut at = self.first_read;
        let each = readings.iter().map(|reading| {
            let first = at;
            at += reading.segments().map(|segment| segment.ids.len()).sum::<usize>();
            self.read(engine, reading, first)
        });
        Ok(each.collect())
    }

    /// The probabilities that a reading needs, whose rows begin at `first`.
    fn read(&mut self, engine: &Engine, reading: &Reading, first: usize) -> Result<Probabilities> {
        let (wanted, vocab): (Vec<_>, _) = (reading.wanted().collect(), engine.arch().dims.vocab);
        let mut read = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(LOGIT_ROWS) {
            let rows: Vec<usize> = wanted.iter().map(|(row, _)| first + row).collect();
            let hidden = engine.model.hidden(&self.scratch);
            let (ctx, probe) = (engine.context_of(), &mut Probe::none());
            engine.model.logits(&ctx, hidden, &rows, &mut self.logits, probe);
            for (row, (_, tokens)) in self.logits.logits.chunks_mut(vocab).zip(wanted) {
                engine.ban(row);
                let logs = sampler::log_probabilities(&engine.kernels, row, tokens);
                let place = || "logits of the next token".to_string();
                read.push(logs.ok_or_else(|| Error::NotFinite { place: place() })?);
            }
        }
        Ok(read)
    }

    /// The pass itself, and a list of the rows that tokens are drawn from.
    fn forward(
        &mut self,
        engine: &Engine,
        cache: &mut KvPool,
        batch: &[&mut Sequence<'_>],
        readings: &[&mut Reading],
    ) -> Result<()> {
        self.rows.clear();
        let (mut segments, mut at) = (Vec::with_capacity(2 * batch.len()), 0);
        for (i, sequence) in batch.iter().enumerate() {
            let before = segments.len();
            segments.extend(sequence.segments());
            let len = segments[before].ids.len();
            let unconditional = (segments.len() > before + 1).then_some(at + len);
            self.rows.extend(sequence.wanted().map(|wanted| LogitRow {
                sequence: i,
                wanted,
                row: at + wanted.row,
                unconditional: unconditional.map(|first| first + wanted.row),
            }));
            at += segments[before..].iter().map(|segment| segment.ids.len()).sum::<usize>();
        }
        self.first_read = at;
        segments.extend(readings.iter().flat_map(|reading| reading.segments()));
        self.count = segments.iter().map(|segment| segment.ids.len()).sum();
        let (ctx, rope) = (engine.context_of(), &engine.rope);
        engine.model.forward(&ctx, &mut self.scratch, rope, cache, &segments, &mut Probe::none())
    }

    /// Computes the logits of as many rows from `first` on as are held at a time, and draws from them. Returns the next row.
    fn draw(&mut self, engine: &Engine, batch: &[&mut Sequence<'_>], first: usize) -> usize {
        let mut held = 0;
        let fits = |row: &&LogitRow| {
            held += 1 + usize::from(row.unconditional.is_some());
            held <= LOGIT_ROWS
        };
        let count = self.rows[first..].iter().take_while(fits).count();
        let rows = &self.rows[first..first + count];
        self.gathered.clear();
        self.gathered.extend(rows.iter().map(|row| row.row));
        self.gathered.extend(rows.iter().filter_map(|row| row.unconditional));
        let (ctx, model) = (engine.context_of(), &engine.model);
        let hidden = model.hidden(&self.scratch);
        model.logits(&ctx, hidden, &self.gathered, &mut self.logits, &mut Probe::none());

        let vocab = engine.arch().dims.vocab;
        let (logits, unconditional) = self.logits.logits.split_at_mut(count * vocab);
        self.drawn.resize(first + count, None);
        exec::split_pair(ctx.exec, logits, vocab, &mut self.drawn[first..], 1, |i, logits, drawn| {
            let LogitRow { sequence, wanted, unconditional: other, .. } = rows[i];
            let before = rows[..i].iter().filter(|row| row.unconditional.is_some()).count();
            let other = other.map(|_| &unconditional[before * vocab..][..vocab]);
            drawn[0] = batch[sequence].drawer().draw(engine, wanted, logits, other);
        });
        first + count
    }

    /// Finds the first place where the pass that a sequence needs computes something that is not finite.
    fn locate_not_finite(&mut self, engine: &Engine, cache: &mut KvPool, sequence: &Sequence<'_>) -> Error {
        let mut found = None;
        let mut watch = |place: crate::model::Place, rows: crate::tensor::Rows<'_>| {
            if found.is_none() && rows.data().iter().any(|x| !x.is_finite()) {
                found = Some(place);
            }
        };
        let _turn = engine.turns.get().take();
        let own: Vec<Segment<'_>> = sequence.segments().collect();
        let (ctx, probe) = (engine.context_of(), &mut Probe::new(&mut watch));
        let outcome = engine.model.forward(&ctx, &mut self.scratch, &engine.rope, cache, &own, probe);
        match (outcome, found) {
            (_, Some(place)) => Error::NotFinite { place: place.to_string() },
            (Err(error), _) => error,
            (_, None) => Error::NotFinite { place: "logits (output matrix or final norm)".to_string() },
        }
    }
}
