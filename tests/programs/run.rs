//! `diffulex-run`: where the prompt comes from, and what goes to stdout and to stderr.

use crate::fixture::{TempDir, golden, parts};
use crate::program::{Output, command, finish, program, run, run_with_stdin};
use crate::{MODELS, ids, list, manifest, model};
use diffulex::Policy;
use serde_json::{Value, json};

const QUESTION: &str = "What is the capital of the country?";

/// Arguments of a short exact run, and more.
fn short<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["--weights", model, "--max-tokens", "12", "--threads", "1", "--kv", "f32"];
    arguments.extend(more);
    arguments
}

#[test]
fn a_prompt_is_the_same_from_an_option_a_file_and_a_pipe() {
    let dir = TempDir::new();
    let file = dir.write("prompt.txt", QUESTION).display().to_string();
    for name in MODELS {
        let model = model(name);
        let answer = run(&short(&model, &["--prompt", QUESTION]));
        let text = answer.text();
        assert!(text.ends_with('\n') && text.len() > 1, "{name}: {text:?}");
        assert!(!text.contains("forward passes") && !text.contains("tokens/s"), "{name}: {text}");
        for line in ["prompt ", "forward passes", "tokens per forward", "cache: ", "kernels: ", ", 1 threads"]
        {
            assert!(answer.stderr.contains(line), "{name}: `{line}` is not in {}", answer.stderr);
        }
        assert_eq!(run(&short(&model, &["--prompt-file", &file])).text(), text, "{name}: from a file");
        for end in ["", "\n", "\r\n"] {
            let piped = run_with_stdin(&short(&model, &[]), format!("{QUESTION}{end}").as_bytes());
            assert_eq!(piped.text(), text, "{name}: from a pipe");
        }
    }
}

#[test]
fn chat_templates_apply_unless_the_prompt_is_raw_or_ids() {
    for name in MODELS {
        let (model, manifest) = (model(name), manifest(name));
        let recorded = &manifest["end_to_end"][0];
        let question = recorded["text"].as_str().unwrap();
        let prompt = ids(&recorded["prompt_ids"]);
        let chat = run(&short(&model, &["--prompt", question, "--json"])).json();
        assert_eq!(chat["prompt_tokens"], prompt.len(), "{name}: the rendered question");
        let raw = run(&short(&model, &["--prompt", question, "--json", "--raw"])).json();
        assert!(raw["prompt_tokens"].as_u64().unwrap() < prompt.len() as u64, "{name}: the bare question");
        // What the template renders, given raw, is the same prompt.
        let rendered = recorded["rendered"].as_str().unwrap();
        let again = run(&short(&model, &["--prompt", rendered, "--json", "--raw"])).json();
        assert_eq!((&again["ids"], &again["text"]), (&chat["ids"], &chat["text"]), "{name}: rendered");
        // And so are its ids, but ids come back for ids.
        let from_ids = run(&short(&model, &["--ids", &list(&prompt)]));
        assert_eq!(from_ids.text(), format!("{}\n", list(&ids(&chat["ids"]))), "{name}: ids");
        assert!(from_ids.stderr.contains("forward passes"), "{name}: {}", from_ids.stderr);
    }
}

#[test]
fn a_system_text_is_part_of_the_prompt() {
    let model = model("llada-f32");
    let tokens = |more: &[&str]| {
        let arguments = [&["--prompt", "Hello", "--json"], more].concat();
        run(&short(&model, &arguments)).json()["prompt_tokens"].as_u64().unwrap()
    };
    assert!(tokens(&["--system", "Be brief."]) > tokens(&[]) + 3, "the system message and its markers");
}

