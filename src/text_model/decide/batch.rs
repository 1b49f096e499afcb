//! Decisions in the common passes of a [`Batch`].

use super::tree::Tree;
use super::{Prepared, Verdict};
use crate::engine::{Read, SequenceId};
use crate::error::Result;
use crate::sampler::Policy;
use crate::text_model::Batch;

/// The outcome of a decision.
pub struct Decided {
    /// Which.
    pub id: SequenceId,
    /// The answers to its questions, or why there are none.
    pub result: Result<Vec<Verdict>>,
    /// Forward passes that it took part in.
    pub passes: usize,
}

/// A decision in progress.
pub(in crate::text_model) struct Deciding {
    id: SequenceId,
    /// What is read for it now.
    reading: SequenceId,
    prepared: Prepared,
    policy: Policy,
    /// What the questions ask now, the second time.
    again: Option<Vec<Tree>>,
    passes: usize,
}

impl Batch<'_> {
    /// Takes a decision, which is made in the passes of [`Self::step`], with the bits of [`Model::decide`](crate::Model::decide).
    /// [`Self::take_decided`] hands it out.
    ///
    /// # Errors
    /// As [`Scheduler::read`](crate::engine::Scheduler::read), before any work.
    pub fn decide(&mut self, prepared: Prepared, policy: Policy) -> Result<SequenceId> {
        let places: Vec<_> = prepared.places(&prepared.trees).collect();
        let id = self.scheduler.read(&policy, &places)?;
        self.deciding.push(Deciding { id, reading: id, prepared, policy, again: None, passes: 0 });
        Ok(id)
    }

    /// The finished decisions. Those that ask a second time continue.
    pub fn take_decided(&mut self) -> Vec<Decided> {
        let read = self.scheduler.take_read();
        read.into_iter().filter_map(|read| self.go_on(read)).collect()
    }

    fn go_on(&mut self, read: Read) -> Option<Decided> {
        let at = self.deciding.iter().position(|own| own.reading == read.id)?;
        let mut own = self.deciding.swap_remove(at);
        own.passes += read.passes;
        let result = read.result.and_then(|read| {
            let trees = own.again.as_deref().unwrap_or(&own.prepared.trees);
            let verdicts = own.prepared.verdicts(trees, &mut read.into_iter())?;
            if own.again.is_some() || !own.prepared.again {
                self.model.in_use.check()?;
                return Ok(Some(verdicts));
            }
            let trees = self.model.trees_again(&own.prepared, &verdicts)?;
            let places: Vec<_> = own.prepared.places(&trees).collect();
            own.reading = self.scheduler.read(&own.policy, &places)?;
            own.again = Some(trees);
            Ok(None)
        });
        let (id, passes) = (own.id, own.passes);
        match result.transpose() {
            Some(result) => Some(Decided { id, result, passes }),
            None => {
                self.deciding.push(own);
                None
            }
        }
    }

    /// Forgets a decision, if this is one.
    pub(in crate::text_model) fn forget(&mut self, id: SequenceId) {
        for own in self.deciding.extract_if(.., |own| own.id == id) {
            self.scheduler.cancel(own.reading);
        }
    }
}
