//! Tools: what the chat template is told of them, and calls in answers.

use crate::Server;
use serde_json::{Value, json};

/// The demo model with a template that knows tools, and an answer that is what this regular expression says.
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
