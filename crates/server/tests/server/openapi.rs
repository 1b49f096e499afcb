//! `/openapi.json` says what the server takes.

use crate::Server;
use serde_json::{Value, json};

/// The properties of a schema of the document.
fn properties(document: &Value, name: &str) -> Vec<String> {
    let schema = &document["components"]["schemas"][name];
    schema["properties"].as_object().unwrap_or_else(|| panic!("{name}: {schema}")).keys().cloned().collect()
}

#[test]
fn every_route_and_field_that_it_names_is_served() {
    let server = Server::start(&[]);
    let (status, text) = server.get("/openapi.json");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &document["openapi"].as_str().unwrap()[..2]), (200, "3."));
    let paths = document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let real = path.replace("{name}", "diffulex-demo");
            let status = match method.as_str() {
                "get" => server.get(&real).0,
                _ => server.post_text(&real, "[]", &[]).0,
            };
            assert!(if method == "get" { status == 200 } else { status == 400 }, "{method} {path}: {status}");
            assert!(operation["responses"]["default"].is_object(), "{path}");
        }
    }
    // What the document of the server lists is in it.
    let listed =
        include_str!("../../../../docs/server.md").split('`').filter_map(|code| code.split_once(' '));
    let listed = listed.filter(|(method, path)| ["GET", "POST"].contains(method) && path.starts_with('/'));
    let missing: Vec<_> = listed
        .map(|(_, path)| path.replace("NAME", "{name}"))
        .filter(|path| path != "/openapi.json" && !paths.contains_key(path))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Fields that are named are known, whatever else is wrong with them.
    for (path, schema) in [
        ("/v1/chat/completions", "ChatRequest"),
        ("/v1/completions", "CompletionRequest"),
        ("/v1/decisions", "DecisionRequest"),
        ("/v1/denoise", "DenoiseRequest"),
        ("/v1/infill", "InfillRequest"),
        ("/api/chat", "OllamaChatRequest"),
    ] {
        let named = properties(&document, schema);
        assert!(named.len() > 3, "{schema}: {named:?}");
        for field in named {
            let text = server.post_text(path, &json!({ &field: { "odd": [] } }).to_string(), &[]).1;
            assert!(!text.contains("unknown field `{field}`"), "{path}: {field}: {text}");
        }
    }
    let props: Value = serde_json::from_str(&server.get("/props").1).unwrap();
    let options = properties(&document, "Diffusion");
    assert!(options.contains(&"threshold".to_owned()) && props["decoding"].is_object());
    let body = json!({ "messages": [{ "role": "user", "content": "x" }], "diffusion": { "threshold": 2 } });
    assert_eq!(server.post("/v1/chat/completions", &body).0, 400);
}
