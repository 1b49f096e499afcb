//! Chat templates against what Jinja2 made of them: `tests/chat/cases.json`, recorded by `tools/record_chat_cases.py`.
#![cfg(feature = "chat")]

use diffulex::text::chat::{ChatTemplate, Message, refuse_without_default};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn messages(value: &Value) -> Vec<Message> {
    let list = value.as_array().expect("a list");
    list.iter().map(|m| Message::new(text(&m["role"]), text(&m["content"]))).collect()
}

fn record(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(Path::new("tests/chat").join(file)).unwrap()).unwrap()
}

/// The recorded special tokens, as a tokenizer_config.json has them.
fn specials(test: &str) -> TestDir {
    let dir = TestDir::new(test);
    dir.write("tokenizer_config.json", &record("cases.json")["specials"].to_string());
    dir
}

#[test]
fn templates_render_as_jinja2_renders_them() {
    let (record, dir) = (record("cases.json"), specials("chat-cases"));
    let mut failures = Vec::new();
    let cases = record["cases"].as_array().unwrap();
    for case in cases {
        let path = Path::new("tests/chat").join(text(&case["file"]));
        let messages = messages(&record["talks"][text(&case["talk"])]);
        let template = ChatTemplate::open(Some(&path), Some(&dir.0.join("tokenizer_config.json")));
        let got = template.and_then(|t| t.unwrap().render(&messages, case["add_generation_prompt"] == true));
        let fits = match (&got, case["rendered"].as_str()) {
            (Ok(got), Some(want)) => got == want,
            (Err(_), None) => true,
            _ => false,
        };
        if !fits {
            failures.push(format!("{case}:\n got {got:?}\n"));
        }
    }
    assert!(cases.len() >= 100, "only {} cases", cases.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Every construct by itself: the same bytes, or refused with the name of what is not supported. What Jinja2 refuses is refused.
#[test]
fn constructs_print_what_jinja2_prints() {
    let (record, dir) = (record("snippets.json"), specials("chat-snippets"));
    let cases = self::record("cases.json");
    let messages = messages(&cases["talks"]["three"]);
    let strings = cases["specials"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, token)| Some((name.clone(), token.as_str()?.to_owned())));
    let pairs: Vec<_> = strings.collect();
    let (mut failures, mut refused) = (Vec::new(), Vec::new());
    let cases = record.as_array().unwrap();
    for case in cases {
        let source = text(&case[0]);
        // Files are read where only they have something.
        let got = if source.contains("additional_special_tokens") {
            let path = dir.write("case.jinja", source);
            ChatTemplate::open(Some(&path), Some(&dir.0.join("tokenizer_config.json"))).map(Option::unwrap)
        } else {
            ChatTemplate::from_source("case.jinja", source, pairs.clone())
        };
        let got = got.and_then(|template| template.render(&messages, true));
        match (got, case[1].as_str()) {
            (Ok(got), Some(want)) if got == want => {}
            (Err(_), None) => {}
            (Err(error), Some(_))
                if error.to_string().contains("is not supported")
                    || error.to_string().contains("are not supported") =>
            {
                refused.push(format!("{source:?}: {error}"));
            }
            (got, want) => failures.push(format!("{source:?}:\n got {got:?}\nwant {want:?}")),
        }
    }
    assert!(cases.len() > 5000, "only {} cases", cases.len());
    let shown = failures.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {}:\n{shown}", failures.len(), cases.len());
    // No more than these, so that nothing that worked is refused one day.
    assert!(refused.len() <= 21, "{} refused:\n{}", refused.len(), refused.join("\n"));
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
    assert_eq!(error, "dir/x.jinja: chat template, line 1: it runs for more than 10000000 steps");
}

#[test]
fn a_template_that_prints_too_much_is_stopped() {
    let error = refusal("{% set a = 'x' * 1000000 %}{% for i in range(9999) %}{{ a }}{% endfor %}");
    assert_eq!(error, "dir/x.jinja: chat template, line 1: it prints more than 67108864 bytes");
    let error = refusal("{{ 'x' * 70000000 }}");
    assert!(error.contains("67108864"), "{error}");
}

/// 35 bytes of a template, or 30 000 operators, end neither the program nor the machine.
#[test]
fn what_takes_much_memory_or_stack_is_refused() {
    for template in [
        "{{ 'a'|indent(10000000000000000000) }}",
        "{{ 'a'|indent(100000000000000) }}",
        "{{ 'a'|center(100000000000000) }}",
        "{{ 'a'.ljust(100000000000000) }}",
        "{{ '1'.zfill(100000000000000) }}",
        "{{ 'a\tb'.expandtabs(100000000000000) }}",
        "{{ '%100000000000000d' % 1 }}",
        "{{ '%.100000000000000f' % 1 }}",
        "{{ '{:100000000000000}'.format(1) }}",
        "{{ [1]|batch(1000000000, 0)|list|length }}",
        "{{ [1]|slice(1000000000)|list|length }}",
        "{{ [0] * 1000000000 }}",
        "{{ 'a' * 1000000000 }}",
        "{{ range(1000000000)|list }}",
        "{{ [1, 2]|tojson(indent=100000000000000) }}",
        "{{ ('ab' * 1000000)|replace('a', 'x' * 1000000) }}",
        "{{ ('ab' * 100000)|list|join('x' * 1000000) }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(99999) %}{% set ns.a = [ns.a] %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(99) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(999) %}{% for x in ns.a %}{% set ns.a = [loop] %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for a in range(9999) %}{{ range(9999)|unique|list }}{% endfor %}",
    ] {
        let error = refusal(template);
        assert!(error.starts_with("dir/x.jinja: chat template, line 1: "), "{template}: {error}");
    }
    let on_a_small_stack = || {
        for word in [
            "-",
            "not ",
            "1+",
            "a.",
            "a|e|",
            "(",
            "[",
            "{1:",
            "a(",
            "a[",
            "1 if 1 else ",
            "a and ",
            "2**",
            "a is b is ",
        ] {
            refusal(&format!("{{{{ {}a }}}}", word.repeat(30_000)));
        }
        for word in [
            "{% if 1 %}",
            "{% for a in b %}",
            "{% macro a() %}",
            "{% set a %}",
            "{% with %}",
            "{% filter e %}",
            "{% call a() %}",
        ] {
            refusal(&word.repeat(30_000));
        }
        let many = format!("{{% if 1 %}}x{}{{% endif %}}", "{% elif 1 %}x".repeat(20_000));
        let template = ChatTemplate::from_source("x", &many, Vec::new()).unwrap();
        assert_eq!(template.render(&[], true).unwrap(), "x");
        for (word, want) in [("'a'~", "a".repeat(30_001)), ("'a'<", "False".to_owned())] {
            let many = format!("{{{{ {}'a' }}}}", word.repeat(30_000));
            let template = ChatTemplate::from_source("x", &many, Vec::new()).unwrap();
            assert_eq!(template.render(&[], true).unwrap(), want);
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(on_a_small_stack).unwrap().join().unwrap();
}

#[test]
fn what_is_no_template_is_refused() {
    for (text, why) in [
        ("", "the template is empty"),
        ("\n \n", "the template is empty"),
        ("Entry not found", "no tag of a template"),
        ("{\"error\": \"Repository not found\"}", "no tag of a template"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n", "Git LFS"),
        ("<!DOCTYPE html><html><body>{{ 404 }}</body></html>", "a page for a browser"),
        ("\u{feff}\n<HTML>{{ 1 }}", "a page for a browser"),
        ("<?xml version=\"1.0\"?><Error>{{</Error>", "a page for a browser"),
    ] {
        let error = ChatTemplate::from_source("dir/x.jinja", text, Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("dir/x.jinja: chat template: ") && error.contains(why), "{error}");
    }
}

#[test]
fn what_came_in_through_a_message_is_marked() {
    let marked = |template: &str| {
        let template = ChatTemplate::from_source("x", template, Vec::new()).unwrap();
        let messages = [Message::new("user", " Hi <x> you ")];
        let (text, ranges) = template.render_marked(&messages, true).unwrap();
        let words: Vec<String> = ranges.into_iter().map(|range| text[range].to_owned()).collect();
        (text, words)
    };
    for (template, text, words) in [
        ("<x>{{ messages[0].content }}<x>", "<x> Hi <x> you <x>", &[" Hi <x> you "][..]),
        ("{{ '<x>' + messages[0].content|trim + '<x>' }}", "<x>Hi <x> you<x>", &["Hi <x> you"]),
        ("{{ messages[0].content.split('<x>')|join('<x>') }}", " Hi <x> you ", &[" Hi ", " you "]),
        ("{{ messages[0].content[::-1]|upper }}!", " UOY >X< IH !", &[" UOY >X< IH "]),
        ("{{ '%s|%s' % (messages[0].role, messages[0].content[4:7]) }}", "user|<x>", &["<x>"]),
        (
            "{% set a %}a{{ messages[0].content|replace('Hi', 'Ho')|e }}{% endset %}{{ a }}",
            "a Ho &lt;x&gt; you ",
            &[" ", " &lt;x&gt; you "],
        ),
        ("{{ messages|tojson }}", "[{\"role\": \"user\", \"content\": \" Hi <x> you \"}]", &[" Hi <x> you "]),
    ] {
        assert_eq!(
            marked(template),
            (text.to_owned(), words.iter().map(|w| (*w).to_owned()).collect()),
            "{template}"
        );
    }
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

    /// The template as a program finds it: the requested file, else the one in the directory.
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
    let list = r#"[{"name": "tool_use", "template": "no {{ 1 }}"}, {"name": "default", "template": "listed {{ eos_token }}"}]"#;
    dir.write("tokenizer_config.json", &format!(r#"{{"chat_template": {list}, "eos_token": "</s>"}}"#));
    assert_eq!(dir.find(None).unwrap(), "listed </s>");
    let object = r#"{"tool_use": "no {{ 1 }}", "default": "object {{ eos_token }}"}"#;
    dir.write("tokenizer_config.json", &format!(r#"{{"chat_template": {object}, "eos_token": "</s>"}}"#));
    assert_eq!(dir.find(None).unwrap(), "object </s>");
    dir.write("chat_template.jinja", "beside {{ eos_token }}");
    assert_eq!(dir.find(None).unwrap(), "beside </s>");
    let explicit = dir.write("mine.jinja", "mine {{ eos_token }}");
    assert_eq!(dir.find(Some(&explicit)).unwrap(), "mine </s>");
    assert!(dir.open(Some(&dir.0.join("absent.jinja"))).is_err());
}

#[test]
fn line_ends_of_a_template_are_those_of_jinja2() {
    let dir = TestDir::new("chat-lines");
    dir.write("chat_template.jinja", "User:\r\n{{ 'a\\rb' }}\rAnswer:\r\n");
    assert_eq!(dir.find(None).unwrap(), "User:\na\rb\nAnswer:");
    fs::remove_file(dir.0.join("chat_template.jinja")).unwrap();
    dir.write("tokenizer_config.json", r#"{"chat_template": "User:\r\n{{ 1 }}\rAnswer:"}"#);
    assert_eq!(dir.find(None).unwrap(), "User:\n1\nAnswer:");
}

#[test]
fn special_tokens_are_those_of_transformers() {
    let dir = TestDir::new("chat-specials");
    let template = "{{ bos_token }}{{ mask_token }}{{ cls_token is defined }}{{ additional_special_tokens }}{{ image_token }}";
    let path = dir.write("mine.jinja", template);
    dir.write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<s>"}, "mask_token": "<m>", "cls_token": null,
            "additional_special_tokens": ["<a>", {"content": "<b>"}], "extra_special_tokens": {"image_token": "<i>"}}"#,
    );
    assert_eq!(dir.find(Some(&path)).unwrap(), "<s><m>False['<a>', '<b>']<i>");
    // Where the added tokens are not listed, the older file counts.
    dir.write("special_tokens_map.json", r#"{"bos_token": "<old>", "cls_token": "<c>"}"#);
    assert_eq!(dir.find(Some(&path)).unwrap(), "<old><m>True['<a>', '<b>']<i>");
}

#[test]
fn templates_that_all_have_names_are_refused() {
    let dir = TestDir::new("chat-named");
    refuse_without_default(&dir.0).unwrap();
    fs::create_dir(dir.0.join("additional_chat_templates")).unwrap();
    dir.write("additional_chat_templates/notes.txt", "");
    refuse_without_default(&dir.0).unwrap();
    dir.write("additional_chat_templates/tool_use.jinja", "{{ 1 }}");
    let error = refuse_without_default(&dir.0).unwrap_err().to_string();
    assert!(error.contains("tool_use.jinja: a chat template with a name"), "{error}");
}

#[test]
fn a_malformed_entry_is_an_error() {
    let dir = TestDir::new("chat-bad");
    for template in ["3", "[]", r#"[{"name": "default"}]"#, r#"[{"name": "rag", "template": "x"}]"#, "{}"] {
        dir.write("tokenizer_config.json", &format!(r#"{{"chat_template": {template}}}"#));
        let error = dir.open(None).expect_err(template).to_string();
        assert!(error.contains("tokenizer_config.json: key `chat_template`: expected a string"), "{error}");
    }
}
