//! Options that would do nothing are refused by name.

use crate::PROGRAMS;
use crate::fixture::TempDir;
use crate::model;
use crate::program::{finish, program, run_with_stdin};

#[test]
fn an_option_without_effect_is_refused_by_name() {
    let dir = TempDir::new();
    let (model, out) = (model("sdar-f32"), dir.file("out").display().to_string());
    let w: &[&str] = &["-w", &model];
    for (before, idle) in [
        (&["-p", "a"][..], &["--output", "x"][..]),
        (&["-p", "a"], &["--overwrite"]),
        (&["-p", "a"], &["--parallel", "2"]),
        (&["-p", "a"], &["--unordered"]),
        (&["-p", "a"], &["--config", "/nowhere"]),
        (&["-p", "a"], &["--tokenizer", "/nowhere"]),
        (&["-p", "a"], &["--tokenizer-config", "/nowhere"]),
        (&["-p", "a"], &["--chat-template", "/nowhere"]),
        (&["-p", "a"], &["--generation-config", "/nowhere"]),
        (&["-p", "a"], &["--no-mmap"]),
        (&["-p", "a", "--json"], &["--canvas", "on"]),
        (&["-p", "a", "--json"], &["--canvas-delay", "1"]),
        (&["-p", "a", "--json"], &["--verbose"]),
        (&["-p", "a", "--quiet"], &["--verbose"]),
        (&["-p", "a", "--canvas", "off"], &["--canvas-delay", "1"]),
        (&["--ids", "1,2"], &["--raw"]),
        (&["--ids", "1,2"], &["--system", "s"]),
        (&["--ids", "1,2"], &["--stop", "s"]),
        (&["--info"], &["--max-tokens", "1"]),
        (&["--info"], &["--prompt", "a"]),
        (&["--info"], &["--verbose"]),
        (&["--info"], &["--trace", "x.json"]),
        (&["--doctor"], &["--kv", "f32"]),
        (&["--doctor"], &["--temperature", "1"]),
        (&["--list-models"], &["--json"]),
        (&["--list-strategies"], &["--json"]),
        (&["--list-strategies"], &["--seed", "1"]),
        (&["--chat"], &["--raw"]),
        (&["--chat"], &["--suffix", "a", "--max-tokens", "1"]),
        (&["--chat"], &["--trace", "x.json"]),
        (&["--prompts", "-", "--output", "-"], &["--canvas", "on"]),
        (&["--prompts", "-", "--output", "-"], &["--verbose"]),
        (&["--prompts", "-", "--output", "-"], &["--overwrite"]),
        (&["--prompts", "-", "--output", "-"], &["--ids", "1"]),
        (&[w, &["-p", "a", "--raw"]].concat(), &["--chat-template", "/nowhere"]),
        (&[w, &["-p", "a", "--suffix", "b", "--max-tokens", "1"]].concat(), &["--ignore-eos"]),
    ] {
        let refused = run_with_stdin(&[before, idle].concat(), b"");
        assert_eq!(
            (refused.code, refused.stdout.as_str()),
            (Some(2), ""),
            "{before:?} {idle:?}: {}",
            refused.stderr
        );
        let name = idle[0].trim_start_matches('-');
        assert!(refused.stderr.contains(name), "{before:?} {idle:?}: {}", refused.stderr);
    }
    for (idle, name) in [
        (&["--check-only", "--format", "int4"][..], "--format"),
        (&["--check-only", "--exclude", "x"], "--exclude"),
        (&["--format", "int4", "--no-check", "--level", "scalar"], "--level"),
    ] {
        let refused = finish(program(PROGRAMS[1], &[&[&model, "-o", &out][..], idle].concat()));
        assert!(refused.code == Some(2) && refused.stderr.contains(name), "{idle:?}: {}", refused.stderr);
    }
    assert_eq!(dir.names(), Vec::<String>::new());
}

#[test]
fn other_names_are_understood_and_words_in_the_wrong_place_explained() {
    let model = model("sdar-f32");
    let of = |words: &[&str]| {
        let fixed = ["--prompt", "Hello", "--quiet", "--ignore-eos"];
        run_with_stdin(&[words, &fixed].concat(), b"").text().to_string()
    };
    assert_eq!(
        of(&["-w", &model, "--max-tokens", "5", "--threads", "1", "--context", "99", "--temperature", "1"]),
        of(&["-m", &model, "-n", "5", "-t", "1", "-c", "99", "--temp", "1"]),
    );
    of(&["--model", &model, "--max-new-tokens", "5", "--ctx-size", "99"]);
    for (word, wanted, not) in [
        ("What is 1 + 1?", "a question goes after '--prompt'", "similar"),
        ("serve", "a model after '--weights'", "similar"),
        ("--serve", "--serve", "--level"),
        ("--device", "--device", "--level"),
        ("--promt", "'--prompt'", "--doctor"),
    ] {
        let refused = run_with_stdin(&[word], b"");
        assert_eq!(refused.code, Some(2), "{word}");
        let tip = refused
            .stderr
            .lines()
            .take_while(|line| !line.starts_with("Usage"))
            .collect::<Vec<_>>()
            .join(" ");
        assert!(tip.contains(wanted) && !tip.contains(not), "{word}: {tip}");
    }
}