#[test]
fn json_is_one_object_whose_numbers_agree() {
    for name in MODELS {
        let model = model(name);
        let plain = run(&short(&model, &["--prompt", QUESTION]));
        let answer = run(&short(&model, &["--prompt", QUESTION, "--json"]));
        assert_eq!(answer.stderr, "", "{name}");
        let json = answer.json();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "text",
            "ids",
            "filled",
            "finish_reason",
            "model",
            "family",
            "prompt_tokens",
            "new_tokens",
            "nfe",
            "prefill_passes",
            "tokens_per_forward",
            "seconds",
            "tokens_per_second",
            "cache",
            "kernels",
            "threads",
            "decoding",
        ];
        assert_eq!(keys, expected, "{name}");
        let number = |key: &str| json[key].as_f64().unwrap();
        assert_eq!(json["new_tokens"], ids(&json["ids"]).len(), "{name}");
        assert!(number("new_tokens") > 0.0 && number("new_tokens") <= 12.0, "{name}");
        assert!(number("nfe") > number("prefill_passes"), "{name}");
        let per_forward = number("new_tokens") / (number("nfe") - number("prefill_passes"));
        assert!((number("tokens_per_forward") - per_forward).abs() < 1e-9, "{name}: {per_forward}");
        assert!(json["seconds"]["decode"].as_f64().unwrap() > 0.0, "{name}");
        assert_eq!((&json["threads"], &json["model"]), (&json!(1), &json!(model)), "{name}");
        assert_eq!(plain.text(), format!("{}\n", json["text"].as_str().unwrap()), "{name}");
        let summary = format!("prompt {} tokens, new {} tokens", json["prompt_tokens"], json["new_tokens"]);
        assert!(plain.stderr.contains(&summary), "{name}: {} without {summary}", plain.stderr);
    }
}

#[test]
fn quiet_and_verbose_change_stderr_only() {
    let model = model("sdar-f32");
    let of = |more: &[&str]| run(&short(&model, &[&["--prompt", QUESTION], more].concat()));
    let (normal, quiet, verbose) = (of(&[]), of(&["--quiet"]), of(&["--verbose"]));
    assert_eq!(normal.text(), quiet.text());
    assert_eq!(normal.text(), verbose.text());
    assert_eq!(quiet.stderr, "");
    assert!(!normal.stderr.contains("\"unmask\""), "{}", normal.stderr);
    assert!(verbose.stderr.contains("\"unmask\"") && verbose.stderr.contains("\"temperature\": "));
}

/// Elements of every tensor in the weights of a golden directory.
fn elements(name: &str) -> u64 {
    let weights =
        std::fs::read_dir(golden(name)).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.starts_with("model") && file.ends_with(".safetensors")
        });
    let of_file = |path| {
        let header: Value = serde_json::from_str(&parts(&std::fs::read(path).unwrap()).0).unwrap();
        let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
        tensors.map(|(_, tensor)| ids(&tensor["shape"]).iter().product::<u64>()).sum::<u64>()
    };
    weights.map(of_file).sum()
}

#[test]
fn info_describes_the_model_as_text_and_as_json() {
    for name in MODELS {
        let (model, manifest) = (model(name), manifest(name));
        let json = run(&["-w", &model, "--info", "--json", "--context", "100"]).json();
        assert_eq!(json["parameters"], elements(name), "{name}");
        assert_eq!(json["mask_id"], manifest["mask_token_id"], "{name}");
        assert_eq!(json["sizes"]["vocab"], manifest["vocab_size"], "{name}");
        let bytes = &json["bytes"];
        let for_context = bytes["kv_per_token"].as_u64().unwrap() * 100;
        assert_eq!(
            (&json["context"], &bytes["kv_for_context"]),
            (&json!(100), &json!(for_context)),
            "{name}"
        );
        let info = run(&["-w", &model, "--info", "--context", "100"]);
        assert_eq!(info.stderr, "", "{name}");
        for line in [
            format!("family: {}\n", json["family"].as_str().unwrap()),
            format!("parameters: {}\n", json["parameters"]),
            format!("  kv for context: {for_context}\n"),
            format!("mask id: {}\n", json["mask_id"]),
            format!("level: {}\n", json["level"].as_str().unwrap()),
            format!("strategy: {}\n", json["strategy"].as_str().unwrap()),
        ] {
            assert!(info.text().contains(&line), "{name}: no {line} in {}", info.stdout);
        }
    }
}

