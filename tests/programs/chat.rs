//! `diffulex-run --chat` through a pipe: turns, commands, files, exit codes.

use crate::fixture::TempDir;
use crate::model;
use crate::program::{Output, run, run_with_stdin};
use serde_json::{Value, json};

const FIXED: [&str; 7] = ["--max-tokens", "12", "--threads", "1", "--kv", "f32", "--ignore-eos"];
/// A system message that is much longer than a block.
const SYSTEM: &str = "You answer questions about countries, rivers and mountains in a single short sentence.";

/// A session on a model with these lines.
fn chat_with(name: &str, more: &[&str], lines: &[&str]) -> Output {
    let model = model(name);
    let arguments = [&["-w", &model, "--chat"], &FIXED[..], more].concat();
    run_with_stdin(&arguments, lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())
}

fn chat(more: &[&str], lines: &[&str]) -> Output {
    chat_with("sdar-f32", more, lines)
}

/// The answer to a single question without a session.
fn alone(more: &[&str], question: &str) -> String {
    let model = model("sdar-f32");
    run(&[&["-w", &model, "--prompt", question, "--quiet"], &FIXED[..], more].concat()).text().to_string()
}

/// The session with `/save` at its end, and what was saved.
fn saved(more: &[&str], lines: &[&str]) -> (Output, Value) {
    let dir = TempDir::new();
    let file = dir.file("saved.json");
    let save = format!("/save {}", file.display());
    let output = chat(more, &[lines, &[&save]].concat());
    let failed = output.stderr.lines().any(|line| line.starts_with("error: "));
    assert_eq!(output.code, Some(i32::from(failed)), "{}", output.stderr);
    assert!(output.stderr.contains("saved "), "{}", output.stderr);
    let saved = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(dir.names(), ["saved.json"], "no temporary file is left");
    (output, saved)
}

fn answers(saved: &Value) -> Vec<String> {
    let turns = saved["conversation"]["turns"].as_array().unwrap();
    turns.iter().map(|turn| turn["answer"].as_str().unwrap().to_string()).collect()
}

#[test]
fn every_line_is_a_turn_and_answers_go_to_stdout() {
    let (output, saved) = saved(&[], &["Hello", "", "  ", "And now?"]);
    let answers = answers(&saved);
    assert_eq!(answers.len(), 2, "{saved}");
    assert_eq!(output.text(), format!("{}\n{}\n", answers[0], answers[1]));
    assert_eq!(alone(&[], "Hello"), format!("{}\n", answers[0]), "the first turn is a prompt");
    let turn = &saved["conversation"]["turns"][1];
    assert_eq!((&turn["question"], &turn["cut"]), (&json!("And now?"), &json!(false)));
    assert!(
        output.stderr.contains("/help lists the commands") && output.stderr.contains("SDAR, f32 weights")
    );
    assert_eq!(output.stderr.matches("[prompt ").count(), 2, "{}", output.stderr);
    let quiet = chat(&["--quiet"], &["Hello", "And now?"]);
    assert_eq!((quiet.text(), quiet.stderr.as_str()), (output.text(), ""));
    let switched = chat(&["--quiet"], &["Hello", "/stats on", "And now?"]);
    assert_eq!(switched.stderr.matches("[prompt ").count(), 1, "{}", switched.stderr);
}

#[test]
fn lines_that_belong_together_are_one_turn() {
    let lines = ["one\\", "two", "\"\"\"", "three", "", "/four", "\"\"\"", " /five"];
    let (_, saved) = saved(&["--quiet"], &lines);
    let turns = saved["conversation"]["turns"].as_array().unwrap();
    let questions: Vec<_> = turns.iter().map(|turn| turn["question"].as_str().unwrap()).collect();
    assert_eq!(questions, ["one\ntwo", "three\n\n/four", "/five"]);
}

/// Tokens of the prompt and how many of them were kept, for every answer.
fn kept(output: &Output) -> Vec<(usize, usize)> {
    let number = |text: &str| text.split(' ').next().unwrap().parse().unwrap();
    let lines = output.stderr.lines().filter_map(|line| line.strip_prefix("[prompt "));
    lines.map(|line| (number(line), number(line.split(", ").nth(1).unwrap()))).collect()
}

