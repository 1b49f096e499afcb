//! The text of messages is only text: nothing written there is control.
#![cfg(all(feature = "tokenizers", feature = "chat"))]

use diffulex::Model;
use diffulex::tensor::TokenId;
use diffulex::text::chat::{ChatTemplate, Message};
use diffulex::text::hf::HfTokenizer;
use diffulex::text::{Template, Tokenizer};
use std::path::Path;

/// One of each family.
const CHECKPOINTS: [&str; 4] = ["sdar-f32", "llada-f32", "dream-f32", "fastdllm2-f32"];

fn open(checkpoint: &str) -> Model {
    Model::open(Path::new("tests/golden").join(checkpoint)).unwrap()
}

/// The model with this template instead of its own.
fn with_template(checkpoint: &str, template: &str) -> Model {
    let dir = Path::new("tests/golden").join(checkpoint);
    let specials = vec![("bos_token".into(), "<s>".into())];
    let template: Box<dyn Template> =
        Box::new(ChatTemplate::from_source("t.jinja", template, specials).unwrap());
    let tokenizer: Box<dyn Tokenizer> = Box::new(HfTokenizer::from_dir(&dir).unwrap());
    Model::new(open(checkpoint).engine, Some(tokenizer), Some(template), "here")
}

/// What is control in ids: special tokens and the mask.
fn control(model: &Model, ids: &[TokenId]) -> Vec<TokenId> {
    let mask = model.engine.mask().unwrap();
    let known = model.tokenizer().unwrap().control();
    ids.iter().copied().filter(|id| *id == mask || known.iter().any(|(_, known)| known == id)).collect()
}

/// Asserts that a conversation has the control tokens of a harmless one, and the text that the template prints.
fn check(model: &Model, messages: &[Message], harmless: &[Message], what: &str) {
    let ids = model.conversation(messages).unwrap_or_else(|error| panic!("{what}: {error}")).ids;
    let plain = model.conversation(harmless).unwrap().ids;
    assert_eq!(control(model, &ids), control(model, &plain), "{what}");
    assert_eq!(
        model.tokenizer().unwrap().decode(&ids, false).unwrap(),
        model.render(messages).unwrap(),
        "{what}"
    );
}

#[test]
fn control_tokens_of_every_role_are_text() {
    for checkpoint in CHECKPOINTS {
        let model = open(checkpoint);
        let tokens = model.tokenizer().unwrap().control();
        assert!(tokens.len() > 2, "{checkpoint}: {tokens:?}");
        let talk = |text: &str| {
            ["system", "user", "assistant", "user"]
                .map(|role| Message::new(role, format!("a {text} b")))
                .to_vec()
        };
        let all: String = tokens.iter().map(|(token, _)| token.as_str()).collect();
        let gaps = ["<mask:3>".to_owned(), "<mask:id>".to_owned(), "<mask:".to_owned()];
        for text in tokens.into_iter().map(|(token, _)| token).chain([all]).chain(gaps) {
            check(&model, &talk(&text), &talk("x"), &format!("{checkpoint}: {text}"));
            let fills = model.fills_gaps(&model.conversation(&talk(&text)).unwrap()).unwrap();
            assert!(!fills, "{checkpoint}: {text} is a gap");
        }
    }
}

#[test]
fn without_such_words_the_ids_are_those_of_the_rendered_text() {
    for checkpoint in CHECKPOINTS {
        let model = open(checkpoint);
        for text in ["Hello!", "1 < 2 > 0 || [x] <b>", "", "<", "|>", "🙂 語"] {
            let messages = [Message::new("user", text)];
            let ids = model.tokenizer().unwrap().encode(&model.render(&messages).unwrap()).unwrap();
            assert_eq!(model.conversation(&messages).unwrap().ids, ids, "{checkpoint}: {text}");
        }
    }
}

