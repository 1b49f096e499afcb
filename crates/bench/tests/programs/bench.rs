//! `diffulex-bench`: what it reports. No speed is asserted.

use crate::fixture::TempDir;
#[cfg(unix)]
use crate::fixture::{COMMIT, download};
use crate::model;
use crate::program::{Output, finish, program};
use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let fixed = ["--threads", "1", "--seconds", "0.001"];
    finish(program(env!("CARGO_BIN_EXE_diffulex-bench"), &[&fixed, arguments].concat()))
}

fn json(arguments: &[&str]) -> Value {
    bench(&[arguments, &["--json"]].concat()).json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// Equal up to the rounding of decimal numbers and of one operation.
#[track_caller]
fn same(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} and {b}");
}

#[test]
fn cases_are_reported_with_their_work_and_their_limit() {
    let report = json(&["--preset", "tiny-sdar", "--format", "int4", "--rows", "1,4", "--context", "0,8"]);
    let machine = &report["machine"];
    assert!(number(&machine["read_gb_s"]) > 0.0 && machine["threads"] == 1, "{machine}");
    assert!(number(&machine["clock_ghz"]) > 0.0, "{machine}");
    for peak in machine["peaks"].as_array().unwrap() {
        let unit = peak["unit"].as_str().unwrap();
        assert!(number(&peak["gops"]) > 0.0 && unit.contains('/'), "{peak}");
        assert_eq!(peak["counted_gops"].is_null(), unit.contains("/scalar"), "{peak}");
    }
    assert_eq!(report["model"]["formats"], serde_json::json!(["q4g64", "q8g64"]));
    assert_eq!(report["model"]["random_weights"], true);
    let cases = report["cases"].as_array().unwrap();
    let places: Vec<_> = cases.iter().map(|case| (&case["context"], &case["rows"])).collect();
    assert_eq!(
        places,
        [(0, 1), (0, 4), (8, 1), (8, 4)]
            .map(|(c, r)| (c.into(), r.into()))
            .iter()
            .map(|(c, r): &(Value, Value)| (c, r))
            .collect::<Vec<_>>()
    );
    for case in cases {
        let [median, best, limit] = ["median_ms", "best_ms", "limit_ms"].map(|key| number(&case[key]));
        assert!(0.0 < best && best <= median && limit > 0.0, "{case}");
        assert!(case["runs"].as_u64().unwrap() >= 1, "{case}");
        same(number(&case["share"]), limit / median);
        same(number(&case["weights_gb_s"]) * median * 1e6, number(&case["weight_bytes"]));
        same(number(&case["gflop_s"]) * median * 1e6, number(&case["operations"]));
        let memory = number(&case["weight_bytes"]) + number(&case["kv_bytes"]);
        let memory_ms = memory / number(&machine["read_gb_s"]) / 1e6;
        assert!(limit >= memory_ms * (1.0 - 1e-9), "{case}");
        match case["limited_by"].as_str().unwrap() {
            "memory" => same(limit, memory_ms),
            by => assert_eq!(by, "compute", "{case}"),
        }
    }
}

#[test]
fn a_step_of_a_dual_cache_is_a_block_over_the_rest_of_the_canvas() {
    // tiny-dream: 4 layers, 2 K/V heads of 32 numbers, 4 heads.
    let of = |rows, context| {
        let arguments = ["--preset", "tiny-dream", "--rows", rows, "--context", context, "--logits", "last"];
        json(&arguments)["cases"][0].clone()
    };
    let (block, canvas) = (of("32", "224"), of("256", "0"));
    assert_eq!(block["kv_bytes"], 224 * 4 * 2 * 2 * 32 * 2);
    assert_eq!(canvas["kv_bytes"], 0);
    assert_eq!(block["weight_bytes"], canvas["weight_bytes"]);
    // A row does the same work in both except for the logits, which are of one row in each.
    let head = 2.0 * 1024.0 * 128.0;
    same(8.0 * (number(&block["operations"]) - head), number(&canvas["operations"]) - head);
}

