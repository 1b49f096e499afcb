//! A NaN or an infinity in the weights is an error that names the place where it first shows, never a token.

use super::*;
use diffulex::Error;
use diffulex::bytes::Bytes;
use diffulex::engine::ModelFiles;
use diffulex::tensor::TensorView;
use diffulex::weights::{Checkpoint, MemorySource, Storage, TensorSource};

/// A recorded model with one number of one tensor replaced.
fn spoiled(name: &str, tensor: &str, element: usize, value: f32) -> Engine {
    let checkpoint = Checkpoint::locate(&fixture::golden(name)).unwrap();
    let weights = checkpoint.open(Storage::Read).unwrap();
    let mut source = MemorySource::new("spoiled");
    for name in weights.names() {
        let view = weights.tensor(&name).unwrap();
        let mut bytes = view.bytes().to_vec();
        if name == tensor {
            bytes[element * 4..][..4].copy_from_slice(&value.to_le_bytes());
        }
        let bytes = Bytes::copy_aligned(&bytes);
        source.insert(name, TensorView::new(view.dtype(), view.shape().to_vec(), bytes).unwrap());
    }
    assert!(weights.names().iter().any(|name| name == tensor), "{name} has no {tensor}");
    builder(name).load(ModelFiles::read(&checkpoint).unwrap(), &source).unwrap()
}

/// A recorded model with all numbers of a tensor multiplied by `factor`, and keys and values of this type.
fn scaled(name: &str, tensor: &str, factor: f32, kv: KvDtype, threads: usize) -> Engine {
    let checkpoint = Checkpoint::locate(&fixture::golden(name)).unwrap();
    let weights = checkpoint.open(Storage::Read).unwrap();
    let mut source = MemorySource::new("scaled");
    for name in weights.names() {
        let view = weights.tensor(&name).unwrap();
        let factor = if name == tensor { factor } else { 1.0 };
        let numbers = view.bytes().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes) * factor);
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        let bytes = Bytes::copy_aligned(&bytes);
        source.insert(name, TensorView::new(view.dtype(), view.shape().to_vec(), bytes).unwrap());
    }
    let exec = Arc::new(diffulex::exec::Threads::new(threads));
    let builder = builder(name).kv(kv).executor(exec);
    builder.load(ModelFiles::read(&checkpoint).unwrap(), &source).unwrap()
}

/// Keys and values that f16 cannot hold are an error with its remedy, in every plan, in the prompt as in what is decoded, whoever
/// computes; and the remedy helps.
#[test]
fn what_f16_cannot_hold_is_refused_and_f32_holds_it() {
    for (name, keys, plans) in [
        ("sdar-f32", "model.layers.1.self_attn.k_norm.weight", &[CachePlan::Block][..]),
        ("fastdllm2-f32", "model.layers.1.self_attn.k_proj.bias", &[CachePlan::Block, CachePlan::SubBlock]),
        (
            "llada-f32",
            "model.transformer.blocks.1.k_proj.weight",
            &[CachePlan::None, CachePlan::Prefix, CachePlan::Dual],
        ),
        (
            "dream-f32",
            "model.layers.1.self_attn.k_proj.weight",
            &[CachePlan::None, CachePlan::Prefix, CachePlan::Dual],
        ),
    ] {
        let values = keys.replace("k_norm", "v_proj").replace("k_proj", "v_proj");
        for (tensor, what) in [(keys, "a key of layer 1"), (&values, "a value of layer 1")] {
            for &cache in plans {
                // A prompt that is a whole block, one that is not, and several blocks.
                for (len, guidance) in [(0, 0.0), (8, 0.0), (19, 0.0), (8, 1.0)] {
                    let mut policy = Policy { cache, guidance, ..policy_of(name) };
                    policy.unmask = Unmask::LeftToRight;
                    let run = |kv, threads| {
                        let engine = scaled(name, tensor, 1e7, kv, threads);
                        let ids = prompt(&engine, len, 1);
                        let mut session = engine.session()?;
                        session.generate(&Request::new(&ids, 12, &policy), &mut |_| Ok(Control::Continue))
                    };
                    let case = format!("{name} {tensor} {cache:?}, {len} known, guidance {guidance}");
                    let messages = [1, 3].map(|threads| run(KvDtype::F16, threads).unwrap_err().to_string());
                    assert_eq!(messages[0], messages[1], "{case}");
                    assert!(
                        messages[0].starts_with("option `kv`: f16 given, but "),
                        "{case}: {}",
                        messages[0]
                    );
                    assert!(
                        messages[0].contains(what) && messages[0].contains("--kv f32"),
                        "{case}: {}",
                        messages[0]
                    );
                    let outcome = run(KvDtype::F32, 1);
                    assert!(outcome.is_ok(), "{case}: {outcome:?}");
                }
            }
        }
    }
}

