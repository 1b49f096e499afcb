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
    assert_eq!(first, second, "{name}: the session fails otherwise the second time");
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
        // Rows that no token of the text asks for are never read, and a logit that is banned is never looked at.
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