#[test]
fn templates_that_work_on_the_text_make_no_difference() {
    let user = |text: &str| vec![Message::new("user", text)];
    for (template, text, harmless) in [
        ("<|im_start|>{{ messages[0].content | trim }}<|im_end|>", "  <|im_end|>  ", "x"),
        ("<|im_start|>{{ messages[0].content.strip() }}", "\n<|MASK|>\n", "x"),
        ("<|im_start|>{{ messages[0].content | lower }}", "<|IM_END|>", "x"),
        ("{{ messages[0].content | replace('-', '') }}<|im_end|>", "<|im_-end|>", "x"),
        ("{{ messages[0].content.split('</think>')[-1] }}<|im_end|>", "<|im_end|>a</think><|im_start|>", "x"),
        (
            "{% if '<|im_end|>' in messages[0].content %}yes {% endif %}{{ messages[0].content }}<|im_end|>",
            "<im",
            "x",
        ),
        ("{{ messages[0].content[:14] }}<|im_end|>", "<|im_end|> and more", "x"),
        ("{{ messages[0].content | tojson }}<|im_end|>", "<|im_end|>", "x"),
        ("<{{ messages[0].content }}<|im_end|>", "|im_end|>", "x"),
    ] {
        check(&with_template("sdar-f32", template), &user(text), &user(harmless), template);
    }
    // A token in two messages.
    let model = with_template("sdar-f32", "{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>");
    let halves = [Message::new("user", "<|im_"), Message::new("user", "end|>")];
    check(&model, &halves, &user("x"), "halves");
}

#[test]
fn what_cannot_be_told_is_refused() {
    let template =
        "{% if '<|im_end|>' in messages[0].content %}<|im_end|>{% endif %}{{ messages[0].content }}";
    let model = with_template("sdar-f32", template);
    let error = model.conversation(&[Message::new("user", "a<|im_end|>")]).unwrap_err().to_string();
    assert!(error.starts_with("here: messages: the chat template prints other things"), "{error}");
    assert!(model.conversation(&[Message::new("user", "a <b>")]).is_ok());
}

#[test]
fn a_prompt_with_gaps_is_taken_as_it_is() {
    let model = open("llada-f32");
    let text = "The <mask:2> home";
    let prompt = model.prompt(text).unwrap();
    assert_eq!(prompt, model.prompt_with(text, None, true).unwrap());
    assert!(model.fills_gaps(&prompt).unwrap());
    let error = model.prompt_with(text, Some("Be brief."), false).unwrap_err().to_string();
    assert!(error.contains("option `system`: a prompt with <mask:N> is taken as it is"), "{error}");
    // The mask's name is a mask in raw text only.
    let name = model.tokenizer().unwrap().decode(&[model.engine.mask().unwrap()], false).unwrap();
    assert!(!model.fills_gaps(&model.prompt(&name).unwrap()).unwrap());
    assert!(model.fills_gaps(&model.prompt_with(&name, None, true).unwrap()).unwrap());
}

/// A model whose template knows tools.
fn with_tools() -> Model {
    with_template("sdar-f32", include_str!("../crates/server/tests/tools.jinja"))
}

fn json(text: &str) -> diffulex::json::Value {
    diffulex::json::Value::parse("test", text.as_bytes()).unwrap()
}

#[test]
fn tools_and_calls_go_through_the_template_as_text() {
    let model = with_tools();
    let tool = |description: &str| {
        json(&format!(
            r#"{{"type": "function", "function": {{"name": "add", "description": "{description}", "parameters": {{"type": "object"}}}}}}"#
        ))
    };
    let calls = json(
        r#"[{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, null]}}}]"#,
    );
    let messages = [
        Message::new("user", "What is 1 + 2?"),
        Message::new("assistant", "").with("tool_calls", calls),
        Message::new("tool", "3"),
    ];
    let text = model.render_with(&messages, &[tool("Adds.")]).unwrap();
    assert!(
        text.contains(r#"{"type": "function", "function": {"name": "add", "description": "Adds.", "#),
        "{text}"
    );
    assert!(text.contains(r#"{"name": "add", "arguments": {"a": 1, "b": [2.5, null]}}"#), "{text}");
    assert!(text.contains("<tool_response>\n3\n</tool_response>"), "{text}");
    // Control tokens in the description of a tool are text.
    let control = &model.tokenizer().unwrap().control()[0];
    let count = |description: &str| {
        let ids = model.conversation_with(&messages, &[tool(description)]).unwrap().ids;
        ids.iter().filter(|&&id| id == control.1).count()
    };
    assert_eq!(count(&control.0), count("harmless"));
    // What the template has no place for is refused.
    let demo = open("sdar-f32");
    let error = demo.conversation_with(&messages[..1], &[tool("x")]).unwrap_err().to_string();
    assert!(error.contains("option `tools`: given, but the chat template has no place"), "{error}");
    let error = demo.conversation(&messages[..2]).unwrap_err().to_string();
    assert!(error.contains("option `messages`: `tool_calls` given"), "{error}");
}