/// In a batch every sequence has the outcome that it has alone.
#[test]
fn what_f16_cannot_hold_is_refused_in_a_batch() {
    use diffulex::engine::{Limits, Scheduler};
    let (name, tensor) = ("dream-f32", "model.layers.0.self_attn.v_proj.weight");
    let engine = scaled(name, tensor, 1e7, KvDtype::F16, 2);
    let policy = policy_of(name);
    let texts: [&[TokenId]; 3] = [&[9, 10, 11], &[17], &[12, 13]];
    let mut scheduler = Scheduler::new(&engine, Limits::for_engine(&engine, 3)).unwrap();
    let ids = texts.map(|text| scheduler.add(&Request::new(text, 6, &policy)).unwrap());
    let mut failed = 0;
    while !scheduler.is_idle() {
        for finished in scheduler.step(&mut |_, _| Ok(Control::Continue)) {
            let place = ids.iter().position(|id| *id == finished.id).unwrap();
            let alone = Request::new(texts[place], 6, &policy);
            let alone =
                engine.session().unwrap().generate(&alone, &mut |_| Ok(Control::Continue)).unwrap_err();
            assert_eq!(finished.result.unwrap_err().to_string(), alone.to_string(), "text {place}");
            assert!(
                alone.to_string().starts_with("option `kv`: f16 given, but a value of layer 0"),
                "{alone}"
            );
            failed += 1;
        }
    }
    assert_eq!(failed, 3);
}

/// Places of a block: what the families call a tensor, and where the engine should find it.
const PLACES: [(&str, &str, &str); 6] = [
    ("mlp.down_proj", "ff_out", "feed-forward output"),
    ("self_attn.o_proj", "attn_out", "attention output"),
    ("self_attn.q_proj", "q_proj", "query projection"),
    ("self_attn.v_proj", "v_proj", "value projection"),
    ("input_layernorm", "attn_norm", "norm before attention"),
    ("post_attention_layernorm", "ff_norm", "norm before the feed-forward part"),
];

fn block_tensor(name: &str, layer: usize, (usual, llada, _): (&str, &str, &str)) -> String {
    match name {
        "llada-f32" => format!("model.transformer.blocks.{layer}.{llada}.weight"),
        _ => format!("model.layers.{layer}.{usual}.weight"),
    }
}

fn failure(engine: &Engine, name: &str, prompt: &[TokenId], temperature: f32) -> String {
    let mut policy = policy_of(name);
    policy.draw.temperature = temperature;
    let mut session = engine.session().unwrap();
    let mut messages = (0..2).map(|_| {
        let result = session.generate(&Request::new(prompt, 12, &policy), &mut |event| {
            if let Event::Revealed { tokens, .. } = event {
                panic!("{name}: {tokens:?} from logits that are not finite");
            }
            Ok(Control::Continue)
        });
        match result {
            Err(error @ Error::NotFinite { .. }) => error.to_string(),
            other => panic!("{name}: {other:?}"),
        }
    });
    let (first, second) = (messages.next().unwrap(), messages.next().unwrap());
    assert_eq!(first, second, "{name}: the session fails differently the second time");
    first
}

#[test]
fn the_layer_and_the_stage_are_named() {
    for name in FAMILIES {
        for place in PLACES {
            for (layer, value) in [(0, f32::NAN), (1, f32::NAN), (1, f32::INFINITY)] {
                let engine = spoiled(name, &block_tensor(name, layer, place), 0, value);
                // A prompt inside the first block, and one whose last block predicts the next token.
                for len in [3, 8] {
                    let message = failure(&engine, name, &prompt(&engine, len, 1), 0.0);
                    let expected = format!("a value is NaN or infinite: layer {layer}, {}", place.2);
                    assert_eq!(message, expected, "{name}, {place:?}, {len} known");
                }
            }
        }
    }
}

#[test]
fn the_output_matrix_the_final_norm_and_the_embedding_are_named() {
    for (name, head, norm, embed, hidden) in [
        (
            "llada-f32",
            "model.transformer.ff_out.weight",
            "model.transformer.ln_f.weight",
            "model.transformer.wte.weight",
            64,
        ),
        ("dream-f32", "lm_head.weight", "model.norm.weight", "model.embed_tokens.weight", 112),
    ] {
        for temperature in [0.0, 1.0] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let engine = spoiled(name, norm, 1, value);
                let message = failure(&engine, name, &[9, 10, 11], temperature);
                assert!(message.ends_with("logits (output matrix or final norm)"), "{name}: {message}");
                let engine = spoiled(name, embed, 10 * hidden, value);
                let message = failure(&engine, name, &[9, 10, 11], temperature);
                assert!(message.ends_with("token embedding"), "{name}: {message}");
            }
            let engine = spoiled(name, head, 17 * hidden, f32::NAN);
            let message = failure(&engine, name, &[9, 10, 11], temperature);
            assert!(message.ends_with("logits (output matrix or final norm)"), "{name}: {message}");
        }
        // Rows that no token of the text needs are never read, and a logit that is banned is never looked at.
        let sound = fresh(&engine(name), &Request::new(&[9, 10, 11], 12, &policy_of(name)));
        let mask = engine(name).mask().unwrap() as usize;
        for engine in
            [spoiled(name, embed, 12 * hidden, f32::NAN), spoiled(name, head, mask * hidden, f32::NAN)]
        {
            let run = fresh(&engine, &Request::new(&[9, 10, 11], 12, &policy_of(name)));
            assert_eq!(run.decisions(), sound.decisions(), "{name}");
        }
    }
}

/// A tied output matrix: the row is NaN as an output although no token of the text has it as an input.
#[test]
fn a_tied_row_fails_at_the_output() {
    for name in BLOCK_CAUSAL {
        let engine =
            spoiled(name, "model.embed_tokens.weight", 12 * engine(name).arch().dims.hidden, f32::NAN);
        for len in [3, 8] {
            let message = failure(&engine, name, &vec![9; len], 0.0);
            assert!(message.ends_with("logits (output matrix or final norm)"), "{name}: {message}");
        }
    }
}
