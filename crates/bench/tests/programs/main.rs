//! `diffulex-bench` and `diffulex-synth` from the outside: arguments in, reports, checkpoints and exit codes out.

#[path = "../../../../tests/fixture/mod.rs"]
mod fixture;
#[path = "../../../../tests/fixture/program.rs"]
mod program;

mod bad_input;
mod bench;
#[path = "../../../../tests/programs/documents.rs"]
mod documents;
mod quality;
#[path = "../../../../tests/programs/shell.rs"]
mod shell;
mod synth;

use fixture::model;

/// The programs of the package.
const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_diffulex-bench"), env!("CARGO_BIN_EXE_diffulex-synth")];

/// Commands of these programs that the documents have at least.
const COMMANDS: usize = 5;
