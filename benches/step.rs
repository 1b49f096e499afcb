//! One forward pass with logits, as a denoise step makes it: blocks of the SDAR-1.7B shape in bf16, a few layers of them so
//! that the bench fits into memory and a minute. Ids: `step/sdar-1.7b-4layers/<level>/m<rows>_past<cached>`.
//!
//! Throughput is bytes of weights per second; compare it with `machine/read` of the kernels bench.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use diffulex::bytes::Bytes;
use diffulex::cache::{Attention, Visible};
use diffulex::dtype::{Bf16, DType, as_bytes};
use diffulex::engine::ModelFiles;
use diffulex::json::Value;
use diffulex::kernels::Level;
use diffulex::model::{GenerationConfig, Probe};
use diffulex::tensor::TensorView;
use diffulex::weights::MemorySource;
use diffulex::{Architecture, Engine};
use std::time::Duration;

const LAYERS: usize = 4;
const CONFIG: &str = r#"{
    "architectures": ["SDARForCausalLM"], "model_type": "sdar", "vocab_size": 32000, "hidden_size": 2048,
    "intermediate_size": 6144, "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 8,
    "head_dim": 128, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1000000,
    "tie_word_embeddings": true, "mask_token_id": 31999, "hidden_act": "silu"
}"#;

/// Small numbers that look random.
fn noise(len: usize) -> Vec<Bf16> {
    let number = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
    (0..len as u32).map(|i| Bf16::from_f32(0.03 * number(i))).collect()
}

fn engine(level: Level) -> Engine {
    let config = Value::parse("bench", CONFIG.as_bytes()).expect("valid JSON");
    let arch = Architecture::from_config("bench", &config).expect("a config of a known family");
    assert_eq!(arch.dims.layers, LAYERS, "the id of the bench names the layers");
    let mut source = MemorySource::new("bench");
    for (name, shape) in arch.expected_tensors() {
        let bytes = Bytes::copy_aligned(as_bytes(&noise(shape.iter().product())));
        source.insert(
            name,
            TensorView::new(DType::Bf16, shape, bytes).expect("as many bytes as the shape says"),
        );
    }
    let files = ModelFiles { arch, generation: GenerationConfig::default() };
    Engine::builder().level(level).context(1024).load(files, &source).expect("every tensor is there")
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for level in Level::available() {
        // The scalar level is a fallback; one row count says how slow it is.
        let rows: &[usize] = if level.name() == "scalar" { &[1] } else { &[1, 4, 32, 128] };
        let engine = engine(level);
        group.throughput(Throughput::Bytes(engine.model().weight_bytes() as u64));
        for past in [0, 512] {
            for &m in rows {
                let mut session = engine.session().expect("a small cache");
                let rule = Attention::BlockCausal { block: 4 };
                if past > 0 {
                    let ids = vec![7; past];
                    let visible = Visible::by_rule(rule, 0..past, 0, past);
                    session.forward(&ids, 0, &visible, &mut Probe::none()).expect("it fits");
                    session.commit(past);
                }
                let ids = vec![31_999; m];
                let visible = Visible::all(past..past + m, 0..past + m);
                let wanted: Vec<usize> = (0..m).collect();
                let id = format!("sdar-1.7b-{LAYERS}layers/{}/m{m}_past{past}", level.name());
                group.bench_function(id, |bench| {
                    bench.iter(|| {
                        session.forward(&ids, past, &visible, &mut Probe::none()).expect("it fits");
                        session.logits(&wanted, &mut Probe::none()).len()
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
