//! What the programs count (bytes, operations) compared with real models.

use crate::random;
use diffulex::engine::{Engine, ModelFiles};
use diffulex::model::{Architecture, GenerationConfig, Recipe};
use diffulex::quant::Format;
use diffulex_cli::memory::{all_bytes, embedding_bytes, matrix_bytes, planned_bytes, stored_bytes};
use diffulex_cli::presets::Preset;
use diffulex_cli::work::{PassSize, Work};

fn format(name: &str) -> Format {
    Format::from_name(name).expect("a format")
}

fn arch(preset: &str) -> Architecture {
    Preset::named(preset).unwrap().architecture().unwrap()
}

fn engine(format: &str, head: &str) -> Engine {
    let arch = arch("tiny-sdar");
    let [format, head] = [format, head].map(self::format);
    let source = random::source(&arch, format, head, 1);
    let files = ModelFiles { arch, generation: GenerationConfig::default() };
    Engine::builder().load(files, &source).unwrap()
}

fn size(rows: usize, context: usize, logit_rows: usize) -> PassSize {
    PassSize { rows, context, logit_rows }
}

#[test]
fn work_is_counted_from_the_shapes() {
    // tiny-sdar: hidden 128, ffn 352, 4 layers, 5 heads and 1 K/V head of 32, vocab 1024.
    let block = 2 * 160 * 128 + 2 * 32 * 128 + 3 * 352 * 128;
    let (head, attention) = (1024 * 128, 4 * 160 * 4);
    let bf16 = engine("bf16", "bf16");
    let work = Work::of(&bf16, size(3, 10, 3), None);
    assert_eq!(work.weight_bytes, 2 * (4 * block + head));
    assert_eq!(work.kv_bytes, 10 * 4 * 2 * 32 * 2);
    assert_eq!(work.operations(), (2 * 3 * (4 * block + head) + attention * 3 * 13) as f64);
    let last = Work::of(&bf16, size(3, 0, 1), None);
    assert_eq!(last.kv_bytes, 0);
    assert_eq!(last.operations(), (2 * 3 * 4 * block + 2 * head + attention * 9) as f64);
    let none = Work::of(&bf16, size(3, 0, 0), None);
    assert_eq!(none.weight_bytes, 2 * 4 * block);
}

#[test]
fn quantized_weights_are_fewer_bytes_and_the_same_operations() {
    let (bf16, int4) = (engine("bf16", "bf16"), engine("q4g64", "q8g64"));
    let [bf16, int4] = [&bf16, &int4].map(|engine| Work::of(engine, size(4, 8, 4), None));
    assert_eq!(bf16.operations(), int4.operations());
    assert!(int4.weight_bytes * 2 < bf16.weight_bytes, "{} and {}", int4.weight_bytes, bf16.weight_bytes);
    assert_eq!(int4.by_format().len(), 3, "f32 of attention, int4, int8");
}

#[test]
fn shapes_alone_say_the_same_as_a_model() {
    for (format, head) in [("bf16", "bf16"), ("q4g64", "q8g64"), ("q8row", "f32")] {
        let engine = engine(format, head);
        let formats = [format, head].map(self::format);
        for size in [size(1, 0, 1), size(32, 100, 32), size(3, 7, 0)] {
            let shapes = Work::of_shapes(engine.arch(), formats, engine.kv(), size);
            let model = Work::of(&engine, size, None);
            assert_eq!((shapes.weight_bytes, shapes.kv_bytes), (model.weight_bytes, model.kv_bytes));
            assert_eq!(shapes.by_format(), model.by_format(), "{format}, {head}");
        }
    }
}

#[test]
fn stored_and_planned_weights_are_counted_as_they_are() {
    for (name, tied) in [("tiny-dream", false), ("tiny-fast-dllm", true)] {
        let arch = arch(name);
        let source = random::source(&arch, format("q4g64"), format("q8g64"), 1);
        let matrices = matrix_bytes(&arch, format("q4g64"), format("q8g64"));
        let vectors: usize = {
            let vectors = arch.tensors().into_iter().filter(|slot| slot.matrix().is_none());
            vectors.map(|slot| 4 * slot.elements()).sum()
        };
        assert_eq!(stored_bytes(&arch, &source), matrices + vectors as u64, "{name}");
        let embedding = embedding_bytes(&arch, format("q8g64"));
        assert_eq!(embedding == 0, tied, "{name}");
        assert_eq!(all_bytes(&source), matrices + vectors as u64 + embedding, "{name}");
        let floats = random::source(&arch, format("f32"), format("f32"), 1);
        let plan = Recipe::from(format("q4g64")).plan(&arch, &floats).unwrap();
        assert_eq!(planned_bytes(&plan), all_bytes(&source), "{name}: int4 with an int8 output matrix");
    }
}
