//! Answers that a request constrains to a schema, a regular expression or a grammar.

use crate::{Server, content, question};
use serde_json::{Value, json};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "sum": { "type": "integer", "minimum": 0, "maximum": 999 }, "sure": { "type": "boolean" } },
        "required": ["sum", "sure"],
        "additionalProperties": false,
    })
}

fn fits(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap();
    let object = value.as_object().unwrap();
    object.len() == 2 && value["sum"].as_u64().is_some_and(|sum| sum <= 999) && value["sure"].is_boolean()
}

fn ask(server: &Server, field: &str, value: Value) -> Value {
    let mut body = question("What is 27 + 45?");
    body[field] = value;
    let (status, answer) = server.post("/v1/chat/completions", &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

#[test]
fn every_interface_takes_a_schema() {
    let server = Server::start(&[]);
    let named = json!({ "type": "json_schema", "json_schema": { "name": "sum", "schema": schema(), "strict": true } });
    for format in [named, json!({ "type": "json_object", "schema": schema() })] {
        let answer = ask(&server, "response_format", format);
        assert!(fits(content(&answer)), "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
    let mut body = json!({ "messages": [{ "role": "user", "content": "27 + 45?" }], "stream": false });
    body["format"] = schema();
    let (status, answer) = server.post("/api/chat", &body);
    assert!(status == 200 && fits(answer["message"]["content"].as_str().unwrap()), "{answer}");
    let generate = json!({ "prompt": "27 + 45?", "stream": false, "format": schema() });
    let (status, answer) = server.post("/api/generate", &generate);
    assert!(status == 200 && fits(answer["response"].as_str().unwrap()), "{answer}");
    let (status, answer) = server.post("/api/generate", &json!({ "prompt": "x", "format": "xml" }));
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("json"), "{answer}");
}

#[test]
fn a_regular_expression_and_a_grammar_bind_an_answer_too() {
    let server = Server::start(&[]);
    let answer = ask(&server, "regex", json!("(yes|no)!"));
    assert!(["yes!", "no!"].contains(&content(&answer)), "{answer}");
    let answer = ask(&server, "grammar", json!("start: \"a\" | \"b\" start"));
    assert!(content(&answer).trim_start_matches('b') == "a", "{answer}");
    let text = ask(&server, "response_format", json!({ "type": "text" }));
    assert_eq!(content(&text), "27 + 45 = 72.");
}

#[test]
fn two_grammars_and_stop_strings_are_refused() {
    let server = Server::start(&[]);
    for (other, value) in [("grammar", json!("start: \"a\"")), ("stop", json!("b"))] {
        let mut body = question("x");
        body["regex"] = "a+".into();
        body[other] = value;
        let (status, answer) = server.post("/v1/chat/completions", &body);
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(other)), "{answer}");
    }
}

#[test]
fn a_stream_of_a_schema_is_the_whole_in_pieces() {
    let server = Server::start(&[]);
    let mut body = question("What is 27 + 45?");
    body["response_format"] =
        json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": schema() } });
    body["stream"] = true.into();
    let pieces = server.events("/v1/chat/completions", &body);
    let piece = |line: &String| {
        let chunk: Value = serde_json::from_str(line).ok()?;
        chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    };
    let text: String = pieces.iter().filter_map(piece).collect();
    assert!(fits(&text), "{pieces:?}");
}
