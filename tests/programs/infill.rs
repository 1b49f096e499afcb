//! `--suffix`: what goes between two strings.

use crate::program::run;
use crate::{ids, model};
use serde_json::{Value, json};

fn fill(name: &str, before: &str, after: &str, more: &[&str]) -> Value {
    let model = model(name);
    let fixed = ["-w", &model, "--prompt", before, "--suffix", after, "--max-tokens", "3", "--threads", "1"];
    run(&[&fixed[..], &["--json"], more].concat()).json()
}

#[test]
fn the_answer_is_what_goes_between() {
    for name in ["dream-f32", "dream-bf16", "llada-f32", "llada-f16"] {
        let json = fill(name, "The ", " home", &[]);
        let model = model(name);
        let marked = ["-w", &model, "--raw", "--prompt", "The <mask:3> home", "--threads", "1", "--json"];
        let whole = run(&marked).json();
        assert_eq!((&json["filled"], &json["new_tokens"]), (&whole["filled"], &json!(3)), "{name}");
        let text = json["text"].as_str().unwrap();
        assert_eq!(format!("The {text} home"), whole["text"].as_str().unwrap(), "{name}");
        let printed =
            run(&["-w", &model, "-p", "The ", "--suffix", " home", "--max-tokens", "3", "--threads", "1"]);
        assert_eq!(printed.text(), format!("{text}\n"), "{name}");
        assert!(printed.stderr.contains("new 3 tokens"), "{}", printed.stderr);
        let only_after = fill(name, "", "home", &[]);
        assert_eq!(ids(&only_after["filled"][0]).len(), 3, "{name}: nothing before the gap");
    }
}

#[test]
fn models_with_blocks_fill_a_gap_inside_of_the_last_block() {
    for name in ["sdar-f32", "sdar-hd128-sharded", "fastdllm2-f32", "fastdllm2-untied"] {
        let json = fill(name, "a", "b", &["--block", "32", "--sub-block", "32"]);
        assert_eq!(ids(&json["filled"][0]).len(), 3, "{name}");
        let model = model(name);
        let long = "home ".repeat(20);
        let fixed = ["-w", &model, "-p", "The ", "--suffix", &long, "--max-tokens", "3", "--block", "4"];
        let refused = run(&[&fixed[..], &["--sub-block", "4"]].concat());
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{name}: {}", refused.stderr);
        for words in
            ["infilling with known text after the block", "(4 positions each)", "a larger block", "Dream"]
        {
            assert!(refused.stderr.contains(words), "{name}: {words}: {}", refused.stderr);
        }
    }
}

#[test]
fn a_gap_needs_a_length() {
    let model = model("llada-f32");
    let fixed = ["-w", &model, "-p", "a", "--suffix", "b"];
    for (more, words) in [
        (&[][..], "--max-tokens"),
        (&["--max-tokens", "0"], "option `max-tokens`: 0 given, 1 to"),
        (&["--max-tokens", "18446744073709551615"], "option `max-tokens`: 18446744073709551615 given"),
        (&["--max-tokens", "2", "--system", "s"], "cannot be used with"),
    ] {
        let refused = run(&[&fixed[..], more].concat());
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
}

#[test]
fn a_stop_string_ends_what_follows_a_gap() {
    for (name, more) in [("sdar-f32", &["--block", "32", "--sub-block", "32"][..]), ("llada-f32", &[])] {
        let model = model(name);
        let of = |stop: &[&str]| {
            let fixed = [
                "-w",
                &model,
                "--raw",
                "--prompt",
                "The <mask:3> home",
                "--max-tokens",
                "12",
                "--ignore-eos",
            ];
            run(&[&fixed[..], &["--threads", "1", "--json"], more, stop].concat()).json()
        };
        let whole = of(&[]);
        let text = whole["text"].as_str().unwrap();
        let after = text.find(" home").expect("the known text") + " home".len();
        // A character in the middle of what follows, wherever it begins first.
        let stop = text[after..].chars().nth(4).unwrap().to_string();
        let end = after + text[after..].find(&stop).unwrap();
        let cut = of(&["--stop", &stop]);
        assert_eq!(
            (&cut["text"], &cut["finish_reason"]),
            (&json!(text[..end]), &json!("stop string")),
            "{name}"
        );
        assert!(cut["new_tokens"].as_u64() < whole["new_tokens"].as_u64(), "{name}: {cut}");
        assert_eq!(of(&["--stop", "never in it"])["text"], whole["text"], "{name}");
    }
}

#[test]
fn a_stop_string_that_could_never_be_found_is_refused() {
    let model = model("llada-f32");
    for (arguments, words) in [
        (&["--ids", "1,2,3", "--stop", "a"][..], "--stop"),
        (&["-p", "a", "--suffix", "b", "--max-tokens", "2", "--stop", "a"], "--stop"),
        (&["--raw", "-p", "a <mask:2>", "--stop", "a"], "option `stop`: only gaps are filled in"),
    ] {
        let refused = run(&[&["-w", &model], arguments].concat());
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
}
