//! `diffulex-verify` from the outside.
#![cfg(feature = "cli")]

#[path = "../../../../tests/fixture/mod.rs"]
mod fixture;
#[path = "../../../../tests/fixture/program.rs"]
mod program;

#[path = "../../../../tests/programs/documents.rs"]
mod documents;
#[path = "../../../../tests/programs/shell.rs"]
mod shell;
mod verify;

use fixture::{MODELS, model};
use program::ids;

/// The programs of the package.
const PROGRAMS: [&str; 1] = [env!("CARGO_BIN_EXE_diffulex-verify")];

/// Commands of these programs that the documents have at least.
const COMMANDS: usize = 1;
