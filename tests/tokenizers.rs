//! Tokenizers of every kind against Python's: `tests/tokenizers/cases.json`, recorded by `tools/record_tokenizer_cases.py`.
#![cfg(feature = "tokenizers")]

use diffulex::tensor::TokenId;
use diffulex::text::hf::HfTokenizer;
use diffulex::text::{StreamDecoder, Tokenizer};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn table() -> Value {
    serde_json::from_str(&fs::read_to_string("tests/tokenizers/cases.json").unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn ids(value: &Value) -> Vec<TokenId> {
    list(value).iter().map(|id| id.as_u64().expect("an id") as TokenId).collect()
}

/// A directory that is removed when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("diffulex-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, contents: &Value) {
        fs::write(self.0.join(name), contents.to_string()).unwrap();
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The `tokenizer.json` of a case.
fn file(case: &Value, models: &[Value]) -> Option<Value> {
    let mut file = case.get("file")?.clone();
    file["model"] = models[file["model"].as_u64().expect("the place of a model") as usize].clone();
    Some(file)
}

fn open(case: &Value, models: &[Value]) -> HfTokenizer {
    let Some(file) = file(case, models) else {
        return HfTokenizer::from_dir(Path::new(case["dir"].as_str().unwrap())).unwrap();
    };
    let Some(config) = case.get("config") else {
        return HfTokenizer::from_bytes("tokenizer.json", file.to_string().as_bytes()).unwrap();
    };
    let dir = TestDir::new("tokenizers");
    dir.write("tokenizer.json", &file);
    dir.write("tokenizer_config.json", config);
    for (name, contents) in case.get("beside").and_then(Value::as_object).into_iter().flatten() {
        dir.write(name, contents);
    }
    HfTokenizer::from_dir(&dir.0).unwrap()
}

/// What differs for ids whose text is recorded, in one piece and as it streams.
fn check_text(tokenizer: &HfTokenizer, recorded: &Value, failures: &mut Vec<String>, name: &str) {
    let ids = ids(&recorded[0]);
    for (skip, want) in [(true, &recorded[1]), (false, &recorded[2])] {
        let text = tokenizer.decode(&ids, skip).unwrap();
        if text != *want {
            failures.push(format!("{name}: decode({ids:?}, {skip}):\n got {text:?}\nwant {want:?}"));
        }
        let mut stream = StreamDecoder::new(tokenizer, skip);
        let mut pieces: String = ids.iter().map(|&id| stream.push(&[id]).unwrap()).collect();
        pieces += &stream.finish().unwrap();
        if pieces != text {
            failures.push(format!("{name}: {ids:?} streams as {pieces:?}, not {text:?}"));
        }
    }
}

#[test]
fn ids_and_texts_are_those_of_the_reference() {
    let table = table();
    let (texts, models, cases) = (list(&table["texts"]), list(&table["models"]), list(&table["cases"]));
    let mut failures = Vec::new();
    for case in cases {
        let (name, tokenizer) = (case["name"].as_str().unwrap(), open(case, models));
        for (text, recorded) in texts.iter().zip(list(&case["texts"])) {
            let text = text.as_str().unwrap();
            let got = tokenizer.encode(text);
            // Nothing is recorded where the reference fails.
            if recorded.is_null() {
                continue;
            }
            let want = ids(&recorded[0]);
            if !got.as_ref().is_ok_and(|got| *got == want) {
                failures.push(format!("{name}: {text:?}:\n got {got:?}\nwant {want:?}"));
            }
            check_text(&tokenizer, recorded, &mut failures, name);
        }
        check_text(&tokenizer, &case["drawn"], &mut failures, name);
    }
    assert!(cases.len() > 90, "only {} cases", cases.len());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// A byte-level tokenizer with these other parts.
fn with(parts: &[(&str, Value)]) -> Result<HfTokenizer, String> {
    let table = table();
    let case = list(&table["cases"]).iter().find(|case| case["name"] == "byte-level").unwrap();
    let mut file = file(case, list(&table["models"])).unwrap();
    for (key, value) in parts {
        match key.split_once('.') {
            Some((outer, inner)) => file[outer][inner] = value.clone(),
            None => file[*key] = value.clone(),
        }
    }
    HfTokenizer::from_bytes("t.json", file.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let replace = json!({"type": "Replace", "pattern": {"Regex": "\\X"}, "content": ""});
    let template = |texts: usize| {
        let piece = json!({"Sequence": {"id": "A", "type_id": 0}});
        json!({"type": "TemplateProcessing", "single": vec![piece; texts], "pair": [], "special_tokens": {}})
    };
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    for (parts, message) in [
        (
            vec![("pre_tokenizer", split("(a)\\1"))],
            "pre_tokenizer: regular expression `(a)\\1`: `\\1` is not supported",
        ),
        (
            vec![("normalizer", replace.clone())],
            "normalizer: regular expression `\\X`: `\\X` is not supported",
        ),
        (
            vec![("decoder", json!({"type": "Sequence", "decoders": [replace]}))],
            "decoder: regular expression `\\X`",
        ),
        (
            vec![("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": vec![level; 4]}))],
            "pre_tokenizer: 4 steps that lengthen",
        ),
        (vec![("post_processor", template(2))], "post_processor: the template holds the text 2 times"),
        (
            vec![("post_processor", json!({"type": "Sequence", "processors": [template(0)]}))],
            "post_processor: the template holds the text 0 times",
        ),
        (
            vec![("post_processor", json!({"type": "Other"}))],
            "post_processor: the type `Other` is not supported",
        ),
        (vec![("version", json!("2.0"))], "`version` is not \"1.0\""),
        (
            vec![("normalizer", json!({"type": "Sequence", "normalizers": 3}))],
            "normalizer: `normalizers` is not a list",
        ),
        (
            vec![("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}))],
            "normalizer: ",
        ),
        (vec![("decoder", json!("x"))], "decoder: "),
        (vec![("added_tokens", json!([{"id": 0}]))], "added_tokens: "),
        (vec![("added_tokens", json!({"id": 0}))], "`added_tokens` is not a list"),
        (
            vec![("model.continuing_subword_prefix", json!("##"))],
            "model: the merge [\"h\",\"e\"] has a second part without the continuing_subword_prefix `##`",
        ),
        (
            vec![("model.continuing_subword_prefix", json!("x")), ("model.merges", json!(["h Ġ"]))],
            "model: the merge \"h Ġ\" has a second part without the continuing_subword_prefix `x`",
        ),
    ] {
        let error = with(&parts).expect_err(message);
        assert!(error.starts_with(&format!("t.json: {message}")), "{error}");
    }
}

#[test]
fn steps_that_multiply_the_text_end() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let sequence = |key: &str| json!({"type": "Sequence", key: vec![double.clone(); 40]});
    let tokenizer = with(&[("normalizer", sequence("normalizers"))]).unwrap();
    assert!(tokenizer.encode("b").is_ok());
    let error = tokenizer.encode("a").unwrap_err().to_string();
    assert!(error.contains("a step makes the text longer than"), "{error}");
    let decoders = with(&[("decoder", sequence("decoders"))]).unwrap();
    let error = decoders.decode(&decoders.encode("a").unwrap(), false).unwrap_err().to_string();
    assert!(error.starts_with("t.json: decoder: a step makes the text longer than"), "{error}");
    // Added tokens are normalized, too.
    let added = json!([{"id": 0, "content": "a", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false}]);
    let error = with(&[("normalizer", sequence("normalizers")), ("added_tokens", added)]).unwrap_err();
    assert!(error.starts_with("t.json: added tokens: a step makes"), "{error}");
    // An expression that tries every way to split a run.
    let error =
        with(&[("pre_tokenizer", split("(a+)+$"))]).unwrap().encode(&("a".repeat(3000) + "b")).unwrap_err();
    assert!(error.to_string().contains("`(a+)+$`: it takes more than"), "{error}");
}

#[test]
fn runs_of_any_length_are_cut_as_short_ones_are() {
    let tokenizer = with(&[]).unwrap();
    for (run, short) in [(" ", 4), ("\n", 5), ("a", 5), ("é", 6), ("1", 4), ("!", 7)] {
        // The beginning and the end of both strings are cut alike, and so is what lies between.
        let ids = |n: usize| tokenizer.encode(&format!("x{}x", run.repeat(n))).unwrap();
        let (few, many) = (ids(2 * short), ids(400_000));
        let each = (ids(2 * short + 20).len() - few.len()) as f64 / 20.0;
        assert_eq!(many.len(), few.len() + (each * (400_000 - 2 * short) as f64) as usize, "{run:?}");
    }
}

#[test]
fn chance_has_no_part_in_it() {
    let tokenizer = with(&[("model.dropout", json!(0.5))]).unwrap();
    let ids = tokenizer.encode("hello hello").unwrap();
    assert_eq!(ids, with(&[]).unwrap().encode("hello hello").unwrap());
    assert!((0..50).all(|_| tokenizer.encode("hello hello").unwrap() == ids));
}

#[test]
fn a_run_of_bytes_is_text_when_it_ends() {
    let table = table();
    let case = list(&table["cases"]).iter().find(|case| case["name"] == "sentencepiece bpe").unwrap();
    let tokenizer = open(case, list(&table["models"]));
    let token = |token: &str| tokenizer.id_of(token).unwrap();
    let mut stream = StreamDecoder::new(&tokenizer, true);
    let mut pieces = |tokens: &[&str]| -> Vec<String> {
        let mut all: Vec<_> = tokens.iter().map(|t| stream.push(&[token(t)]).unwrap()).collect();
        all.push(stream.finish().unwrap());
        all
    };
    assert_eq!(pieces(&["a", "<0xC3>", "<0xA9>", "b"]), ["a", "", "", "éb", ""]);
    // One byte that does not fit spoils the run, and nothing but the run. A special token does not end it.
    assert_eq!(
        pieces(&["<0xC3>", "<0xA9>", "<s>", "<0xFF>", "b", "c"]),
        ["", "", "", "", "\u{fffd}\u{fffd}\u{fffd}b", "c", ""]
    );
    assert_eq!(pieces(&["a", "<0xC3>", "<s>"]), ["a", "", "", "\u{fffd}"]);
}

/// A control token is one where it is marked as such, and text everywhere else.
#[test]
fn control_tokens_are_found_only_where_they_are() {
    let tokenizer = HfTokenizer::from_dir(Path::new("tests/golden/sdar-f32")).unwrap();
    let (end, start) = ("<|im_end|>", "<|im_start|>");
    let text = format!("{start}a{end}b{end}");
    let control = [
        (0..start.len(), tokenizer.id_of(start).unwrap()),
        (text.len() - end.len()..text.len(), tokenizer.id_of(end).unwrap()),
    ];
    let tokens: Vec<_> = tokenizer.control().into_iter().map(|(_, id)| id).collect();
    assert!(tokens.len() > 3 && control.iter().all(|(_, id)| tokens.contains(id)));
    let ids = tokenizer.encode_apart(&text, &control, &tokens).unwrap();
    assert_eq!(ids.iter().filter(|id| tokens.contains(id)).count(), 2);
    assert_eq!((ids.first(), ids.last()), (tokenizer.id_of(start).as_ref(), tokenizer.id_of(end).as_ref()));
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    // Where all of them are marked as control, nothing changes.
    let all = [
        control[0].clone(),
        (start.len() + 1..start.len() + 1 + end.len(), control[1].1),
        control[1].clone(),
    ];
    assert_eq!(tokenizer.encode_apart(&text, &all, &tokens).unwrap(), tokenizer.encode(&text).unwrap());
}
