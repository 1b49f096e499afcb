//! [`Queue`]: requests on their way to the engine's thread.

use crate::update::Update;
use diffulex::Policy;
use diffulex::text_model::decide::Prepared;
use diffulex::text_model::{Prompt, Setup};
use metrics::gauge;
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// What is requested.
#[derive(Clone)]
pub(crate) enum Task {
    /// An answer.
    Answer(Box<(Prompt, Setup)>),
    /// A decision, and the settings that decide what positions see.
    Decision(Box<(Prepared, Policy)>),
}

/// A request for one answer or decision.
pub(crate) struct Job {
    pub(crate) task: Task,
    /// Who asks: requests of different keys take turns.
    pub(crate) owner: usize,
    pub(crate) arrived: Instant,
    /// When the request times out.
    pub(crate) deadline: Option<Instant>,
    /// Whether every pass is reported, and not only text.
    pub(crate) wants_steps: bool,
    /// Bounded by what an answer can hold; a closed one cancels the job.
    pub(crate) updates: UnboundedSender<Update>,
}

/// Where the engine's thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Loading,
    Ready,
    /// No new jobs; those that are there are finished.
    Draining,
    /// The thread is gone.
    Gone,
}

struct Inner {
    waiting: VecDeque<Job>,
    /// When each owner was served last, as a count of jobs served.
    served: HashMap<usize, u64>,
    count: u64,
    state: State,
    cut: bool,
}

/// Jobs that wait, bounded.
pub(crate) struct Queue {
    limit: usize,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Notified when jobs are no longer taken.
    ended: Notify,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This many already wait.
    Full(usize),
    /// The server is shutting down, or its engine failed.
    Closed,
}

impl Queue {
    /// A queue of at most `limit` jobs.
    pub(crate) fn new(limit: usize) -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            served: HashMap::new(),
            count: 0,
            state: State::Loading,
            cut: false,
        };
        Self { limit, inner: Mutex::new(inner), changed: Condvar::new(), ended: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No panic can leave the data under the lock inconsistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of `jobs` or none.
    ///
    /// # Errors
    /// If the queue cannot hold all of them, or the engine no longer takes jobs.
    pub(crate) fn submit(&self, jobs: Vec<Job>) -> Result<(), Refused> {
        let mut inner = self.lock();
        if matches!(inner.state, State::Draining | State::Gone) {
            return Err(Refused::Closed);
        }
        inner.waiting.retain(|job| !job.updates.is_closed());
        if inner.waiting.len() + jobs.len() > self.limit.max(jobs.len()) {
            return Err(Refused::Full(inner.waiting.len()));
        }
        inner.waiting.extend(jobs);
        gauge!("diffulex_requests_waiting").set(inner.waiting.len() as f64);
        self.changed.notify_all();
        Ok(())
    }

    /// At most `room` jobs, beginning with the oldest one of the owner that was served least recently. Waits for one if the caller is
    /// `idle`. `None` when nothing is left to do.
    pub(crate) fn take(&self, room: usize, idle: bool) -> Option<Vec<Job>> {
        let mut inner = self.lock();
        while idle && inner.waiting.is_empty() {
            if inner.state == State::Draining {
                return None;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let mut jobs = Vec::new();
        while jobs.len() < room && !inner.waiting.is_empty() {
            let served = |job: &Job| inner.served.get(&job.owner).copied().unwrap_or(0);
            let next = (0..inner.waiting.len()).min_by_key(|&i| (served(&inner.waiting[i]), i));
            let job = inner.waiting.remove(next.expect("somebody waits")).expect("it was found there");
            inner.count += 1;
            let count = inner.count;
            inner.served.insert(job.owner, count);
            jobs.push(job);
        }
        gauge!("diffulex_requests_waiting").set(inner.waiting.len() as f64);
        Some(jobs)
    }

    /// The engine's thread is ready for jobs.
    pub(crate) fn ready(&self) {
        let mut inner = self.lock();
        if inner.state == State::Loading {
            inner.state = State::Ready;
        }
    }

    /// No new jobs from now on.
    pub(crate) fn drain(&self) {
        let mut inner = self.lock();
        if inner.state != State::Gone {
            inner.state = State::Draining;
        }
        self.changed.notify_all();
    }

    /// Whether running jobs are to be ended.
    pub(crate) fn cut(&self) {
        let mut inner = self.lock();
        inner.cut = true;
        inner.waiting.clear();
        self.changed.notify_all();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// Jobs are no longer taken: those that wait are dropped, which their requests notice.
    pub(crate) fn gone(&self) {
        let mut inner = self.lock();
        inner.state = State::Gone;
        inner.waiting.clear();
        self.ended.notify_one();
    }

    /// Ready when jobs are no longer taken.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    pub(crate) fn state(&self) -> State {
        self.lock().state
    }

    /// Jobs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}
