//! Prompts and options that are out of range, contradict each other or do not fit the model.

use crate::fixture::TempDir;
use crate::program::{self, finish, run};
use crate::{IDS, Refusals, TEXT, with_key};

#[test]
fn prompts() {
    let mut table = Refusals::default();
    let (sdar, llada) = (TempDir::with_golden("sdar-f32"), TempDir::with_golden("llada-f32"));
    for list in ["x", "1,x,3", "-1", "1.5", "4294967296", "1;2"] {
        table.damaged("ids", &sdar, &["--ids", list], &["option `ids`", "given, a token id expected"]);
    }
    table.damaged("id", &sdar, &["--ids", "1,301"], &["option `ids`: 301 given", "from 0 to 300 expected"]);
    for empty in [&["--ids", ""][..], &["--ids", " , "], &["--prompt", ""], &[]] {
        table.damaged("empty", &sdar, empty, &["option `prompt`: it is empty, at least one token expected"]);
    }
    table.damaged("two prompts", &sdar, &["--prompt", "a", "--ids", "1"], &["--prompt", "--ids"]);
    table.damaged("missing file", &sdar, &["--prompt-file", "no.txt"], &["no.txt: No such file"]);
    let here = sdar.argument();
    table.damaged("directory", &sdar, &["--prompt-file", &here], &[&here, "s a directory"]);
    let binary = sdar.write("binary", b"abc\xff\xfe").display().to_string();
    table.damaged("binary", &sdar, &["--prompt-file", &binary], &[&binary, "not UTF-8 from byte 3 on"]);
    let piped = program::run_with_stdin(&["-w", &here], b"ab\xff");
    table.check("binary pipe", &piped, &["standard input: not UTF-8 from byte 2 on"]);
    for mask in ["<mask:0>", "<mask:>", "<mask:x>", "<mask:-1>", "<mask:4097>", "<mask:5"] {
        let fragments = ["option `prompt`: `<mask:", "<mask:N> with N from 1 to 4096 expected"];
        table.damaged(mask, &llada, &["--raw", "--prompt", mask], &fragments);
    }
    let long = vec!["1"; 101].join(",");
    let fragments = ["option `context`", "105 asked for, 100 is the limit"];
    table.damaged("long prompt", &llada, &["--ids", &long, "--context", "100"], &fragments);
    let template = "{% if messages %}";
    let file = sdar.write("broken.jinja", template).display().to_string();
    table.damaged(
        "template",
        &sdar,
        &["--prompt", "a", "--chat-template", &file],
        &[&file, "chat template, line 1"],
    );
    sdar.write("broken.jinja", "{{ raise_exception('only two turns') }}");
    table.damaged("refusal", &sdar, &["--prompt", "a", "--chat-template", &file], &[&file, "only two turns"]);
    for nothing in ["{% if false %}a{% endif %}", "{% set x = messages %}"] {
        sdar.write("broken.jinja", nothing);
        let words = ["error: ", "the chat template prints nothing for these messages"];
        table.damaged("nothing", &sdar, &["--prompt", "a", "--chat-template", &file], &words);
    }
    let dir = with_key("llada-f32", "tokenizer_config.json", "chat_template", "");
    let system = ["--prompt", "a", "--system", "b"];
    table.damaged("no template", &dir, &system, &["option `system`", "no chat template"]);
    table.damaged("system and raw", &dir, &[&system[..], &["--raw"]].concat(), &["--system", "--raw"]);
    table.finish(29);
}

#[test]
fn tokenizers_and_masks() {
    let mut table = Refusals::default();
    let dir = TempDir::without_tokenizer("sdar-f32");
    table.damaged("no tokenizer", &dir, TEXT, &[&dir.argument(), "no tokenizer.json", "--ids 1,2,3"]);
    assert_eq!(run(&["-w", &dir.argument(), "--ids", "1,2,3", "--max-tokens", "4"]).code, Some(0));
    table.damaged("given", &dir, &["--prompt", "a", "--tokenizer", "no.json"], &["no.json"]);
    // Nothing names the mask of this model any more.
    let dir = TempDir::without_tokenizer("fastdllm2-f32");
    table.damaged(
        "no mask",
        &dir,
        IDS,
        &["option `mask-id`", "neither config.json nor the tokenizer", "must be given"],
    );
    let given = run(&["-w", &dir.argument(), "--ids", "1,2", "--max-tokens", "4", "--mask-id", "333"]);
    assert_eq!(given.code, Some(0), "{}", given.stderr);
    table.damaged(
        "mask",
        &dir,
        &["--ids", "1", "--mask-id", "350"],
        &["option `mask-id`: 350 given", "0 to 349 expected"],
    );
    table.damaged("mask", &dir, &["--ids", "1", "--mask-id", "x"], &["'x'", "--mask-id"]);
    table.finish(5);
}

