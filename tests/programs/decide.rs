//! `--decide`: JSON in, JSON out, and nothing half-written.

use crate::fixture::TempDir;
use crate::program::{Output, run};
use serde_json::Value;

const COLOR: &str = r#"{"id": "c", "state": "Mia has a red kite. What color is the kite?", "prompt": "{state}",
    "questions": {"color": {"options": ["red", "blue"], "lead": "The kite is "}}}"#;
const SUM: &str = r#"{"state": "What is 27 + 45?", "prompt": "{state}", "questions": {"sum": {"score": {"min": 70, "max": 74}, "lead": "27 + 45 = "}}}"#;

fn decide(text: impl AsRef<[u8]>, more: &[&str]) -> Output {
    let directory = TempDir::new();
    let file = directory.write("decisions", text).display().to_string();
    run(&[&["--decide", &file, "--threads", "1"][..], more].concat())
}

#[test]
fn a_file_is_one_decision_or_has_one_on_each_line() {
    let whole = decide(COLOR, &[]).json();
    assert_eq!(whole["id"], "c");
    let color = &whole["answers"]["color"];
    assert_eq!((&color["answer"], &color["scored"]), (&Value::from("red"), &Value::from("token")));
    assert_eq!(color["probability"], color["probabilities"]["red"]);
    let lines = format!("{}\n\n{SUM}\n", COLOR.replace('\n', " "));
    let printed = decide(lines, &[]);
    let each: Vec<Value> = printed.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(each[0], whole, "the same alone and with others");
    assert_eq!(each[1]["answers"]["sum"]["answer"], 72);
    assert!(each[1].get("id").is_none() && each.len() == 2);
}

#[test]
fn what_is_wrong_is_named_before_anything_is_printed() {
    let color = COLOR.replace('\n', " ");
    for (text, words) in [
        (String::new(), "no decision in it"),
        ("{\n\"state\": 1,\n}".into(), "malformed JSON: "),
        ("[]".into(), "expected an object"),
        (format!("{color}\n{{\n"), "line 2: malformed JSON"),
        (format!("{color}\n{{\"state\": \"x\"}}\n"), "line 2: missing field `questions`"),
        (
            format!("{color}\n{}\n", color.replace("blue", "red")),
            "line 2: option `questions`: `color`: option `red`",
        ),
        (
            format!("{color}\n{}\n", color.replace("\"prompt\"", "\"promt\"")),
            "line 2: key `promt`: unknown field `promt`",
        ),
        (color.replace("\"c\"", "1.5"), "`id`: 1.5 found, a string or an integer expected"),
        (color.replace("\"id\": \"c\"", "\"passes\": 0"), "option `passes`: 0 given, 1 or 2 expected"),
    ] {
        let output = decide(&text, &[]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{text}: {}", output.stderr);
        assert!(
            output.stderr.contains(words) && output.stderr.contains("decisions"),
            "{text}: {}",
            output.stderr
        );
    }
    let utf16 = decide([0xff, 0xfe, b'{', 0], &[]);
    assert!(utf16.code == Some(2) && utf16.stderr.contains("UTF-16"), "{}", utf16.stderr);
    assert_eq!(run(&["--decide", "/nonexistent/file"]).code, Some(2));
    for idle in [["--max-tokens", "3"], ["--prompt", "x"], ["--seed", "1"]] {
        let output = decide(COLOR, &idle);
        assert!(output.code == Some(2) && output.stderr.contains("cannot be used with"), "{}", output.stderr);
    }
}
