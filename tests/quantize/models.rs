//! Recorded models with quantized weights: the kernels' own error, apart from that of quantizing, and weights quantized while a
//! model is loaded.

use crate::fixture::{golden, levels};
use diffulex::bytes::Bytes;
use diffulex::cache::{KvDtype, KvPool, Visible};
use diffulex::dtype::{DType, as_bytes};
use diffulex::engine::ModelFiles;
use diffulex::exec::{Serial, Threads};
use diffulex::kernels::{Activations, Kernels, Level};
use diffulex::model::{Choice, Compute, LogitBuffers, Probe, Recipe, Role, Scratch, Segment};
use diffulex::quant::{Code, Format, Group, Matrix, Quant};
use diffulex::tensor::TensorView;
use diffulex::weights::{Checkpoint, MemorySource, Storage, StoredQuant, TensorSource};
use diffulex::{Engine, EngineBuilder, Error};
use std::sync::{Arc, Mutex};

/// One of every family, tied and untied, f32 and 16 bits.
const MODELS: [&str; 13] = [
    "a2d-qwen3-f32",
    "stable-diffcoder-f32",
    "nemotron-diffusion-f32",
    "sdar-f32",
    "sdar-hd128-sharded",
    "sdar-moe-f32",
    "llada2-f32",
    "llada2-bf16",
    "llada-moe-f32",
    "fastdllm2-f32",
    "fastdllm2-untied",
    "dream-bf16",
    "llada-f16",
];

fn formats() -> [Format; 4] {
    let of = |code, group, zero| Format::Quant(Quant::new(code, group, zero).unwrap());
    [
        of(Code::Int4, Group::Of(32), false),
        of(Code::Int4, Group::Of(64), true),
        of(Code::Int8, Group::Of(128), false),
        of(Code::Int8, Group::Row, false),
    ]
}

fn builder(level: Level, activations: Activations) -> EngineBuilder {
    Engine::builder().level(level).activations(activations).threads(1).kv(KvDtype::F32).context(64)
}

fn files(name: &str) -> ModelFiles {
    ModelFiles::read(&Checkpoint::locate(&golden(name)).unwrap()).unwrap()
}

fn source(name: &str) -> impl TensorSource {
    Checkpoint::locate(&golden(name)).unwrap().open(Storage::Read).unwrap()
}

/// Logits of 24 positions.
fn logits(engine: &Engine) -> Vec<f32> {
    logits_by(engine, Choice::Router)
}

/// The same, with this choice of experts.
fn logits_by(engine: &Engine, experts: Choice<'_>) -> Vec<f32> {
    let ids: Vec<u32> = (0..24).map(|i| (i * 37 + 5) % engine.arch().dims.vocab as u32).collect();
    let (model, visible) = (engine.model(), Visible::by_rule(engine.arch().attention, 0..24, 0, 24));
    let compute = Compute { kernels: engine.kernels(), exec: &Threads::new(engine.threads()) };
    let mut cache = KvPool::new(model.kv_shape(), KvDtype::F32, 24).unwrap();
    let slot = cache.open(24).unwrap();
    let batch = [Segment { slot, first: 0, ids: &ids, visible: &visible, experts }];
    let (mut scratch, mut buffers) = (Scratch::default(), LogitBuffers::default());
    model
        .forward(&compute, &mut scratch, &model.rope_table(24), &mut cache, &batch, &mut Probe::none())
        .unwrap();
    let rows: Vec<usize> = (0..24).collect();
    model.logits(&compute, model.hidden(&scratch), &rows, &mut buffers, &mut Probe::none());
    buffers.logits
}

/// The model by `recipe`, as stored and decoded to f32.
fn both(name: &str, recipe: &Recipe) -> [MemorySource; 2] {
    let source = source(name);
    let (mut stored, mut decoded) = (MemorySource::new("stored"), MemorySource::new("decoded"));
    for planned in recipe.plan(&files(name).arch, &source).unwrap() {
        let name = &planned.slot.name;
        if planned.to == planned.from {
            stored.insert(name, source.tensor(name).unwrap());
            decoded.insert(name, source.tensor(name).unwrap());
            continue;
        }
        let view = source.tensor(name).unwrap();
        let matrix = Matrix::from_tensor(&view).unwrap();
        let (n, k) = (matrix.n(), matrix.k());
        let Format::Quant(quant) = planned.to else { panic!("every matrix is quantized") };
        let mut bytes = vec![0; quant.bytes(n, k).unwrap()];
        matrix.encode_into(name, planned.to, &mut bytes, &Serial).unwrap();
        let bytes = Bytes::copy_aligned(&bytes);
        let matrix = Matrix::from_panels(n, k, quant, bytes.clone()).unwrap();
        stored.insert_quantized(name, StoredQuant { quant, n, k }, bytes);
        let mut values = vec![0.0; n * k];
        values.chunks_mut(k).enumerate().for_each(|(i, row)| matrix.decode_row(i, row));
        let bytes = Bytes::copy_aligned(as_bytes(&values));
        decoded.insert(name, TensorView::new(DType::F32, vec![n, k], bytes).unwrap());
    }
    [stored, decoded]
}

