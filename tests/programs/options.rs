//! `diffulex-run`: what the decoding, machine and memory options do to an answer.

use crate::program::{command, finish, run};
use crate::{MODELS, ids, manifest, model};
use serde_json::{Value, json};

/// The JSON of a generation of 16 tokens that no stop id ends, after `prompt`.
fn generate_after(name: &str, prompt: &str, more: &[&str]) -> Value {
    let model = model(name);
    let fixed = ["-w", &model, "--ids", prompt, "--max-tokens", "16", "--kv", "f32", "--threads", "1"];
    let arguments = [&fixed[..], &["--ignore-eos", "--json"], more].concat();
    finish(command(&arguments)).json()
}

fn generate(name: &str, more: &[&str]) -> Value {
    // Some models have their masks among the first ids.
    let early = name.starts_with("stable") || name.starts_with("nemotron");
    generate_after(name, if early { "15,16,17,18,19" } else { "5,6,7,8,9" }, more)
}

fn nfe(json: &Value) -> u64 {
    json["nfe"].as_u64().unwrap() - json["prefill_passes"].as_u64().unwrap()
}

#[test]
fn every_strategy_runs_on_a_family_that_fits() {
    for (strategy, name, rule, cache) in [
        ("sdar-dynamic", "sdar-f32", "threshold", "block"),
        ("sdar-static", "sdar-f32", "top-k", "block"),
        ("sdar-sequential", "sdar-hd128-sharded", "left to right", "block"),
        ("sdar-entropy", "sdar-f32", "entropy budget", "block"),
        ("fast-dllm-v2", "fastdllm2-f32", "threshold", "block"),
        ("llada2-threshold", "llada2-f32", "threshold", "block"),
        ("llada2-editing", "llada2-f32", "threshold", "block"),
        ("mdlm", "a2d-qwen3-f32", "top-k", "none"),
        ("bd3lm", "a2d-qwen3-f32", "top-k", "block"),
        ("stable-diffcoder", "stable-diffcoder-f32", "top-k", "block"),
        ("nemotron-diffusion", "nemotron-diffusion-f32", "threshold", "block"),
        ("nemotron-full", "nemotron-diffusion-f32", "threshold", "block"),
        ("nemotron-autoregressive", "nemotron-diffusion-f32", "threshold", "block"),
        ("nemotron-speculative", "nemotron-diffusion-f32", "top-k", "block"),
        ("llada-low-confidence", "llada-f32", "top-k", "none"),
        ("llada-random", "llada-f16", "top-k", "none"),
        ("llada-threshold", "llada-f32", "threshold", "none"),
        ("llada-factor", "llada-f32", "factor", "none"),
        ("dream-maskgit", "dream-f32", "top-k", "none"),
        ("dream-margin", "dream-f32", "top-k", "none"),
        ("dream-entropy", "dream-bf16", "top-k", "none"),
        ("dream-origin", "dream-f32", "every position for itself", "none"),
        ("dream-threshold", "dream-f32", "threshold", "none"),
        ("dream-block-threshold", "dream-f32", "threshold", "none"),
    ] {
        let json = generate(name, &["--strategy", strategy]);
        assert_eq!(json["new_tokens"], 16, "{strategy}");
        assert_eq!(json["finish_reason"], "length", "{strategy}");
        assert_eq!(json["decoding"]["unmask"]["rule"], rule, "{strategy}");
        assert_eq!(json["cache"]["plan"], cache, "{strategy}");
        assert!(nfe(&json) <= 32, "{strategy}: {}", nfe(&json));
    }
}

#[test]
fn cache_plans_say_whether_they_are_exact() {
    for (name, plan, approximate) in [
        ("sdar-f32", "block", false),
        ("fastdllm2-f32", "block", false),
        ("fastdllm2-f32", "sub-block", true),
        ("dream-f32", "none", false),
        ("dream-f32", "prefix", true),
        ("dream-f32", "dual", true),
        ("llada-f32", "none", false),
        ("llada-f32", "prefix", true),
        ("llada-f32", "dual", true),
    ] {
        let json = generate(name, &["--cache", plan]);
        assert_eq!(json["cache"], json!({ "plan": plan, "approximate": approximate, "kv": "f32" }), "{name}");
        assert_eq!(json["new_tokens"], 16, "{name} {plan}");
        let model = model(name);
        let summary = run(&["-w", &model, "--ids", "5,6", "--max-tokens", "4", "--cache", plan]).stderr;
        let line = format!("cache: {plan} ({})", if approximate { "approximate" } else { "exact" });
        assert!(summary.contains(&line), "{name}: {summary}");
    }
}