#[test]
fn strategies_are_listed_with_a_line_of_help() {
    let listed = run(&["--list-strategies"]);
    let lines: Vec<_> = listed.text().lines().collect();
    assert_eq!(lines.len(), Policy::names().count());
    for (line, (name, help)) in lines.iter().zip(Policy::names()) {
        assert!(line.starts_with(name) && line.ends_with(help), "{line}");
    }
}

#[test]
fn the_documents_have_the_table_of_published_models() {
    let table = run(&["--list-models"]);
    assert!(table.text().lines().count() > 20 && table.text().contains("Nemotron-Labs-Diffusion"));
    let models = std::fs::read_to_string(crate::fixture::root().join("docs/models.md")).unwrap();
    assert!(
        models.contains(table.text()),
        "docs/models.md has another table than `diffulex-run --list-models`"
    );
}

#[test]
fn without_arguments_the_demo_says_what_it_is() {
    let demo = run(&[]);
    assert!(demo.text().len() > 20, "{}", demo.stdout);
    for words in ["no --weights given", "built-in demo model", "ended by stop id", "tokens per forward"] {
        assert!(demo.stderr.contains(words), "{words}: {}", demo.stderr);
    }
    let binary = env!("CARGO_BIN_EXE_diffulex-run");
    #[cfg(unix)]
    {
        let closed = finish(program("sh", &["-c", "exec \"$0\" <&-", binary]));
        assert_eq!(closed.text(), demo.text(), "closed stdin");
    }
    let quiet = run(&["--quiet"]);
    assert_eq!((quiet.text(), quiet.stderr.as_str()), (demo.text(), ""));
    let json = run(&["--json"]);
    assert_eq!(format!("{}\n", json.json()["text"].as_str().unwrap()), demo.text());
    assert_eq!(json.stderr, "");
    // It answers questions, too.
    let piped = run_with_stdin(&[], QUESTION.as_bytes());
    assert_ne!(piped.text(), demo.text());
    // The demo's own question replaces a missing prompt, not an empty one.
    let empty = run(&["--prompt", ""]);
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(2), ""), "{}", empty.stderr);
    assert!(empty.stderr.contains("option `prompt`: it is empty"), "{}", empty.stderr);
    assert_eq!(run(&["--prompt", QUESTION]).text(), piped.text());
}

#[test]
fn help_is_no_error() {
    let help = run(&["--help"]);
    for option in ["--weights", "--prompt-file", "--strategy", "--level", "--json"] {
        assert!(help.text().contains(option), "{option}");
    }
}

#[test]
fn the_level_comes_from_the_option_else_the_environment_else_the_cpu() {
    let model = model("dream-bf16");
    let level = |option: &[&str], variable: Option<&str>| {
        let arguments = [&["-w", &model, "--ids", "1,2", "--max-tokens", "2", "--json"], option].concat();
        let mut command = command(&arguments);
        if let Some(level) = variable {
            command.env("DIFFULEX_LEVEL", level);
        }
        let kernels = finish(command).json()["kernels"].as_str().unwrap().to_string();
        kernels.rsplit(' ').next().unwrap().to_string()
    };
    let best = diffulex::kernels::Level::detect().name();
    assert_eq!(level(&[], None), best);
    assert_eq!(level(&[], Some("scalar")), "scalar");
    assert_eq!(level(&["--level", best], Some("scalar")), best);
    assert_eq!(level(&["--level", "scalar"], None), "scalar");
}

