//! `diffulex-run` on a terminal: line editing, completion, history, Ctrl-C. Every step waits for what the program shows.

use crate::fixture::TempDir;
use crate::model;
use crate::program::command;
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use serde_json::Value;
use std::process::Stdio;

/// Milliseconds that a loaded machine may take for a step.
const PATIENCE: u64 = 120_000;
const PROMPT: &str = "> ";

/// A session on a pseudo-terminal that keeps its history in `home`.
fn open(home: &TempDir, more: &[&str]) -> PtySession {
    let model = model("sdar-f32");
    let fixed = ["-w", &model, "--threads", "1", "--canvas", "off", "--ignore-eos"];
    let mut command = command(&[&fixed[..], more].concat());
    // The terminal is what this program inherits.
    command.stdin(Stdio::inherit());
    // File names stay short there: no line is wrapped.
    command.current_dir(home.path());
    command.env("TERM", "xterm").env("HOME", home.path()).env("XDG_STATE_HOME", home.path());
    let options = Options::new().timeout_ms(Some(PATIENCE)).strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(command, options).unwrap();
    session.exp_string("/help lists the commands").unwrap();
    session.exp_string(PROMPT).unwrap();
    session
}

/// Presses keys.
fn press(session: &mut PtySession, keys: &str) {
    session.send(keys).unwrap();
    session.flush().unwrap();
}

/// Types a line, and returns what is shown until the next prompt.
fn enter(session: &mut PtySession, keys: &str, shown: &str) -> String {
    press(session, &format!("{keys}\r"));
    let before = session.exp_string(shown).unwrap_or_else(|error| panic!("{keys}: {error}"));
    session.exp_string(PROMPT).unwrap();
    before
}

/// The session ends by itself with exit code 0.
fn ends(mut session: PtySession) {
    session.exp_eof().unwrap();
    let status = format!("{:?}", session.process().wait().unwrap());
    assert!(status.starts_with("Exited(") && status.ends_with(", 0)"), "{status}");
}

fn saved(session: &mut PtySession, home: &TempDir) -> Value {
    enter(session, "/save talk.json", "saved ");
    serde_json::from_slice(&std::fs::read(home.file("talk.json")).unwrap()).unwrap()
}

#[test]
fn lines_are_edited_and_remembered() {
    let home = TempDir::new();
    let mut session = open(&home, &["--max-tokens", "8"]);
    // Left, left, and a letter in the middle.
    enter(&mut session, "/tep 0.5\x1b[D\x1b[D\x1b[D\x1b[D\x1b[Dm", "temperature: 0.5");
    enter(&mut session, "Hello", "[prompt ");
    // A message of two lines.
    press(&mut session, "first\\\r");
    enter(&mut session, "second", "[prompt ");
    let turns = saved(&mut session, &home)["conversation"]["turns"].clone();
    assert_eq!((&turns[0]["question"], &turns[1]["question"]), (&"Hello".into(), &"first\nsecond".into()));
    press(&mut session, "\x04");
    ends(session);
    // The history is there in the next session. Before the command are two questions, one of them with two lines.
    let history = std::fs::read_to_string(home.file("diffulex/history")).unwrap();
    assert!(history.contains("/temp 0.5\nHello\n"), "{history}");
    let mut session = open(&home, &[]);
    enter(&mut session, &"\x1b[A".repeat(5), "temperature: 0.5");
    press(&mut session, "/quit\r");
    ends(session);
}

#[test]
fn tab_completes_commands_and_values() {
    let home = TempDir::new();
    let mut session = open(&home, &[]);
    press(&mut session, "/strat\t");
    session.exp_string("/strategy ").unwrap();
    press(&mut session, "sdar-st\t");
    session.exp_string("sdar-static").unwrap();
    enter(&mut session, "", "rule: top-k");
    home.write("answers to all.json", "");
    press(&mut session, "/load answ\t");
    session.exp_string("answers\\ to\\ all.json").unwrap();
    enter(&mut session, "", "answers to all.json: not a saved conversation");
    press(&mut session, "\x04");
    ends(session);
}

#[test]
fn an_interrupt_at_the_prompt_clears_the_line_and_two_end_the_session() {
    let home = TempDir::new();
    let mut session = open(&home, &[]);
    press(&mut session, "/temp 0.5\x03");
    session.exp_string("(Ctrl-C again, or Ctrl-D, ends the session)").unwrap();
    session.exp_string(PROMPT).unwrap();
    // The line is gone, and a line in between makes the next interrupt a first one.
    enter(&mut session, "/topk 3", "top k: 3");
    press(&mut session, "\x03");
    session.exp_string("(Ctrl-C again").unwrap();
    session.exp_string(PROMPT).unwrap();
    let settings = saved(&mut session, &home)["settings"]["decoding"].clone();
    assert_eq!((&settings["temperature"], &settings["top_k"]), (&Value::Null, &3.into()));
    press(&mut session, "\x03");
    session.exp_string("(Ctrl-C again").unwrap();
    session.exp_string(PROMPT).unwrap();
    press(&mut session, "\x03");
    ends(session);
}

