//! Files that are damaged, hostile, incomplete or of another model.

use crate::fixture::{TempDir, golden, parts, safetensors};
use crate::{IDS, Refusals, TEXT, WEIGHTS, edited, with_header, with_key};

#[test]
fn weights() {
    let mut table = Refusals::default();
    table.row(
        "missing path",
        &[&["-w", "no/such/model"], IDS].concat(),
        &["no/such/model: ", "No such file"],
    );
    let dir = TempDir::new();
    table.damaged("empty directory", &dir, IDS, &[&dir.argument(), "no weights", WEIGHTS]);
    let dir = TempDir::with_golden("sdar-f32");
    let whole = std::fs::read(dir.file(WEIGHTS)).unwrap();
    let file = format!("{}: ", dir.file(WEIGHTS).display());
    let truncated = whole[..whole.len() - 1].to_vec();
    for (input, bytes, fragments) in [
        ("empty", vec![], &["the file is empty"][..]),
        ("truncated", truncated, &["file is truncated: 46", "the header requires 46"]),
        ("cut in the header", whole[..100].to_vec(), &["file is truncated: 100 bytes"]),
        ("a pickle", b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data".to_vec(), &["not a safetensors file"]),
        ("text", b"hello, this is not a model".to_vec(), &["not a safetensors file"]),
        ("header larger than the file", [&9999u64.to_le_bytes()[..], b"{}"].concat(), &["10 bytes", "10007"]),
        ("header of 2^64 bytes", [&u64::MAX.to_le_bytes()[..], b"{}"].concat(), &["limit is 100000000"]),
        ("header cut", safetensors("{\"a\":", b""), &["malformed JSON at byte 13"]),
        ("deep header", safetensors(&format!("{{\"a\":{}", "[".repeat(50_000)), b""), &["deeper than 127"]),
    ] {
        dir.write(WEIGHTS, bytes);
        table.damaged(input, &dir, IDS, &[&[file.as_str()], fragments].concat());
    }
    for (input, from, to, fragments) in [
        ("overlap", "[0,", "[1,", &["`", "begins at byte 1", "expected 0"][..]),
        ("far", "\"data_offsets\":[0,", "\"data_offsets\":[99999999999,", &["begin"]),
        (
            "twice",
            "input_layernorm.weight",
            "post_attention_layernorm.weight",
            &["duplicate key `model.layers.0"],
        ),
        ("shape", "[301,72]", "[72,301]", &["`model.embed_tokens.weight`", "[72, 301], expected [301, 72]"]),
        ("dtype", "\"F32\"", "\"I32\"", &["element type I32, expected F32, F16 or BF16"]),
        ("unknown dtype", "\"F32\"", "\"Q9\"", &["element type Q9", "expected one of"]),
        ("name", "model.norm.weight", "model.norm.wait", &["tensor `model.norm.weight` is missing"]),
        ("size", "[301,72]", "[301,73]", &["`model.embed_tokens.weight`", "shape [301, 73]"]),
    ] {
        let dir = with_header("sdar-f32", from, to);
        table.damaged(input, &dir, IDS, &[&[WEIGHTS], fragments].concat());
        table.damaged(input, &dir, &[IDS, &["--no-mmap"]].concat(), &[&[WEIGHTS], fragments].concat());
    }
    table.finish(27);
}

/// A clone without Git LFS leaves a pointer in place of any file.
#[test]
fn pointers() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7\n";
    let mut table = Refusals::default();
    let pair = || {
        let dir = TempDir::with_golden("dream-f32");
        let _ = std::fs::remove_file(dir.file("tokenizer.json"));
        dir.write("vocab.json", r#"{"a": 0, "b": 1, "ab": 2}"#);
        dir.write("merges.txt", "#version: 0.2\na b\n");
        dir
    };
    for file in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        WEIGHTS,
        "vocab.json",
        "merges.txt",
    ] {
        let dir = if file.ends_with("b.json") || file.ends_with(".txt") {
            pair()
        } else {
            TempDir::with_golden("dream-f32")
        };
        dir.write(file, POINTER);
        table.damaged(file, &dir, TEXT, &[&format!("{file}: a Git LFS pointer, not the file itself")]);
    }
    for file in ["model.safetensors.index.json", "model-00001-of-00002.safetensors"] {
        let dir = TempDir::with_golden("sdar-hd128-sharded");
        dir.write(file, POINTER);
        table.damaged(file, &dir, IDS, &[&format!("{file}: a Git LFS pointer")]);
    }
    table.finish(11);
}

