//! What the programs share: options that name a model and a way to decode, models without files, and how a failure becomes an
//! exit code.
//!
//! Exit codes: 0 success, 1 a comparison, some of many prompts, or a turn of a piped conversation failed, 2 bad input, 130 interrupted.
#![deny(unsafe_code)]

mod complete;
pub mod decide;
pub mod decoding;
pub mod demo;
#[cfg(unix)]
#[allow(unsafe_code, reason = "a signal handler")]
mod fault;
pub mod forecast;
pub mod hub;
mod idle;
pub mod input;
mod interrupt;
mod layout;
pub mod machine;
pub mod memory;
mod model;
mod output;
pub mod presets;
mod progress;
mod safe;
mod shell;
pub mod sibling;
mod version;
pub mod work;

pub use complete::{parse, parse_from};
pub use idle::{Idle, unknown};
pub use interrupt::{catch_interrupt, interrupted, parting, release_interrupt};
pub use layout::Layout;
pub use model::{CpuArgs, FILES_OF_WEIGHTS, MachineArgs, ModelArgs, kv, passed_over};
pub use output::{Claim, OutputDirectory, refuse_input, replace, replaceable};
pub use progress::Progress;
pub use safe::safe;
pub use sibling::become_program;
pub use version::{long_version, version};

pub use diffulex::quant::{DEFAULT_GROUP, FormatName, group};

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Exit code for input that cannot be used.
pub const BAD_INPUT: u8 = 2;
/// Exit code after Ctrl-C, as shells report it.
pub const INTERRUPTED: u8 = 130;

/// Runs a program; prints its error as `error: ...` on stderr.
pub fn run(program: impl FnOnce() -> diffulex::Result<ExitCode>) -> ExitCode {
    #[cfg(unix)]
    fault::explain();
    program().unwrap_or_else(|error| {
        // Nobody listens on a closed stderr, and there is no other place for the message.
        let _ = writeln!(std::io::stderr(), "error: {error}");
        ExitCode::from(BAD_INPUT)
    })
}

/// How a failure is reported after a Ctrl-C that was noted: whatever failed, failed because of that.
///
/// # Errors
/// Any other failure.
pub fn unless_interrupted(outcome: diffulex::Result<ExitCode>) -> diffulex::Result<ExitCode> {
    match outcome {
        Err(_) if interrupted() => {
            note("interrupted");
            Ok(ExitCode::from(INTERRUPTED))
        }
        outcome => outcome,
    }
}

/// Writes to stdout. A reader that went away (`| head`) is not an error: returns whether somebody still reads.
///
/// # Errors
/// [`diffulex::Error::Io`] for anything but a closed pipe, such as a full disk.
pub fn print(text: &str) -> diffulex::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(diffulex::Error::io("standard output", error)),
    }
}

/// A number of bytes for people.
pub fn readable(bytes: u64) -> String {
    if bytes < 100_000_000 {
        format!("{:.2} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.2} GB", bytes as f64 / 1e9)
    }
}

/// Writes a line to stderr, for people: names of files and tensors in it are shown, but not interpreted by the terminal.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", safe(text));
}
