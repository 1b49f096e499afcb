//! `--info` on a checkpoint that cannot run: what is missing.

use crate::fixture::TempDir;
use crate::program::run;
use serde_json::{Value, json};

/// What `--info` and `--info --json` say, which must be the same findings and exit code 2.
fn info(dir: &TempDir) -> (String, Value) {
    let model = dir.argument();
    let (text, json) = (run(&["-w", &model, "--info"]), run(&["-w", &model, "--info", "--json"]));
    for output in [&text, &json] {
        assert_eq!((output.code, output.stderr.as_str()), (Some(2), ""), "{}", output.stdout);
    }
    assert!(text.stdout.contains("runs: no\n"), "{}", text.stdout);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["runs"], &json["model"]), (&json!(false), &json!(model)), "{json}");
    for problem in json["problems"].as_array().unwrap() {
        assert!(
            text.stdout.contains(&format!("problem: {}\n", problem.as_str().unwrap())),
            "{}",
            text.stdout
        );
    }
    (text.stdout, json)
}

#[track_caller]
fn says(text: &str, all: &[&str]) {
    for words in all {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn everything_that_is_missing_is_listed() {
    let empty = TempDir::new();
    says(
        &info(&empty).0,
        &["config.json: not there", "no tokenizer.json", "no weights: expected model.safetensors"],
    );

    let dir = TempDir::with_golden("sdar-f32");
    std::fs::remove_file(dir.file("config.json")).unwrap();
    let (text, json) = info(&dir);
    says(&text, &["config.json: not there, it says what the model is"]);
    assert!(!text.contains("no tokenizer") && !text.contains("no weights:"), "{text}");
    assert_eq!((&json["missing_shards"], &json["missing_tensors"]), (&json!([]), &json!([])));

    let dir = TempDir::with_golden("sdar-f32");
    std::fs::write(dir.file("config.json"), "{").unwrap();
    std::fs::remove_file(dir.file("tokenizer.json")).unwrap();
    std::fs::write(dir.file("model.safetensors"), "short").unwrap();
    says(&info(&dir).0, &["config.json: malformed JSON", "no tokenizer.json", "model.safetensors: "]);

    let gone = run(&["-w", "no/such/dir/at/all", "--info"]);
    assert_eq!(gone.code, Some(2));
    says(&gone.stdout, &["runs: no", "No such file"]);
}

#[test]
fn missing_shards_and_tensors_are_named() {
    let dir = TempDir::with_golden("sdar-hd128-sharded");
    let shards: Vec<_> = dir.names().into_iter().filter(|name| name.ends_with(".safetensors")).collect();
    assert!(shards.len() > 1, "{shards:?}");
    for shard in &shards {
        std::fs::remove_file(dir.file(shard)).unwrap();
    }
    let (text, json) = info(&dir);
    assert_eq!(json["missing_shards"], json!(shards));
    says(&text, &[&format!("missing shards: {} ({}", shards.len(), shards[0])]);

    // A config of one layer more than the weights have.
    let dir = TempDir::with_golden("llada-f32");
    let config = std::fs::read_to_string(dir.file("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let layers = config["n_layers"].as_u64().unwrap();
    config["n_layers"] = (layers + 1).into();
    dir.write("config.json", config.to_string());
    let (text, json) = info(&dir);
    let missing = json["missing_tensors"].as_array().unwrap();
    assert!(!missing.is_empty(), "{text}");
    let block = format!("blocks.{layers}.");
    assert!(missing.iter().all(|name| name.as_str().unwrap().contains(&block)), "{text}");
    says(&text, &[&format!("missing tensors: {} (", missing.len()), &block]);
}

#[test]
fn a_checkpoint_that_runs_says_so() {
    let model = crate::model("sdar-f32");
    assert_eq!(run(&["-w", &model, "--info", "--json"]).json()["runs"], true);
    assert!(run(&["-w", &model, "--info"]).text().contains("runs: true\n"));
}