/// The names and contents of files are shown, but not interpreted by the terminal.
#[test]
fn control_characters() {
    let mut table = Refusals::default();
    let escapes = r#"\u001b[2J\u0007\u009b31m\u007f"#;
    for (input, dir) in [
        ("a value", with_key("sdar-f32", "config.json", "hidden_act", &format!("\"{escapes}\""))),
        ("an element type", with_header("sdar-f32", "\"F32\"", &format!("\"{escapes}\""))),
    ] {
        let output = crate::program::run(&[&["-w", &dir.argument()], IDS].concat());
        assert!(output.stderr.chars().all(|c| c == '\n' || !c.is_control()), "{input}: {:?}", output.stderr);
        table.damaged(input, &dir, IDS, &["[2J", "\\u{9b}31m\\u{7f}"]);
    }
    let dir = TempDir::with_golden("sdar-f32");
    let path = dir.file("a\u{1b}[31m\u{7}\u{9b}b");
    std::fs::create_dir(&path).unwrap();
    table.row(
        "a path",
        &[&["-w", path.to_str().unwrap()], IDS].concat(),
        &["no weights", "a\\u{1b}[31m\\u{7}\\u{9b}b"],
    );
    let path = path.to_str().unwrap();
    for output in [crate::program::run(&["-w", path, "--info"]), crate::program::run(&["-w", path])] {
        let all = output.stdout + &output.stderr;
        assert!(all.chars().all(|c| c == '\n' || !c.is_control()), "{all:?}");
    }
    table.finish(3);
}

#[test]
fn shards() {
    const INDEX: &str = "model.safetensors.index.json";
    const SHARD: &str = "model-00002-of-00002.safetensors";
    let mut table = Refusals::default();
    let dir = TempDir::with_golden("sdar-hd128-sharded");
    std::fs::remove_file(dir.file(SHARD)).unwrap();
    table.damaged("missing shard", &dir, IDS, &[INDEX, SHARD, "is missing, 2 are expected"]);
    for (input, edit, fragments) in [
        ("malformed", "{\"weight_map\": ", &["malformed JSON at byte 15"][..]),
        ("no map", "{}", &["key `weight_map`", "found nothing", "expected an object"]),
        ("outside", "{\"weight_map\": {\"a\": \"../../a\"}}", &["`weight_map`", "expected the plain name"]),
    ] {
        let dir = edited("sdar-hd128-sharded", INDEX, |_| edit.to_string());
        table.damaged(input, &dir, IDS, &[&[INDEX], fragments].concat());
    }
    let shard = golden("sdar-hd128-sharded").join(SHARD).display().to_string();
    table.row("one shard", &[&["-w", &shard], IDS].concat(), &["one shard of 2", INDEX]);
    table.finish(5);
}

#[test]
fn json_files() {
    let mut table = Refusals::default();
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    let model = "fastdllm2-f32";
    for file in ["config.json", "tokenizer_config.json", "generation_config.json"] {
        for (input, text, fragments) in [
            ("empty", "", &["malformed JSON at byte 0"][..]),
            ("cut", "{\"a\": 1", &["malformed JSON at byte 7"]),
            ("deep", deep.as_str(), &["nested deeper than 127"]),
            ("duplicate key", "{\"a\": 1, \"a\": 2}", &["malformed JSON at byte 9", "duplicate key `a`"]),
            ("not UTF-8", "{\"a\": \"\u{fffe}", &["malformed JSON"]),
        ] {
            let dir = edited(model, file, |_| text.to_string());
            table.damaged(&format!("{file}: {input}"), &dir, TEXT, &[&[file], fragments].concat());
        }
    }
    for text in ["", "{", "[]", "{\"version\": \"1.0\"}", deep.as_str()] {
        let dir = edited(model, "tokenizer.json", |_| text.to_string());
        table.damaged("tokenizer.json", &dir, TEXT, &["tokenizer.json: "]);
    }
    table.finish(20);
}

