//! `--doctor`, and the check of the memory before the work.

use crate::fixture::TempDir;
use crate::program::run;
use diffulex::kernels::Level;
use serde_json::Value;

#[test]
fn the_doctor_describes_machine_and_models() {
    let json = run(&["--doctor", "--json", "--threads", "1"]).json();
    assert_eq!(json["levels"]["used"], Level::detect().name());
    assert_eq!(json["machine"]["threads"], 1);
    assert!(json["machine"]["read_gb_s"].as_f64().unwrap() > 0.0, "{json}");
    assert!(json["cores"]["physical"].as_u64().unwrap() >= 1, "{json}");
    let models = json["models"].as_array().unwrap();
    assert_eq!(models.len(), 24, "eight models in three formats");
    let bandwidth = json["machine"]["read_gb_s"].as_f64().unwrap();
    let of_experts = ["llada-moe-7b", "llada2-mini", "sdar-30b-a3b"];
    for three in models.chunks(3) {
        let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
        let bytes: Vec<_> = three.iter().map(|row| number(row, "weight_bytes")).collect();
        assert!(bytes[0] > 1.8 * bytes[1] && bytes[1] > 1.5 * bytes[2], "{bytes:?}");
        for row in three {
            assert!(number(row, "needed_bytes") > number(row, "weight_bytes"), "{row}");
            let [block, one] = ["32_rows", "1_row"].map(|key| number(&row["limit_ms"], key));
            let all = number(row, "weight_bytes") / bandwidth / 1e6;
            // A pass reads the weights at least once; one token a pass is the most passes there can be.
            let [slow, fast] = ["1_per_pass", "3_per_pass"].map(|key| number(&row["answer_s"], key));
            assert!((slow / fast - 3.0).abs() < 1e-6 && slow >= 0.128 * one * 0.999, "{row}");
            // One position goes through few experts.
            let few = of_experts.contains(&row["model"].as_str().unwrap());
            assert!(block >= one && (if few { one < 0.6 * all } else { one >= 0.999 * all }), "{row}");
            let fits = match json["memory"]["available"].as_f64() {
                None => "unknown",
                Some(free) if number(row, "needed_bytes") > free => "no",
                Some(free) if number(row, "needed_bytes") > 0.9 * free => "just",
                Some(_) => "yes",
            };
            assert_eq!(row["fits"], fits, "{row}");
        }
    }
    // Published sizes: 1.72 billion parameters of SDAR minus the embedding, 7.6 of Dream, 8.0 of LLaDA.
    let bf16 = |i: usize| models[3 * i]["weight_bytes"].as_f64().unwrap() / 2e9;
    for (i, billions) in [(0, 1.72), (1, 7.07), (2, 7.07), (3, 7.5)] {
        assert!((bf16(i) - billions).abs() < 0.05, "{}: {}", models[3 * i]["model"], bf16(i));
    }
    let text = run(&["--doctor", "--threads", "1"]);
    assert_eq!(text.stderr, "");
    for words in ["machine ", "read ", "peak ", "levels ", "cores ", "memory ", "llada-8b", " to "] {
        assert!(text.text().contains(words), "{words}: {}", text.stdout);
    }
    let both = run(&["--doctor", "--weights", "x"]);
    assert!(both.code == Some(2) && both.stderr.contains("cannot be used with"), "{}", both.stderr);
}

#[test]
fn what_does_not_fit_is_refused_before_the_work() {
    let available = run(&["--doctor", "--json", "--threads", "1"]).json()["memory"]["available"].as_u64();
    if available.is_none_or(|bytes| bytes > 500_000_000_000) {
        println!(
            "SKIPPED: the system does not say how much memory there is, or there is more than the test needs"
        );
        return;
    }
    // A terabyte of keys and values.
    let dir = TempDir::with_golden("sdar-f32");
    let config = std::fs::read_to_string(dir.file("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["max_position_embeddings"] = (1 << 30).into();
    dir.write("config.json", config.to_string());
    let model = dir.argument();
    let refused = run(&["-w", &model, "--ids", "1", "--context", "1073741824", "--kv", "f32"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
    for words in
        ["option `weights`", "are needed", "are available", "a smaller --context", "--no-memory-check"]
    {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
}
