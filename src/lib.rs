//! SIMD inference for diffusion language models on ordinary CPUs.

pub mod bytes;
pub mod dtype;
pub mod error;
pub mod exec;
pub mod quant;
pub mod tensor;
pub mod text;

pub use error::{Error, Result};
