//! What the measuring programs share: random weights of any architecture.
#![forbid(unsafe_code)]

pub mod random;
#[cfg(test)]
mod tests;
