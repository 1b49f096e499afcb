//! The engine's thread: takes jobs from the queue, runs forward passes for all of them, and reports to each what happened.

use crate::queue::{Job, Queue, Task};
use crate::update::{Edited, Outcome, Revealed, Update};
use diffulex::engine::{Alternatives, Control, Event, Limits, PassKind, SequenceId};
use diffulex::text_model::decide::Decided;
use diffulex::text_model::{Answered, Batch};
use diffulex::{Error, Model, Result};
use metrics::{counter, gauge, histogram};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// A job that is being answered.
struct Running {
    job: Job,
    prompt_tokens: usize,
    /// Positions of the prompt whose keys and values were there before.
    cached: usize,
    passes: usize,
    /// How sure the model was of every position when it was revealed.
    scores: Vec<Option<f64>>,
    /// The most probable tokens there, if they are requested.
    alternatives: Alternatives,
    timed_out: bool,
}

/// Answers jobs until the queue is closed and empty.
///
/// # Errors
/// If there is no memory for the keys and values of `limits`.
pub(crate) fn run(model: &Model, queue: &Queue, limits: Limits) -> Result<()> {
    let mut batch = model.batch(limits)?;
    let mut running: HashMap<SequenceId, Running> = HashMap::new();
    let mut deciding: HashMap<SequenceId, Job> = HashMap::new();
    queue.ready();
    loop {
        let count = running.len() + deciding.len();
        let Some(jobs) = queue.take(limits.sequences - count, count == 0) else { return Ok(()) };
        for job in jobs {
            begin(&mut batch, &mut running, &mut deciding, job);
        }
        if queue.is_cut() {
            running.values_mut().for_each(|own| own.timed_out = true);
            deciding.values_mut().for_each(|job| job.deadline = Some(Instant::now()));
        }
        give_up(&mut batch, &running, &mut deciding);
        let answered = batch.step(&mut |id, event, text| {
            let own = running.get_mut(&id).expect("every sequence of the batch is a job");
            own.tell(event, text);
            Ok(if own.is_given_up() { Control::Stop } else { Control::Continue })
        });
        let rows = batch.scheduler().rows();
        if rows > 0 {
            counter!("diffulex_forward_passes_total").increment(1);
            histogram!("diffulex_rows_per_pass").record(rows as f64);
        }
        for Answered { id, result } in answered {
            let own = running.remove(&id).expect("every sequence of the batch is a job");
            own.finish(result);
        }
        for decided in batch.take_decided() {
            let job = deciding.remove(&decided.id).expect("every decision of the batch is a job");
            decide(&job, decided);
        }
        let cache = batch.scheduler().cache();
        gauge!("diffulex_kv_positions_free").set(cache.available() as f64);
        gauge!("diffulex_requests_running").set((running.len() + deciding.len()) as f64);
    }
}

/// Ends jobs whose client is gone and jobs that timed out.
fn give_up(
    batch: &mut Batch<'_>,
    running: &HashMap<SequenceId, Running>,
    deciding: &mut HashMap<SequenceId, Job>,
) {
    // Those that wait for memory get no events.
    for (&id, own) in running {
        if own.is_given_up() {
            batch.cancel(id);
        }
    }
    deciding.retain(|&id, job| {
        let given_up = job.updates.is_closed() || job.is_late();
        if given_up {
            batch.cancel(id);
            job.send(Update::TimedOut);
        }
        !given_up
    });
}

/// Reports what was decided.
fn decide(job: &Job, Decided { result, passes, .. }: Decided) {
    histogram!("diffulex_decision_seconds").record(job.arrived.elapsed().as_secs_f64());
    job.send(match result {
        Ok(verdicts) => Update::Decided(verdicts, passes),
        Err(error) => Update::Failed(Arc::new(error)),
    });
}

