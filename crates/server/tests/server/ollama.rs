//! Ollama's API.

use crate::{Server, content, question};
use serde_json::{Value, json};

#[test]
fn chat_and_generate_stream_lines_and_give_wholes() {
    let server = Server::start(&["--served-name", "demo"]);
    let whole = server.post("/v1/chat/completions", &question("What is 27 + 45?")).1;
    let mut body = question("What is 27 + 45?");
    body["model"] = "demo:latest".into();
    let (status, text) = server.post_text("/api/chat", &body.to_string(), &[]);
    assert_eq!(status, 200, "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pieces = lines.iter().map(|line| line["message"]["content"].as_str().unwrap());
    assert_eq!(pieces.collect::<String>(), content(&whole));
    let (last, rest) = lines.split_last().unwrap();
    assert!(rest.iter().all(|line| line["done"] == false));
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
    assert_eq!(last["eval_count"], whole["usage"]["completion_tokens"]);
    body["stream"] = false.into();
    assert_eq!(server.post("/api/chat", &body).1["message"]["content"], content(&whole));
    let generate = json!({ "model": "demo", "prompt": "What is 27 + 45?", "stream": false });
    assert_eq!(server.post("/api/generate", &generate).1["response"], content(&whole));
    let prompt = "<|im_start|>user\nTell a story about Mia the fox.<|im_end|>\n<|im_start|>assistant\n";
    let raw = json!({ "model": "demo", "prompt": prompt, "raw": true, "stream": false,
                      "options": { "num_predict": 4, "num_ctx": 128, "num_thread": 3, "repeat_penalty": 1.0 } });
    let (status, answer) = server.post("/api/generate", &raw);
    assert_eq!((status, &answer["eval_count"]), (200, &json!(4)), "{answer}");
}

#[test]
fn what_front_ends_ask_first_is_answered() {
    let server = Server::start(&["--served-name", "demo"]);
    let get = |path: &str| serde_json::from_str::<Value>(&server.get(path).1).unwrap();
    assert_eq!(get("/api/tags")["models"][0]["name"], "demo:latest");
    assert_eq!(get("/api/ps")["models"][0]["model"], "demo:latest");
    assert!(get("/api/version")["version"].is_string());
    let (status, shown) = server.post("/api/show", &json!({ "model": "demo" }));
    assert_eq!((status, &shown["details"]["family"]), (200, &json!("SDAR")), "{shown}");
    let (status, error) = server.post("/api/chat", &json!({ "model": "llama3", "messages": [] }));
    assert_eq!(status, 404);
    assert!(error["error"].as_str().unwrap().contains("llama3"), "{error}");
    let loaded = server.post("/api/generate", &json!({ "model": "demo" })).1;
    assert_eq!(loaded["done_reason"], "load");
    let odd = json!({ "messages": [{ "role": "user", "content": "x" }], "options": { "mirostat": 2 } });
    let (status, error) = server.post("/api/chat", &odd);
    assert!(status == 400 && error["error"].as_str().unwrap().contains("mirostat"), "{error}");
}
