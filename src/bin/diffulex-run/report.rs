//! What a run says about itself: a few lines on stderr, or one JSON object.

use crate::cli::{self, decoding};
use diffulex::Model;
use diffulex::text_model::{Answer, Prompt, Setup};
use serde_json::{Value, json};
use std::time::Duration;

/// What multiplies the weights.
pub(crate) fn kernels(model: &Model) -> String {
    let format = model.engine.model().weight_format();
    let unit = model.engine.kernels().unit_name(format);
    let (activations, instructions) = unit.split_once('/').unwrap_or((&unit, ""));
    let activations = if activations == "i8" { "int8" } else { activations };
    format!("{format} weights, {activations} activations, {instructions}")
}

/// Seconds, to a tenth of a millisecond.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 1e4
}

/// Prints the summary for people.
pub(crate) fn summary(
    answer: &Answer,
    model: &Model,
    setup: &Setup,
    prompt: &Prompt,
    open: Duration,
    verbose: bool,
) {
    let Answer { generation, policy, .. } = answer;
    let timings = generation.timings;
    let approximate = if generation.cache.is_approximate() { " (approximate)" } else { " (exact)" };
    cli::note(&format!(
        "\nprompt {} tokens, new {} tokens, ended by {}\n\
         {} forward passes and {} for the prompt, {:.2} tokens per forward\n\
         open {:.3} s, prefill {:.3} s, decode {:.3} s, {:.2} tokens/s\n\
         cache: {}{approximate}, keys and values {}\n\
         kernels: {}, {} threads",
        prompt.ids.len(),
        answer.counted,
        answer.reason(),
        generation.decode_passes(),
        generation.prefill_passes,
        answer.per_forward(),
        open.as_secs_f64(),
        timings.prefill.as_secs_f64(),
        timings.decode.as_secs_f64(),
        answer.per_second(),
        generation.cache.name(),
        model.engine.kv().name(),
        kernels(model),
        model.engine.threads(),
    ));
    let departures = policy.departures();
    if !departures.is_empty() {
        cli::note(&format!("not decoded as published: {}", departures.join(", ")));
    }
    if verbose {
        cli::note(&format!("decoding: {:#}", decoding::describe(policy, &setup.stop_ids, &model.engine)));
    }
}

/// The summary for programs.
pub(crate) fn json(answer: &Answer, model: &Model, setup: &Setup, prompt: &Prompt, open: Duration) -> Value {
    let Answer { generation, policy, .. } = answer;
    let ids = |run: &std::ops::Range<usize>| json!(generation.canvas[run.clone()]);
    let mut report = json!({
        "text": answer.text,
        "ids": generation.tokens[..answer.counted.min(generation.tokens.len())],
        "filled": generation.filled.iter().map(ids).collect::<Vec<_>>(),
        "finish_reason": answer.reason(),
        "model": model.origin,
        "family": model.engine.arch().family,
        "prompt_tokens": prompt.ids.len(),
        "new_tokens": answer.counted,
        "nfe": generation.nfe,
        "prefill_passes": generation.prefill_passes,
        "tokens_per_forward": answer.per_forward(),
        "seconds": {
            "open": seconds(open),
            "prefill": seconds(generation.timings.prefill),
            "decode": seconds(generation.timings.decode),
        },
        "tokens_per_second": answer.per_second(),
        "cache": { "plan": generation.cache.name(), "approximate": generation.cache.is_approximate(),
                   "kv": model.engine.kv().name() },
        "kernels": kernels(model),
        "threads": model.engine.threads(),
        "decoding": decoding::describe(policy, &setup.stop_ids, &model.engine),
    });
    if policy.editing.is_some() {
        report["edited"] = generation.edited.into();
    }
    report
}
