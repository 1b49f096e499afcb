//! [`Batch`]: many prompts answered at a time, each as it would be alone.

use super::answer::Reply;
use super::decide::Deciding;
use super::{Answer, Model, Prompt, Setup};
use crate::engine::{Control, Event, Limits, Scheduler, SequenceId, Standard};
use crate::error::Result;

/// The outcome of a prompt.
pub struct Answered {
    /// Which.
    pub id: SequenceId,
    /// The answer, or why there is none.
    pub result: Result<Answer>,
}

/// An answer in progress.
struct Open<'m> {
    id: SequenceId,
    prompt: Prompt,
    setup: Setup,
    reply: Reply<'m>,
}

/// Prompts that are answered, and decisions that are made, in common forward passes; see [`Scheduler`].
pub struct Batch<'m> {
    pub(super) model: &'m Model,
    pub(super) scheduler: Scheduler<'m, 'static>,
    open: Vec<Open<'m>>,
    pub(super) deciding: Vec<Deciding>,
}

impl Model {
    /// A batch with nothing to do.
    ///
    /// # Errors
    /// As [`Scheduler::new`].
    pub fn batch(&self, limits: Limits) -> Result<Batch<'_>> {
        let scheduler = Scheduler::new(&self.engine, limits)?;
        Ok(Batch { model: self, scheduler, open: Vec::new(), deciding: Vec::new() })
    }
}

impl<'m> Batch<'m> {
    /// Takes a prompt, whose answer begins when there is a place for it.
    ///
    /// # Errors
    /// As [`Scheduler::add`], before any work.
    pub fn add(&mut self, prompt: Prompt, setup: Setup) -> Result<SequenceId> {
        let reply = Reply::new(self.model, &prompt, &setup)?;
        let id = self.scheduler.add_with_rules(&reply.request(&prompt, &setup), &Standard)?;
        self.open.push(Open { id, prompt, setup, reply });
        Ok(id)
    }

    /// Prompts that have no answer yet.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Ends an answer with what there is; the next [`Self::step`] hands it out. A decision is forgotten.
    pub fn cancel(&mut self, id: SequenceId) {
        self.forget(id);
        self.scheduler.cancel(id);
    }

    /// The scheduler of the sequences, for inspection.
    pub fn scheduler(&self) -> &Scheduler<'m, 'static> {
        &self.scheduler
    }

    /// Makes one forward pass for all that are ready, and returns those that are answered. `on_event` is called for every event of an
    /// answer with the text that became final by it, may end that answer with what there is, and may fail it.
    pub fn step(
        &mut self,
        on_event: &mut dyn FnMut(SequenceId, &Event<'_>, &str) -> Result<Control>,
    ) -> Vec<Answered> {
        let Self { model, scheduler, open, .. } = self;
        let finished = scheduler.step(&mut |id, event| {
            let own = open.iter_mut().find(|own| own.id == id).expect("every sequence is an open answer");
            let settled = own.reply.push(&event)?;
            let control = on_event(id, &event, &settled)?;
            Ok(if own.reply.stopped() { Control::Stop } else { control })
        });
        let answered = finished.into_iter().map(|finished| {
            let at = open.iter().position(|own| own.id == finished.id);
            let Open { id, prompt, setup, mut reply } =
                open.remove(at.expect("every sequence is an open answer"));
            let answer = |generation| reply.finish(model, &prompt, &setup, generation);
            Answered { id, result: finished.result.and_then(answer) }
        });
        answered.collect()
    }
}
