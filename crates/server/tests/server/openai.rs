//! OpenAI's API.

use crate::{Server, content, question};
use diffulex::engine::Engine;
use serde_json::{Value, json};
use std::thread;

const QUESTIONS: [&str; 6] = [
    "What is 27 + 45?",
    "Tell a story about Mia the fox.",
    "Sort these numbers: 7 3 9 1.",
    "Who are you?",
    "What is 8 + 5?",
    "Tell a story about Bob the dog.",
];

/// The same server for what does not change it.
fn chat(server: &Server, text: &str) -> Value {
    let (status, answer) = server.post("/v1/chat/completions", &question(text));
    assert_eq!(status, 200, "{answer}");
    answer
}

#[test]
fn an_answer_has_the_shape_that_clients_expect() {
    let server = Server::start(&["--served-name", "demo"]);
    let answer = chat(&server, QUESTIONS[0]);
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "demo");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["logprobs"], Value::Null);
    let usage = &answer["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap();
    assert!(tokens("prompt_tokens") > 0 && tokens("completion_tokens") > 0, "{usage}");
    assert_eq!(tokens("total_tokens"), tokens("prompt_tokens") + tokens("completion_tokens"));
    let models: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    assert_eq!(models["data"][0]["id"], "demo");
    assert_eq!(server.get("/v1/models/demo").0, 200);
    assert_eq!(server.get("/v1/models/other").0, 404);
}

#[test]
fn a_served_answer_is_the_one_of_the_library() {
    let model = diffulex::Model::open_with("../../demo/sdar", Engine::builder().threads(1)).unwrap();
    let server = Server::start(&["--weights", "../../demo/sdar", "--kv", "f32"]);
    for text in QUESTIONS {
        let mut setup = model.setup();
        setup.max_tokens = Some(128);
        let mut session = model.engine.session().unwrap();
        let prompt = model.prompt(text).unwrap();
        let alone = model.answer(&mut session, &prompt, &setup, &mut |_, _| Ok(diffulex::Control::Continue));
        let mut body = question(text);
        body["max_tokens"] = 128.into();
        let (_, served) = server.post("/v1/chat/completions", &body);
        assert_eq!(content(&served), alone.unwrap().text);
    }
}

#[test]
fn answers_of_many_requests_at_once_are_those_of_each_alone() {
    let server = Server::start(&["--parallel", "4"]);
    let alone: Vec<_> = QUESTIONS.iter().map(|text| chat(&server, text)).collect();
    let server = &server;
    thread::scope(|scope| {
        let together: Vec<_> = (0..24)
            .map(|i| (i % QUESTIONS.len(), scope.spawn(move || chat(server, QUESTIONS[i % QUESTIONS.len()]))))
            .collect();
        for (i, answer) in together {
            let answer = answer.join().unwrap();
            assert_eq!(content(&answer), content(&alone[i]));
            assert_eq!(answer["usage"]["completion_tokens"], alone[i]["usage"]["completion_tokens"]);
        }
    });
}