#[test]
fn an_interrupt_during_an_answer_stops_it_and_the_session_goes_on() {
    let home = TempDir::new();
    let endless =
        ["--level", "scalar", "--context", "32768", "--max-tokens", "30000", "--strategy", "sdar-static"];
    let mut session = open(&home, &endless);
    for turn in 0..2 {
        press(&mut session, "Hello\r");
        // The line as it was typed, its end, and the first of the answer.
        session.exp_regex("(?s)Hello\r*\n.{4}").unwrap();
        session.send_control('c').unwrap();
        session.exp_string("ended by cancelled]").unwrap();
        session.exp_string("(stopped)").unwrap();
        session.exp_string(PROMPT).unwrap();
        let turns = saved(&mut session, &home)["conversation"]["turns"].clone();
        assert_eq!((turns.as_array().unwrap().len(), &turns[turn]["cut"]), (turn + 1, &true.into()));
        assert_ne!(turns[turn]["answer"], "", "the text so far is kept");
    }
    enter(&mut session, "/max 4", "max tokens: 4");
    enter(&mut session, "Again", "ended by length]");
    let turns = saved(&mut session, &home)["conversation"]["turns"].clone();
    assert_eq!(turns[2]["cut"], false);
    press(&mut session, "\x04");
    ends(session);
}

#[test]
fn a_history_that_cannot_be_written_is_a_note() {
    let home = TempDir::new();
    // A file where the directory should be.
    home.write("diffulex", "");
    let mut session = open(&home, &[]);
    press(&mut session, "/topk 3\r");
    session.exp_string("cannot be written").unwrap();
    session.exp_string("top k: 3").unwrap();
    session.exp_string(PROMPT).unwrap();
    // Once is enough.
    let shown = enter(&mut session, "/topk 4", "top k: 4");
    assert!(!shown.contains("cannot be written"), "{shown}");
    press(&mut session, "\x04");
    ends(session);
}

#[test]
fn a_second_interrupt_leaves_no_masks_on_the_screen() {
    let model = model("sdar-f32");
    let fixed = ["-w", &model, "--threads", "1", "--canvas", "on", "--ignore-eos", "--prompt", "Hello"];
    let mut command = command(&[&fixed[..], &["--canvas-delay", "10000"]].concat());
    command.stdin(Stdio::inherit()).env("TERM", "xterm");
    let options = Options::new().timeout_ms(Some(PATIENCE)).strip_ansi_escape_codes(false);
    let mut session = spawn_with_options(command, options).unwrap();
    // Bytes are treated as letters there, so a mask is found by what surrounds it: it is dim.
    session.exp_string("\x1b[2m").unwrap();
    // The first is noted while the program leaves the step visible; a later one does not wait for the next step. Two that come
    // together count as one, and after the last one nobody listens.
    for _ in 0..8 {
        let _ = session.send("\x03").and_then(|_| session.flush());
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    let rest = session.exp_eof().unwrap();
    assert!(rest.trim_end().ends_with("\x1b[J"), "{rest:?}");
    let status = format!("{:?}", session.process().wait().unwrap());
    assert!(status.starts_with("Exited(") && status.ends_with(", 130)"), "{status}");
}

#[test]
fn every_line_of_a_paste_is_a_turn() {
    let home = TempDir::new();
    let mut session = open(&home, &["--max-tokens", "4"]);
    press(&mut session, "First\rSecond\rThird\r");
    for _ in 0..3 {
        session.exp_string("ended by length]").unwrap();
    }
    // In brackets, the whole text is one turn, whatever it begins with.
    press(&mut session, "\x1b[200~/help\nme\x1b[201~\r");
    session.exp_string("ended by length]").unwrap();
    session.exp_string(PROMPT).unwrap();
    let saved = saved(&mut session, &home);
    let turns = saved["conversation"]["turns"].as_array().unwrap();
    let questions: Vec<_> = turns.iter().map(|turn| turn["question"].as_str().unwrap()).collect();
    assert_eq!(questions, ["First", "Second", "Third", "/help\nme"]);
    press(&mut session, "/quit\r");
    ends(session);
}
