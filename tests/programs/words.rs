//! `diffulex COMMAND`: every command runs its program, with all arguments.

use crate::PROGRAMS;
use crate::fixture::TempDir;
use crate::program::{finish, program};
use std::path::Path;
use std::process::Command;

const DIFFULEX: &str = env!("CARGO_BIN_EXE_diffulex");

#[test]
fn a_command_is_the_program_with_all_arguments() {
    for (words, own) in [
        (&["models"][..], &["--list-models"][..]),
        (&["run", "--help"], &["--help"]),
        (
            &["run", "--prompt", "- What is 27 + 45?", "--threads", "1"],
            &["--prompt", "- What is 27 + 45?", "--threads", "1"],
        ),
    ] {
        let (by_word, by_name) = (finish(program(DIFFULEX, words)), finish(program(PROGRAMS[0], own)));
        assert!(by_name.code == Some(0) && !by_name.text().is_empty(), "{own:?}");
        assert_eq!((by_word.code, by_word.text()), (by_name.code, by_name.text()), "{words:?}");
    }
    let refused = finish(program(DIFFULEX, &["quantize", "--formats", "int4"]));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--formats"), "{}", refused.stderr);
}

#[test]
fn what_is_not_a_command_is_refused_with_those_that_are() {
    let wrong = finish(program(DIFFULEX, &["runn"]));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("'runn'") && wrong.stderr.contains("'run'"), "{}", wrong.stderr);
    let none = finish(program(DIFFULEX, &[]));
    assert_eq!(none.code, Some(2));
    let help = finish(program(DIFFULEX, &["--help"]));
    for name in ["run", "chat", "serve", "pull", "quantize", "bench", "verify", "synth", "doctor", "models"] {
        let listed = |text: &str| text.lines().any(|line| line.split_whitespace().next() == Some(name));
        assert!(listed(help.text()) && listed(&none.stderr), "{name}: {} {}", help.text(), none.stderr);
    }
}

#[test]
fn a_program_that_is_not_installed_is_named() {
    let lonely = TempDir::new();
    let copy = lonely.path().join(Path::new(DIFFULEX).file_name().unwrap());
    std::fs::copy(DIFFULEX, &copy).unwrap();
    let output =
        Command::new(&copy).args(["serve", "--port", "1"]).env("PATH", lonely.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("diffulex-server") && error.contains("--path crates/server"), "{error}");
}

#[test]
fn shells_and_manuals_know_the_commands() {
    let bash = finish(program(DIFFULEX, &["--completions", "bash"]));
    let page = finish(program(DIFFULEX, &["--man"]));
    for output in [bash, page] {
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        for name in ["serve", "quantize", "doctor"] {
            assert!(output.text().contains(name), "{name}: {}", output.text());
        }
    }
    let both = finish(program(DIFFULEX, &["--man", "run"]));
    assert_eq!(both.code, Some(2), "{}", both.stdout);
}
