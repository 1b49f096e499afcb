//! Running the tokenizers crate, which panics on some malformed files (it unwraps parts of them).

use crate::error::{Error, Result};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// What goes wrong in the tokenizers crate and in the steps around it.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

thread_local! {
    /// Whether a panic of this thread becomes an error, so that it is not reported.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`; its errors and panics name `file` and say what was being done, if anything, before what went wrong.
pub(super) fn guarded<T>(
    file: &str,
    doing: &str,
    body: impl FnOnce() -> std::result::Result<T, Failure>,
) -> Result<T> {
    quiet_panics();
    let outer = GUARDED.replace(true);
    // Unwind safe: what a panic leaves half built is dropped with the closure.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    GUARDED.set(outer);
    let what = match outcome {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error.to_string(),
        Err(payload) => format!("malformed tokenizer ({})", message(payload.as_ref())),
    };
    let doing = if doing.is_empty() { String::new() } else { format!("{doing}: ") };
    Err(Error::Text { file: file.to_owned(), what: doing + &what })
}

/// Wraps the process's panic hook in one that leaves out the panics that become errors.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    // A thread that is panicking may not change the hook; a later call does.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if !GUARDED.get() {
                hook(info);
            }
        }));
    });
}

/// The first line of a panic's message.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.and_then(|text| text.lines().next()).unwrap_or("no message")
}
