//! The interfaces: one module for each.

pub(crate) mod decisions;
pub(crate) mod denoise;
pub(crate) mod ollama;
pub(crate) mod openai;
pub(crate) mod operations;

use std::sync::atomic::{AtomicU64, Ordering};
use time::OffsetDateTime;

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
