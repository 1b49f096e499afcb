//! Models as data, and what their checkpoints must hold.
#![forbid(unsafe_code)]

pub mod arch;
mod config;
pub mod generation_config;
pub mod presets;
mod refused;
pub mod slots;
