//! `diffulex-run` reproduces recorded answers: from a question to text, and from ids to ids for every recorded loop that its
//! options can express.
//!
//! The recording code may produce any id of the model; this program never produces one that the tokenizer does not know, and
//! leaves their probability out. So entries from text to text are those whose model has no significant id of that kind (SDAR,
//! LLaDA), and entries from ids to ids run on a copy of the checkpoint without its tokenizer.

use crate::fixture::TempDir;
use crate::program::run;
use crate::{MODELS, ids, list, manifest, model};
use serde_json::Value;

/// Options as `--name value`, put together one at a time.
struct Options(Vec<String>);

impl Options {
    /// What every recording has in common: exact keys and values, nothing drawn.
    fn exact() -> Self {
        Self(
            ["--kv", "f32", "--temperature", "0", "--repetition-penalty", "1", "--json"]
                .map(String::from)
                .to_vec(),
        )
    }

    fn set(&mut self, name: &str, value: impl ToString) {
        self.0.extend([format!("--{name}"), value.to_string()]);
    }

    /// Takes the parameter `key` of a recording as the option `name`, if it is there.
    fn take(&mut self, params: &Value, key: &str, name: &str) {
        if !params[key].is_null() {
            self.set(name, &params[key]);
        }
    }
}

fn count(params: &Value, key: &str) -> usize {
    params[key].as_u64().unwrap() as usize
}

/// The options for a recorded call after a prompt of `prompt` tokens, or nothing if they cannot express it.
fn options(function: &str, params: &Value, prompt: usize) -> Option<Vec<String>> {
    let mut options = Options::exact();
    let blocks = |options: &mut Options| {
        options.take(params, "block_length", "block");
        options.take(params, "steps", "steps");
        options.take(params, "threshold", "threshold");
    };
    match function {
        "llada.generate (original repository)" | "fast_dllm.llada.generate" => {
            options.set("strategy", "llada-low-confidence");
            blocks(&mut options);
            options.take(params, "gen_length", "max-tokens");
            options.take(params, "cfg_scale", "cfg");
            options.take(params, "factor", "factor");
        }
        "fast_dllm.llada.generate_with_prefix_cache" | "fast_dllm.llada.generate_with_dual_cache" => {
            options.set("strategy", "llada-low-confidence");
            options.set("cache", if function.contains("dual") { "dual" } else { "prefix" });
            blocks(&mut options);
            options.take(params, "gen_length", "max-tokens");
            options.take(params, "factor", "factor");
        }
        "dream.diffusion_generate" => {
            blocks(&mut options);
            dream(&mut options, params)?;
        }
        "fast_dllm.dream.diffusion_generate (block version)" => {
            let threshold = params["alg"] == "confidence_threshold";
            options.set("strategy", if threshold { "dream-block-threshold" } else { "dream-entropy" });
            options.set("cache", if params["dual_cache"] == true { "dual" } else { "prefix" });
            blocks(&mut options);
            options.take(params, "max_new_tokens", "max-tokens");
        }
        "sdar.block_diffusion_generate (evaluation version)"
        | "sdar.block_diffusion_generate (main repository version)" => sdar(&mut options, params, prompt)?,
        "fast_dllm_v2.generate" => {
            options.set("strategy", "fast-dllm-v2");
            options.take(params, "block_size", "block");
            options.take(params, "small_block_size", "sub-block");
            options.take(params, "threshold", "threshold");
            options.take(params, "stop_token", "stop-id");
            options.set("cache", if params["use_block_cache"] == true { "sub-block" } else { "block" });
            let (block, new) = (count(params, "block_size"), count(params, "max_new_tokens"));
            options.set("max-tokens", (prompt / block + new / block) * block - prompt);
        }
        "llada2.generate (LLaDA2.0)" | "llada2.generate (LLaDA2.1)" => {
            llada2(&mut options, function, params)?;
        }
        "dllm.mdlm.sample" | "dllm.bd3lm.sample" => dllm(&mut options, function, params),
        // Blocks of a bidirectional model begin at the first mask here.
        "dllm.mdlm.infill" => return None,
        "stable_diffcoder.generate_block" => {
            options.set("strategy", "stable-diffcoder");
            let (block, new) = (count(params, "block_length"), count(params, "gen_length"));
            options.set("steps-per-block", count(params, "steps") / (new / block));
            for (key, name) in [
                ("block_length", "block"),
                ("threshold", "threshold"),
                ("gen_length", "max-tokens"),
                ("eos_id", "stop-id"),
            ] {
                options.take(params, key, name);
            }
            options.0.push("--no-merge".to_string());
        }
        "nemotron_labs_diffusion.generate" => {
            let full = params["causal_context"] == false;
            options.set("strategy", if full { "nemotron-full" } else { "nemotron-diffusion" });
            // Nothing is surer than 1, so this is one token in each pass, as the schedule has it.
            options.set("threshold", params["threshold"].as_f64().unwrap_or(1.0));
            for (key, name) in
                [("block_length", "block"), ("max_new_tokens", "max-tokens"), ("eos_token_id", "stop-id")]
            {
                options.take(params, key, name);
            }
        }
        _ => panic!("{function} is not known here"),
    }
    if !options.0.contains(&"--stop-id".to_string()) {
        options.0.push("--ignore-eos".to_string());
    }
    Some(options.0)
}

