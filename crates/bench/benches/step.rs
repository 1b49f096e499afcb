//! One forward pass with logits, as in a denoise step: blocks of the SDAR-1.7B shape, only a few layers and a short
//! vocabulary, so that the bench fits into memory and takes minutes. Ids: `step/sdar-1.7b-4layers/q4g64xi8/avx2/m<rows>_past<cached>`.
//!
//! Throughput is bytes of weights per second; compare it with `machine/read` of the kernels bench. `diffulex-bench` measures
//! whole models.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use diffulex::Engine;
use diffulex::cache::{Attention, Visible};
use diffulex::engine::ModelFiles;
use diffulex::kernels::{Activations, Level};
use diffulex::model::{GenerationConfig, Probe};
use diffulex::quant::Format;
use diffulex_bench::random;
use diffulex_cli::presets::Preset;
use std::time::Duration;

const LAYERS: usize = 4;

/// Block matrices, and embedding with output matrix.
const FORMATS: [(&str, &str); 3] = [("bf16", "bf16"), ("q8g64", "q8g64"), ("q4g64", "q8g64")];

/// Rows and cached positions of a pass.
const PASSES: [(usize, usize); 6] = [(1, 0), (4, 0), (32, 0), (128, 0), (4, 512), (32, 512)];

fn engine(level: Level, activations: Activations, formats: (&str, &str)) -> Engine {
    let preset = Preset::named("sdar-1.7b").expect("a preset");
    let preset = Preset { layers: LAYERS, vocab: 32_000, words: 31_000, ..preset };
    let arch = preset.architecture().expect("a config of a known family");
    let format = |name| Format::from_name(name).expect("a format");
    let source = random::source(&arch, format(formats.0), format(formats.1), 0);
    let files = ModelFiles { arch, generation: GenerationConfig::default() };
    let builder = Engine::builder().level(level).activations(activations).context(1024);
    builder.load(files, &source).expect("every tensor is there")
}

fn steps(c: &mut Criterion) {
    for level in Level::available() {
        for formats in FORMATS {
            for activations in [Activations::F32, Activations::Int8] {
                if formats.0 != "bf16" || activations == Activations::F32 {
                    passes(c, &engine(level, activations, formats));
                }
            }
        }
    }
}

fn passes(c: &mut Criterion, engine: &Engine) {
    let mut group = c.benchmark_group("step");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(engine.model().weight_bytes() as u64));
    let format = engine.model().weight_format();
    let unit = engine.kernels().unit_name(format);
    // The scalar level is a fallback; one pass says how slow it is.
    let passes = if engine.kernels().level().name() == "scalar" { &PASSES[..1] } else { &PASSES };
    for &(m, past) in passes {
        let mut session = engine.session().expect("a small cache");
        if past > 0 {
            let ids = vec![7; past];
            let visible = Visible::by_rule(Attention::BlockCausal { block: 4 }, 0..past, 0, past);
            session.forward(&ids, 0, &visible, &mut Probe::none()).expect("it fits");
            session.commit(past);
        }
        let ids = vec![engine.mask().expect("the config names it"); m];
        let visible = Visible::all(past..past + m, 0..past + m);
        let wanted: Vec<usize> = (0..m).collect();
        let id = format!("sdar-1.7b-{LAYERS}layers/{format}x{unit}/m{m}_past{past}");
        group.bench_function(id, |bench| {
            bench.iter(|| {
                session.forward(&ids, past, &visible, &mut Probe::none()).expect("it fits");
                session.logits(&wanted, &mut Probe::none()).len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