#[test]
fn a_turn_computes_only_what_is_new_and_answers_as_a_fresh_session() {
    let dir = TempDir::new();
    let file = dir.file("one.json").display().to_string();
    for (name, reuses) in
        [("sdar-f32", true), ("fastdllm2-f32", true), ("dream-f32", false), ("llada-f32", false)]
    {
        let (save, load) = (format!("/save {file}"), format!("/load {file}"));
        let whole = chat_with(name, &["--system", SYSTEM], &["Hello", &save, "And the rivers?"]);
        let fresh = chat_with(name, &[], &[&load, "And the rivers?"]);
        assert!(whole.text().ends_with(fresh.text()), "{name}: the same answer");
        assert!(fresh.text().len() > 1, "{name}: it says something");
        let (whole, fresh) = (kept(&whole), kept(&fresh));
        assert_eq!((whole[0].1, fresh[0].1), (0, 0), "{name}: nothing to keep");
        assert_eq!(whole[1].0, fresh[0].0, "{name}: the same prompt");
        // At least the system message and the first question, except for what is left of a block.
        assert_eq!(whole[1].1 + 32 > whole[0].0, reuses, "{name}: {whole:?}");
        assert!(whole[1].1 < whole[1].0 && (reuses || whole[1].1 == 0), "{name}: {whole:?}");
    }
}

#[test]
fn what_is_wrong_with_a_command_is_said_and_changes_nothing() {
    for (line, message) in [
        ("/warm 1", "`/warm` given, a command expected"),
        ("/temp", "/temp: nothing given, a number or `default` expected"),
        ("/temp -1", "option `temperature`: -1 given, a number from 0 to 100 expected"),
        ("/temp nan", "option `temperature`: NaN given"),
        ("/topp 2", "option `top-p`: 2 given, a number from 0 to 1 expected"),
        ("/conf 2", "option `threshold`: 2 given, a number from 0 to 1 expected"),
        ("/block 0", "option `block`: 0 given, at least 1 expected"),
        ("/iter 0", "option `steps`: 0 given, at least 1 expected"),
        ("/max 0", "option `max-tokens`: 0 given, a number from 1 to "),
        ("/max 99999999", "option `max-tokens`: 99999999 given, a number from 1 to "),
        ("/cache dual", "option `cache`: `dual` given, SDAR models support block and sub-block"),
        ("/strategy llada-random", "option `strategy`: `llada-random` given, SDAR models need one for"),
        ("/stats maybe", "/stats: `maybe` given, on or off expected"),
        ("/load no/such/file", "no/such/file"),
        ("/save no/such/file", "no/such/file"),
        ("/retry", "/retry: nothing was asked yet"),
    ] {
        let (output, saved) = saved(&[], &["/temp 0.5", line, "/config"]);
        let errors: Vec<_> = output.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(message), "{line}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{line}");
        let mut expected = chat(&[], &["/temp 0.5"]).stderr.lines().map(str::to_string).collect::<Vec<_>>();
        expected.push(errors[0].to_string());
        let said: Vec<_> = output.stderr.lines().take(expected.len()).map(str::to_string).collect();
        assert_eq!(said, expected, "{line}");
        assert!(output.stderr.contains("temperature: 0.5\n") && output.stderr.contains("cache: block\n"));
        assert_eq!(saved["settings"]["decoding"]["temperature"], 0.5, "{line}");
        assert_eq!(saved["conversation"]["turns"], json!([]), "{line}");
    }
}

#[test]
fn settings_do_what_the_options_do() {
    for (lines, options) in [
        (&["/temp 1.5", "/seed 5"][..], &["--temperature", "1.5", "--seed", "5"][..]),
        (&["/t 1", "/k 2", "/p 0.5"], &["--temperature", "1", "--top-k", "2", "--top-p", "0.5"]),
        (&["/max 5"], &["--max-tokens", "5"]),
        (&["/iter 2", "/strategy sdar-static"], &["--steps-per-block", "2", "--strategy", "sdar-static"]),
        (&["/steps 2", "/st sdar-static"], &["--steps", "2", "--strategy", "sdar-static"]),
        (&["/block 4", "/conf 0.1"], &["--block", "4", "--threshold", "0.1"]),
        (&["/cache sub-block"], &["--cache", "sub-block"]),
        (&["/temp 3", "/conf 0", "/temp default", "/conf default"], &[]),
    ] {
        let session = chat(&["--quiet"], &[lines, &["Hello"]].concat());
        let mut options = options.to_vec();
        if options.contains(&"--max-tokens") {
            let model = model("sdar-f32");
            options.extend(["-w", &model, "--prompt", "Hello", "--quiet", "--ignore-eos", "--kv", "f32"]);
            assert_eq!(session.text(), run(&options).text(), "{lines:?}");
        } else {
            assert_eq!(session.text(), alone(&options, "Hello"), "{lines:?}");
        }
        assert!(!session.stderr.contains("error"), "{lines:?}: {}", session.stderr);
    }
}

