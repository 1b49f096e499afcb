//! What the programs of the workspace share: options that name a model, a machine and a way to decode, and how a failure becomes an
//! exit code.
//!
//! The sources are in `src/bin/cli` of the root package: `diffulex-run` and `diffulex-quantize` belong to that package and compile them
//! as a private module, because they cannot depend on a crate that depends on their own library. Every other program depends on
//! this crate.

#[path = "../../../src/bin/cli/mod.rs"]
mod cli;

pub use cli::*;
