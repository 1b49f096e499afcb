//! SIMD inference for diffusion language models on ordinary CPUs.

pub mod bytes;
pub mod cache;
pub mod dtype;
pub mod error;
pub mod exec;
pub mod kernels;
pub mod json;
pub mod model;
pub mod quant;
pub mod tensor;
pub mod text;
pub mod weights;

pub use error::{Error, Result};
