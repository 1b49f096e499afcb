//! SIMD inference for diffusion language models on ordinary CPUs.

pub mod bytes;
pub mod cache;
#[cfg(feature = "cli")]
pub mod cli;
pub mod dtype;
pub mod engine;
pub mod error;
pub mod exec;
pub mod json;
pub mod kernels;
pub mod model;
pub mod quant;
pub mod sampler;
pub mod tensor;
pub mod text;
#[cfg(feature = "cli")]
pub mod verify;
pub mod weights;

pub use engine::{Control, Engine, EngineBuilder, Event, Generation, Request, Session};
pub use error::{Error, Result};
pub use exec::Executor;
pub use model::Architecture;
pub use sampler::Policy;
pub use weights::TensorSource;
