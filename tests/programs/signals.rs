//! Readers that go away, and Ctrl-C.

use crate::program::{close_after, command, piped};
use crate::{MODELS, model};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// A generation that takes much longer than this test.
fn endless(more: &[&str]) -> Command {
    endless_to(&[&["--prompt", "Hello"], more].concat())
}

/// The same, to whatever these arguments ask.
fn endless_to(more: &[&str]) -> Command {
    let model = model("sdar-f32");
    let fixed = ["-w", &model, "--level", "scalar", "--threads", "1", "--ignore-eos"];
    command(
        &[&fixed[..], &["--context", "32768", "--max-tokens", "30000", "--strategy", "sdar-static"], more]
            .concat(),
    )
}

#[test]
fn a_reader_that_goes_away_ends_the_generation_quietly() {
    let (stderr, code) = close_after(piped(endless(&[])), 4);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("ended by cancelled") && !stderr.contains("panicked"), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
    let (stderr, code) = close_after(piped(endless(&["--quiet"])), 4);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
}

#[test]
fn a_reader_that_never_was_is_no_error_either() {
    let model = model(MODELS[0]);
    for command in [
        command(&["-w", &model, "--info"]),
        command(&["-w", &model, "--info", "--json"]),
        command(&["-w", &model, "--ids", "1,2", "--max-tokens", "2", "--json"]),
        command(&["--list-strategies"]),
        command(&["--help"]),
    ] {
        let (stderr, code) = close_after(piped(command), 0);
        assert_eq!((stderr.as_str(), code), ("", Some(0)));
    }
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "the signal was sent");
}

#[test]
fn an_interrupt_ends_the_generation_with_the_text_so_far() {
    let mut child = piped(endless(&[]));
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert_eq!(output.stdout.last(), Some(&b'\n'), "the line is ended");
    assert!(stderr.contains("ended by cancelled") && stderr.contains("tokens per forward"), "{stderr}");
    let words: Vec<_> = stderr.split_whitespace().collect();
    let new = words.windows(2).find(|pair| pair[0] == "new").unwrap()[1].parse::<usize>().unwrap();
    assert!((1..30_000).contains(&new), "{stderr}");
}

#[test]
fn an_interrupt_ends_a_session_that_nobody_sits_at() {
    let mut command = endless_to(&["--chat"]);
    command.stdin(Stdio::piped());
    let mut child = piped(command);
    child.stdin.as_mut().unwrap().write_all(b"Hello\nAnd now?\n").unwrap();
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert_eq!(
        stderr.matches("ended by cancelled]").count(),
        1,
        "the second question is not asked: {stderr}"
    );
}

#[test]
fn a_reader_that_goes_away_ends_a_session() {
    let mut command = endless_to(&["--chat"]);
    command.stdin(Stdio::piped());
    let mut child = piped(command);
    child.stdin.as_mut().unwrap().write_all(b"Hello\nAnd now?\n").unwrap();
    let (stderr, code) = close_after(child, 4);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr.matches("ended by cancelled]").count(), 1, "{stderr}");
}

#[test]
fn an_interrupted_json_run_still_prints_its_object() {
    let mut child = piped(endless(&["--json"]));
    // Nothing is printed before the end, so the handler is given time to be there; a loaded machine may take a while, and
    // then the signal ends the program without a message.
    let json = (1..=5).find_map(|seconds| {
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        interrupt(&child);
        let done = std::mem::replace(&mut child, piped(endless(&["--json"])));
        let output = done.wait_with_output().unwrap();
        let caught = output.status.code() == Some(130);
        caught.then(|| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let json = json.expect("the interrupt was caught within five runs");
    assert_eq!(json["finish_reason"], "cancelled");
    assert_eq!(json["new_tokens"].as_u64().unwrap(), json["ids"].as_array().unwrap().len() as u64);
}