/// Largest difference and largest logit.
fn difference(a: &[f32], b: &[f32]) -> (f32, f32) {
    let largest =
        |x: &mut dyn Iterator<Item = f32>| x.fold(0.0f32, |m, x| if x.is_nan() { x } else { m.max(x) });
    (largest(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs())), largest(&mut a.iter().map(|a| a.abs())))
}

/// With f32 activations only the order of the sums differs from that of the same weights in f32; with int8 activations, their
/// rounding (a relative 2^-8 of the largest of a group) goes through every layer.
#[test]
fn quantized_models_compute_what_their_decoded_weights_do() {
    for name in MODELS {
        for format in formats() {
            let [stored, decoded] = both(name, &Recipe::from(format));
            for level in levels() {
                let open = |source: &MemorySource, activations| {
                    builder(level, activations).load(files(name), source).unwrap()
                };
                let exact = open(&decoded, Activations::F32);
                // The choice of a router is discrete: what rounding makes of it says nothing about the kernels.
                let fixed = exact.arch().mixture.as_ref().map(|mixture| Choice::Among(mixture.experts));
                for (activations, choice, bound) in [
                    (Activations::F32, Choice::Router, 2e-5),
                    (Activations::Int8, fixed.unwrap_or_default(), 0.1),
                ] {
                    let engine = open(&stored, activations);
                    let uses = engine.kernels().unit_name(format);
                    let expected = logits_by(&exact, choice);
                    let (most, largest) = difference(&expected, &logits_by(&engine, choice));
                    assert!(
                        largest > 0.0 && most <= bound * largest,
                        "{name} {format} {uses}: {most:e} of {largest:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn quantizing_while_loading_makes_the_same_model_bit_for_bit() {
    for name in MODELS {
        for format in formats() {
            let [stored, _] = both(name, &Recipe::from(format));
            let build = || builder(Level::detect(), Activations::F32);
            let loaded = build().load(files(name), &stored).unwrap();
            for threads in [1, 3] {
                let engine =
                    build().threads(threads).quantize(format).load(files(name), &source(name)).unwrap();
                assert_eq!(engine.model().formats(), loaded.model().formats(), "{name} {format}");
                assert_eq!(engine.model().weight_bytes(), loaded.model().weight_bytes(), "{name} {format}");
                assert!(logits(&engine) == logits(&loaded), "{name} {format}");
            }
            let float = build().load(files(name), &source(name)).unwrap();
            assert!(logits(&float) != logits(&loaded), "{name} {format}: nothing was quantized");
        }
    }
}

#[test]
fn automatic_activations_are_named_by_what_runs() {
    for level in levels() {
        let build = || Engine::builder().level(level).threads(1).context(64);
        let load = |builder: EngineBuilder| builder.load(files("sdar-f32"), &source("sdar-f32")).unwrap();
        let float = load(build());
        assert_eq!(float.kernels().activations(), Kernels::new(level).activations(), "{}", level.name());
        let name = match level.name() {
            "avx2" | "avx512" => "int8",
            "amx" => "bf16",
            _ => "f32",
        };
        let quantized = load(build().quantize(formats()[0]));
        assert_eq!(quantized.kernels().activations().name(), name, "{}", level.name());
        let same = load(build().quantize(formats()[0]).activations(Activations::from_name(name).unwrap()));
        assert!(logits(&quantized) == logits(&same), "{}", level.name());
    }
}

#[test]
fn quantizing_while_loading_tells_how_far_it_is() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let [int4, ..] = formats();
    let recipe = Recipe { exclude: vec!["*.0.*".into()], ..Recipe::from(int4) };
    let build = || {
        let told = Arc::clone(&told);
        let tell = move |done, all| told.lock().unwrap().push((done, all));
        builder(Level::detect(), Activations::F32).progress(tell)
    };
    let name = "fastdllm2-untied";
    build().load(files(name), &source(name)).unwrap();
    assert!(told.lock().unwrap().is_empty(), "nothing was quantized");
    build().quantize(recipe.clone()).load(files(name), &source(name)).unwrap();
    // Every matrix that changes, once.
    let plan = recipe.plan(&files(name).arch, &source(name)).unwrap();
    let sizes: Vec<usize> = plan.iter().filter(|p| p.to != p.from).map(|p| p.slot.elements()).collect();
    let told = told.lock().unwrap();
    let all = sizes.iter().sum();
    assert_eq!(told.len(), sizes.len());
    assert!(told.is_sorted() && told.iter().all(|&(_, of)| of == all), "{told:?}");
    assert_eq!(told.last(), Some(&(all, all)));
}

#[test]
fn a_recipe_gives_every_part_its_format() {
    let [int4, _, int8, _] = formats();
    for name in MODELS {
        let (arch, source) = (files(name).arch, source(name));
        // Some families have one matrix for queries, keys and values.
        let kept = if arch.names.q == arch.names.k { "attention.dense" } else { "v_proj" };
        let exclude = vec![format!("*.1.*{kept}.*")];
        let recipe = Recipe { lm_head: int8, exclude, ..Recipe::from(int4) };
        for planned in recipe.plan(&arch, &source).unwrap() {
            let slot = planned.slot;
            let expected = match slot.role {
                Role::Norm | Role::Bias | Role::Router => planned.from,
                Role::Embedding | Role::Head => int8,
                _ if slot.name.contains(".1.") && slot.name.contains(kept) => planned.from,
                Role::Attention | Role::FeedForward => int4,
            };
            assert_eq!(planned.to, expected, "{name}: {}", slot.name);
            let is_vector = slot.shape.len() == 1;
            assert_eq!(matches!(slot.role, Role::Norm | Role::Bias), is_vector, "{name}: {}", slot.name);
        }
        let count =
            |role| recipe.plan(&arch, &source).unwrap().iter().filter(|p| p.slot.role == role).count();
        let layers = arch.dims.layers;
        let sparse = (0..layers).filter(|&layer| arch.mixture_of(layer).is_some()).count();
        let experts = arch.mixture.as_ref().map_or(0, |m| m.experts + usize::from(m.shared.is_some()));
        // Query, key and value matrix are one tensor in some families.
        let attention = if arch.names.q == arch.names.k { 2 } else { 4 };
        let expected = (attention * layers, 3 * (layers - sparse + sparse * experts), sparse);
        let found = (count(Role::Attention), count(Role::FeedForward), count(Role::Router));
        assert_eq!(found, expected, "{name}");
        assert_eq!((count(Role::Embedding), count(Role::Head)), (1, usize::from(!arch.tied)), "{name}");
    }
    // An int4 model keeps its ends at int8.
    let Format::Quant(ends) = Recipe::from(int4).lm_head else { panic!("a quantized output matrix") };
    assert_eq!(ends.to_string(), "q8g32");
    assert_eq!(Recipe::from(int8).lm_head, int8);
    assert_eq!(Recipe::from(Format::Bf16).lm_head, Format::Bf16);
}

#[test]
fn recipes_that_cannot_be_followed_are_refused() {
    let [int4, _, int8, _] = formats();
    let refused = |name: &str, recipe: Recipe| {
        let engine = builder(Level::detect(), Activations::F32).quantize(recipe);
        engine.load(files(name), &source(name)).err().expect("refused").to_string()
    };
    let unmatched = Recipe { exclude: vec!["*.norm".into()], ..Recipe::from(int8) };
    assert_eq!(refused("sdar-f32", unmatched), "option `exclude`: no tensor of the model matches `*.norm`");
    let tied = MODELS.into_iter().find(|name| files(name).arch.tied).expect("a tied model");
    let two = Recipe { lm_head: int8, embed: Some(int4), ..Recipe::from(int8) };
    let message = refused(tied, two);
    assert!(message.starts_with("option `embed`: q4g32 given, and q8g128 for lm_head"), "{message}");
    let [stored, _] = both("sdar-f32", &Recipe::from(int4));
    let again = builder(Level::detect(), Activations::F32).quantize(int8).load(files("sdar-f32"), &stored);
    let error = again.err().expect("refused");
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("is quantized already, as q8g32"), "{error}");
}

#[test]
fn weights_that_are_not_finite_are_named_while_loading() {
    let float = source("sdar-f32");
    let mut damaged = MemorySource::new("damaged");
    let name = float.names().into_iter().find(|name| name.contains("1.mlp.up")).expect("a matrix");
    for other in float.names() {
        damaged.insert(&other, float.tensor(&other).unwrap());
    }
    let view = float.tensor(&name).unwrap();
    let mut values = view.as_slice::<f32>().unwrap().to_vec();
    let k = view.shape()[1];
    values[3 * k + 2] = f32::NAN;
    let bytes = Bytes::copy_aligned(as_bytes(&values));
    damaged.insert(&name, TensorView::new(DType::F32, view.shape().to_vec(), bytes).unwrap());
    let engine = builder(Level::detect(), Activations::F32).quantize(formats()[0]);
    let error = engine.load(files("sdar-f32"), &damaged).err().expect("refused");
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    assert!(error.to_string().contains(&format!("tensor `{name}`, row 3, column 2")), "{error}");
}
