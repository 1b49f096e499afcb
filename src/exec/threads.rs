//! [`Threads`]: a fork/join pool on std threads that spins between tasks and parks when there is nothing to do.
//!
//! A forward pass forks about two hundred times, and the gaps between the forks are microseconds. Waking a parked thread costs
//! tens of them, so helpers spin for a while after each job and park only when no other follows.

use super::{Executor, Turns};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Rounds of `spin_loop` before a waiting thread offers its core to others: a few microseconds, longer than a fork or a join
/// takes when every thread has a core of its own.
const SPINS_BEFORE_YIELD: usize = if cfg!(miri) { 4 } else { 2_000 };
/// Rounds of `yield_now` before a helper parks: some 100 microseconds, longer than the serial parts of a forward pass.
const YIELDS_BEFORE_PARK: usize = 300;

thread_local! {
    /// Whether this thread is in a task of some pool.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// Bit of [`Shared::gate`] that no number of helpers reaches.
const OPEN: usize = 1 << (usize::BITS - 1);

/// A task with its lifetime erased. Valid while the `run` that published it is on the stack.
#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

// SAFETY: the pointee is Sync, and `run` outlives every use (it closes the gate and waits until nobody is inside).
unsafe impl Send for Job {}

/// One cache line each, so that helpers that poll `epoch` do not slow the counters down.
#[repr(align(64))]
struct Line<T>(T);

struct Shared {
    /// Number of jobs published so far. A helper that sees it change takes part in the job.
    epoch: Line<AtomicUsize>,
    /// Next task index to hand out.
    next: Line<AtomicUsize>,
    /// [`OPEN`] while the current job may be joined, plus the number of helpers that work on it. The caller waits for those alone:
    /// on a machine with other work, a helper that was not given a core yet must not hold up what the others have done.
    gate: Line<AtomicUsize>,
    job: Mutex<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
    /// Set by a helper that is about to park; cleared by the caller that wakes it.
    parked: Vec<AtomicBool>,
}

/// A pool of `width - 1` helpers and the calling thread.
///
/// In a forked child of the process, which has no helpers, tasks run on the calling thread.
///
/// Calls from several threads are allowed: they take turns, in the order in which they came, so each of them has all threads. A task
/// that forks again does so on its own thread if the pool is busy.
pub struct Threads {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    threads: Vec<Thread>,
    /// Held during `run`.
    turns: Turns,
    /// The process that has the helpers: a fork leaves them behind.
    process: u32,
}

impl Threads {
    /// A pool that runs tasks on `width` threads, the caller included. `width` 0 counts as 1.
    ///
    /// Fewer threads are used if the system refuses to start that many.
    pub fn new(width: usize) -> Self {
        let helpers = width.max(1) - 1;
        let shared = Arc::new(Shared {
            epoch: Line(AtomicUsize::new(0)),
            next: Line(AtomicUsize::new(0)),
            gate: Line(AtomicUsize::new(0)),
            job: Mutex::new(None),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            parked: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            let name = format!("diffulex-{}", index + 1);
            std::thread::Builder::new().name(name).spawn(move || help(&shared, index)).ok()
        };
        let helpers: Vec<_> = (0..helpers).map_while(spawn).collect();
        let threads = helpers.iter().map(|helper| helper.thread().clone()).collect();
        Self { shared, helpers, threads, turns: Turns::default(), process: std::process::id() }
    }

    /// A pool as wide as the machine: one thread for each physical core.
    pub fn for_machine() -> Self {
        Self::new(super::physical_cores())
    }

    /// Whether this is a child of the process that has the helpers. Nothing would do their part, and one that was busy when the
    /// process forked would be waited for forever.
    fn forked(&self) -> bool {
        self.process != std::process::id()
    }

    fn publish(&self, job: Job) {
        let shared = &*self.shared;
        *lock(&shared.job) = Some(job);
        shared.next.0.store(0, Ordering::Relaxed);
        shared.gate.0.store(OPEN, Ordering::Release);
        // SeqCst with the helper's "set parked, then look at the epoch": one of the two sees the other.
        shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        for (parked, thread) in shared.parked.iter().zip(&self.threads) {
            if parked.load(Ordering::SeqCst) && parked.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
    }
}

impl Executor for Threads {
    fn width(&self) -> usize {
        self.helpers.len() + 1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() || tasks < 2 || self.forked() {
            return (0..tasks).for_each(task);
        }
        // A task must not wait for a pool whose tasks may wait for it.
        let turn = if IN_TASK.get() { self.turns.try_take() } else { Some(self.turns.take()) };
        let Some(turn) = turn else { return (0..tasks).for_each(task) };
        // SAFETY: only the lifetime changes. `work` and the wait below return after the last use by any helper, even when a task
        // panics, so the pointee outlives the job.
        let task = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(
                task,
            )
        };
        self.publish(Job { task, tasks });
        work(&self.shared, Job { task, tasks });
        self.shared.gate.0.fetch_and(!OPEN, Ordering::AcqRel);
        let done = || self.shared.gate.0.load(Ordering::Acquire) == 0;
        while !spin(done) {
            std::thread::yield_now();
        }
        *lock(&self.shared.job) = None;
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.forked() {
            // There is nothing to join, and the handles are useless.
            return std::mem::forget(std::mem::take(&mut self.helpers));
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.0.fetch_add(1, Ordering::SeqCst);
        for thread in &self.threads {
            thread.unpark();
        }
        for helper in self.helpers.drain(..) {
            // A helper cannot panic (tasks are caught), and a drop has nobody to report to.
            let _ = helper.join();
        }
    }
}

/// A poisoned lock only means that a task panicked, which is reported elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes tasks until none is left. A panic is kept for the caller of `run`, and the remaining tasks are dropped.
fn work(shared: &Shared, job: Job) {
    // SAFETY: `run` keeps the pointee alive until every participant has returned from here.
    let task = unsafe { &*job.task };
    let outside = IN_TASK.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        loop {
            let index = shared.next.0.fetch_add(1, Ordering::Relaxed);
            if index >= job.tasks {
                return;
            }
            task(index);
        }
    }));
    IN_TASK.set(outside);
    if let Err(panic) = outcome {
        shared.next.0.store(job.tasks, Ordering::Relaxed);
        lock(&shared.panic).get_or_insert(panic);
    }
}

/// The life of a helper thread.
fn help(shared: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        seen = wait(shared, index, seen);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let join = |gate: usize| (gate & OPEN != 0).then_some(gate + 1);
        if shared.gate.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, join).is_ok() {
            let job = *lock(&shared.job);
            if let Some(job) = job {
                work(shared, job);
            }
            shared.gate.0.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Spins until `ready` or for a while; returns whether it is ready.
fn spin(ready: impl Fn() -> bool) -> bool {
    for _ in 0..SPINS_BEFORE_YIELD {
        if ready() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

/// Spins, yields, then parks, until the epoch differs from `seen`; returns the new epoch.
fn wait(shared: &Shared, index: usize, seen: usize) -> usize {
    let changed = || shared.epoch.0.load(Ordering::Acquire) != seen;
    let mut ready = spin(changed);
    for _ in 0..YIELDS_BEFORE_PARK {
        if ready {
            return shared.epoch.0.load(Ordering::Acquire);
        }
        std::thread::yield_now();
        ready = changed();
    }
    loop {
        shared.parked[index].store(true, Ordering::SeqCst);
        let epoch = shared.epoch.0.load(Ordering::SeqCst);
        if epoch != seen {
            shared.parked[index].store(false, Ordering::SeqCst);
            return epoch;
        }
        std::thread::park();
    }
}
