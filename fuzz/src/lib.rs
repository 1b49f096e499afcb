//! What the fuzz targets check: a property of every module, asserted on whatever the fuzzer comes up with. README.md lists them.
//!
//! A `check` returns quietly where the input is refused as it should be, and panics where a promise is broken.

pub mod capi;
mod capi_args;
pub mod chat;
pub mod config;
pub mod engine;
pub mod index;
pub mod json;
mod policy;
pub mod quant;
pub mod requests;
pub mod safetensors;
pub mod tokenizer;
pub mod unmask;

use arbitrary::{Result, Unstructured};

/// Runs a check that takes its input apart; one that ends early is made up of zeros.
fn with(data: &[u8], check: impl FnOnce(&mut Unstructured<'_>) -> Result<()>) {
    let _ = check(&mut Unstructured::new(data));
}

/// Cuts the next `len` bytes off, or what is left, filled with zeros.
fn bytes(u: &mut Unstructured<'_>, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    u.fill_buffer(&mut bytes)?;
    Ok(bytes)
}
