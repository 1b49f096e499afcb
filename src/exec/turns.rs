//! [`Turns`]: a lock that serves its callers in the order in which they came.
//!
//! A caller that comes again and again (a forward pass after the other, a fork after the other) would keep an ordinary mutex
//! for itself. A thread that holds the turn takes it again without waiting for itself.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<Tickets>,
    changed: Condvar,
}

#[derive(Default)]
struct Tickets {
    /// The next one to hand out.
    next: u64,
    /// Whose turn it is; equal to `next` if it is nobody's.
    serving: u64,
    /// Who holds the turn, if it is somebody's.
    holder: Option<ThreadId>,
}

/// A turn, until it is dropped. Nothing, if the thread has it already.
pub(crate) struct Turn<'a>(Option<&'a Turns>);

impl Turns {
    /// Waits for a turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        let (mut state, thread) = (self.lock(), std::thread::current().id());
        if state.holder == Some(thread) {
            return Turn(None);
        }
        let own = state.next;
        state.next += 1;
        while state.serving != own {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.holder = Some(thread);
        Turn(Some(self))
    }

    /// A turn, if it is nobody's now.
    pub(crate) fn try_take(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        let free = state.serving == state.next;
        if !free {
            return None;
        }
        state.next += 1;
        state.holder = Some(std::thread::current().id());
        Some(Turn(Some(self)))
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Tickets> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(turns) = self.0 else { return };
        let mut state = turns.lock();
        state.serving += 1;
        state.holder = None;
        let waited_for = state.serving != state.next;
        drop(state);
        if waited_for {
            turns.changed.notify_all();
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
                while turns.lock().next != i + 2 {
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
