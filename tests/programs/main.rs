//! The programs from the outside: arguments and files in, text and exit codes out.
#![cfg(feature = "cli")]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../fixture/program.rs"]
mod program;

mod batch;
mod broken;
mod canvas;
mod chat;
mod decide;
mod doctor;
mod documents;
#[cfg(unix)]
mod faults;
mod hub;
mod idle;
mod infill;
mod library;
mod options;
mod quantize;
mod recorded;
mod run;
mod shell;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod terminal;
mod trace;
mod words;

use fixture::{MODELS, model};
use program::{ids, list, manifest};

/// The programs of the package.
const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_diffulex-run"), env!("CARGO_BIN_EXE_diffulex-quantize")];

/// Commands of these programs that the documents have at least.
const COMMANDS: usize = 20;