fn dllm(options: &mut Options, function: &str, params: &Value) {
    let blocks = function.contains("bd3lm");
    options.set("strategy", if blocks { "bd3lm" } else { "mdlm" });
    for (key, name) in [
        ("block_size", "block"),
        ("max_new_tokens", "max-tokens"),
        ("cfg_scale", "cfg"),
        ("eos_id", "stop-id"),
    ] {
        options.take(params, key, name);
    }
    match params["steps_per_block"].as_u64() {
        Some(steps) => options.set("steps-per-block", steps),
        None if blocks => {
            let blocks = count(params, "max_new_tokens").div_ceil(count(params, "block_size"));
            options.set("steps-per-block", count(params, "steps").div_ceil(blocks));
        }
        None => options.take(params, "steps", "steps"),
    }
    if params["right_shift_logits"] == true {
        options.0.push("--right-shift".to_string());
    }
    if blocks {
        options.0.push("--no-merge".to_string());
    }
}

fn llada2(options: &mut Options, function: &str, params: &Value) -> Option<()> {
    for (key, name) in [("block_length", "block"), ("threshold", "threshold"), ("gen_length", "max-tokens")] {
        options.take(params, key, name);
    }
    if params["eos_early_stop"] == true {
        options.take(params, "eos_id", "stop-id");
    }
    if function.contains("2.1") {
        options.set("strategy", "llada2-editing");
        options.take(params, "editing_threshold", "edit-threshold");
        options.take(params, "max_post_steps", "edit-passes");
        // The only minimum of tokens for every pass.
        return params["num_to_transfer"].as_u64().is_none_or(|least| least == 1).then_some(());
    }
    options.set("strategy", "llada2-threshold");
    let least = params["minimal_topk"].as_u64().unwrap_or(1) as usize;
    options.set("steps", count(params, "steps").min(count(params, "gen_length") / least));
    Some(())
}

/// The schedules of Dream, or nothing for what the options cannot express.
fn dream(options: &mut Options, params: &Value) -> Option<()> {
    let strategy = match params["alg"].as_str().unwrap() {
        "maskgit_plus" => "dream-maskgit",
        "topk_margin" => "dream-margin",
        "entropy" => "dream-entropy",
        "confidence_threshold" => "dream-threshold",
        // Needs the recorded random numbers.
        _ => return None,
    };
    options.set("strategy", strategy);
    // There, a step may reveal nothing; here every step reveals something.
    if params["steps"].as_u64() > params["max_new_tokens"].as_u64() {
        return None;
    }
    options.take(params, "max_new_tokens", "max-tokens");
    if strategy != "dream-threshold" {
        options.take(params, "eps", "eps");
    }
    options.take(params, "top_k", "top-k");
    options.take(params, "top_p", "top-p");
    Some(())
}

fn sdar(options: &mut Options, params: &Value, prompt: usize) -> Option<()> {
    let strategy = match (params["remasking_strategy"].as_str(), params["threshold"].as_f64()) {
        (Some("low_confidence_static"), _) => "sdar-static",
        (Some("low_confidence_dynamic"), _) => "sdar-dynamic",
        (Some("sequential"), _) => "sdar-sequential",
        (None, Some(tau)) if tau < 1.0 => {
            options.set("threshold", tau);
            "sdar-dynamic"
        }
        _ => "sdar-static",
    };
    options.set("strategy", strategy);
    options.take(params, "confidence_threshold", "threshold");
    options.take(params, "block_length", "block");
    options.take(params, "denoising_steps", "steps");
    for id in params["stopping_criteria_idx"].as_array().into_iter().flatten() {
        options.set("stop-id", id);
    }
    let (block, new) = (count(params, "block_length"), count(params, "gen_length"));
    options.set("max-tokens", (prompt + new).div_ceil(block) * block - prompt);
    // The reference commits every block in a pass of its own.
    options.0.push("--no-merge".to_string());
    Some(())
}