#[test]
fn configurations() {
    let mut table = Refusals::default();
    for (family, key, value, fragments) in [
        ("sdar-f32", "hidden_size", "0", &["found `0`", "from 1 to 1048576"][..]),
        ("sdar-f32", "hidden_size", "-72", &["found `-72`", "from 1 to 1048576"]),
        ("sdar-f32", "vocab_size", "99999999999", &["found `99999999999`", "expected"]),
        ("sdar-f32", "num_hidden_layers", "\"2\"", &["found `\"2\"`", "expected"]),
        ("sdar-f32", "num_hidden_layers", "", &["found nothing", "expected"]),
        ("sdar-f32", "num_key_value_heads", "3", &["`3`", "divisor of the 4 heads"]),
        ("dream-f32", "hidden_size", "113", &["`113`", "multiple of num_attention_heads = 7"]),
        ("dream-f32", "rope_theta", "1e300", &["expected", "from 1e0 to 1e12"]),
        ("dream-f32", "rms_norm_eps", "0", &["found `0`", "from 1e-20"]),
        ("dream-f32", "mask_token_id", "333", &["`333`"]),
        ("llada-f32", "embedding_size", "319", &["`319`", "vocab_size = 320"]),
        ("fastdllm2-f32", "bd_size", "0", &["found `0`", "from 1 to 32768"]),
    ] {
        let dir = with_key(family, "config.json", key, value);
        let key = format!("config.json: key `{key}`: ");
        table.damaged(&format!("{key}{value}"), &dir, IDS, &[&[key.as_str()], fragments].concat());
    }
    for (family, key, value, fragments) in [
        (
            "sdar-f32",
            "architectures",
            "[\"GPT2LMHeadModel\"]",
            &["not supported", "GPT2LMHeadModel", "LLaDAModelLM"][..],
        ),
        ("dream-f32", "hidden_act", "\"gelu\"", &["hidden_act", "gelu"]),
        ("llada-f32", "alibi", "true", &["alibi"]),
    ] {
        let dir = with_key(family, "config.json", key, value);
        table.damaged(&format!("{key} {value}"), &dir, IDS, fragments);
    }
    let dir = with_key("sdar-f32", "config.json", "num_hidden_layers", "3");
    table.damaged("a layer too many", &dir, IDS, &[WEIGHTS, "tensor `model.layers.2.", "is missing"]);
    for (key, value, expected) in [
        ("temperature", "-1", "from 0e0 to 1e2"),
        ("top_p", "1.5", "to 1e0"),
        ("top_k", "\"many\"", "found `\"many\"`"),
        ("repetition_penalty", "0", "from 1e-2"),
        ("eos_token_id", "[\"x\"]", "token id"),
    ] {
        let dir = with_key("sdar-f32", "generation_config.json", key, value);
        table.damaged(key, &dir, IDS, &["generation_config.json", &format!("key `{key}`"), expected]);
    }
    let dir = TempDir::with_golden("sdar-f32");
    std::fs::remove_file(dir.file("config.json")).unwrap();
    table.damaged("no config", &dir, IDS, &[WEIGHTS, "no config.json next to the weights"]);
    table.row(
        "no config file",
        &["--config", "no.json", "-w", &dir.argument(), "--ids", "1"],
        &["no.json: No such"],
    );
    table.finish(23);
}

/// A copy of dream-f32 with a NaN in the first number of a tensor.
fn with_nan(tensor: &str) -> TempDir {
    let dir = TempDir::with_golden("dream-f32");
    let (header, mut data) = parts(&std::fs::read(dir.file(WEIGHTS)).unwrap());
    let tensors: serde_json::Value = serde_json::from_str(&header).unwrap();
    let start = tensors[tensor]["data_offsets"][0].as_u64().expect("the tensor is there") as usize;
    data[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    dir.write(WEIGHTS, safetensors(&header, &data));
    dir
}

#[test]
fn numbers_that_are_none() {
    let mut table = Refusals::default();
    for (tensor, place) in [
        ("model.layers.0.input_layernorm.weight", "layer 0"),
        ("model.layers.1.mlp.down_proj.weight", "layer 1"),
        ("model.norm.weight", "norm"),
        ("lm_head.weight", "logits"),
    ] {
        table.damaged(tensor, &with_nan(tensor), IDS, &["a value is NaN or infinite", place]);
    }
    table.finish(4);
}