#[test]
fn unmasking_options_decide_how_many_passes_it_takes() {
    let passes = |more: &[&str]| nfe(&generate("llada-f32", &[&["--block", "8"], more].concat()));
    assert_eq!(passes(&[]), 16, "one position in each pass");
    assert_eq!(passes(&["--steps", "4"]), 4);
    assert_eq!(passes(&["--threshold", "0"]), 2, "a block in each pass");
    assert_eq!(passes(&["--threshold", "1"]), 16, "nothing is that sure");
    assert_eq!(passes(&["--factor", "1000"]), 2, "any rank is sure enough");
    assert_eq!(passes(&["--factor", "1e-9"]), 14, "one in each pass, the last two of a block together");
    assert_eq!(passes(&["--entropy-bound", "0"]), 16);
    assert_eq!(passes(&["--entropy-bound", "1e9"]), 2);
    // Dream's time steps mean nothing to a rule that takes as many steps as it needs.
    let dream = |more: &[&str]| nfe(&generate("dream-f32", &[&["--block", "8"], more].concat()));
    assert_eq!((dream(&["--threshold", "0"]), dream(&["--threshold", "1"])), (2, 16));
    assert_eq!((dream(&["--factor", "1000"]), dream(&["--entropy-bound", "0"])), (2, 16));
    assert_eq!(dream(&["--strategy", "dream-block-threshold", "--threshold", "0", "--cache", "dual"]), 4);
    let sdar = |more: &[&str]| nfe(&generate_after("sdar-f32", "5,6,7,8", more));
    assert_eq!(sdar(&["--threshold", "0", "--no-merge"]), 4 + 3, "four blocks, three of them committed");
    assert_eq!(sdar(&["--threshold", "0"]), 4, "commits ride along");
}

#[test]
fn guidance_changes_the_answer_and_is_off_at_zero() {
    let of = |more: &[&str]| ids(&generate("llada-f32", more)["ids"]);
    let plain = of(&[]);
    assert_eq!(plain, of(&["--cfg", "0"]));
    let guided = generate("llada-f32", &["--cfg", "1.5"]);
    assert_eq!(guided["decoding"]["cfg"], 1.5);
    assert_eq!(nfe(&guided), 16, "a pass with guidance counts once");
    assert_ne!(plain, ids(&guided["ids"]));
}