#[test]
fn decoding_options_out_of_range() {
    let mut table = Refusals::default();
    let dirs = ["sdar-f32", "dream-f32", "llada-f32"].map(TempDir::with_golden);
    let [sdar, dream, llada] = &dirs;
    let mut row = |dir: &TempDir, options: &[&str], fragments: &[&str]| {
        table.damaged(&options.join(" "), dir, &[IDS, options].concat(), fragments);
    };
    for (option, name, wrong, expected) in [
        ("--temperature", "temperature", &["nan", "-1", "inf", "-1e-9", "101"][..], "from 0 to 100"),
        ("--top-p", "top-p", &["nan", "-0.1", "-0.5", "1.5"], "from 0 to 1"),
        ("--repetition-penalty", "repetition-penalty", &["nan", "0", "-2", "1e9"], "above 0 and at most 100"),
        ("--threshold", "threshold", &["nan", "-0.1", "1.1"], "from 0 to 1 expected"),
        ("--factor", "factor", &["nan", "0", "-1", "inf"], "above 0 expected"),
        ("--entropy-bound", "entropy-bound", &["nan", "-1", "inf"], "at least 0 expected"),
        ("--alg-temp", "alg-temp", &["nan", "-1"], "at least 0 expected"),
        ("--cfg", "cfg", &["nan", "-1", "inf"], "at least 0"),
        ("--steps", "steps", &["0"], "at least 1 expected"),
        ("--block", "block", &["0"], "at least 1 expected"),
        ("--sub-block", "sub-block", &["0"], "at least 1 expected"),
    ] {
        for value in wrong {
            row(llada, &[option, value], &[&format!("option `{name}`: "), expected]);
        }
    }
    for value in ["nan", "0", "1", "-1"] {
        row(dream, &["--eps", value], &["option `eps`: ", "above 0 and below 1 expected"]);
    }
    for (option, value) in [
        ("--temperature", "warm"),
        ("--top-k", "-1"),
        ("--steps", "many"),
        ("--seed", "-1"),
        ("--cache", "some"),
        ("--confidence", "high"),
        ("--stop-id", "x"),
        ("--kv", "f64"),
        ("--threads", "0"),
        ("--threads", "1025"),
    ] {
        row(sdar, &[option, value], &[&format!("invalid value '{value}'"), option]);
    }
    // In terms for people, not those of the programming language.
    for (option, value, words) in [
        ("--top-k", "-1", "invalid value '-1' for '--top-k <K>': a whole number from 0 on expected"),
        ("--top-k", "1e3", "a whole number from 0 on expected"),
        ("--seed", "1.5", "a whole number from 0 on expected"),
        ("--seed", "", "a whole number from 0 on expected"),
        ("--seed", "18446744073709551616", "number too large, at most 18446744073709551615 expected"),
        ("--temperature", "1,5", "invalid value '1,5' for '--temperature <T>': a number expected"),
        ("--stop-id", "-1", "a whole number from 0 to 4294967295 expected"),
        ("--threads", "0", "a whole number from 1 to 1024 expected"),
    ] {
        row(sdar, &[option, value], &[words]);
    }
    table.finish(53);
}

