//! [`Turns`]: a lock that serves its callers in the order in which they came.
//!
//! A caller that comes again and again (one forward pass after another, one fork after another) would keep an ordinary mutex
//! for itself. A turn goes from one thread to the next directly, and wakes no other: the cores are busy.
//! A thread that holds the turn takes it again without waiting for itself.
//!
//! What is [lent](Turns::run) need not wait for its own thread: whoever gives up the turn does the work of those that wait. A thread
//! that is woken while every core is busy gets one only when the system decides so, which takes milliseconds, and the cores that it
//! shares the work with wait for it. So the cores keep working, and the thread that waited wakes meanwhile.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

#[derive(Default)]
pub(crate) struct Turns(Mutex<Line>);

/// The turns of a process. A child that a fork makes has others: of the threads that held or waited for a turn when it was created, it
/// has at most one, and what the others hold they would hold forever.
pub(crate) struct OwnTurns {
    turns: Turns,
    process: u32,
    child: OnceLock<Box<Self>>,
}

impl Default for OwnTurns {
    fn default() -> Self {
        Self { turns: Turns::default(), process: std::process::id(), child: OnceLock::new() }
    }
}

impl OwnTurns {
    /// Those of this process.
    pub(crate) fn get(&self) -> &Turns {
        if self.process == std::process::id() {
            &self.turns
        } else {
            self.child.get_or_init(Box::default).get()
        }
    }
}

#[derive(Default)]
struct Line {
    /// Whose turn it is.
    holder: Option<Caller>,
    /// Who waits, in order.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    caller: Caller,
    thread: Thread,
    /// What another thread may do instead.
    lent: Option<Lent>,
}

/// A thread that is alive, by the address of something of its own. A [`Thread`] would be an allocation for every caller, even for
/// those that never wait.
type Caller = usize;

fn caller() -> Caller {
    thread_local!(static OWN: u8 = const { 0 });
    OWN.with(|own| std::ptr::from_ref(own).addr())
}

/// Work on the stack of a thread that waits in [`Turns::run`] until somebody has done it.
#[derive(Clone, Copy)]
struct Lent(*const Work<'static>);

struct Work<'a> {
    work: UnsafeCell<&'a mut (dyn FnMut() + Send)>,
    done: AtomicBool,
}

// SAFETY: the work itself is `Send`; only the thread that holds the turn and has taken this out of the line touches it.
unsafe impl Send for Lent {}

/// A turn, until it is dropped. Nothing, if the thread has it already.
pub(crate) struct Turn<'a>(Option<&'a Turns>);

