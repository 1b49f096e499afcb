//! Ctrl-C and SIGTERM: noted, for programs that have something to finish.

use super::{INTERRUPTED, note};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
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
    handle();
    // An earlier call may have noted one, which must not be forgotten.
    let _ = STATE.compare_exchange(ENDS, CAUGHT, Ordering::SeqCst, Ordering::SeqCst);
}

fn handle() {
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
}

/// What the terminal still has to be told if a Ctrl-C ends the program at once; nothing at first.
static PARTING: Mutex<&str> = Mutex::new("");

/// Sets what restores the terminal: code that draws on it sets this before, and resets it ("") after.
pub fn parting(text: &'static str) {
    *PARTING.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

/// Files and directories that are not to outlive the program, and whether their contents are removed with them.
static TEMPORARY: Mutex<Vec<(PathBuf, bool)>> = Mutex::new(Vec::new());

/// A file or a directory that is removed if a Ctrl-C ends the program while the value lives.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// For what is at `path`, or will be: it is removed only if it is empty then.
    pub(super) fn if_empty(path: &Path) -> Self {
        Self::new(path, false)
    }

    /// As [`Self::if_empty`], with everything in it.
    pub(super) fn with_contents(path: &Path) -> Self {
        Self::new(path, true)
    }

    fn new(path: &Path, with_contents: bool) -> Self {
        handle();
        // The working directory may have changed by then.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), with_contents));
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).retain(|(path, _)| *path != self.0);
    }
}

/// Removes what is temporary, the latest first: directories come after what is in them.
fn take_away() {
    for (path, with_contents) in TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).iter().rev() {
        let Ok(there) = fs::symlink_metadata(path) else { continue };
        // The program ends either way.
        let _ = match (there.is_dir(), with_contents) {
            // Once more if the program wrote to it meanwhile.
            (true, true) => fs::remove_dir_all(path).or_else(|_| fs::remove_dir_all(path)),
            (true, false) => fs::remove_dir(path),
            (false, false) if there.len() > 0 => Ok(()),
            (false, _) => fs::remove_file(path),
        };
    }
}

/// Bypasses standard output: the program may be in the middle of writing to it.
fn part() {
    take_away();
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

/// Does what may wait forever, such as for the reader of a pipe: a Ctrl-C meanwhile ends the program at once.
pub(super) fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    let before = STATE.swap(ENDS, Ordering::SeqCst);
    let outcome = wait();
    STATE.store(before, Ordering::SeqCst);
    outcome
}

/// Whether there was a Ctrl-C since [`catch_interrupt`].
pub fn interrupted() -> bool {
    STATE.load(Ordering::SeqCst) == NOTED
}