fn begin(
    batch: &mut Batch<'_>,
    running: &mut HashMap<SequenceId, Running>,
    deciding: &mut HashMap<SequenceId, Job>,
    job: Job,
) {
    if job.updates.is_closed() {
        return;
    }
    if job.is_late() {
        job.send(Update::TimedOut);
        return;
    }
    let begun = match &job.task {
        Task::Answer(asked) => batch.add(asked.0.clone(), asked.1.clone()),
        Task::Decision(asked) => batch.decide(asked.0.clone(), asked.1.clone()),
    };
    let id = match begun {
        Ok(id) => id,
        Err(error) => return job.send(Update::Failed(Arc::new(error))),
    };
    histogram!("diffulex_queue_seconds").record(job.arrived.elapsed().as_secs_f64());
    let Task::Answer(asked) = &job.task else {
        deciding.insert(id, job);
        return;
    };
    let own = Running {
        prompt_tokens: asked.0.ids.len(),
        job,
        cached: 0,
        passes: 0,
        scores: Vec::new(),
        alternatives: Alternatives::new(),
        timed_out: false,
    };
    running.insert(id, own);
}

impl Running {
    /// The client is gone, or the request has timed out.
    fn is_given_up(&self) -> bool {
        self.timed_out || self.job.updates.is_closed() || self.job.is_late()
    }

    fn tell(&mut self, event: &Event<'_>, text: &str) {
        match *event {
            Event::Pass { kind, index, rows, cached, .. } => {
                if self.passes == 0 {
                    self.cached = cached.min(self.prompt_tokens);
                }
                self.passes += 1;
                if self.job.wants_steps {
                    let rows = rows.clone();
                    self.job.send(Update::Pass { kind: name(kind), index, rows, cached });
                }
            }
            Event::Revealed { tokens, edits, alternatives, canvas, .. } => {
                self.scores.resize(canvas.len(), None);
                let tokens = tokens.iter().map(|t| Revealed { position: t.pos, id: t.token, score: t.score });
                let edits = edits.iter().map(|t| Edited {
                    now: Revealed { position: t.pos, id: t.token, score: t.score },
                    before: t.before,
                });
                for now in tokens.clone().chain(edits.clone().map(|edit| edit.now)) {
                    self.scores[now.position] = Some(now.score);
                    if let Some(best) = alternatives.get(&now.position) {
                        self.alternatives.insert(now.position, best.clone());
                    }
                }
                if self.job.wants_steps {
                    self.job.send(Update::Revealed(tokens.collect(), edits.collect()));
                }
            }
            Event::Block { range, .. } if self.job.wants_steps => {
                self.job.send(Update::Block(range.clone()));
            }
            Event::Block { .. } => {}
        }
        if !text.is_empty() {
            self.job.send(Update::Text(text.to_string()));
        }
    }

    fn finish(self, result: Result<diffulex::text_model::Answer>) {
        let late = self.timed_out || self.job.is_late();
        let update = match result {
            // What was cut is not an answer, unless it was complete at that moment.
            Ok(answer) if answer.reason() == "cancelled" && late => Update::TimedOut,
            Ok(answer) => {
                counter!("diffulex_tokens_total").increment(answer.counted as u64);
                counter!("diffulex_prompt_tokens_total").increment(self.prompt_tokens as u64);
                counter!("diffulex_prompt_tokens_cached_total").increment(self.cached as u64);
                histogram!("diffulex_tokens_per_forward").record(answer.per_forward());
                let (cached, scores, prompt_tokens) = (self.cached, self.scores, self.prompt_tokens);
                let alternatives = self.alternatives;
                Update::Done(Box::new(Outcome { answer, prompt_tokens, cached, scores, alternatives }))
            }
            Err(error) => Update::Failed(Arc::new(error)),
        };
        histogram!("diffulex_request_seconds").record(self.job.arrived.elapsed().as_secs_f64());
        self.job.send(update);
    }
}

fn name(kind: PassKind) -> &'static str {
    match kind {
        PassKind::Prefill => "prefill",
        PassKind::Denoise => "denoise",
        PassKind::Commit => "commit",
    }
}

impl Job {
    /// Whether the time that a request may take is over.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Reports to the request; if it is gone, that is noticed before the next pass.
    fn send(&self, update: Update) {
        let _ = self.updates.send(update);
    }
}

/// Whether an error is the caller's: something in the request, and not the machine or the model.
pub(crate) fn is_of_request(error: &Error) -> bool {
    matches!(
        error,
        Error::Option { .. }
            | Error::Unsupported { .. }
            | Error::Capacity { .. }
            | Error::TokenId { .. }
            | Error::Text { .. }
    )
}
