//! Ctrl-C and SIGTERM: noted, for programs that have something to finish.

use super::{INTERRUPTED, note};
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// What a Ctrl-C does now.
static STATE: AtomicU8 = AtomicU8::new(ENDS);
/// Ends the program at once.
const ENDS: u8 = 0;
/// Is noted.
const CAUGHT: u8 = 1;
/// Was noted; the next one ends the program.
const NOTED: u8 = 2;

/// From now on the first Ctrl-C is only noted; the second one ends the program at once. One that was noted
/// already stays noted until [`release_interrupt`].
pub fn catch_interrupt() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        let handler = || {
            let noted = STATE.compare_exchange(CAUGHT, NOTED, Ordering::SeqCst, Ordering::SeqCst);
            if noted.is_err() {
                part();
                std::process::exit(i32::from(INTERRUPTED));
            }
        };
        if ctrlc::set_handler(handler).is_err() {
            note("note: Ctrl-C cannot be caught here; it ends the program at once");
        }
    });
    // An earlier call may have noted one, which is not to be forgotten.
    let _ = STATE.compare_exchange(ENDS, CAUGHT, Ordering::SeqCst, Ordering::SeqCst);
}

/// What the terminal still has to be told if a Ctrl-C ends the program at once; nothing at first.
static PARTING: Mutex<&str> = Mutex::new("");

/// Says what leaves the terminal as it was found: whoever draws on it says so before, and takes it back ("") after.
pub fn parting(text: &'static str) {
    *PARTING.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

/// Past standard output: the program may be in the middle of writing to it.
fn part() {
    let text = *PARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mut terminal) =
        (!text.is_empty()).then(|| File::options().write(true).open("/dev/tty").ok()).flatten()
    {
        // The program ends either way.
        let _ = terminal.write_all(text.as_bytes());
    }
}

/// Ends what [`catch_interrupt`] began: a Ctrl-C ends the program at once again. Returns whether there was one.
pub fn release_interrupt() -> bool {
    STATE.swap(ENDS, Ordering::SeqCst) == NOTED
}

/// Whether there was a Ctrl-C since [`catch_interrupt`].
pub fn interrupted() -> bool {
    STATE.load(Ordering::SeqCst) == NOTED
}