#[test]
fn a_saved_session_goes_on_where_it_was() {
    let dir = TempDir::new();
    let file = dir.file("talk.json").display().to_string();
    let (save, load) = (format!("/save {file}"), format!("/load {file}"));
    let first = ["/temp 1.2", "/seed 3", "/max 7", "Hello", "And now?", &save, "Go on"];
    let whole = chat(&["--system", SYSTEM, "--stop", "zzz"], &first);
    let rest = chat(&["--quiet"], &[&load, "Go on"]);
    assert!(whole.text().ends_with(rest.text()) && rest.text().len() > 1, "{} {}", whole.stdout, rest.stdout);
    // What was loaded is saved again as it was.
    let before = std::fs::read(&file).unwrap();
    let again = dir.file("again.json");
    chat(&["--quiet"], &[&load, &format!("/w {}", again.display())]).text();
    assert_eq!(before, std::fs::read(&again).unwrap());
    // Settings that this model cannot use change nothing.
    let other = chat_with("llada-f32", &[], &["/st llada-random", &save]);
    assert!(other.stderr.contains("saved"), "{}", other.stderr);
    let refused = saved(&["--temperature", "0.5"], &[&load]).1;
    assert_eq!(refused["settings"]["decoding"]["temperature"], 0.5);
    assert_eq!(refused["settings"]["decoding"]["strategy"], Value::Null);
}

#[test]
fn retry_repeats_the_last_question_with_the_next_seed() {
    let cold = ["--temperature", "0"];
    let (greedy, _) = saved(&cold, &["Hello", "/retry"]);
    assert!(greedy.stderr.contains("decoding is greedy: the answer would be the same"), "{}", greedy.stderr);
    assert_eq!(greedy.text().matches('\n').count(), alone(&cold, "Hello").matches('\n').count());
    let (_, other) = saved(&cold, &["Hello", "/max 5", "/retry"]);
    assert_eq!(answers(&other).len(), 1, "another length is another answer: {other}");
    let hot = ["--temperature", "1.5", "--seed", "7"];
    let (sampled, saved) = saved(&hot, &["Hello", "/r"]);
    let next = alone(&["--temperature", "1.5", "--seed", "8"], "Hello");
    assert_eq!(answers(&saved), [next.trim_end_matches('\n')], "in place of the first");
    assert_eq!(sampled.text(), format!("{}{next}", alone(&hot, "Hello")));
    assert_eq!(
        (&saved["conversation"]["asked"], &saved["settings"]["length"]["seed"]),
        (&json!(2), &json!(7))
    );
    assert_eq!(chat(&hot, &["Hello", "/r"]).text(), sampled.text(), "the session is reproducible");
}

#[test]
fn clear_forgets_the_conversation_and_keeps_the_system() {
    let hot = ["--temperature", "1.5", "--system", SYSTEM];
    let (output, saved) = saved(&hot, &["Hello", "And now?", "/clear", "Hello"]);
    assert_eq!(answers(&saved).len(), 1, "{saved}");
    assert_eq!(saved["conversation"]["system"], SYSTEM);
    let first = alone(&hot, "Hello");
    assert!(output.text().starts_with(&first) && output.text().ends_with(&first), "{}", output.stdout);
}

