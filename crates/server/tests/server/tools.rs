//! Tools: what the chat template is told about them, and calls in answers.

use crate::Server;
use serde_json::{Value, json};

/// The demo model with a template that knows tools, and an answer that matches this regular expression.
fn body(regex: &str) -> Value {
    let function = json!({ "name": "add", "parameters": { "type": "object" } });
    json!({
        "messages": [{ "role": "user", "content": "What is 1 + 2?" }],
        "tools": [{ "type": "function", "function": function }],
        "regex": regex, "max_tokens": 120,
    })
}

fn server() -> Server {
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools.jinja");
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/sdar");
    Server::start(&["--weights", demo, "--chat-template", template])
}

const CALL: &str =
    "Let me see\\.\n<tool_call>\n\\{\"name\": \"add\", \"arguments\": \\{\"a\": 1\\}\\}\n</tool_call>";

#[test]
fn calls_are_taken_apart_streamed_or_not() {
    let server = server();
    let mut call = body(CALL);
    let (status, answer) = server.post("/v1/chat/completions", &call);
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &json!("Let me see."))
    );
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls[0]["function"], json!({ "name": "add", "arguments": "{\"a\":1}" }));
    // Streamed, the same in pieces.
    call["stream"] = true.into();
    let events = server.events("/v1/chat/completions", &call);
    let chunks: Vec<Value> = events.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    let deltas = || chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
    let said: String = deltas().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(said, "Let me see.");
    let called: Vec<_> = deltas().filter_map(|delta| delta["tool_calls"].as_array()).flatten().collect();
    assert_eq!(
        (called.len(), &called[0]["index"], &called[0]["function"]),
        (1, &json!(0), &calls[0]["function"])
    );
    assert_eq!(
        chunks.iter().rev().find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()),
        Some("tool_calls")
    );
    // The result goes back.
    let mut next = body("3");
    let messages = next["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": calls }));
    messages.push(json!({ "role": "tool", "tool_call_id": calls[0]["id"], "content": "3" }));
    let (status, answer) = server.post("/v1/chat/completions", &next);
    assert_eq!((status, crate::content(&answer)), (200, "3"), "{answer}");
}

#[test]
fn what_is_no_call_stays_text() {
    let server = server();
    let text = |body: &Value| {
        let (status, answer) = server.post("/v1/chat/completions", body);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        crate::content(&answer).to_owned()
    };
    let unknown = CALL.replace("add", "subtract");
    assert!(text(&body(&unknown)).contains("<tool_call>"), "a tool that is not given");
    let mut none = body(CALL);
    none["tool_choice"] = "none".into();
    assert!(text(&none).contains("<tool_call>"), "no tools were given to the template");
    let mut stream = body(&unknown);
    stream["stream"] = true.into();
    let events = server.events("/v1/chat/completions", &stream);
    let chunks = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let said: String = chunks
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(said, text(&body(&unknown)));
}

#[test]
fn wrong_calls_are_refused_by_field() {
    let server = server();
    let with = |arguments: Value| {
        let mut body = body("3");
        let function = json!({ "name": "add", "arguments": arguments });
        let call =
            json!({ "role": "assistant", "tool_calls": [{ "type": "function", "function": function }] });
        body["messages"].as_array_mut().unwrap().push(call);
        server.post("/v1/chat/completions", &body)
    };
    assert_eq!(with(json!("{}")).0, 200);
    for wrong in [json!("no JSON"), json!([1]), json!(null)] {
        let (status, answer) = with(wrong);
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!("messages[1].tool_calls[0].function.arguments"))
        );
    }
    let mut parallel = body("3");
    parallel["parallel_tool_calls"] = false.into();
    let (status, answer) = server.post("/v1/chat/completions", &parallel);
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("parallel_tool_calls")));
}

/// Two tools, and no regular expression.
fn choosing(choice: Value) -> Value {
    let number = json!({ "type": "integer", "minimum": 0, "maximum": 99 });
    let add = json!({
        "type": "object", "properties": { "a": { "$ref": "#/$defs/n" }, "b": { "$ref": "#/$defs/n" } },
        "required": ["a", "b"], "additionalProperties": false, "$defs": { "n": number },
    });
    let color = json!({
        "type": "object", "properties": { "color": { "enum": ["red", "\"blue\"", "grün"] } }, "required": ["color"],
        "additionalProperties": false,
    });
    let tool = |name: &str, parameters: Value| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
    let mut now = tool("now", Value::Null);
    now["function"].as_object_mut().unwrap().remove("parameters");
    json!({
        "messages": [{ "role": "user", "content": "What is 1 + 2?" }], "max_tokens": 120,
        "tools": [tool("add", add), tool("paint", color), now], "tool_choice": choice,
    })
}

fn named(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name } })
}

/// The one call of an answer.
fn called(answer: &Value) -> (String, Value) {
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert!(calls.len() == 1 && choice["message"]["content"].is_null(), "{answer}");
    let function = &calls[0]["function"];
    let arguments = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    (function["name"].as_str().unwrap().to_owned(), arguments)
}