#[test]
fn the_demo_answers_its_suggestions() {
    let answer = |question: &str| -> Output { run(&["--quiet", "--prompt", question]) };
    assert_eq!(answer("What is 27 + 45?").text(), "27 + 45 = 72.\n");
    assert_eq!(answer("Sort these numbers: 7 3 9 1.").text(), "1 3 7 9\n");
    let story = answer("Tell a story about Mia the fox.");
    assert!(story.text().contains("Mia") && story.text().contains("fox"), "{}", story.stdout);
}

#[test]
fn a_text_is_what_follows_its_option() {
    let of = |more: &[&str]| run(&[more, &["--max-tokens", "1", "--quiet"]].concat());
    for text in ["- milk", "--help me", "-x", "-1 + 2 = ?", "--", "--json", "-1"] {
        of(&["--prompt", text]).text();
        of(&["-p", text]).text();
        of(&["-p", "a", "--system", text]).text();
        of(&["-p", "a", "--stop", text]).text();
    }
    let ids = of(&["--ids", "-1,2"]);
    assert!(ids.code == Some(2) && ids.stderr.contains("option `ids`: `-1` given"), "{}", ids.stderr);
}

#[test]
fn a_question_is_the_same_from_everywhere() {
    let dir = TempDir::new();
    let (model, trace) = (model("sdar-f32"), dir.file("t.json").display().to_string());
    let fixed = ["-w", &model, "--max-tokens", "1", "--quiet", "--trace", &trace];
    let asked = |done: Output| {
        done.text();
        let trace: Value = serde_json::from_slice(&std::fs::read(dir.file("t.json")).unwrap()).unwrap();
        trace["prompt"]["ids"].clone()
    };
    for question in [QUESTION, "two\nlines", "ends with a line\n"] {
        let wanted = asked(run(&[&fixed[..], &["--prompt", question]].concat()));
        for (mark, end) in [("", "\n"), ("", "\r\n"), ("\u{feff}", ""), ("\u{feff}", "\n")] {
            if end.is_empty() && question.ends_with('\n') {
                continue;
            }
            let text = format!("{mark}{question}{end}");
            let file = dir.write("question", &text).display().to_string();
            let from_file = asked(run(&[&fixed[..], &["--prompt-file", &file]].concat()));
            assert_eq!(from_file, wanted, "{text:?}: from a file");
            assert_eq!(asked(run_with_stdin(&fixed, text.as_bytes())), wanted, "{text:?}: from a pipe");
        }
    }
    let file = dir.write("wide", b"\xff\xfeH\0i\0").display().to_string();
    let refused = run(&[&fixed[..], &["--prompt-file", &file]].concat());
    assert!(refused.code == Some(2) && refused.stderr.contains("UTF-16"), "{}", refused.stderr);
}

#[test]
fn the_context_can_be_used_to_its_last_position() {
    let question = (100..125).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let of = |tokens: &str, context: &str| {
        run(&["--ids", &question, "--context", context, "--max-tokens", tokens, "--quiet", "--ignore-eos"])
    };
    for tokens in ["1", "5"] {
        assert_eq!(of(tokens, "30").text(), of(tokens, "200").text(), "the same as with more room");
    }
    let refused = of("6", "30");
    assert!(
        refused.code == Some(2) && refused.stderr.contains("32 asked for, 30 is the limit"),
        "{}",
        refused.stderr
    );
    let block = ["--context", "30", "--max-tokens", "5", "--block", "24", "--sub-block", "24", "--quiet"];
    let larger = run(&[&["--ids", &question][..], &block].concat());
    assert!(larger.code == Some(2) && larger.stderr.contains("in whole blocks"), "{}", larger.stderr);
}

