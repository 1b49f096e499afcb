//! Ctrl-C and SIGTERM: noted, for programs that have something to finish.

use super::{INTERRUPTED, note};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPT: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C is only noted; the second one ends the program at once. Later calls do nothing.
pub fn catch_interrupt() {
    static CAUGHT: Once = Once::new();
    CAUGHT.call_once(catch);
}

fn catch() {
    let handler = || {
        if INTERRUPT.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    if ctrlc::set_handler(handler).is_err() {
        note("note: Ctrl-C cannot be caught here; it ends the program at once");
    }
}

/// Whether there was a Ctrl-C since [`catch_interrupt`].
pub fn interrupted() -> bool {
    INTERRUPT.load(Ordering::SeqCst)
}
