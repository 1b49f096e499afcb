//! What cannot be served is refused in the form of the API, by the name of the field.

use crate::{Server, question};
use serde_json::{Value, json};

#[test]
fn a_request_that_makes_no_sense_is_refused_by_field() {
    let server = Server::start(&["--context", "256"]);
    let with = |name: &str, value: Value| {
        let mut body = question("Who are you?");
        body[name] = value;
        body
    };
    let schema =
        |schema: Value| json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
    let long = "a fox ".repeat(500);
    for (body, status, param) in [
        (with("model", json!("gpt-4")), 404, "model"),
        (with("messages", json!([])), 400, "messages"),
        (with("messages", json!("hello")), 400, "messages"),
        (with("messages", json!([{ "role": "wizard", "content": "x" }])), 400, "messages[0].role"),
        (with("messages", json!([{ "role": "user", "content": 5 }])), 400, "messages[0].content"),
        (with("messages", json!([{ "role": "user" }])), 400, "messages[0].content"),
        (
            with("messages", json!([{ "role": "user", "content": [{ "type": "image_url" }] }])),
            400,
            "messages[0].content[0].type",
        ),
        (with("messages", json!([{ "role": "user", "content": long }])), 400, "max_tokens"),
        (with("max_tokens", json!(0)), 400, "max_tokens"),
        (with("max_tokens", json!(100_000)), 400, "max_tokens"),
        (with("max_tokens", json!("many")), 400, "max_tokens"),
        (with("temperature", json!(-1)), 400, "temperature"),
        (with("temperature", json!("hot")), 400, "temperature"),
        (with("top_p", json!(7)), 400, "top_p"),
        (with("n", json!(0)), 400, "n"),
        (with("n", json!(1000)), 400, "n"),
        (with("stop", json!("")), 400, "stop"),
        (with("frequency_penalty", json!(1)), 400, "frequency_penalty"),
        (with("logit_bias", json!({ "5": 1 })), 400, "logit_bias"),
        (with("tools", json!([{ "type": "function" }])), 400, "tools[0].function.name"),
        (with("tools", json!([{ "type": "retrieval" }])), 400, "tools[0].type"),
        (with("tools", json!([{ "type": "function", "function": { "name": "add" } }])), 400, "tools"),
        (with("tools", json!({})), 400, "tools"),
        (with("functions", json!([{ "name": "add" }])), 400, "functions"),
        (with("tool_choice", json!("required")), 400, "tool_choice"),
        (
            with("tool_choice", json!({ "type": "function", "function": { "name": "add" } })),
            400,
            "tool_choice",
        ),
        (
            with("messages", json!([{ "role": "user", "content": "x", "tool_calls": [{}] }])),
            400,
            "messages[0].tool_calls",
        ),
        (with("top_logprobs", json!(3)), 400, "top_logprobs"),
        (with("top_logprobs", json!("many")), 400, "top_logprobs"),
        (with("stream_options", json!({})), 400, "stream_options"),
        (with("response_format", json!({ "type": "xml" })), 400, "response_format"),
        (with("response_format", schema(json!({ "type": "colour" }))), 400, "response_format"),
        (with("regex", json!("(")), 400, "regex"),
        (with("grammar", json!("start: absent")), 400, "grammar"),
        (with("diffusion", json!({ "threshhold": 1 })), 400, "diffusion"),
        (with("diffusion", json!({ "threshold": "high" })), 400, "diffusion"),
        (with("no_such_field", json!(1)), 400, "no_such_field"),
    ] {
        let (found, answer) = server.post("/v1/chat/completions", &body);
        let error = &answer["error"];
        assert_eq!(found, status, "{body}: {answer}");
        let named = error["param"].as_str().unwrap_or_default();
        let message = error["message"].as_str().unwrap();
        assert!(named.starts_with(param) || message.contains(param), "{body}: {answer}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(!message.is_empty() && error.get("code").is_some(), "{answer}");
    }
    assert_eq!(server.post("/v1/chat/completions", &question("Who are you?")).0, 200);
}

#[test]
fn numbers_of_probabilities_are_bounded() {
    let server = Server::start(&[]);
    for top in [-1, 21, i64::MAX] {
        let mut body = question("Who are you?");
        (body["logprobs"], body["top_logprobs"]) = (json!(true), json!(top));
        for (path, body, param) in [
            ("/v1/chat/completions", body, "top_logprobs"),
            ("/v1/completions", json!({ "prompt": "x", "logprobs": top }), "logprobs"),
        ] {
            let (status, answer) = server.post(path, &body);
            assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(param)), "{answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains("0 to 20 expected"), "{answer}");
        }
    }
}

#[test]
fn what_is_no_request_at_all_is_refused() {
    let server = Server::start(&[]);
    let deep = "[".repeat(100_000);
    let huge = format!("{{\"messages\": \"{}\"}}", "a".repeat(9 << 20));
    for (body, status) in [("", 400), ("{", 400), ("[]", 400), ("{} {}", 400), (&*deep, 400), (&*huge, 413)] {
        let (found, text) = server.post_text("/v1/chat/completions", body, &[]);
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found, status, "{text}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    for (path, status) in [("/v1/nothing", 404), ("/../etc/passwd", 404), ("/v1/chat/completions", 405)] {
        let (found, text) = server.get(path);
        assert_eq!(found, status, "{path}: {text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["error"]["type"], "invalid_request_error");
    }
}

#[test]
fn a_server_with_keys_answers_only_those_who_have_one() {
    let file = std::env::temp_dir().join(format!("diffulex-keys-{}", std::process::id()));
    std::fs::write(&file, "# two keys\nfirst\n\nsecond\n").unwrap();
    let server = Server::start(&["--api-key-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let body = question("Who are you?").to_string();
    for key in ["", "Bearer third", "Bearer firs", "first"] {
        let headers: &[_] = if key.is_empty() { &[] } else { &[("authorization", key)] };
        let (status, text) = server.post_text("/v1/chat/completions", &body, headers);
        assert_eq!(status, 401, "{key}: {text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["error"]["code"], "invalid_api_key");
    }
    for key in ["Bearer first", "Bearer second"] {
        assert_eq!(
            server.post_text("/v1/chat/completions", &body, &[("authorization", key)]).0,
            200,
            "{key}"
        );
    }
    assert_eq!(server.get("/metrics").0, 401);
    assert_eq!(server.get("/").0, 200, "the page holds nothing that is anybody's");
}