#[test]
fn decoding_options_that_do_not_fit() {
    let mut table = Refusals::default();
    let dirs = ["sdar-f32", "fastdllm2-f32", "dream-f32", "llada-f32"].map(TempDir::with_golden);
    let [sdar, fast, dream, llada] = &dirs;
    let mut row = |dir: &TempDir, options: &[&str], fragments: &[&str]| {
        table.damaged(&options.join(" "), dir, &[IDS, options].concat(), fragments);
    };
    row(llada, &["--eps", "0.1"], &["option `eps`: the chosen sampler does not use time steps"]);
    row(sdar, &["--alg-temp", "1"], &["option `alg-temp`: the chosen sampler does not use"]);
    row(
        dream,
        &["--threshold", "0.9", "--confidence", "entropy"],
        &["option `confidence`: entropy given", "needs prob"],
    );
    row(
        dream,
        &["--entropy-bound", "1", "--confidence", "margin"],
        &["option `confidence`: ", "needs entropy"],
    );
    row(fast, &["--block", "12"], &["option `sub-block`: 8 given, a divisor of the block (12) expected"]);
    row(
        sdar,
        &["--strategy", "greedy"],
        &["option `strategy`: `greedy` is not known", "sdar-dynamic, ", "dream-origin"],
    );
    row(
        sdar,
        &["--strategy", "llada-threshold"],
        &["option `strategy`: `llada-threshold` given, SDAR", "block-causal"],
    );
    row(
        llada,
        &["--strategy", "sdar-static"],
        &["option `strategy`: `sdar-static` given, LLaDA", "bidirectional"],
    );
    row(
        sdar,
        &["--cache", "dual"],
        &["option `cache`: `dual` given, SDAR models support block and sub-block"],
    );
    row(
        dream,
        &["--cache", "block"],
        &["option `cache`: `block` given, Dream models support none, prefix and dual"],
    );
    row(sdar, &["--stop-id", "301"], &["option `stop-id`: 301 given, a token id from 0 to 300 expected"]);
    row(sdar, &["--threshold", "0.5", "--factor", "1"], &["--threshold", "--factor", "cannot be used with"]);
    row(sdar, &["--no-such-option"], &["unexpected argument '--no-such-option'"]);
    table.finish(13);
}

#[test]
fn machine_and_memory_options() {
    let mut table = Refusals::default();
    let dir = TempDir::with_golden("sdar-f32");
    let here = dir.argument();
    let fixed = ["-w", &here, "--ids", "1,2"];
    let mut row = |options: &[&str], fragments: &[&str]| {
        table.row(&options.join(" "), &[&fixed[..], options].concat(), fragments);
    };
    row(&["--level", "avx1024"], &["option `level`: `avx1024` is not a level of this cpu, which has scalar"]);
    row(&["--activations", "int3"], &["option `activations`: `int3` given", "auto, f32", "int8"]);
    row(&["--level", ""], &["option `level`: ``", "which has scalar"]);
    row(&["--context", "0"], &["option `context`: 0 positions given, 1 to 32768 expected"]);
    row(&["--context", "32769"], &["option `context`: 32769 positions given, 1 to 32768 expected"]);
    row(&["--max-tokens", "0"], &["option `max-tokens`: 0 given", "nothing to generate"]);
    row(&["--max-tokens", "4095"], &["option `context`", "4100 asked for, 4096 is the limit"]);
    row(&["--max-tokens", "-1"], &["invalid value '-1' for '--max-tokens <N>'"]);
    row(&["--max-tokens", "18446744073709551616"], &["--max-tokens <N>", "number too large"]);
    row(&["--max-tokens", "18446744073709551615"], &["option `context`", "4096 is the limit"]);
    row(
        &["--max-tokens", "4", "--block", "18446744073709551615"],
        &["option `context`", "4096 is the limit"],
    );
    let mut lowered = program::command(&fixed);
    lowered.env("DIFFULEX_LEVEL", "fast");
    table.check(
        "variable",
        &finish(lowered),
        &["`DIFFULEX_LEVEL`: `fast` is not a level", "which has scalar"],
    );
    // A system that promises memory it does not have cannot refuse this one.
    let promises =
        std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "1");
    if promises {
        println!("this system promises any amount of memory: the row about too much of it is skipped");
    } else {
        let dir = with_key("sdar-f32", "config.json", "max_position_embeddings", "1073741824");
        let fragments =
            ["option `context`: 1073741824 positions given", "640 bytes each", "more memory than there is"];
        table.damaged(
            "memory",
            &dir,
            &["--ids", "1", "--context", "1073741824", "--no-memory-check"],
            &fragments,
        );
    }
    table.finish(13 - usize::from(promises));
}
