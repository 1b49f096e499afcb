//! `--info`: what a model is and what it needs.

use crate::answer;
use crate::args::Cli;
use crate::cli::{self, decoding};
use diffulex::cache::{Attention, KvDtype};
use diffulex::text_model::Setup;
use diffulex::{Model, Result};
use serde_json::{Value, json};

/// The description, for people or as JSON.
///
/// # Errors
/// If the options of an answer do not fit the model.
pub(crate) fn render(args: &Cli, model: &Model) -> Result<String> {
    let policy = args.decoding.overrides.policy(&model.engine)?;
    let setup = answer::setup(&args.length, policy, model)?;
    let info = describe(args, model, &setup);
    Ok(if args.output.json { format!("{info:#}\n") } else { text(&info) })
}

/// A JSON object as text for people.
pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    lines(value, 0, &mut text);
    cli::safe(&text).into_owned()
}

fn describe(args: &Cli, model: &Model, setup: &Setup) -> Value {
    let engine = &model.engine;
    let (arch, weights) = (engine.arch(), engine.model());
    let dims = arch.dims;
    let kv = |dtype: KvDtype| weights.kv_shape().bytes_per_token(dtype);
    let attention = match arch.attention {
        Attention::Bidirectional => match arch.trained_block {
            None => json!("bidirectional"),
            Some(block) => json!(format!("bidirectional, or block-causal, block {block} (--strategy bd3lm)")),
        },
        Attention::BlockCausal { block } => json!(format!("block-causal, block {block}")),
    };
    json!({
        "model": model.origin,
        "runs": true,
        "family": arch.family,
        "sizes": {
            "vocab": dims.vocab, "hidden": dims.hidden, "ffn": dims.ffn, "layers": dims.layers,
            "n_heads": dims.n_heads, "n_kv_heads": dims.n_kv_heads, "head_dim": dims.head_dim, "max_pos": dims.max_pos,
        },
        "attention": attention,
        "parameters": weights.parameters(),
        "bytes": {
            "weights": weights.weight_bytes(),
            "kv_per_token": kv(engine.kv()),
            "kv_for_context": kv(engine.kv()) * engine.context(),
        },
        "context": engine.context(),
        "kv": engine.kv().name(),
        "mask_id": engine.mask().ok(),
        "stop_ids": setup.stop_ids,
        "stop_ids_from": if setup.stop_ids == engine.stop() { engine.stop_origin() } else { "given" },
        "tokenizer": model.tokenizer.is_some(),
        "chat_template": model.template.is_some(),
        "strategy": args.decoding.overrides.strategy.as_deref().unwrap_or(arch.policy),
        "decoding": decoding::describe(&setup.policy, &setup.stop_ids, engine),
        "level": engine.kernels().level().name(),
        "activations": engine.kernels().activations().name(),
        "cpu": diffulex::kernels::Cpu::detect().to_string(),
        "threads": engine.threads(),
        "kernels": engine.kernels().names(&weights.formats()),
    })
}

/// A JSON object as indented lines.
fn lines(value: &Value, depth: usize, text: &mut String) {
    let Value::Object(entries) = value else { return };
    for (key, value) in entries {
        let indent = "  ".repeat(depth);
        let key = key.replace('_', " ");
        match value {
            Value::Object(_) => {
                *text += &format!("{indent}{key}\n");
                lines(value, depth + 1, text);
            }
            Value::String(words) => *text += &format!("{indent}{key}: {words}\n"),
            Value::Null => *text += &format!("{indent}{key}: none\n"),
            Value::Array(items) => {
                let words: Vec<_> = items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_string))
                    .collect();
                *text += &format!("{indent}{key}: {}\n", words.join(", "));
            }
            other => *text += &format!("{indent}{key}: {other}\n"),
        }
    }
}
