//! Our safetensors reader against the format's own crate: ours refuses at least what the crate refuses, and both find the
//! same tensors.

#[path = "../../src/weights/tests/agree.rs"]
mod agree;

use ::safetensors::SafeTensors as Theirs;
use ::safetensors::tensor::Dtype;
use agree::agree;
use diffulex::TensorSource;
use diffulex::bytes::Bytes;
use diffulex::dtype::DType;
use diffulex::weights::SafeTensors;

/// Takes the input as a file, and as a header and data with a zero byte between them, preceded by the length that
/// the fuzzer would have to guess.
pub fn check(data: &[u8]) {
    agree(data);
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (header, data) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let length = (header.len() as u64).to_le_bytes();
    agree(&[&length, header, data].concat());
}
