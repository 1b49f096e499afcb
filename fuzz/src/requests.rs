//! Bodies of requests to the server: each is read or refused, in the shape that clients expect, and nothing panics.

use serde_json::Value;

/// The paths that take a body; the first byte of an input chooses one.
const PATHS: [&str; 10] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/decisions",
    "/v1/denoise",
    "/v1/infill",
    "/api/chat",
    "/api/generate",
    "/api/show",
    "/tokenize",
    "/detokenize",
];

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let path = PATHS[usize::from(first) % PATHS.len()];
    let json = serde_json::from_slice::<Value>(body);
    match diffulex_server::check_body(path, body).expect("a path that takes a body") {
        Ok(()) => assert!(json.is_ok_and(|json| json.is_object()), "{path}: what is not an object was read"),
        Err(error) => {
            let error: Value = serde_json::from_str(&error).expect("a refusal is JSON");
            let message = error["error"]["message"].as_str().expect("a refusal says why");
            assert!(!message.is_empty() && message.len() < 1000 + 8 * body.len(), "{path}: {message}");
        }
    }
}