#[test]
fn the_limit_counts_the_experts_that_a_pass_reads() {
    // tiny-llada2: 16 experts of 3 matrices of 96 by 128, 4 for each row, in 3 of 4 blocks.
    let of = |more: &[&str]| {
        json(&[&["--preset", "tiny-llada2", "--rows", "4"], more].concat())["cases"][0].clone()
    };
    let expert = 3 * 96 * 128 * 2;
    let (four, nine) = (of(&["--experts-touched", "4"]), of(&["--experts-touched", "9"]));
    assert_eq!((&four["experts"], &nine["experts"]), (&[4, 4, 4][..].into(), &[9, 9, 9][..].into()));
    let bytes = |case: &Value| case["weight_bytes"].as_u64().unwrap();
    assert_eq!(bytes(&nine) - bytes(&four), 3 * 5 * expert);
    same(number(&nine["operations"]), number(&four["operations"]));
    // By the router: as many as it chose.
    let routed = of(&[]);
    let experts: Vec<u64> =
        routed["experts"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert!(experts.len() == 3 && experts.iter().all(|n| (4..=16).contains(n)), "{experts:?}");
    assert_eq!(bytes(&routed), bytes(&four) + (experts.iter().sum::<u64>() - 12) * expert);
    assert_eq!(json(&["--preset", "tiny-sdar", "--rows", "1"])["cases"][0]["experts"], serde_json::json!([]));
    for (preset, count, reason) in [
        ("tiny-llada2", "3", "3 given, 4 to 8 expected (4 of 16 for each of 2 rows)"),
        ("tiny-llada2", "9", "9 given, 4 to 8 expected"),
        ("tiny-sdar", "4", "4 given, but SDAR models have no experts"),
    ] {
        let refused = bench(&["--preset", preset, "--rows", "2", "--experts-touched", count]);
        assert!(refused.code == Some(2) && refused.stderr.contains(reason), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }
}

#[test]
fn a_generation_says_how_many_experts_its_passes_read() {
    let arguments = ["--preset", "tiny-llada2", "--generate", "--prompt-tokens", "40", "--max-tokens", "8"];
    let experts = json(&arguments)["generation"]["experts"].clone();
    let experts: Vec<f64> = experts.as_array().unwrap().iter().map(number).collect();
    assert!(experts.len() == 3 && experts.iter().all(|n| (4.0..=16.0).contains(n)), "{experts:?}");
    assert!(bench(&arguments).text().contains(" of 16 read by a block in a forward pass"));
    let dense = ["--preset", "tiny-sdar", "--generate", "--max-tokens", "8"];
    assert_eq!(json(&dense)["generation"]["experts"], serde_json::json!([]));
    assert!(!bench(&dense).text().contains("experts"));
}

#[test]
fn activations_and_kernels_are_named() {
    for (activations, unit) in [("f32", "xf32/"), ("int8", "xi8/")] {
        let arguments =
            ["--preset", "tiny-llada", "--format", "int8", "--rows", "3", "--activations", activations];
        let report = json(&arguments);
        assert_eq!(report["activations"], activations);
        let kernels = report["kernels"].as_array().unwrap();
        assert!(kernels[0].as_str().unwrap().starts_with(&format!("gemm/q8g64{unit}")), "{kernels:?}");
        let table = bench(&arguments);
        let line = format!("\nactivations  {activations}\n");
        assert!(table.text().contains(&line), "{}", table.stdout);
    }
}

#[test]
fn the_table_has_a_line_for_each_case_and_columns_in_line() {
    let output =
        bench(&["--preset", "tiny-fast-dllm", "--layers", "2", "--rows", "1,8", "--context", "0,100"]);
    let table: Vec<_> = output.text().split("\n\n").nth(1).expect("a table").lines().collect();
    assert_eq!(table.len(), 5, "{table:?}");
    assert!(table.iter().all(|line| line.len() == table[0].len()), "{table:#?}");
    assert!(output.stdout.contains("tiny-fast-dllm, 2 layers (random weights): bf16"), "{}", output.stdout);
}

#[test]
fn a_checkpoint_is_measured_as_a_preset_is() {
    let report = json(&["-w", &model("sdar-f32"), "--rows", "4", "--context", "4", "--level", "scalar"]);
    assert_eq!(report["model"]["random_weights"], false);
    assert_eq!(report["model"]["format"], "f32");
    assert_eq!(report["machine"]["level"], "scalar");
    assert_eq!(report["cases"].as_array().unwrap().len(), 1);
}

#[test]
fn a_generation_is_counted_after_its_stop() {
    for (arguments, cache) in [
        (&["--preset", "tiny-sdar", "--format", "int4"][..], "block"),
        (&["--preset", "tiny-fast-dllm", "--threshold", "0"], "block"),
        (&["--preset", "tiny-dream", "--strategy", "dream-block-threshold", "--cache", "dual"], "dual"),
        (&["-w", &model("llada-f32"), "--steps", "4"], "none"),
    ] {
        let more = ["--generate", "--prompt-tokens", "9", "--max-tokens", "11", "--ignore-eos"];
        let report = json(&[arguments, &more].concat());
        let run = &report["generation"];
        assert_eq!(report["cases"].as_array().unwrap().len(), 0);
        assert_eq!((&run["new_tokens"], &run["prompt_tokens"]), (&11.into(), &9.into()), "{run}");
        assert_eq!((&run["cache"], &run["ended_by"]), (&cache.into(), &"length".into()), "{run}");
        same(number(&run["tokens_per_forward"]), 11.0 / number(&run["nfe"]));
        same(number(&run["tokens_per_second"]), 11.0 / number(&run["decode_s"]));
        let text = bench(&[arguments, &more].concat());
        let noise = text.text().contains("random weights are never sure of a token");
        assert_eq!(noise, report["model"]["random_weights"] == true, "{}", text.stdout);
    }
}

#[test]
fn a_generation_goes_on_to_its_length_unless_it_is_to_end() {
    let demo = crate::fixture::root().join("demo/sdar").display().to_string();
    let of = |more: &[&str]| {
        let report = json(&[&["-w", &demo, "--generate", "--max-tokens", "40"][..], more].concat());
        report["generation"].clone()
    };
    // After random tokens a trained model has nothing to say.
    assert_eq!((&of(&[])["new_tokens"], &of(&[])["ended_by"]), (&40.into(), &"length".into()));
    let asked = of(&["--prompt", "What is 27 + 45?", "--ignore-eos", "false"]);
    assert_eq!(asked["ended_by"], "stop id", "{asked}");
    assert!((5..40).contains(&asked["new_tokens"].as_u64().unwrap()), "{asked}");
    assert!(
        asked["prompt_tokens"].as_u64().unwrap() > 10 && number(&asked["tokens_per_forward"]) > 1.5,
        "{asked}"
    );
    assert_eq!(of(&["--prompt", "- milk"])["new_tokens"], 40, "a prompt that begins with a dash");
    let many = json(&[
        "-w",
        &demo,
        "--generate",
        "--prompt",
        "Who are you?",
        "--sequences",
        "2",
        "--max-tokens",
        "8",
    ]);
    assert_eq!(many["throughput"]["sequences"], 2);
}

#[test]
fn many_sequences_are_decoded_in_three_ways() {
    let more = ["--generate", "--prompt-tokens", "9", "--max-tokens", "8", "--sequences", "3"];
    for preset in ["tiny-sdar", "tiny-dream"] {
        let report = json(&[&["--preset", preset, "--steps", "4", "--ignore-eos"][..], &more].concat());
        let measured = &report["throughput"];
        assert_eq!(measured["sequences"], 3);
        let ways = measured["ways"].as_array().unwrap();
        let names: Vec<_> = ways.iter().map(|way| way["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["one after the other", "a thread each", "one batch"]);
        for way in ways {
            assert_eq!(way["new_tokens"], 3 * 8, "{way}");
            same(number(&way["tokens_per_second"]), 24.0 / number(&way["seconds"]));
        }
        assert_eq!(
            ways[0]["passes"], ways[1]["passes"],
            "{preset}: a thread makes the passes of its sequence"
        );
        assert!(number(&ways[2]["passes"]) < number(&ways[0]["passes"]), "{preset}: passes are common");
    }
}

#[test]
fn peers_stand_beside_the_cases_that_they_share() {
    let dir = TempDir::new();
    let csv = "rows,context,ms,name\n4,0,12.5,one\n4,0,25,two\n5,0,1,one\n4,8,1,one\n";
    let file = dir.write("peers.csv", csv).display().to_string();
    let arguments = ["--preset", "tiny-sdar", "--rows", "1,4", "--peer-csv", &file];
    let report = json(&arguments);
    let peers = report["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 2, "{peers:?}");
    for (peer, (name, ms)) in peers.iter().zip([("one", 12.5), ("two", 25.0)]) {
        assert_eq!((&peer["rows"], &peer["context"], &peer["name"]), (&4.into(), &0.into(), &name.into()));
        assert_eq!(peer["ours_ms"], report["cases"][1]["median_ms"]);
        same(number(&peer["theirs_ms"]), ms);
        same(number(&peer["ratio"]), ms / number(&peer["ours_ms"]));
    }
    let table = bench(&arguments);
    let rows: Vec<_> =
        table.text().lines().filter(|line| line.ends_with("one") || line.ends_with("two")).collect();
    assert_eq!(rows.len(), 2, "{}", table.stdout);
}

#[test]
fn the_roofline_needs_no_model() {
    let report = json(&["--roofline"]);
    assert!(number(&report["machine"]["read_gb_s"]) > 0.0, "{report}");
    let units: Vec<_> = report["machine"]["peaks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peak| peak["unit"].as_str().unwrap())
        .collect();
    assert_eq!(units.len(), 3, "{units:?}");
    assert!(
        units[0].starts_with("f32/") && units[1].ends_with("int8") && units[2].ends_with("int4"),
        "{units:?}"
    );
    assert_eq!(bench(&["--roofline"]).text().lines().filter(|line| line.starts_with("peak")).count(), 3);
}

#[test]
fn shapes_that_do_not_fit_are_refused_before_the_work() {
    if diffulex_cli::memory::available().is_none_or(|bytes| bytes > 500_000_000_000) {
        println!(
            "SKIPPED: the system does not say how much memory there is, or there is more than the test needs"
        );
        return;
    }
    let bench = bench(&["--preset", "llada-8b", "--format", "f32", "--layers", "1000", "--rows", "1"]);
    assert_eq!(bench.code, Some(2), "{}", bench.stderr);
    for words in ["option `preset`", "are available", "--format int4", "--no-memory-check"] {
        assert!(bench.stderr.contains(words), "{words}: {}", bench.stderr);
    }
}

#[test]
#[cfg(unix)]
fn hub_ids_are_known() {
    let dir = TempDir::new();
    download(dir.path(), "models--Org--SDAR", "sdar-f32", COMMIT);
    let bench = env!("CARGO_BIN_EXE_diffulex-bench");
    let mut command = program(bench, &["-w", "Org/SDAR", "--rows", "1", "--seconds", "0.001"]);
    command.env("HF_HUB_CACHE", dir.path());
    let output = finish(command);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}
