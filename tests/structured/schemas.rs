//! JSON schemas, against a validator of its own.

use super::*;
use boon::{Compiler, Schemas};
use serde_json::Value;

fn corpus() -> Vec<(String, Value)> {
    let text = std::fs::read_to_string("tests/structured/schemas.jsonl").unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        (value["name"].as_str().unwrap().to_owned(), value["schema"].take())
    };
    text.lines().map(line).collect()
}

/// What a validator says about an answer.
fn check(schema: &Value, text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("schema.json", schema.clone()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(&value, index).map_err(|error| error.to_string())
}

/// Answers of all models to all schemas with these seeds; at least nine of ten come to their end.
fn run(models: &[&'static str], seeds: std::ops::Range<u64>) {
    let (mut finished, mut all) = (0, 0);
    for &name in models {
        let subject = Subject::open(name);
        for (what, schema) in corpus() {
            let form = Form::JsonSchema(schema.to_string());
            for seed in seeds.clone() {
                let (text, ended) = subject.text(&subject.setup(&form, seed, 160));
                all += 1;
                // A leap second is written like this, and the validator knows that there was none.
                let leaps = text.contains(":60") && what.contains("time");
                finished += usize::from(ended);
                if ended && !leaps {
                    let verdict = check(&schema, &text);
                    assert!(verdict.is_ok(), "{name}, {what}, seed {seed}: {text}: {verdict:?}");
                }
            }
        }
    }
    println!("{finished} of {all} answers ended, all of them valid");
    assert!(finished * 10 >= all * 9, "{finished} of {all} ended");
}

#[test]
fn the_validator_finds_faults() {
    let corpus = corpus();
    assert!(corpus.len() >= 40, "{} schemas", corpus.len());
    let schema = |name: &str| &corpus.iter().find(|(other, _)| other == name).unwrap().1;
    for (name, wrong) in
        [("object", r#"{"a": 100, "b": true}"#), ("date", r#""2026-13-01""#), ("uuid", r#""x""#)]
    {
        assert!(check(schema(name), wrong).is_err(), "{name}");
    }
    assert_eq!(check(schema("object"), r#"{"a": 99, "b": true}"#), Ok(()));
}

#[test]
fn finished_answers_are_valid() {
    run(&["demo/sdar", "tests/golden/dream-f32"], 0..1);
}

#[test]
#[ignore = "slow: thousands of answers"]
fn thousands_of_finished_answers_are_valid() {
    run(&MODELS, 0..10);
}

#[test]
fn any_object_is_an_object() {
    for name in ["demo/sdar", "demo/llada"] {
        let subject = Subject::open(name);
        let (text, ended) = subject.text(&subject.setup(&Form::JsonObject, 1, 60));
        assert!(text.starts_with('{'), "{text}");
        assert!(!ended || serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
    }
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    let subject = Subject::open("demo/sdar");
    for (schema, why) in [
        ("{", "not JSON"),
        ("false", "schema"),
        (r#"{"type": "integer", "minimum": 3, "maximum": 2}"#, "schema"),
        (r#"{"type": "string", "format": "no-such-format"}"#, "no-such-format"),
        (r#"{"type": "array", "uniqueItems": true}"#, "uniqueItems"),
        (r#"{"type": "colour"}"#, "colour"),
        (r##"{"$ref": "#/$defs/absent"}"##, "absent"),
        (
            r#"{"oneOf": [{"type": "string"}, {"minLength": 3}], "x-guidance": {"coerce_one_of": true}}"#,
            "oneOf",
        ),
    ] {
        let error = subject.grammars.compile(&Form::JsonSchema(schema.into())).unwrap_err();
        assert!(matches!(error, diffulex::Error::Option { name: "schema", .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{schema}: {error}");
    }
}
