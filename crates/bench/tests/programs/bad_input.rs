//! Options of `diffulex-bench` that are out of range, contradict each other or do not fit the model.

use crate::fixture::{self, TempDir};
use crate::program::{Refusals, finish, program};

#[test]
fn bench_options() {
    let mut table = Refusals::default();
    let mut row = |arguments: &[&str], fragments: &[&str]| {
        let output = finish(program(env!("CARGO_BIN_EXE_diffulex-bench"), arguments));
        table.check(&arguments.join(" "), &output, fragments);
    };
    let sdar = fixture::golden("sdar-f32").display().to_string();
    row(&[], &["--preset"]);
    row(&["--preset", "sdar-9b"], &["option `preset`: `sdar-9b` given, one of sdar-1.7b", "expected"]);
    row(&["--preset", "tiny-sdar", "-w", &sdar], &["--preset", "--weights"]);
    row(&["-w", &sdar, "--format", "int4"], &["--weights", "--format"]);
    row(&["-w", "nowhere"], &["nowhere"]);
    row(&["-w", &sdar, "--quality"], &["quality.jsonl: No such file"]);
    row(
        &["-w", &sdar, "--quality", "--limit", "0"],
        &["'0'", "--limit", "a whole number from 1 on expected"],
    );
    row(&["--roofline", "--rows", "4"], &["--roofline", "--rows"]);
    row(&["--roofline", "--kv", "f32"], &["--roofline", "--kv"]);
    let with = |more: &[&'static str]| [&["--preset", "tiny-sdar"], more].concat();
    for (arguments, fragments) in [
        (&["--format", "int5"][..], &["int5", "--format"][..]),
        (
            &["--format", "int8", "--group", "48"],
            &["'48'", "--group", "expected a group of 32, 64, 128, 256 or row"],
        ),
        (
            &["--format", "int4", "--group", "row"],
            &["option `group`: int4 has groups of 32, 64, 128 or 256; `row`"],
        ),
        (
            &["--format", "int4", "--group", "-1"],
            &["'-1'", "--group", "expected a group of 32, 64, 128, 256 or row"],
        ),
        (&["--group", "64"], &["option `group`: given, but no weight"]),
        (&["--format", "int8", "--zero-points"], &["option `zero-points`: given, but no weight"]),
        (&["--layers", "0"], &["--layers"]),
        (&["--rows", "1,0"], &["option `rows`: 0 given, at least 1 expected"]),
        (&["--rows", "1,x"], &["--rows", "'x'"]),
        (&["--rows", ""], &["--rows"]),
        (&["--context", "-4"], &["--context", "'-4'"]),
        (&["--rows", "512", "--context", "32768"], &["option `context`: 33280 positions given, 1 to 32768"]),
        (&["--context", "18446744073709551615"], &["option `context`", "positions given, 1 to 32768"]),
        (&["--logits", "some"], &["--logits", "some"]),
        (&["--seconds", "0"], &["option `seconds`: 0 given", "above 0"]),
        (&["--seconds", "nan"], &["option `seconds`: NaN given"]),
        (&["--threads", "0"], &["--threads"]),
        (&["--level", "avx1024"], &["option `level`: `avx1024`"]),
        (&["--activations", "int4"], &["option `activations`: `int4` given"]),
        (&["--activations", "int8"], &["option `activations`: int8 given", "these are bf16 and bf16"]),
        (&["--mask-id", "1024"], &["option `mask-id`: 1024 given", "0 to 1023 expected"]),
        (&["--generate", "--rows", "4"], &["--generate", "--rows"]),
        (&["--max-tokens", "4"], &["--generate"]),
        (&["--temperature", "1"], &["--temperature", "no effect without '--generate' or '--quality"]),
        (&["--roofline"], &["--roofline", "--preset"]),
        (&["--generate", "--prompt", "a"], &["--preset", "--prompt"]),
        (&["--generate", "--prompt", "a", "--prompt-tokens", "3"], &["--prompt"]),
        (&["--generate", "--prompt-tokens", "0"], &["option `prompt-tokens`: 0 given, at least 1 expected"]),
        (&["--generate", "--max-tokens", "0"], &["option `max-tokens`: 0 given"]),
        (&["--generate", "--max-tokens", "40000"], &["option `context`: ", "1 to 32768 expected"]),
        (&["--generate", "--strategy", "best"], &["option `strategy`: `best` is not known"]),
        (&["--generate", "--cache", "dual"], &["option `cache`: `dual` given"]),
        (&["--peer-csv", "no.csv"], &["no.csv: No such file"]),
        (&["--quality"], &["option `weights`: none given, a checkpoint expected"]),
        (&["--quality", "best"], &["'best'", "--quality"]),
        (&["--quality", "--generate"], &["--quality", "--generate"]),
        (&["--limit", "3"], &["--quality"]),
    ] {
        row(&with(arguments), fragments);
    }
    let dir = TempDir::new();
    let file = dir.write("peers.csv", "rows,context,ms\n1,0,slow\n").display().to_string();
    row(
        &["--preset", "tiny-sdar", "--peer-csv", &file],
        &[&file, "line 2: ms `slow`, a number above 0 expected"],
    );
    for (line, reason) in [
        ("", "no question in it"),
        ("{", "line 1: malformed JSON"),
        ("[]", "line 1: invalid type: sequence, expected an object"),
        (r#"{"task": "a", "text": "b"}"#, "line 1: either `expect` or `must` expected"),
    ] {
        let file = dir.write("questions.jsonl", line).display().to_string();
        row(&["-w", &sdar, "--quality", "--questions", &file], &[&file, reason]);
    }
    table.finish(51);
}
