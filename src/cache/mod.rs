//! Which keys a query sees.
#![forbid(unsafe_code)]

mod visible;

pub use visible::{Attention, Span, Visible};
