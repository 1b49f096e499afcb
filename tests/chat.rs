//! Chat templates against what Jinja2 made of them: `tests/chat/cases.json`, recorded by `tools/record_chat_cases.py`.
#![cfg(feature = "chat")]

use diffulex::text::chat::{ChatTemplate, Message};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn messages(value: &Value) -> Vec<Message> {
    let list = value.as_array().expect("a list");
    list.iter().map(|m| Message::new(text(&m["role"]), text(&m["content"]))).collect()
}

#[test]
fn templates_render_as_jinja2_renders_them() {
    let root = Path::new("tests/chat");
    let record: Value = serde_json::from_str(&fs::read_to_string(root.join("cases.json")).unwrap()).unwrap();
    let specials: Vec<_> = record["specials"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.clone(), text(v).to_owned()))
        .collect();
    let mut failures = Vec::new();
    let cases = record["cases"].as_array().unwrap();
    for case in cases {
        let template = match case["file"].as_str() {
            Some(file) => fs::read_to_string(root.join(file)).unwrap(),
            None => text(&case["template"]).to_owned(),
        };
        let got = ChatTemplate::from_source("case.jinja", &template, specials.clone())
            .and_then(|t| t.render(&messages(&case["messages"]), case["add_generation_prompt"] == true));
        let fits = match (&got, case["rendered"].as_str()) {
            (Ok(got), Some(want)) => got == want,
            (Err(_), None) => true,
            _ => false,
        };
        if !fits {
            failures.push(format!(
                "{} {}:\n got {got:?}\nwant {:?}",
                case["file"], case["template"], case["rendered"]
            ));
        }
    }
    assert!(cases.len() > 80, "only {} cases", cases.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Renders for one user message and returns the error.
fn refusal(template: &str) -> String {
    ChatTemplate::from_source("dir/x.jinja", template, Vec::new())
        .and_then(|t| t.render(&[Message::new("user", "hi")], true))
        .expect_err(template)
        .to_string()
}

#[test]
fn errors_name_the_origin_and_the_line() {
    for (template, want) in [
        ("a\nb\n{{ raise_exception('not like this') }}", "dir/x.jinja: chat template, line 3: not like this"),
        ("\n{% for %}", "dir/x.jinja: chat template, line 2: "),
        ("{{ missing.name }}", "dir/x.jinja: chat template, line 1: "),
    ] {
        let error = refusal(template);
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let error =
        refusal("{% for a in range(9999) %}{% for b in range(9999) %}{{ '' }}{% endfor %}{% endfor %}");
    assert!(error.contains("fuel"), "{error}");
}

#[test]
fn a_template_that_prints_too_much_is_stopped() {
    let error = refusal("{% set a = 'x' * 1000000 %}{% for i in range(9999) %}{{ a }}{% endfor %}");
    assert_eq!(error, "dir/x.jinja: chat template: it prints more than 67108864 bytes");
    let error = refusal("{{ 'x' * 70000000 }}");
    assert!(error.contains("67108864"), "{error}");
}

#[test]
fn the_date_is_available() {
    let template =
        ChatTemplate::from_source("x", "{{ strftime_now('%Y') | int > 2024 }}", Vec::new()).unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "True");
}

/// A directory that is removed when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("diffulex-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    fn find(&self, explicit: Option<&Path>) -> Option<String> {
        let template = self.open(explicit).unwrap()?;
        Some(template.render(&[], false).unwrap())
    }

    /// The template as a program finds it: the file that is asked for, else what lies in the directory.
    fn open(&self, explicit: Option<&Path>) -> Result<Option<ChatTemplate>, diffulex::Error> {
        let beside = |name: &str| Some(self.0.join(name)).filter(|path| path.is_file());
        let (template, config) = (beside("chat_template.jinja"), beside("tokenizer_config.json"));
        ChatTemplate::open(explicit.or(template.as_deref()), config.as_deref())
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn templates_are_found_in_order() {
    let dir = TestDir::new("chat-order");
    assert_eq!(dir.find(None), None);
    dir.write("tokenizer_config.json", r#"{"chat_template": null, "bos_token": {"content": "<s>"}}"#);
    assert_eq!(dir.find(None), None);
    dir.write(
        "tokenizer_config.json",
        r#"{"chat_template": "config {{ bos_token }}", "bos_token": {"content": "<s>"}}"#,
    );
    assert_eq!(dir.find(None).unwrap(), "config <s>");
    let list = r#"[{"name": "tool_use", "template": "no"}, {"name": "default", "template": "listed {{ eos_token }}"}]"#;
    dir.write("tokenizer_config.json", &format!(r#"{{"chat_template": {list}, "eos_token": "</s>"}}"#));
    assert_eq!(dir.find(None).unwrap(), "listed </s>");
    dir.write("chat_template.jinja", "beside {{ eos_token }}");
    assert_eq!(dir.find(None).unwrap(), "beside </s>");
    let explicit = dir.write("mine.jinja", "mine {{ eos_token }}");
    assert_eq!(dir.find(Some(&explicit)).unwrap(), "mine </s>");
    assert!(dir.open(Some(&dir.0.join("absent.jinja"))).is_err());
}

#[test]
fn a_malformed_entry_is_an_error() {
    let dir = TestDir::new("chat-bad");
    for template in ["3", "[]", r#"[{"name": "default"}]"#, r#"[{"name": "rag", "template": "x"}]"#, "{}"] {
        dir.write("tokenizer_config.json", &format!(r#"{{"chat_template": {template}}}"#));
        let error = dir.open(None).expect_err(template).to_string();
        assert!(error.contains("tokenizer_config.json: key `chat_template`: expected a text"), "{error}");
    }
}