#[test]
fn a_conversation_that_outgrows_the_context_says_so() {
    let long = "word ".repeat(100);
    let (output, saved) =
        saved(&["--context", "128"], &["Hello", &long, "/max 64", "Why?", "/max 4", "Why?"]);
    let errors: Vec<_> = output.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(!errors.is_empty() && errors.len() <= 2, "{}", output.stderr);
    for words in ["context", "128 is the limit", "the turn is not added", "/clear", "--context"] {
        assert!(errors[0].contains(words), "{words}: {}", errors[0]);
    }
    let questions: Vec<_> = saved["conversation"]["turns"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&questions[0]["question"], questions.last().unwrap()["question"].as_str()),
        (&json!("Hello"), Some("Why?"))
    );
    assert!(!questions.iter().any(|turn| turn["question"] == long.trim()), "{saved}");
}

#[test]
fn a_session_ends_well_unless_its_input_is_no_text() {
    for word in ["/quit", "/q", "/exit", "/x"] {
        let output = chat(&[], &[word, "Hello"]);
        assert_eq!((output.text(), output.stderr.contains("[prompt")), ("", false), "{word}");
    }
    assert_eq!(chat(&["--quiet"], &[]).text(), "");
    let help = chat(&["--quiet"], &["/help"]);
    for word in ["/help", "/retry", "/canvas", "Ctrl-C"] {
        assert!(help.stderr.contains(word), "{word}: {}", help.stderr);
    }
    assert_eq!(help.text(), "");
    let model = model("sdar-f32");
    let bytes = run_with_stdin(&["-w", &model, "--chat", "--quiet"], b"/topk 1\n\xff\xfe\n");
    assert_eq!(bytes.code, Some(2), "{}", bytes.stderr);
    assert!(bytes.stderr.contains("standard input: not UTF-8 from byte 0 on"), "{}", bytes.stderr);
}

#[test]
fn a_session_that_cannot_be_is_refused() {
    let bare = TempDir::without_tokenizer("sdar-f32");
    let bare = bare.path().to_str().unwrap();
    let model = model("sdar-f32");
    for (arguments, message) in [
        (&["-w", bare, "--chat"][..], "no tokenizer, which a conversation needs"),
        (&["-w", &model, "--chat", "--prompt", "x"], "cannot be used with"),
        (&["-w", &model, "--chat", "--json"], "cannot be used with"),
        (&["-w", &model, "--chat", "--max-tokens", "0"], "option `max-tokens`: 0 given"),
        (&["-w", &model, "--chat", "--cache", "dual"], "SDAR models support block and sub-block"),
    ] {
        let output = run_with_stdin(arguments, b"Hello\n");
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(output.stderr.contains(message), "{arguments:?}: {}", output.stderr);
    }
}

#[test]
fn the_demo_suggests_what_to_ask() {
    let output = run_with_stdin(&["--chat", "--max-tokens", "4"], b"");
    assert_eq!(output.text(), "");
    assert!(
        output.stderr.contains("Try: ") && output.stderr.contains("no --weights given"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_turn_that_fails_shows_in_the_exit_code() {
    let story = "Tell a story about Mia the fox.";
    let talk = |lines: &[&str], more: &[&str]| {
        run_with_stdin(&[&["--chat", "--quiet"], more].concat(), lines.join("\n").as_bytes())
    };
    assert_eq!(talk(&[story], &["--context", "200"]).code, Some(0));
    let full = talk(&[story; 4], &["--context", "200"]);
    assert!(full.code == Some(1) && full.stderr.contains("the turn is not added"), "{}", full.stderr);
    for line in ["/warm", "/temp hot", "/load no/such/file"] {
        assert_eq!(talk(&[line, "/quit"], &[]).code, Some(1), "{line}");
    }
}

#[test]
fn marks_line_ends_and_paths_are_read_as_they_are_meant() {
    let model = model("sdar-f32");
    let talk = |input: &str| {
        let fixed = ["-w", &model, "--chat", "--quiet", "--max-tokens", "6", "--kv", "f32", "--ignore-eos"];
        run_with_stdin(&fixed, input.as_bytes()).text().to_string()
    };
    let plain = talk("Hello\nAnd now?\n");
    assert_eq!(plain, talk("\u{feff}Hello\r\nAnd now?\r\n"));
    assert_eq!(plain, talk("Hello\nAnd now?"));
    assert_ne!(talk("/usr/bin/env is what?\n// a comment\n"), "", "neither is a command");
}