#[test]
fn a_stream_is_the_answer_in_pieces() {
    let server = Server::start(&[]);
    for text in QUESTIONS {
        let whole = chat(&server, text);
        let mut body = question(text);
        body["stream"] = true.into();
        body["stream_options"] = json!({ "include_usage": true });
        let events = server.events("/v1/chat/completions", &body);
        assert_eq!(events.last().unwrap(), "[DONE]");
        let chunks: Vec<Value> =
            events[..events.len() - 1].iter().map(|data| serde_json::from_str(data).unwrap()).collect();
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        assert_eq!(pieces.collect::<String>(), content(&whole));
        let (usage, rest) = chunks.split_last().unwrap();
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
        assert_eq!(rest.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn a_second_turn_finds_the_keys_and_values_of_the_first() {
    let server = Server::start(&[]);
    let long = "Tell a story about Mia the fox.";
    let mut messages = vec![json!({ "role": "user", "content": long })];
    let first = chat(&server, long);
    messages.push(json!({ "role": "assistant", "content": content(&first) }));
    messages.push(json!({ "role": "user", "content": "What is 27 + 45?" }));
    let body = json!({ "messages": messages });
    let (_, second) = server.post("/v1/chat/completions", &body);
    let cached = &second["usage"]["prompt_tokens_details"]["cached_tokens"];
    assert!(cached.as_u64().unwrap() > 0, "{second}");
    let again = server.post("/v1/chat/completions", &body).1;
    assert_eq!(content(&again), content(&second), "what is found may not change the answer");
    assert!(server.metric("diffulex_prompt_tokens_cached_total") > 0.0);
}

#[test]
fn settings_of_a_request_count() {
    let server = Server::start(&[]);
    let ask = |more: Value| {
        let mut body = question(QUESTIONS[1]);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = server.post("/v1/chat/completions", &body);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let plain = ask(json!({}));
    let short = ask(json!({ "max_tokens": 3 }));
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["usage"]["completion_tokens"], 3);
    assert!(content(&plain).starts_with(content(&short)));
    let word = content(&plain).split(' ').nth(3).unwrap();
    let stopped = ask(json!({ "stop": [word, "never said"] }));
    assert_eq!(content(&stopped), content(&plain).split(word).next().unwrap());
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    let slow = ask(json!({ "diffusion": { "threshold": 1.0 } }));
    let passes =
        |answer: &Value| answer["usage"]["completion_tokens_details"]["forward_passes"].as_u64().unwrap();
    assert!(passes(&slow) > passes(&plain), "{slow} {plain}");
    let two = ask(json!({ "n": 2, "temperature": 1.0, "seed": 7 }));
    assert_eq!(two["choices"].as_array().unwrap().len(), 2);
    assert_ne!(two["choices"][0]["message"]["content"], two["choices"][1]["message"]["content"]);
    let same = ask(json!({ "n": 2, "temperature": 1.0, "seed": 7 }));
    assert_eq!(same["choices"], two["choices"]);
}

#[test]
fn probabilities_belong_to_the_tokens_of_the_answer() {
    let server = Server::start(&[]);
    let mut body = question(QUESTIONS[0]);
    body["logprobs"] = true.into();
    let (status, answer) = server.post("/v1/chat/completions", &body);
    assert_eq!(status, 200, "{answer}");
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len() as u64, answer["usage"]["completion_tokens"].as_u64().unwrap());
    let text: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(text, content(&answer));
    assert!(tokens.iter().all(|token| (-9999.0..=0.0).contains(&token["logprob"].as_f64().unwrap())));
}

#[test]
fn the_most_probable_tokens_are_told_streamed_or_not() {
    let server = Server::start(&[]);
    let mut body = question(QUESTIONS[0]);
    (body["logprobs"], body["top_logprobs"]) = (true.into(), 5.into());
    let (status, answer) = server.post("/v1/chat/completions", &body);
    assert_eq!(status, 200, "{answer}");
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let number = |token: &Value| token["logprob"].as_f64().unwrap();
    for token in tokens {
        let best = token["top_logprobs"].as_array().unwrap();
        assert_eq!(best.len(), 5, "{token}");
        // Nothing is drawn at random here: the token is the first of them.
        assert_eq!((&best[0]["token"], &best[0]["logprob"]), (&token["token"], &token["logprob"]));
        assert!(best.windows(2).all(|pair| number(&pair[0]) >= number(&pair[1])), "{token}");
        assert!(best.iter().map(|token| number(token).exp()).sum::<f64>() <= 1.0 + 1e-9, "{token}");
    }
    body["stream"] = true.into();
    let events = server.events("/v1/chat/completions", &body);
    let chunks = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let streamed: Vec<_> = chunks
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(&streamed, tokens);
    // A grammar leaves one possibility for most tokens.
    body["stream"] = false.into();
    body["regex"] = "27 \\+ 45 = [0-9]+\\.".into();
    let bound = server.post("/v1/chat/completions", &body).1;
    let tokens = bound["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let counts: Vec<_> = tokens.iter().map(|token| token["top_logprobs"].as_array().unwrap().len()).collect();
    assert!(counts.contains(&1), "{bound}");

    let body = json!({ "prompt": "Once there was", "max_tokens": 4, "logprobs": 3 });
    let (status, answer) = server.post("/v1/completions", &body);
    assert_eq!(status, 200, "{answer}");
    let told = &answer["choices"][0]["logprobs"];
    for (at, token) in told["tokens"].as_array().unwrap().iter().enumerate() {
        let best = told["top_logprobs"][at].as_object().unwrap();
        assert!((1..=3).contains(&best.len()), "{told}");
        assert_eq!(best[token.as_str().unwrap()], told["token_logprobs"][at]);
    }
}

#[test]
fn completions_take_text_and_ids_as_they_are() {
    let server = Server::start(&[]);
    let text = "<|im_start|>user\nWhat is 27 + 45?<|im_end|>\n<|im_start|>assistant\n";
    let ids: Value =
        serde_json::from_str(&server.post_text("/tokenize", &json!({ "content": text }).to_string(), &[]).1)
            .unwrap();
    let back = server.post("/detokenize", &ids).1;
    assert_eq!(back["content"], text);
    let ask = |prompt: Value| {
        let (status, answer) = server.post("/v1/completions", &json!({ "prompt": prompt, "max_tokens": 40 }));
        assert_eq!(status, 200, "{answer}");
        answer["choices"].clone()
    };
    let as_text = ask(text.into());
    assert_eq!(ask(ids["tokens"].clone()), as_text);
    let both = ask(json!([text, text]));
    assert_eq!(both[0]["text"], as_text[0]["text"]);
    assert_eq!(both[1]["text"], as_text[0]["text"]);
    assert_eq!(both[1]["index"], 1);
}