/// What `--info` says about decoding is what an answer with the same options is decoded with.
#[test]
fn info_shows_the_settings_of_a_run() {
    for name in MODELS {
        let model = model(name);
        for options in [
            &[][..],
            &["--temperature", "0.5", "--top-k", "7", "--top-p", "0"],
            &["--stop-id", "3", "--stop-id", "5"],
            &["--ignore-eos"],
            &["--threshold", "0.9", "--block", "4"],
        ] {
            let with = |more: &[&str]| run(&[&["-w", &model, "--json"], options, more].concat()).json();
            let (info, answer) = (with(&["--info"]), with(&["--ids", "1,2,3", "--max-tokens", "4"]));
            assert_eq!(info["decoding"], answer["decoding"], "{name} {options:?}");
            assert_eq!(info["stop_ids"], answer["decoding"]["stop_ids"], "{name} {options:?}");
        }
    }
}

#[test]
fn what_an_answer_may_cost_is_said_before() {
    let dir = TempDir::with_golden("sdar-f32");
    let ask = |more: &[&str]| {
        let arguments = ["-w", &dir.argument(), "--ids", "1,2,3", "--max-tokens", "4"];
        run(&[&arguments[..], more].concat()).stderr
    };
    assert!(!ask(&[]).contains("note:"));
    // Another set of weights, complete, that is not read.
    let header = std::fs::read(dir.file("model.safetensors")).unwrap();
    let (header, _) = parts(&header);
    let header: serde_json::Map<String, Value> = serde_json::from_str(&header).unwrap();
    let map: serde_json::Map<_, _> = header
        .keys()
        .filter(|name| !name.starts_with("__"))
        .map(|name| (name.clone(), json!("model-1.safetensors")))
        .collect();
    dir.write("model.safetensors.index.json", json!({ "weight_map": map }).to_string());
    assert!(!ask(&[]).contains("note:"), "its shards are not there");
    dir.write("model-1.safetensors", "");
    let said = ask(&[]);
    assert!(
        said.contains("note: reading ") && said.contains("model.safetensors.index.json next to it"),
        "{said}"
    );
    std::fs::remove_file(dir.file("model.safetensors.index.json")).unwrap();
    // Nothing that ends the text.
    dir.write("generation_config.json", r#"{"eos_token_id": []}"#);
    let said = ask(&[]);
    assert!(said.starts_with("note: no stop id: "), "{said}");
    for given in [&["--stop-id", "3"][..], &["--ignore-eos"], &["--quiet"]] {
        assert!(!ask(given).contains("note:"), "{given:?}");
    }
}

/// Names of files are bytes, and need not be valid text.
#[cfg(target_os = "linux")]
#[test]
fn a_path_may_be_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = TempDir::with_golden("dream-f32");
    let odd = TempDir::new();
    let path = odd.path().join(OsStr::from_bytes(b"\xff m\xe9"));
    std::fs::rename(dir.path(), &path).unwrap();
    let answer = |path: &std::path::Path| {
        let mut command = command(&["--prompt", "Hello", "--max-tokens", "4", "-q", "-w"]);
        command.arg(path);
        finish(command).text().to_string()
    };
    let expected = answer(&golden("dream-f32"));
    assert_eq!(answer(&path), expected);
    assert_eq!(answer(&path.join("model.safetensors")), expected);
    let quantized = odd.path().join(OsStr::from_bytes(b"\xfe"));
    let mut quantize =
        program(env!("CARGO_BIN_EXE_diffulex-quantize"), &["--format", "f16", "--no-check", "-o"]);
    quantize.arg(&quantized).arg(&path);
    let output = finish(quantize);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    answer(&quantized);
    // The older tokenizer, too.
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::remove_file(path.join(name)).unwrap();
    }
    std::fs::write(path.join("vocab.json"), r#"{"H": 0, "e": 1, "l": 2, "o": 3, "He": 4}"#).unwrap();
    std::fs::write(path.join("merges.txt"), "#version: 0.2\nH e\n").unwrap();
    let mut command = command(&["--prompt", "Hello", "--raw", "--max-tokens", "1", "--json", "-w"]);
    command.arg(&path);
    assert_eq!(finish(command).json()["prompt_tokens"], 4);
}