#[test]
fn a_call_that_is_required_is_valid_whatever_the_model_would_say() {
    let server = server();
    for seed in 0..4 {
        for choice in [json!("required"), named("add"), named("paint"), named("now")] {
            let mut body = choosing(choice.clone());
            body["temperature"] = 2.into();
            body["seed"] = seed.into();
            body["parallel_tool_calls"] = (seed % 2 == 0).into();
            let (status, answer) = server.post("/v1/chat/completions", &body);
            assert_eq!(status, 200, "{answer}");
            let (name, arguments) = called(&answer);
            if let Some(only) = choice["function"]["name"].as_str() {
                assert_eq!(name, only);
            }
            let keys: Vec<_> = arguments.as_object().unwrap().keys().map(String::as_str).collect();
            match name.as_str() {
                "add" => {
                    assert_eq!(keys, ["a", "b"]);
                    assert!(arguments["a"].as_u64().is_some_and(|a| a < 100), "{arguments}");
                }
                "paint" => {
                    assert!(["red", "\"blue\"", "grün"].contains(&arguments["color"].as_str().unwrap()));
                }
                _ => assert!(name == "now" && keys.is_empty(), "{name} {arguments}"),
            }
        }
    }
    let mut stream = choosing(named("add"));
    let whole = server.post("/v1/chat/completions", &stream).1;
    stream["stream"] = true.into();
    let events = server.events("/v1/chat/completions", &stream);
    let chunks: Vec<Value> = events.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    let calls: Vec<_> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).collect();
    let function = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    assert!(calls.len() == 1 && &calls[0][0]["function"] == function, "{calls:?} {function}");
}

#[test]
fn a_choice_that_cannot_be_is_refused_by_field() {
    let server = server();
    let with = |key: &str, value: Value| {
        let mut body = choosing(json!("required"));
        body[key] = value;
        body
    };
    let parameters = |schema: Value| {
        let mut body = choosing(json!("required"));
        body["tools"][1]["function"]["parameters"] = schema;
        body
    };
    for (body, param) in [
        (choosing(json!("any")), "tool_choice"),
        (choosing(json!(1)), "tool_choice"),
        (choosing(json!({ "type": "allowed_tools" })), "tool_choice"),
        (choosing(named("subtract")), "tool_choice.function.name"),
        (choosing(json!({ "type": "function" })), "tool_choice.function.name"),
        (with("tools", json!([])), "tool_choice"),
        (with("regex", json!("a")), "regex"),
        (with("stop", json!("a")), "stop"),
        (parameters(json!({ "type": "string" })), "tools[1].function.parameters"),
        (parameters(json!(["a"])), "tools[1].function.parameters"),
        (
            parameters(json!({ "type": "object", "properties": { "a": { "not": {} } } })),
            "tools[1].function.parameters",
        ),
    ] {
        let (status, answer) = server.post("/v1/chat/completions", &body);
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(param)), "{body} {answer}");
    }
    // A template that knows no tools.
    let demo = Server::start(&[]);
    let (status, answer) = demo.post("/v1/chat/completions", &choosing(json!("required")));
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("tools")), "{answer}");
}

#[test]
fn ollama_calls_tools_streamed_or_not() {
    let server = server();
    let tool = json!({ "type": "function", "function": { "name": "add", "description": "adds", "parameters": {
        "type": "object", "properties": { "a": { "type": "integer", "minimum": 0, "maximum": 99 } }, "required": ["a"],
    } } });
    let call = json!({ "function": { "name": "add", "arguments": { "a": 1 } } });
    let messages = json!([
        { "role": "user", "content": "What is 1 + 2?" },
        { "role": "assistant", "content": "", "tool_calls": [call] },
        { "role": "tool", "content": "3", "tool_name": "add" },
    ]);
    let mut body = json!({ "messages": messages, "tools": [tool], "stream": false });
    let (status, answer) = server.post("/api/chat", &body);
    assert!(status == 200 && answer["message"]["content"].is_string(), "{answer}");
    // The demo model knows no tools; it calls where it has to.
    body["tool_choice"] = named("add");
    let (status, answer) = server.post("/api/chat", &body);
    let calls = &answer["message"]["tool_calls"];
    assert!(status == 200 && calls[0]["function"]["arguments"]["a"].is_i64(), "{answer}");
    assert_eq!((&answer["message"]["content"], &answer["done_reason"]), (&json!(""), &json!("stop")));
    let mut stream = body.clone();
    stream["stream"] = true.into();
    let (status, text) = server.post_text("/api/chat", &stream.to_string(), &[]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let called: Vec<_> = lines.iter().filter(|line| !line["message"]["tool_calls"].is_null()).collect();
    assert!(status == 200 && called.len() == 1 && &called[0]["message"]["tool_calls"] == calls, "{text}");
    assert!(
        lines.iter().all(|line| line["message"]["content"] == "") && lines.last().unwrap()["done"] == true
    );
    let mut both = body.clone();
    both["format"] = "json".into();
    assert_eq!(server.post("/api/chat", &both).0, 400);
    body.as_object_mut().unwrap().remove("tool_choice");
    assert_eq!(server.post("/api/show", &json!({})).1["capabilities"], json!(["completion", "tools"]));
    body["tools"][0]["type"] = "search".into();
    let (status, answer) = server.post("/api/chat", &body);
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("\"function\" expected"), "{answer}");
    let demo = Server::start(&[]);
    assert_eq!(demo.post("/api/show", &json!({})).1["capabilities"], json!(["completion"]));
    body["tools"][0]["type"] = "function".into();
    let (status, answer) = demo.post("/api/chat", &body);
    assert!(status == 400 && answer["error"].is_string(), "{answer}");
}