impl Turns {
    /// Waits for a turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        let (caller, mut line) = (caller(), self.lock());
        match line.holder {
            Some(holder) if holder == caller => return Turn(None),
            Some(_) => {
                line.waiting.push_back(Waiting { caller, thread: std::thread::current(), lent: None });
            }
            None => line.holder = Some(caller),
        }
        while line.holder != Some(caller) {
            drop(line);
            std::thread::park();
            line = self.lock();
        }
        Turn(Some(self))
    }

    /// A turn, if nobody has it now.
    pub(crate) fn try_take(&self) -> Option<Turn<'_>> {
        let mut line = self.lock();
        if line.holder.is_some() {
            return None;
        }
        line.holder = Some(caller());
        Some(Turn(Some(self)))
    }

    /// Does `work` when its turn has come, on this thread or on the one whose turn was before.
    ///
    /// # Panics
    /// If `work` does.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let caller = caller();
        if self.lock().holder.is_none_or(|holder| holder == caller) {
            let _turn = self.take();
            return work();
        }
        let (mut work, mut outcome) = (Some(work), None);
        let mut once = || outcome = work.take().map(|work| catch_unwind(AssertUnwindSafe(work)));
        self.lend(caller, &mut once);
        match outcome.expect("work that was waited for is done") {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Waits until `work` is done, here or elsewhere.
    fn lend(&self, caller: Caller, work: &mut (dyn FnMut() + Send)) {
        let work = Work { work: UnsafeCell::new(work), done: AtomicBool::new(false) };
        let lent = Lent((&raw const work).cast());
        let thread = std::thread::current();
        let mut line = self.lock();
        if line.holder.is_some() {
            line.waiting.push_back(Waiting { caller, thread, lent: Some(lent) });
        } else {
            line.holder = Some(caller);
        }
        while line.holder != Some(caller) {
            drop(line);
            std::thread::park();
            if work.done.load(Ordering::Acquire) {
                return;
            }
            line = self.lock();
        }
        drop(line);
        let _turn = Turn(Some(self));
        // SAFETY: this thread has the turn now, so it is not in the line any more and no other thread has its work.
        unsafe { lent.perform() };
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to the next, after the work of those that wait now, up to the first one that has lent none. Whoever comes
    /// later has to wait for a thread, so that this one can continue with its own work.
    fn pass_on(&self) {
        let mut line = self.lock();
        let mut left = if std::thread::panicking() { 0 } else { line.waiting.len() };
        loop {
            let next = line.waiting.pop_front();
            match next {
                Some(Waiting { lent: Some(work), thread, .. }) if left > 0 => {
                    drop(line);
                    left -= 1;
                    // SAFETY: it was in the line, so its thread waits until it is done, and nobody else took it out.
                    unsafe { work.perform() };
                    thread.unpark();
                    line = self.lock();
                }
                next => {
                    line.holder = next.as_ref().map(|next| next.caller);
                    drop(line);
                    return next.into_iter().for_each(|next| next.thread.unpark());
                }
            }
        }
    }
}

impl Lent {
    /// Does the work, and marks it as done; after that it may no longer exist.
    ///
    /// # Safety
    /// The work exists, and no other thread has it.
    unsafe fn perform(self) {
        // SAFETY: as the caller guarantees. The work catches its own panics.
        unsafe {
            let work = &*self.0;
            (*work.work.get())();
            work.done.store(true, Ordering::Release);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(turns) = self.0 {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn turns_are_taken_one_at_a_time_and_in_order() {
        let (turns, inside) = (Turns::default(), AtomicUsize::new(0));
        let order = Mutex::new(Vec::new());
        let first = turns.take();
        std::thread::scope(|scope| {
            for i in 0..4 {
                let (turns, inside, order) = (&turns, &inside, &order);
                scope.spawn(move || {
                    let _turn = turns.take();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                    order.lock().unwrap().push(i);
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
                // The next one comes when this one waits.
                while turns.lock().waiting.len() != i + 1 {
                    std::thread::yield_now();
                }
            }
            assert!(turns.try_take().is_none(), "it is somebody's turn");
            drop(first);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3]);
        let turn = turns.take();
        drop(turns.take());
        assert!(turns.try_take().is_none(), "its second end does not end the first");
        drop(turn);
        assert!(turns.try_take().is_some(), "it is nobody's turn any more");
    }

    #[test]
    fn lent_work_is_done_once_in_order_by_whoever_has_the_turn() {
        let (turns, order) = (Turns::default(), Mutex::new(Vec::new()));
        let first = turns.take();
        let here = caller();
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for i in 0..4 {
                let (turns, order) = (&turns, &order);
                threads.push(scope.spawn(move || {
                    turns.run(|| {
                        // Its own turn is not waited for, whichever thread runs it.
                        drop(turns.take());
                        order.lock().unwrap().push((i, caller() == here));
                        assert!(i != 2, "the third fails");
                        10 * i
                    })
                }));
                while turns.lock().waiting.len() != i + 1 {
                    std::thread::yield_now();
                }
            }
            drop(first);
            assert_eq!(*order.lock().unwrap(), [(0, true), (1, true), (2, true), (3, true)]);
            let results = threads.into_iter().map(|thread| thread.join().ok());
            assert_eq!(results.collect::<Vec<_>>(), [Some(0), Some(10), None, Some(30)]);
        });
        assert!(turns.try_take().is_some(), "it is nobody's turn any more");
    }

    #[test]
    fn a_mix_of_callers_comes_to_an_end() {
        let (turns, inside, done) = (Turns::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let visit = || {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
            inside.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
        };
        let rounds = if cfg!(miri) { 5 } else { 500 };
        std::thread::scope(|scope| {
            for i in 0..4 {
                let (turns, visit) = (&turns, &visit);
                scope.spawn(move || {
                    for round in 0..rounds {
                        if (i + round) % 3 == 0 {
                            let _turn = turns.take();
                            visit();
                        } else {
                            turns.run(visit);
                        }
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 4 * rounds);
    }
}