#[test]
fn drawing_depends_on_the_seed_and_on_nothing_else() {
    for name in MODELS {
        let of = |more: &[&str]| {
            let arguments = [&["--temperature", "1.5"], more].concat();
            ids(&generate(name, &arguments)["ids"])
        };
        let first = of(&["--seed", "7"]);
        assert_eq!(first, of(&["--seed", "7"]), "{name}: again");
        assert_eq!(first, of(&["--seed", "7", "--no-mmap"]), "{name}: weights read instead of mapped");
        assert_ne!(first, of(&["--seed", "8"]), "{name}: another seed");
        assert_ne!(
            first,
            ids(&generate(name, &["--temperature", "0"])["ids"]),
            "{name}: the likeliest tokens"
        );
        assert_eq!(
            of(&["--top-k", "1"]),
            of(&["--top-k", "1", "--seed", "8"]),
            "{name}: one token to draw from"
        );
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for name in MODELS {
        let model = model(name);
        let of = |threads: &str| {
            let fixed =
                ["-w", &model, "--ids", "5,6,7", "--max-tokens", "16", "--temperature", "1", "--quiet"];
            run(&[&fixed[..], &["--threads", threads]].concat()).text().to_string()
        };
        let one = of("1");
        assert_eq!(one, of("2"), "{name}");
        assert_eq!(one, of("5"), "{name}");
    }
}

#[test]
fn keys_and_values_are_kept_in_the_type_asked_for() {
    for name in MODELS {
        let model = model(name);
        let of = |more: &[&str]| {
            run(&[&["-w", &model, "--ids", "15,16,17,18,19", "--max-tokens", "4", "--json"], more].concat())
                .json()
        };
        let (half, exact, default) = (of(&["--kv", "f16"]), of(&["--kv", "f32"]), of(&[]));
        let kv = |json: &Value| json["cache"]["kv"].clone();
        assert_eq!(
            (kv(&half), kv(&exact), kv(&default)),
            (json!("f16"), json!("f32"), json!("f16")),
            "{name}"
        );
        assert_eq!(half["ids"], default["ids"], "{name}");
        let bytes = |kv: &str| {
            run(&["-w", &model, "--info", "--json", "--kv", kv]).json()["bytes"]["kv_per_token"].clone()
        };
        assert_eq!(bytes("f32").as_u64().unwrap(), 2 * bytes("f16").as_u64().unwrap(), "{name}");
    }
}

#[test]
fn max_tokens_is_how_many_come() {
    for name in MODELS {
        let model = model(name);
        let of = |n: &str| {
            let arguments = ["-w", &model, "--ids", "5,6,7", "--max-tokens", n, "--ignore-eos", "--json"];
            ids(&run(&arguments).json()["ids"])
        };
        for n in [1, 3, 17] {
            assert_eq!(of(&n.to_string()).len(), n, "{name}");
        }
        if name.starts_with("sdar") || name.starts_with("fast") {
            assert_eq!(of("17")[..3], of("3"), "{name}: blocks do not see later ones");
        }
    }
}

/// The recorded answer of sdar-f32 is `????&22??MMMM?2/`, where `?` is a byte that is not a character by itself.
const RECORDED: &[&str] = &[
    "--strategy",
    "sdar-dynamic",
    "--threshold",
    "0.5",
    "--max-tokens",
    "16",
    "--kv",
    "f32",
    "--temperature",
    "0",
];

fn recorded(more: &[&str]) -> Value {
    let model = model("sdar-f32");
    let question = ["-w", &model, "--prompt", "What is the capital of the country?", "--json"];
    run(&[&question, RECORDED, more].concat()).json()
}

#[test]
fn a_stop_string_cuts_the_text_and_the_count() {
    let entry = &manifest("sdar-f32")["end_to_end"][0];
    let (text, all) = (entry["decoded_skip_special"].as_str().unwrap(), ids(&entry["new_ids"]));
    for (stops, kept, tokens) in [
        (&["MM"][..], text.split("MM").next().unwrap(), 9),
        (&["&"], text.split('&').next().unwrap(), 4),
        (&["22"], text.split("22").next().unwrap(), 5),
        // The one that is complete first, not the one that was given first.
        (&["2/", "MMM", "22"], text.split("22").next().unwrap(), 5),
        // Half of a pair of tokens stays.
        (&["2\u{fffd}"], text.split("2\u{fffd}").next().unwrap(), 6),
        (&["\u{fffd}"], "", 0),
        (&["not in the text", "MMMMM", ""], text, 16),
    ] {
        let options: Vec<&str> = stops.iter().flat_map(|stop| ["--stop", stop]).collect();
        let json = recorded(&options);
        assert_eq!((&json["text"], &json["new_tokens"]), (&json!(kept), &json!(tokens)), "{stops:?}");
        assert_eq!(ids(&json["ids"]), all[..tokens], "{stops:?}");
        let reason = if tokens < 16 { "stop string" } else { "length" };
        assert_eq!(json["finish_reason"], reason, "{stops:?}");
        assert!(tokens > 6 || nfe(&json) < 16, "{stops:?}: the rest is not computed");
        let model = model("sdar-f32");
        let plain =
            [&["-w", &model, "--prompt", "What is the capital of the country?"], RECORDED, &options].concat();
        assert_eq!(run(&plain).text(), format!("{kept}\n"), "{stops:?}: streamed");
    }
}

#[test]
fn stop_ids_end_the_text_before_them() {
    let all = ids(&manifest("sdar-f32")["end_to_end"][0]["new_ids"]);
    for (options, id) in [(&["--stop-id", "44"][..], 44), (&["--stop-id", "14", "--stop-id", "233"], 233)] {
        let json = recorded(options);
        let end = all.iter().position(|&x| x == id).unwrap();
        assert_eq!(ids(&json["ids"]), all[..end], "{options:?}");
        assert_eq!((&json["new_tokens"], &json["finish_reason"]), (&json!(end), &json!("stop id")));
    }
    assert_eq!(ids(&recorded(&["--ignore-eos"])["ids"]), all);
}

#[test]
fn masks_in_the_prompt_are_filled_in() {
    for name in MODELS {
        let model = model(name);
        let fixed = ["-w", &model, "--raw", "--prompt", "The <mask:3> home"];
        if ["sdar", "fast", "stable"].iter().any(|family| name.starts_with(family)) {
            // Those models see no later block; the whole prompt is one.
            let json = run(&[&fixed[..], &["--block", "32", "--sub-block", "32", "--json"]].concat()).json();
            assert_eq!(ids(&json["filled"][0]).len(), 3, "{name}");
            continue;
        }
        let output = run(&[&fixed[..], &["--json"]].concat());
        let json = output.json();
        let text = json["text"].as_str().unwrap();
        assert!(text.starts_with("The ") && text.ends_with(" home"), "{name}: {text}");
        assert_eq!(
            (ids(&json["filled"][0]).len(), json["filled"].as_array().unwrap().len()),
            (3, 1),
            "{name}"
        );
        assert_eq!((&json["new_tokens"], &json["ids"]), (&json!(3), &json!([])), "{name}");
        assert_eq!(run(&fixed).text(), format!("{text}\n"), "{name}: printed once");
        let two = [
            "-w",
            &model,
            "--raw",
            "--prompt",
            "<mask:2>a<mask:1>b",
            "--max-tokens",
            "4",
            "--json",
            "--ignore-eos",
        ];
        let json = run(&two).json();
        let filled: Vec<_> = json["filled"].as_array().unwrap().iter().map(|run| ids(run).len()).collect();
        assert_eq!((filled, ids(&json["ids"]).len()), (vec![2, 1], 4), "{name}");
    }
}
