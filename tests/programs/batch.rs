//! `diffulex-run --prompts FILE --output FILE`: many prompts, errors by line, and continuing after an interruption.

use crate::fixture::TempDir;
use crate::model;
use crate::program::{Output, command, finish, run, run_with_stdin};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const PROMPTS: &str = r#"{"id": "a", "prompt": "What is the capital of the country?"}
{"prompt": "Hello", "max_tokens": 5, "seed": 3}

{"id": 9, "messages": [{"role": "user", "content": "Hello"}], "system": "Be brief.", "stop": ["x"]}
"#;

fn arguments(prompts: &Path, output: &Path, more: &[&str]) -> Vec<String> {
    let model = model("sdar-f32");
    let (prompts, output) = (prompts.display().to_string(), output.display().to_string());
    let fixed = ["-w", &model, "--max-tokens", "8", "--ignore-eos", "--threads", "1", "--kv", "f32"];
    let batch = ["--prompts", &prompts, "--output", &output];
    [&fixed[..], &batch, more].concat().into_iter().map(str::to_owned).collect()
}

fn batch(prompts: &Path, output: &Path, more: &[&str]) -> Output {
    let arguments = arguments(prompts, output, more);
    run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn records(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(output: &Path) -> Vec<Value> {
    records(output).into_iter().map(|record| record["id"].clone()).collect()
}

/// A directory with the prompts, and the names of input and output.
fn prepare(prompts: &str) -> (TempDir, PathBuf, PathBuf) {
    let dir = TempDir::new();
    let input = dir.write("prompts.jsonl", prompts);
    let output = dir.file("answers.jsonl");
    (dir, input, output)
}

#[test]
fn every_line_has_the_answer_of_a_run_of_its_own() {
    let (_dir, input, output) = prepare(PROMPTS);
    let done = batch(&input, &output, &[]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""), "{}", done.stderr);
    assert!(done.stderr.contains("3 prompts: 3 answered, 0 failed"), "{}", done.stderr);
    let model = model("sdar-f32");
    let alone = |more: &[&str]| {
        let fixed = ["-w", &model, "--ignore-eos", "--threads", "1", "--kv", "f32", "--json"];
        run(&[&fixed[..], more].concat()).json()
    };
    let expected = [
        (json!("a"), alone(&["--max-tokens", "8", "--prompt", "What is the capital of the country?"])),
        (json!(2), alone(&["--max-tokens", "5", "--seed", "3", "--prompt", "Hello"])),
        (
            json!(9),
            alone(&["--max-tokens", "8", "--stop", "x", "--system", "Be brief.", "--prompt", "Hello"]),
        ),
    ];
    let records = records(&output);
    assert_eq!(records.len(), 3);
    for (record, (id, alone)) in records.iter().zip(expected) {
        let keys: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
        let known =
            ["id", "text", "finish_reason", "nfe", "prompt_tokens", "new_tokens", "tokens_per_forward"];
        assert_eq!(keys, known);
        assert_eq!(record["id"], id);
        for key in ["text", "finish_reason", "prompt_tokens", "new_tokens"] {
            assert_eq!(record[key], alone[key], "{id}: {key}");
        }
        assert!(record["nfe"].as_u64().unwrap() > 0 && record["tokens_per_forward"].as_f64().unwrap() > 0.0);
    }
    let quiet = batch(&input, &output, &["--overwrite", "--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    let texts = |records: &[Value]| records.iter().map(|record| record["text"].clone()).collect::<Vec<_>>();
    assert_eq!(texts(&records), texts(&self::records(&output)), "again");
}

/// Prompts of different lengths, many of which begin alike, with errors between them.
fn many() -> String {
    let line = |i: usize| match i % 7 {
        6 => format!("{{\"id\": \"bad{i}\", \"promt\": \"x\"}}\n"),
        _ => {
            let words = "Hello there, how are you? ".repeat(1 + i % 4);
            format!(
                "{{\"prompt\": \"{words}{}\", \"max_tokens\": {}, \"seed\": {i}}}\n",
                i / 3,
                3 + 5 * i % 17
            )
        }
    };
    (0..24).map(line).collect()
}

#[test]
fn answers_are_the_same_bytes_for_every_number_of_prompts_at_a_time() {
    let (dir, input, output) = prepare(&many());
    for name in ["sdar-f32", "llada-f32"] {
        let model = model(name);
        let of = |more: &[&str]| {
            let fixed =
                ["-w", &model, "--max-tokens", "8", "--ignore-eos", "--kv", "f32", "--quiet", "--raw"];
            let (prompts, output) = (input.display().to_string(), output.display().to_string());
            let done = run(&[&fixed[..], &["--prompts", &prompts, "--output", &output], more].concat());
            assert_eq!(done.code, Some(1), "{}", done.stderr);
            std::fs::read_to_string(&output).unwrap()
        };
        let one = of(&["--parallel", "1", "--overwrite", "--threads", "1"]);
        assert_eq!(one.lines().count(), 24);
        assert_eq!(one.matches("\"error\"").count(), 3, "{one}");
        for more in [&["--parallel", "3"][..], &["--parallel", "100", "--threads", "3"], &[]] {
            let many = of(&[&["--overwrite"][..], more].concat());
            assert_eq!(many, one, "{name} {more:?}");
        }
        let mut unordered: Vec<String> =
            of(&["--overwrite", "--unordered", "--parallel", "4"]).lines().map(str::to_owned).collect();
        let mut sorted: Vec<String> = one.lines().map(str::to_owned).collect();
        unordered.sort();
        sorted.sort();
        assert_eq!(unordered, sorted, "{name}");
    }
    drop(dir);
}

#[test]
fn a_line_that_fails_does_not_stop_the_rest() {
    let (_dir, input, output) = prepare(
        "{\"id\": \"ok\", \"prompt\": \"Hello\"}\n\
         {\"id\": \"typo\", \"promt\": \"Hello\"}\n\
         not json\n\
         {\"id\": \"empty\", \"prompt\": \"\"}\n\
         {\"id\": \"long\", \"prompt\": \"Hello\", \"max_tokens\": 100000000}\n\
         {\"id\": \"last\", \"prompt\": \"Hello\"}\n",
    );
    let done = batch(&input, &output, &["--quiet"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("6 prompts: 2 answered, 4 failed"), "{}", done.stderr);
    let records = records(&output);
    for (record, (id, error)) in records.iter().zip([
        (json!("ok"), ""),
        (json!("typo"), "unknown field `promt`"),
        (json!(3), "malformed JSON"),
        (json!("empty"), "it is empty"),
        (json!("long"), "100000"),
        (json!("last"), ""),
    ]) {
        assert_eq!(record["id"], id);
        match error {
            "" => assert!(record["text"].is_string() && record.get("error").is_none(), "{record}"),
            words => {
                assert!(record["error"].as_str().unwrap().contains(words), "{record}");
                assert_eq!(record.as_object().unwrap().len(), 2, "{record}");
            }
        }
    }
    assert_eq!(records.len(), 6);
    assert_eq!(records[0]["text"], records[5]["text"]);
}

#[test]
fn a_run_goes_on_where_the_last_one_stopped() {
    let (_dir, input, output) = prepare(PROMPTS);
    assert_eq!(batch(&input, &output, &[]).code, Some(0));
    let whole = std::fs::read_to_string(&output).unwrap();
    let (first, rest) = whole.split_once('\n').unwrap();
    // Marked, so that a line that is answered again shows.
    let kept = first.replace("\"nfe\":", "\"was_there\":true,\"nfe\":");
    for (left, counts) in [
        (format!("{kept}\n"), "2 answered, 0 failed, 1 were there already"),
        (format!("{kept}\n{}", &rest[..10]), "2 answered, 0 failed, 1 were there already"),
        (format!("{kept}\n{{\"id\":2,\"error\":\"no\"}}\n"), "2 answered, 0 failed, 1 were there already"),
        (format!("{rest}{kept}\n"), "0 answered, 0 failed, 3 were there already"),
        (String::new(), "3 answered, 0 failed"),
        (whole[..7].to_owned(), "3 answered, 0 failed"),
    ] {
        std::fs::write(&output, &left).unwrap();
        let done = batch(&input, &output, &[]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stderr.contains(counts), "{left}: {}", done.stderr);
        assert_eq!(ids(&output), [json!("a"), json!(2), json!(9)], "in the order of the input: {left}");
        let again = records(&output)[0].get("was_there").is_none();
        assert_eq!(again, !left.contains("was_there"), "{left}");
    }
    let names = _dir.names();
    assert_eq!(names, ["answers.jsonl", "prompts.jsonl"], "nothing else is left");
}

#[test]
fn an_output_of_something_else_is_refused_and_left_alone() {
    let (_dir, input, output) = prepare(PROMPTS);
    let answer = |id: &str| format!("{{\"id\":{id},\"text\":\"\"}}\n");
    for (left, message) in [
        (answer("\"b\""), "line 1: the id \"b\" is not in the prompts"),
        (answer("\"a\"") + &answer("\"a\""), "line 2: the id \"a\" is already in line 1"),
        ("# notes\n".to_owned(), "line 1: no answer of an earlier run"),
        (PROMPTS.to_owned(), "line 1: no answer of an earlier run"),
    ] {
        std::fs::write(&output, &left).unwrap();
        let refused = batch(&input, &output, &[]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        for words in [message, "option `output`", "--overwrite"] {
            assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
        }
        assert_eq!(std::fs::read_to_string(&output).unwrap(), left);
        assert_eq!(batch(&input, &output, &["--overwrite"]).code, Some(0));
        assert_eq!(ids(&output).len(), 3);
    }
    let itself = batch(&input, &input, &["--overwrite"]);
    assert_eq!(itself.code, Some(2), "{}", itself.stderr);
    assert!(itself.stderr.contains("option `output`: it is the file of the prompts"), "{}", itself.stderr);
    assert_eq!(std::fs::read_to_string(&input).unwrap(), PROMPTS);
    let twice = prepare("{\"prompt\": \"a\"}\n{\"id\": 1, \"prompt\": \"b\"}\n");
    let refused = batch(&twice.1, &twice.2, &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("lines 1 and 2 have the same id 1"), "{}", refused.stderr);
    assert!(!twice.2.exists());
    let empty = prepare("\n");
    assert!(batch(&empty.1, &empty.2, &[]).stderr.contains("no line with a prompt"));
    let missing = batch(&empty.0.file("none"), &empty.2, &[]);
    assert!(missing.code == Some(2) && missing.stderr.contains("none"), "{}", missing.stderr);
}

#[test]
fn prompts_come_from_stdin_and_answers_go_to_stdout() {
    let (dir, input, output) = prepare(PROMPTS);
    assert_eq!(batch(&input, &output, &[]).code, Some(0));
    let piped = |output: &Path, more: &[&str]| {
        let arguments = arguments(Path::new("-"), output, more);
        run_with_stdin(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), PROMPTS.as_bytes())
    };
    let through = piped(Path::new("-"), &["--quiet"]);
    let answers: Vec<Value> =
        through.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts = |records: &[Value]| records.iter().map(|record| record["text"].clone()).collect::<Vec<_>>();
    assert_eq!(texts(&answers), texts(&records(&output)));
    let refused = piped(&output, &[]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("stdin cannot be continued"), "{}", refused.stderr);
    assert_eq!(piped(&dir.file("new"), &[]).code, Some(0));
    assert_eq!(piped(&output, &["--overwrite"]).code, Some(0));
    let both = run(&["--prompts", "-", "--output", "-", "--prompt", "x"]);
    assert!(both.code == Some(2) && both.stderr.contains("cannot be used with"), "{}", both.stderr);
    let half = run(&["--prompts", "-"]);
    assert!(half.code == Some(2) && half.stderr.contains("--output"), "{}", half.stderr);
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_lines_that_are_done() {
    let (_dir, input, output) = prepare(
        "{\"id\": 1, \"prompt\": \"Hello\", \"max_tokens\": 4}\n{\"id\": 2, \"prompt\": \"Hello\", \"max_tokens\": 30000}\n",
    );
    let arguments =
        arguments(&input, &output, &["--level", "scalar", "--strategy", "sdar-static", "--context", "32768"]);
    let mut command = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // The second line takes much longer than this test.
    while !std::fs::read_to_string(&output).is_ok_and(|text| text.ends_with('\n')) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "the signal was sent");
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("1 answered, 0 failed, 1 not begun"), "{stderr}");
    assert_eq!(ids(&output), [json!(1)]);
}

#[test]
fn gaps_are_filled_in_a_batch_too() {
    let dir = TempDir::new();
    let input = dir.write("p.jsonl", "{\"prompt\": \"The <mask:3> home\"}\n");
    let output = dir.file("a.jsonl").display().to_string();
    let (model, prompts) = (model("llada-f32"), input.display().to_string());
    let fixed = ["-w", &model, "--raw", "--threads", "1"];
    assert_eq!(run(&[&fixed[..], &["--prompts", &prompts, "--output", &output]].concat()).code, Some(0));
    let record = records(Path::new(&output)).remove(0);
    let alone = finish(command(&[&fixed[..], &["--prompt", "The <mask:3> home", "--json"]].concat())).json();
    assert_eq!((&record["text"], &record["new_tokens"]), (&alone["text"], &json!(3)));
}

#[test]
fn nothing_changes_in_the_output_before_everything_is_checked() {
    let (dir, input, output) = prepare(PROMPTS);
    let of = |more: &[&str]| {
        let (prompts, output) = (input.display().to_string(), output.display().to_string());
        let fixed = ["--prompts", &prompts, "--output", &output, "--overwrite", "--quiet"];
        run(&[&fixed[..], more].concat())
    };
    let model = model("sdar-f32");
    let bad = [
        &["-w", "/nowhere"][..],
        &["-w", &model, "--temperature", "7777"],
        &["-w", &model, "--cache", "dual"],
        &["-w", &model, "--stop-id", "99999999"],
        &["-w", &model, "--context", "99999999"],
    ];
    for more in bad {
        assert_eq!(of(more).code, Some(2), "{more:?}");
        assert_eq!(dir.names(), ["prompts.jsonl"], "{more:?}: no output of nothing");
    }
    std::fs::write(&output, "mine\n{").unwrap();
    for more in bad {
        assert_eq!(of(more).code, Some(2), "{more:?}");
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "mine\n{", "{more:?}");
    }
}

#[test]
fn an_output_that_another_run_writes_to_is_refused() {
    let (_dir, input, output) = prepare(PROMPTS);
    std::fs::write(&output, "").unwrap();
    let other = std::fs::File::open(&output).unwrap();
    other.lock().unwrap();
    for more in [&[][..], &["--overwrite"]] {
        let refused = batch(&input, &output, more);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("another run writes to it"), "{}", refused.stderr);
    }
    drop(other);
    assert_eq!(batch(&input, &output, &[]).code, Some(0), "the lock goes with its owner");
}

#[test]
fn a_line_that_cannot_be_read_takes_an_id_that_nobody_has() {
    let (_dir, input, output) = prepare(
        "\u{feff}{\"id\": 2, \"prompt\": \"Hello\"}\r\n{\"id\": \"x\", \"prompt\": \"b\"\r\n\r\n{\"id\": \"y\", \"prompt\": \"Hello\"}\r\n",
    );
    assert_eq!(batch(&input, &output, &[]).code, Some(1));
    assert_eq!(ids(&output), [json!(2), json!("line 2"), json!("y")]);
    let error = records(&output)[1]["error"].to_string();
    assert!(error.contains("line 2: malformed JSON") && !error.contains("line 1"), "{error}");
    // Once corrected, the line has its own id, and the others keep their answers.
    let text = std::fs::read_to_string(&input).unwrap().replace("\"b\"\r", "\"b\"}\r");
    std::fs::write(&input, text).unwrap();
    let done = batch(&input, &output, &[]);
    assert!(done.stderr.contains("1 answered, 0 failed, 2 were there already"), "{}", done.stderr);
    assert_eq!(ids(&output), [json!(2), json!("x"), json!("y")]);
}

#[test]
fn keys_that_would_do_nothing_fail_their_line() {
    let system = r#"{"role": "system", "content": "Be long."}"#;
    let user = r#"{"role": "user", "content": "Hello"}"#;
    let (_dir, input, output) = prepare(&format!(
        "{{\"system\": \"Be brief.\", \"messages\": [{system}, {user}]}}\n{{\"messages\": [{user}]}}\n{{\"prompt\": \"a <mask:2>\", \"max_tokens\": 0, \"stop\": \"x\"}}\n",
    ));
    let errors = |more: &[&str]| -> Vec<String> {
        batch(&input, &output, &[&["--overwrite"], more].concat());
        let error = |record: &Value| record["error"].as_str().unwrap_or_default().to_owned();
        records(&output).iter().map(error).collect()
    };
    let found = errors(&[]);
    assert!(found[0].contains("`system`") && found[1].is_empty(), "{found:?}");
    assert!(found[2].contains("option `stop`: only gaps are filled in"), "{found:?}");
    let found = errors(&["--raw"]);
    assert!(found[1].contains("option `raw`"), "{found:?}");
}

#[test]
fn what_is_wrong_with_a_line_is_said_in_words_of_people() {
    let lines = [
        (r#"{"prompt": "a", "max_tokens": -1}"#, "integer `-1`, expected a whole number from 0 on"),
        (r#"{"prompt": "a", "max_tokens": 1.5}"#, "floating point `1.5`, expected a whole number from 0 on"),
        (r#"{"prompt": "a", "max_tokens": null}"#, "null, expected a whole number from 0 on"),
        (r#"{"prompt": "a", "seed": "1"}"#, "string \"1\", expected a whole number from 0 on"),
    ];
    let (_dir, prompts, output) = prepare(&lines.map(|(line, _)| line).join("\n"));
    assert_eq!(batch(&prompts, &output, &[]).code, Some(1));
    let records = records(&output);
    assert_eq!(records.len(), lines.len());
    for (record, (line, words)) in records.iter().zip(lines) {
        let error = record["error"].as_str().unwrap();
        assert!(error.contains(words), "{line}: {error}");
        assert!(!["usize", "u64"].iter().any(|word| error.contains(word)), "{line}: {error}");
    }
}

/// An output that is one of the files that are read would replace what it is made from.
#[test]
fn an_output_is_none_of_the_files_that_are_read() {
    let (model, (dir, prompts, _)) = (TempDir::with_golden("sdar-f32"), prepare(PROMPTS));
    let question = dir.write("question.json", "Hello");
    let link = dir.file("link.json");
    std::os::unix::fs::symlink(model.file("config.json"), &link).unwrap();
    let hard = dir.file("hard.json");
    std::fs::hard_link(&question, &hard).unwrap();
    let here = model.argument();
    for output in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
        .map(|name| model.file(name))
        .into_iter()
        .chain([question.clone(), hard, link])
    {
        let before = std::fs::read(&output).unwrap();
        let path = output.to_str().unwrap();
        let fixed = ["-w", &here, "--prompt-file", question.to_str().unwrap(), "--max-tokens", "1"];
        let traced = run(&[&fixed[..], &["--trace", path]].concat());
        assert_eq!(traced.code, Some(2), "{path}: {}", traced.stderr);
        assert!(traced.stderr.contains("option `trace`: it is "), "{path}: {}", traced.stderr);
        assert_eq!(std::fs::read(&output).unwrap(), before, "{path}");
    }
    let weights = model.file("model.safetensors");
    let before = std::fs::read(&weights).unwrap();
    let words =
        ["-w", &here, "--prompts", prompts.to_str().unwrap(), "-o", weights.to_str().unwrap(), "--overwrite"];
    let refused = run(&words);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("option `output`: it is "), "{}", refused.stderr);
    assert!(std::fs::read(&weights).unwrap() == before, "the weights are as they were");
}
