//! The APIs: one module for each.

pub(crate) mod decisions;
pub(crate) mod denoise;
pub(crate) mod ollama;
pub(crate) mod openai;
pub(crate) mod operations;

use crate::body::parse;
use crate::error::ApiError;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicU64, Ordering};
use time::OffsetDateTime;

/// Reads a body as the route of a path does, as far as that needs no model.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(path: &str, body: &[u8]) -> Option<Result<(), ApiError>> {
    fn read<T: DeserializeOwned>(body: &[u8]) -> Result<(), ApiError> {
        parse::<T>(body).map(drop)
    }
    Some(match path {
        "/v1/chat/completions" => parse::<openai::ChatRequest>(body).and_then(|own| own.split().map(drop)),
        "/v1/completions" => parse::<openai::CompletionRequest>(body).and_then(|own| own.split().map(drop)),
        "/v1/decisions" => read::<decisions::DecisionRequest>(body),
        "/v1/denoise" => read::<denoise::DenoiseRequest>(body),
        "/v1/infill" => read::<denoise::InfillRequest>(body),
        "/api/chat" => read::<ollama::ChatRequest>(body),
        "/api/generate" => read::<ollama::GenerateRequest>(body),
        "/api/show" => read::<ollama::ShowRequest>(body),
        "/tokenize" => read::<operations::TokenizeRequest>(body),
        "/detokenize" => read::<operations::DetokenizeRequest>(body),
        _ => return None,
    })
}

/// An id that no other answer of this process has.
pub(crate) fn new_id(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:08x}{number:08x}", OffsetDateTime::now_utc().unix_timestamp())
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