#[test]
fn questions_get_the_recorded_answers() {
    let mut compared = 0;
    for name in MODELS.into_iter().filter(|name| name.starts_with("sdar") || name.starts_with("llada")) {
        for entry in manifest(name)["end_to_end"].as_array().unwrap() {
            let prompt = ids(&entry["prompt_ids"]).len();
            let options = options(entry["function"].as_str().unwrap(), &entry["params"], prompt).unwrap();
            let (model, question) = (model(name), entry["text"].as_str().unwrap());
            let mut arguments = vec!["--weights", &model, "--prompt", question];
            arguments.extend(options.iter().map(String::as_str));
            let json = run(&arguments).json();
            assert_eq!(json["ids"], entry["new_ids"], "{name}: {question}");
            assert_eq!(json["text"], entry["decoded_skip_special"], "{name}: {question}");
            assert_eq!(json["prompt_tokens"], prompt, "{name}: {question}");
            compared += 1;
        }
    }
    assert_eq!(compared, 16, "two questions to eight models");
}

/// Runs a recorded call through the program and compares ids and passes. Returns whether its options can express the call.
fn reproduces(name: &str, dir: &TempDir, entry: &Value, prompt: &[u64], recorded: &[u64]) -> bool {
    let (function, params) = (entry["function"].as_str().unwrap(), &entry["params"]);
    let Some(options) = options(function, params, prompt.len()) else { return false };
    // There, the text goes on after the cut.
    if function.starts_with("llada2") && params["eos_early_stop"] != true {
        let eos = params["eos_id"].as_u64().unwrap();
        if recorded.contains(&eos) {
            return false;
        }
    }
    let (weights, prompt, mask) = (dir.argument(), list(prompt), manifest(name)["mask_token_id"].to_string());
    let mut arguments = vec!["-w", &weights, "--ids", &prompt, "--mask-id", &mask];
    arguments.extend(options.iter().map(String::as_str));
    let json = run(&arguments).json();
    let what = format!("{name} {function} {params}");
    let ours = ids(&json["ids"]);
    assert!(recorded.starts_with(&ours), "{what}: {ours:?}, recorded {recorded:?}");
    let stopped = json["finish_reason"] == "stop id";
    // Fast-dLLM v2 appends the token that the last commit predicts.
    let rest = &recorded[ours.len()..];
    let carried = usize::from(function.starts_with("fast_dllm_v2"));
    assert!(if stopped { !rest.is_empty() } else { rest.len() <= carried }, "{what}: {rest:?} is left");
    // The last block is not committed here, as nothing comes after it.
    let commits_last =
        ["sdar", "fast_dllm_v2", "stable", "nemotron"].iter().any(|family| function.starts_with(family));
    let passes = json["nfe"].as_u64().unwrap() + u64::from(commits_last);
    // The reference of LLaDA2 has no cache to fill.
    let prefill = json["prefill_passes"].as_u64().unwrap();
    let passes = passes - if function.starts_with("llada2") { prefill } else { 0 };
    // With guidance it makes two passes where this engine makes one.
    let doubled =
        function == "dllm.bd3lm.sample" && params["cfg_scale"].as_f64().is_some_and(|cfg| cfg > 0.0);
    let theirs = entry["num_forwards"].as_u64().unwrap() / (1 + u64::from(doubled));
    // Of a block that a stop id ends, Fast-dLLM v2 does not compute the rest, and so there is nothing to commit.
    assert!(
        passes == theirs || (stopped && passes == theirs + 1),
        "{what}: {passes} passes, recorded {theirs}"
    );
    true
}

#[test]
fn ids_get_the_recorded_ids() {
    let (mut compared, mut left_out) = (0, Vec::new());
    for name in MODELS {
        let (dir, manifest) = (TempDir::without_tokenizer(name), manifest(name));
        // The entropies recorded for dream-bf16 include so much of the mask's own probability that the order changes without it.
        let answers = manifest["end_to_end"].as_array().unwrap().iter().filter(|_| name != "dream-bf16");
        for entry in answers {
            let prompt = ids(&entry["prompt_ids"]);
            compared += usize::from(reproduces(name, &dir, entry, &prompt, &ids(&entry["new_ids"])));
        }
        for trace in manifest["traces"].as_array().unwrap() {
            let prompts = trace["prompt_ids"].as_array().unwrap();
            let prompt = ids(&prompts[0]);
            let new = &ids(&trace["final_ids"][0])[prompt.len()..];
            // A batch is not a prompt; the other one is a quirk that the format allows to skip.
            let one = prompts.len() == 1 && trace["name"] != "prompt_equals_block";
            if one && reproduces(name, &dir, trace, &prompt, new) {
                compared += 1;
            } else {
                left_out.push(format!("{name} {}", trace["name"]));
            }
        }
    }
    assert_eq!((compared, left_out.len()), (143, 10), "left out: {left_out:?}");
}
