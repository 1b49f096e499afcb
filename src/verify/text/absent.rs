//! In place of `text.rs` in a build that reads no tokenizer: entries with text are skipped, and say so.

use super::Outcome;
use super::recording::Recording;
use crate::engine::Engine;
use crate::error::Error;
use crate::json::Value;
use crate::tensor::TokenId;
use crate::weights::Checkpoint;
use std::path::Path;

/// Why an entry is not compared.
const WHY: &str = "this build reads no tokenizer";

pub(super) fn run(recording: &Recording, _: &Engine, _: &Path, outcomes: &mut Vec<Outcome>) {
    for kind in ["chat", "encode", "end_to_end"] {
        for i in 0..recording.entries(kind).len() {
            outcomes.push(Outcome::skipped(format!("{kind}.{i}"), kind, WHY));
        }
    }
}

/// The mask that the recording code used: nobody else names it where the config does not.
pub(super) fn mask_id(recording: &Recording, _: &Checkpoint) -> Result<Option<TokenId>, Error> {
    let id = recording.manifest().get("mask_token_id").and_then(Value::as_u64);
    Ok(id.and_then(|id| TokenId::try_from(id).ok()))
}
