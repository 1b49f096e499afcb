//! The canvas while it is denoised, and gaps.

use crate::{Server, content, question};
use serde_json::{Value, json};

#[test]
fn every_pass_is_told_and_ends_in_the_same_answer() {
    let server = Server::start(&[]);
    let body = question("Tell a story about Mia the fox.");
    let whole = server.post("/v1/chat/completions", &body).1;
    let (status, text) = server.post_text("/v1/denoise", &body.to_string(), &[]);
    assert_eq!(status, 200, "{text}");
    let events: Vec<(String, Value)> = text
        .split("\n\n")
        .filter_map(|event| {
            let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
            Some((name.to_string(), serde_json::from_str(data).unwrap()))
        })
        .collect();
    assert_eq!(events[0].0, "start");
    let (last, done) = events.last().unwrap();
    assert_eq!((last.as_str(), &done["text"]), ("done", &json!(content(&whole))));
    let first = events[0].1["prompt_tokens"].as_u64().unwrap();
    let of = |name: &'static str| events.iter().filter(move |(event, _)| event == name).map(|(_, data)| data);
    let mut shown: Vec<Option<String>> = Vec::new();
    for token in of("reveal").flat_map(|data| data["tokens"].as_array().unwrap()) {
        let at = (token["position"].as_u64().unwrap() - first) as usize;
        shown.resize(shown.len().max(at + 1), None);
        assert!(shown[at].is_none(), "position {at} was revealed twice");
        shown[at] = Some(token["text"].as_str().unwrap().into());
    }
    let shown: String = shown.into_iter().flatten().collect();
    assert!(shown.starts_with(content(&whole)), "{shown}");
    let pieces: String = of("text").map(|data| data["text"].as_str().unwrap()).collect();
    assert!(content(&whole).starts_with(&pieces), "{pieces}");
    assert_eq!(of("pass").count() as u64, done["forward_passes"].as_u64().unwrap());
    assert!(of("block").count() > 0);
}

#[test]
fn gaps_are_filled_where_they_are() {
    let server = Server::start(&["--weights", "../../demo/llada"]);
    let (status, filled) = server.post("/v1/infill", &json!({ "text": "Mia found a <mask:1> kite." }));
    assert_eq!(status, 200, "{filled}");
    let gap = filled["gaps"][0].as_str().unwrap();
    assert_eq!(filled["text"], format!("Mia found a {gap} kite."), "{filled}");
    let around = json!({ "prefix": "Mia found a ", "masks": 1, "suffix": " kite." });
    let (status, between) = server.post("/v1/infill", &around);
    assert_eq!((status, &between["text"]), (200, &json!(gap)), "{between}");
    for body in [json!({ "text": "no gap" }), json!({ "prefix": "x" }), json!({ "text": "<mask:0>" })] {
        assert_eq!(server.post("/v1/infill", &body).0, 400, "{body}");
    }
}
