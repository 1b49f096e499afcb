//! [`Turns`]: a lock that serves its callers in the order in which they came.
//!
//! A caller that comes again and again (a forward pass after the other, a fork after the other) would keep an ordinary mutex
//! for itself. A turn goes from one thread to the next directly, and wakes no other: the cores are at work.
//! A thread that holds the turn takes it again without waiting for itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

#[derive(Default)]
pub(crate) struct Turns(Mutex<Line>);

#[derive(Default)]
struct Line {
    /// Whose turn it is.
    holder: Option<Caller>,
    /// Who waits, in order.
    waiting: VecDeque<(Caller, Thread)>,
}

/// A thread that is alive, by the address of something of its own. A [`Thread`] would be an allocation for every caller, also for those that
/// never wait.
type Caller = usize;

fn caller() -> Caller {
    thread_local!(static OWN: u8 = const { 0 });
    OWN.with(|own| std::ptr::from_ref(own).addr())
}

/// A turn, until it is dropped. Nothing, if the thread has it already.
pub(crate) struct Turn<'a>(Option<&'a Turns>);

impl Turns {
    /// Waits for a turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        let (caller, mut line) = (caller(), self.lock());
        match line.holder {
            Some(holder) if holder == caller => return Turn(None),
            Some(_) => line.waiting.push_back((caller, std::thread::current())),
            None => line.holder = Some(caller),
        }
        while line.holder != Some(caller) {
            drop(line);
            std::thread::park();
            line = self.lock();
        }
        Turn(Some(self))
    }

    /// A turn, if it is nobody's now.
    pub(crate) fn try_take(&self) -> Option<Turn<'_>> {
        let mut line = self.lock();
        if line.holder.is_some() {
            return None;
        }
        line.holder = Some(caller());
        Some(Turn(Some(self)))
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(turns) = self.0 else { return };
        let mut line = turns.lock();
        let next = line.waiting.pop_front();
        line.holder = next.as_ref().map(|(caller, _)| *caller);
        drop(line);
        if let Some((_, thread)) = next {
            thread.unpark();
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
}
