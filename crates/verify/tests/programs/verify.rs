//! `diffulex-verify`: what was recorded passes, what was tampered with is named, what cannot be read gives another exit code.

use crate::fixture::{TempDir, parts, safetensors};
use crate::program::{Output, close_after, finish, piped, program, reports_a_full_disk};
use crate::{MODELS, ids, model};
use serde_json::{Value, json};

fn verify(arguments: &[&str]) -> Output {
    finish(program(env!("CARGO_BIN_EXE_diffulex-verify"), arguments))
}

/// Every golden directory.
fn all() -> Vec<String> {
    MODELS.iter().chain(&["sampler"]).map(|name| model(name)).collect()
}

#[test]
fn everything_that_was_recorded_agrees() {
    let dirs = all();
    let arguments: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let output = verify(&[&arguments[..], &["--tolerance", "1e-4"]].concat());
    let text = output.text();
    assert_eq!(output.stderr, "");
    let summary = text.lines().last().unwrap();
    assert!(summary.contains(" passed, 0 failed, ") && summary.contains(" threads"), "{summary}");
    let passed: usize = summary.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), passed);
    for name in MODELS {
        assert!(text.lines().any(|line| line.contains(name) && line.contains("[trace]")), "{name}");
    }
    let quiet = verify(&[&arguments[..], &["--quiet"]].concat());
    assert_eq!(quiet.text().lines().count(), 1, "{}", quiet.stdout);
}

#[test]
fn rows_have_the_documented_keys() {
    let (one, two) = (model("fastdllm2-f32"), model("sampler"));
    let rows = verify(&[&one, "--json"]).json();
    assert!(rows.as_array().unwrap().len() > 20);
    for row in rows.as_array().unwrap() {
        let keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let skipped = row["entry"] == "prompt_equals_block";
        let expected = ["entry", "kind", "passed", "max_abs", "top1", "skipped"];
        assert_eq!(keys, expected[..5 + usize::from(skipped)], "{row}");
        assert_eq!(row["passed"], true, "{row}");
        if row["kind"] == "forward" {
            assert!(row["max_abs"].as_f64().unwrap() < 1e-4 && row["top1"] == 1.0, "{row}");
        }
    }
    let rows = verify(&[&one, &two, "--json"]).json();
    let directory = |row: &Value| row["directory"].as_str().unwrap().to_string();
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(directory).collect();
    assert!(rows.contains(&one) && rows.contains(&two));
}

#[test]
fn the_tolerance_counts() {
    let dir = model("dream-f32");
    let strict = verify(&[&dir, "--tolerance", "1e-9", "--quiet"]);
    assert_eq!(strict.code, Some(1), "{}", strict.stdout);
    assert!(strict.stdout.contains("FAILED") && strict.stdout.contains("fwd.len17"), "{}", strict.stdout);
    for wrong in ["nan", "inf", "0", "-1"] {
        let output = verify(&[&dir, "--tolerance", wrong]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{wrong}");
        let message = "option `tolerance`: ";
        assert!(
            output.stderr.contains(message) && output.stderr.contains("a number above 0 expected"),
            "{wrong}"
        );
    }
}

#[test]
fn rounded_keys_and_values_need_a_looser_tolerance() {
    // Cached passes read back keys and values; the others stay within the exact tolerance.
    let dir = model("sdar-f32");
    let rows = |tolerance: &str| {
        let output = verify(&[&dir, "--kv", "f16", "--tolerance", tolerance, "--json"]);
        let rows: Value = serde_json::from_str(&output.stdout).unwrap();
        let failed =
            |row: &&Value| row["passed"] == false && row["kind"] != "trace" && row["kind"] != "end_to_end";
        rows.as_array().unwrap().iter().filter(failed).count()
    };
    assert!(rows("1e-6") > 0);
    assert_eq!(rows("0.1"), 0);
}

/// Changes the manifest of a recording.
fn edit_manifest(dir: &TempDir, edit: impl Fn(&mut Value)) {
    let mut manifest = serde_json::from_slice(&std::fs::read(dir.file("golden.json")).unwrap()).unwrap();
    edit(&mut manifest);
    dir.write("golden.json", manifest.to_string());
}

/// Changes the bytes of a recorded tensor.
fn edit_tensor(dir: &TempDir, name: &str, edit: impl Fn(&mut [u8])) {
    let (header, mut data) = parts(&std::fs::read(dir.file("golden.safetensors")).unwrap());
    let tensors: Value = serde_json::from_str(&header).unwrap();
    let range = ids(&tensors[name]["data_offsets"]);
    edit(&mut data[range[0] as usize..range[1] as usize]);
    dir.write("golden.safetensors", safetensors(&header, &data));
}

fn trace<'a>(manifest: &'a mut Value, name: &str) -> &'a mut Value {
    manifest["traces"].as_array_mut().unwrap().iter_mut().find(|trace| trace["name"] == name).unwrap()
}

