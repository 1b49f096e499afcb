//! Readings in the passes of a [`Scheduler`].

use super::{Limits, Scheduler, SequenceId};
use crate::cache::KvPool;
use crate::engine::reading::{Place, Probabilities, Reading, Room};
use crate::error::{Error, Result};
use crate::sampler::Policy;
use std::collections::VecDeque;

/// The outcome of a reading.
pub struct Read {
    /// Which.
    pub id: SequenceId,
    /// What was read, or why nothing was.
    pub result: Result<Probabilities>,
    /// Forward passes that it took part in.
    pub passes: usize,
}

/// Those that wait, and those that take part.
#[derive(Default)]
pub(super) struct Readings {
    waiting: VecDeque<(SequenceId, Reading)>,
    running: Vec<Member>,
}

struct Member {
    id: SequenceId,
    reading: Reading,
    /// Passes that were made without it.
    waited: usize,
}

impl Scheduler<'_, '_> {
    /// Takes places to be read, as [`Reader::read`](crate::engine::Reader::read) does: in passes shared with everything that runs, and
    /// with the same bits. [`Self::take_read`] hands out the outcome.
    ///
    /// # Errors
    /// As [`Reader::read`](crate::engine::Reader::read) before any work; [`Error::Capacity`] also if a place would not fit the memory alone.
    pub fn read(&mut self, policy: &Policy, places: &[Place<'_>]) -> Result<SequenceId> {
        let reading = Reading::new(&self.engine, policy, places)?;
        let (limit, asked) = (self.cache.capacity(), reading.need());
        if asked > limit {
            let what = "positions in the key/value memory of all sequences";
            return Err(Error::Capacity { what, limit, asked });
        }
        let id = self.new_id();
        self.readings.waiting.push_back((id, reading));
        Ok(id)
    }

    /// The readings that are finished.
    pub fn take_read(&mut self) -> Vec<Read> {
        let ended = self.readings.running.extract_if(.., |member| member.reading.is_done());
        let read = |Member { id, reading, .. }: Member| {
            let passes = reading.passes();
            Read { id, result: reading.finish(), passes }
        };
        ended.map(read).collect()
    }
}

impl Readings {
    pub(super) fn load(&self) -> (usize, usize) {
        let running = self.running.iter().filter(|member| !member.reading.is_done());
        (running.count(), self.waiting.len())
    }

    /// Whether the one that waits first came before that sequence.
    pub(super) fn is_next(&self, sequence: Option<SequenceId>) -> bool {
        self.waiting.front().is_some_and(|(id, _)| sequence.is_none_or(|other| *id < other))
    }

    /// Lets the one that waits first take part, if there is memory for it.
    pub(super) fn admit(&mut self, pool: &KvPool) -> bool {
        let reserved = self.reserved();
        let fits = |(_, reading): &mut (_, Reading)| pool.available() >= reading.need() + reserved;
        let next = self.waiting.pop_front_if(fits);
        let member = next.map(|(id, reading)| Member { id, reading, waited: 0 });
        let admitted = member.is_some();
        self.running.extend(member);
        admitted
    }

    /// Positions that have to be left to those that take part, so that each can continue.
    pub(super) fn reserved(&self) -> usize {
        self.running.iter().map(|member| member.reading.reserved()).sum()
    }

    /// Those that need a pass, and how long they waited for one.
    pub(super) fn waited(&self) -> impl Iterator<Item = (usize, usize)> {
        let members = self.running.iter().enumerate();
        members.filter(|(_, member)| !member.reading.is_done()).map(|(i, member)| (i, member.waited))
    }

    /// Prepares the pass of one of them, in which others have `rows` already, and returns its own rows.
    pub(super) fn sit(&mut self, pool: &mut KvPool, i: usize, limits: &Limits, rows: usize) -> usize {
        let keep = self.reserved() - self.running[i].reading.reserved();
        let member = &mut self.running[i];
        // Even alone it takes no more than a piece of a prompt does, as others may come.
        let left = limits.rows.saturating_sub(rows).min(limits.prefill_rows);
        let room = Room { rows: left, alone: rows == 0, piece: limits.prefill_rows, keep };
        let own = member.reading.sit(pool, room);
        member.waited = if own > 0 { 0 } else { member.waited + 1 };
        own
    }

    /// The chosen ones of them.
    pub(super) fn chosen(&mut self, chosen: &[usize]) -> Vec<&mut Reading> {
        let members = self.running.iter_mut().enumerate().filter(|(i, _)| chosen.contains(i));
        members.map(|(_, member)| &mut member.reading).collect()
    }

    pub(super) fn cancel(&mut self, pool: &mut KvPool, id: SequenceId) {
        self.waiting.retain(|(other, _)| *other != id);
        self.running
            .iter_mut()
            .filter(|member| member.id == id)
            .for_each(|member| member.reading.release(pool));
        self.running.retain(|member| member.id != id);
    }
}
