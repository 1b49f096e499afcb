//! Whatever is in config.json and generation_config.json: an error, or a model whose sizes can be used in computations.

use diffulex::cache::KvDtype;
use diffulex::engine::ModelFiles;
use diffulex::exec::Serial;
use diffulex::json::Value;
use diffulex::model::{Architecture, GenerationConfig};
use diffulex::weights::MemorySource;
use diffulex::{Engine, Error, Policy};
use std::sync::Arc;

/// See the module.
pub fn check(text: &[u8]) {
    let Ok(json) = Value::parse_python("config.json", text) else { return };
    let generation = GenerationConfig::from_json("generation_config.json", &json).unwrap_or_default();
    check_generation(&generation);
    let Ok(arch) = Architecture::from_config("config.json", &json) else { return };
    check_architecture(&arch);
    let files = ModelFiles::from_json("config.json", json, generation).expect("less is read than before");
    let loaded = Engine::builder().executor(Arc::new(Serial)).load(files, &MemorySource::new("nothing"));
    let error = loaded.err().expect("a model without weights was loaded");
    assert!(matches!(error, Error::MissingTensor { .. } | Error::Option { .. }), "{error}");
}

fn check_generation(generation: &GenerationConfig) {
    let within = |x: Option<f32>, low, high| x.is_none_or(|x| (low..=high).contains(&x));
    assert!(within(generation.temperature, 0.0, 100.0), "{generation:?}");
    assert!(within(generation.top_p, 0.0, 1.0), "{generation:?}");
    assert!(within(generation.repetition_penalty, 0.01, 100.0), "{generation:?}");
}

fn check_architecture(arch: &Architecture) {
    let dims = &arch.dims;
    let sizes = [dims.vocab, dims.hidden, dims.ffn, dims.layers, dims.n_heads, dims.n_kv_heads];
    assert!(!sizes.contains(&0) && dims.max_pos > 0, "{dims:?}");
    assert!(dims.n_heads.is_multiple_of(dims.n_kv_heads), "{dims:?}");
    assert!(dims.head_dim >= 2 && dims.head_dim.is_multiple_of(2), "{dims:?}");
    let tokens = &arch.tokens;
    let ids = tokens.eos.iter().chain(&tokens.mask);
    assert!(ids.clone().all(|&id| (id as usize) < dims.vocab), "{tokens:?}");
    assert!(arch.norm_eps > 0.0 && arch.rope.theta.is_finite(), "{arch:?}");
    Policy::named(arch.policy).expect("the policy of a family exists");
    let bytes = arch.kv_shape().bytes_per_token(KvDtype::F32).checked_mul(dims.max_pos);
    assert!(bytes.is_some_and(|bytes| bytes > 0), "{dims:?}");
    for slot in arch.tensors() {
        let bytes = slot.shape.iter().try_fold(8usize, |product, &dim| product.checked_mul(dim));
        assert!(bytes.is_some_and(|bytes| bytes > 0), "{slot:?}");
    }
}
