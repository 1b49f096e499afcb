//! `/v1/decisions`.

use crate::Server;
use serde_json::{Value, json};
use std::thread;

fn color() -> Value {
    json!({
        "state": "Mia has a red kite. What color is the kite?", "prompt": "{state}",
        "questions": { "color": { "options": ["red", "blue", "green"], "lead": "The kite is " } },
    })
}

#[test]
fn questions_are_answered_with_the_probability_of_every_answer() {
    let server = Server::start(&[]);
    let (status, response) = server.post("/v1/decisions", &color());
    assert_eq!(status, 200, "{response}");
    let answer = &response["answers"]["color"];
    assert_eq!((answer["answer"].as_str(), answer["scored"].as_str()), (Some("red"), Some("token")));
    let all = answer["probabilities"].as_object().unwrap();
    assert!((all.values().map(|p| p.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-12);
    assert_eq!(answer["probability"], all["red"]);
    assert_eq!(response["usage"]["forward_passes"], 1);
    // Kinds, and a state that is JSON.
    let questions = json!({ "a": { "boolean": true }, "b": { "score": { "min": 1, "max": 12 } } });
    let body = json!({ "state": { "order": 7 }, "questions": questions, "passes": 2 });
    let (status, response) = server.post("/v1/decisions", &body);
    assert_eq!(status, 200, "{response}");
    assert!(response["answers"]["a"]["answer"].is_boolean(), "{response}");
    let score = &response["answers"]["b"];
    assert!((1..=12).contains(&score["answer"].as_i64().unwrap()) && score["mean"].is_f64(), "{response}");
    assert_eq!(score["scored"], "chain");
}

#[test]
fn decisions_and_answers_at_a_time_are_those_alone() {
    let server = Server::start(&[]);
    let answers = |server: &Server| server.post("/v1/decisions", &color()).1["answers"].clone();
    let alone = answers(&server);
    thread::scope(|scope| {
        let chat = scope.spawn(|| server.post("/v1/chat/completions", &crate::question("What is 27 + 45?")));
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| answers(&server))).collect();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), alone));
        assert_eq!(crate::content(&chat.join().unwrap().1), "27 + 45 = 72.");
    });
}

#[test]
fn what_cannot_be_decided_is_refused_with_its_field() {
    let server = Server::start(&["--context", "256"]);
    let with = |key: &str, value: Value| {
        let mut body = color();
        body[key] = value;
        body
    };
    for (body, param, words) in [
        (json!({ "state": "x" }), Value::Null, "missing field `questions`"),
        (with("state", json!(1)), json!("state"), "1 found, a string, an object or a list expected"),
        (with("state", json!("")), json!("state"), "it is empty"),
        (with("questions", json!({})), json!("questions"), "0 given"),
        (
            with("questions", json!({ "a": { "options": ["x", "x"] } })),
            json!("questions"),
            "`x` is given twice",
        ),
        (
            with("questions", json!({ "a": { "score": { "min": 2, "max": 1 } } })),
            json!("questions"),
            "from 2 to 1",
        ),
        (
            with("questions", json!({ "a": { "options": ["x"], "boolean": true } })),
            json!("questions"),
            "`a`: one of",
        ),
        (with("prompt", json!("none")), json!("prompt"), "no `{state}`"),
        (with("passes", json!(3)), json!("passes"), "1 or 2 expected"),
        (with("state", json!("word ".repeat(300))), json!("state"), "256 is the limit"),
        (with("stream", json!(true)), json!("stream"), "unknown field `stream`"),
    ] {
        let (status, response) = server.post("/v1/decisions", &body);
        let error = &response["error"];
        assert_eq!(status, 400, "{body} {response}");
        assert!(error["message"].as_str().unwrap().contains(words), "{response}");
        assert_eq!(error["type"], "invalid_request_error");
        if param != json!("stream") && param != Value::Null {
            assert!(error["param"].as_str().unwrap().starts_with(param.as_str().unwrap()), "{response}");
        }
    }
    assert_eq!(server.post("/v1/decisions", &with("model", json!("other"))).0, 404);
    let twice = r#"{"state": "x", "questions": {"a": {"boolean": true}, "a": {"boolean": true}}}"#;
    let (status, text) = server.post_text("/v1/decisions", twice, &[]);
    assert!(status == 400 && text.contains("`a` is given twice"), "{status} {text}");
    assert_eq!(server.post("/v1/decisions", &color()).0, 200, "still there");
}

#[test]
fn a_decision_that_takes_too_long_is_cut() {
    let server = Server::start(&["--timeout", "1", "--parallel", "1"]);
    let small = || server.post("/v1/decisions", &color()).1["answers"].clone();
    let expected = small();
    // As many answers as a decision may have: every score takes a pass for each of its digits.
    let scores = (0..10).map(|i| (format!("q{i}"), json!({ "score": { "min": 100, "max": 1099 } })));
    let questions: serde_json::Map<_, _> = scores.collect();
    let slow = json!({ "state": "word ".repeat(50), "questions": questions, "passes": 2 });
    // One is computed, the other waits for it.
    let outcomes = thread::scope(|scope| {
        let both = [(), ()].map(|()| scope.spawn(|| server.post("/v1/decisions", &slow)));
        both.map(|one| one.join().unwrap())
    });
    if outcomes.iter().any(|(status, _)| *status == 200) {
        eprintln!("skipped: this machine decides between 10000 answers in a second");
        return;
    }
    for (status, response) in outcomes {
        assert_eq!((status, &response["error"]["code"]), (504, &json!("timeout")), "{response}");
    }
    // Nothing of them is left, in the queue or among running jobs.
    assert_eq!(small(), expected);
    crate::abuse::settle(&server);
    let chat = server.post("/v1/chat/completions", &crate::question("What is 27 + 45?")).1;
    assert_eq!(crate::content(&chat), "27 + 45 = 72.");
}
