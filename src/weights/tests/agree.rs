//! Our reader and the safetensors crate side by side. The fuzz target `safetensors` includes this file, so it names its types
//! through `super`.

use super::{Bytes, DType, Dtype, SafeTensors, TensorSource, Theirs};

/// Element types, ours and theirs.
pub(super) const PAIRS: [(DType, Dtype); 13] = [
    (DType::Bool, Dtype::BOOL),
    (DType::U8, Dtype::U8),
    (DType::I8, Dtype::I8),
    (DType::U16, Dtype::U16),
    (DType::I16, Dtype::I16),
    (DType::F16, Dtype::F16),
    (DType::Bf16, Dtype::BF16),
    (DType::U32, Dtype::U32),
    (DType::I32, Dtype::I32),
    (DType::F32, Dtype::F32),
    (DType::U64, Dtype::U64),
    (DType::I64, Dtype::I64),
    (DType::F64, Dtype::F64),
];

/// Opens `bytes` with both readers. Ours may refuse what the crate accepts, never the reverse, and where both accept they
/// must find the same tensors. Returns whether ours accepted.
pub(super) fn agree(bytes: &[u8]) -> bool {
    let Ok(ours) = SafeTensors::from_bytes("t.safetensors", &Bytes::copy_aligned(bytes)) else {
        return false;
    };
    let theirs = Theirs::deserialize(bytes).expect("the crate refuses what we accept");
    let mut names: Vec<String> = theirs.names().into_iter().map(String::from).collect();
    names.sort();
    assert_eq!(ours.names(), names);
    for name in &names {
        let (a, b) = (ours.tensor(name).unwrap(), theirs.tensor(name).unwrap());
        assert!(PAIRS.contains(&(a.dtype(), b.dtype())), "{name}: {:?} is not {:?}", a.dtype(), b.dtype());
        assert_eq!(a.shape(), b.shape(), "{name}");
        assert!(**a.bytes() == *b.data(), "{name}: other bytes");
    }
    true
}