/// A way to damage a recording.
type Damage = fn(&TempDir);

#[test]
fn tampering_is_found_and_named() {
    let table: [(&str, &str, &str, Damage); 15] = [
        ("llada-f32", "one logit off by 0.1", "fwd.len5", |dir| {
            edit_tensor(dir, "fwd.len5.logits", |bytes| {
                let logit = f32::from_le_bytes(bytes[40..44].try_into().unwrap()) + 0.1;
                bytes[40..44].copy_from_slice(&logit.to_le_bytes());
            });
        }),
        ("llada-f32", "a logit that is not a number", "fwd.len5", |dir| {
            edit_tensor(dir, "fwd.len5.logits", |bytes| {
                bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
            });
        }),
        ("llada-f32", "a state in the middle of a trace", "plain_block", |dir| {
            edit_tensor(dir, "trace.plain_block.states", |bytes| {
                let middle = bytes.len() / 16 * 8;
                bytes[middle] ^= 1;
            });
        }),
        ("llada-f32", "an unknown kind of entry", "surprise", |dir| {
            edit_manifest(dir, |m| m["surprise"] = json!([1]));
        }),
        ("llada-f32", "an unknown tensor", "stray", |dir| {
            let (header, data) = parts(&std::fs::read(dir.file("golden.safetensors")).unwrap());
            let stray = "{\"stray\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},";
            dir.write("golden.safetensors", safetensors(&header.replacen('{', stray, 1), &data));
        }),
        ("llada-f32", "an unknown function", "plain_block", |dir| {
            edit_manifest(dir, |m| trace(m, "plain_block")["function"] = json!("llada.regenerate"));
        }),
        ("llada-f32", "an unknown parameter", "plain_block", |dir| {
            edit_manifest(dir, |m| trace(m, "plain_block")["params"]["jitter"] = json!(0.0));
        }),
        ("llada-f32", "another number of passes", "cfg", |dir| {
            edit_manifest(dir, |m| trace(m, "cfg")["num_forwards"] = json!(9));
        }),
        ("llada-f32", "another answer", "end_to_end.1", |dir| {
            edit_manifest(dir, |m| m["end_to_end"][1]["new_ids"][3] = json!(5));
        }),
        ("a2d-qwen3-f32", "another grid", "bd3lm_short", |dir| {
            edit_manifest(dir, |m| trace(m, "bd3lm_short")["grid_offset"] = json!(4));
        }),
        ("a2d-qwen3-f32", "a filler of a shorter prompt", "mdlm_batch", |dir| {
            edit_manifest(dir, |m| {
                *trace(m, "mdlm_batch")["final_ids"][1].as_array_mut().unwrap().last_mut().unwrap() =
                    json!(1);
            });
        }),
        ("a2d-qwen3-f32", "other counts of a schedule", "dllm_num_transfer.1", |dir| {
            edit_manifest(dir, |m| m["schedules"]["dllm_num_transfer"][1]["counts"] = json!([3, 3, 2]));
        }),
        ("stable-diffcoder-f32", "a shift that reveals masks", "static", |dir| {
            edit_manifest(dir, |m| trace(m, "static")["params"]["shift"] = json!(true));
        }),
        ("stable-diffcoder-f32", "passes without the prompt", "eos", |dir| {
            edit_manifest(dir, |m| trace(m, "eos")["returned_nfe_without_prefill"] = json!(8));
        }),
        ("nemotron-diffusion-f32", "an unknown attention", "cache.causal", |dir| {
            edit_manifest(dir, |m| m["cache_scripts"][0]["steps"][1]["attention"] = json!("sideways"));
        }),
    ];
    for (model, what, entry, damage) in table {
        let dir = TempDir::with_recording(model);
        damage(&dir);
        let output = verify(&[&dir.argument(), "--quiet"]);
        assert_eq!(output.code, Some(1), "{what}: {}", output.stdout);
        let failed: Vec<_> = output.stdout.lines().filter(|line| line.starts_with("FAILED")).collect();
        assert_eq!(failed.len(), 1, "{what}: {failed:?}");
        assert!(failed[0].contains(&format!("  {entry}  [")), "{what}: {failed:?}");
        let rows: Value = serde_json::from_str(&verify(&[&dir.argument(), "--json"]).stdout).unwrap();
        let failed: Vec<_> = rows.as_array().unwrap().iter().filter(|row| row["passed"] == false).collect();
        assert_eq!((failed.len(), &failed[0]["entry"]), (1, &json!(entry)), "{what}");
        assert!(
            failed[0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
            "{what}: {}",
            failed[0]
        );
    }
}

#[test]
fn another_model_than_the_recorded_one_fails() {
    let dir = TempDir::with_recording("llada-f32");
    let (header, mut data) = parts(&std::fs::read(dir.file("model.safetensors")).unwrap());
    data[3] ^= 0x40;
    dir.write("model.safetensors", safetensors(&header, &data));
    let output = verify(&[&dir.argument(), "--quiet"]);
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    assert!(output.stdout.contains("FAILED"), "{}", output.stdout);
}

#[test]
fn what_cannot_be_read_is_no_verdict() {
    let table: [(&[&str], Damage); 9] = [
        (&["golden.json"], |dir| std::fs::remove_file(dir.file("golden.json")).unwrap()),
        (&["golden.json", "malformed JSON at byte 1"], |dir| drop(dir.write("golden.json", "{"))),
        (&["golden.json", "key `format`", "1 expected"], |dir| {
            edit_manifest(dir, |m| m["format"] = json!(2));
        }),
        (&["golden.safetensors"], |dir| std::fs::remove_file(dir.file("golden.safetensors")).unwrap()),
        (&["golden.safetensors", "truncated"], |dir| {
            let bytes = std::fs::read(dir.file("golden.safetensors")).unwrap();
            dir.write("golden.safetensors", &bytes[..bytes.len() - 1]);
        }),
        (&["no config.json", "`forward` is recorded"], |dir| {
            std::fs::remove_file(dir.file("config.json")).unwrap();
        }),
        (&["config.json", "malformed JSON"], |dir| drop(dir.write("config.json", "x"))),
        (&["no weights"], |dir| std::fs::remove_file(dir.file("model.safetensors")).unwrap()),
        (&["the recording holds no entry"], |dir| {
            dir.write("golden.json", "{\"format\": 1}");
            dir.write("golden.safetensors", safetensors("{}", b""));
            std::fs::remove_file(dir.file("config.json")).unwrap();
        }),
    ];
    for (fragments, damage) in table {
        let dir = TempDir::with_recording("llada-f32");
        damage(&dir);
        let output = verify(&[&dir.argument()]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{fragments:?}: {}", output.stderr);
        assert!(
            output.stderr.starts_with("error: ") && output.stderr.contains(&dir.argument()),
            "{}",
            output.stderr
        );
        for fragment in fragments {
            assert!(output.stderr.contains(fragment), "{fragment}: {}", output.stderr);
        }
    }
    for arguments in [&["no/such/dir"][..], &[], &["--tolerance", "x", "y"]] {
        let output = verify(arguments);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", output.stderr);
    }
}

#[test]
fn options_without_a_use_are_refused() {
    let refused = verify(&["dir", "--activations", "int8"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("unexpected argument '--activations'"), "{}", refused.stderr);
}

#[test]
#[cfg(unix)]
fn a_reader_that_never_was_and_a_full_disk() {
    let sampler = model("sampler");
    let path = env!("CARGO_BIN_EXE_diffulex-verify");
    for arguments in [&[sampler.as_str()][..], &[&sampler, "--json"]] {
        let (stderr, code) = close_after(piped(program(path, arguments)), 0);
        assert_eq!((stderr.as_str(), code), ("", Some(0)));
    }
    reports_a_full_disk(program(path, &[&sampler]));
}
