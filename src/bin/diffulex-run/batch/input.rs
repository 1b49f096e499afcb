//! The prompts of a batch: a JSON object a line.
//!
//! ```text
//! { "id"?: text or integer, "prompt": text | "messages": [{ "role": text, "content": text }, ..], "system"?: text,
//!   "max_tokens"?: integer, "seed"?: integer, "stop"?: text or [text, ..] }
//! ```

use diffulex::text::chat::Message;
use diffulex::{Error, Result};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// A line of the file.
#[derive(Debug)]
pub(super) struct Line {
    /// Its own id, else its number, from 1.
    pub(super) id: Value,
    /// What to answer, or what is wrong with the line.
    pub(super) task: std::result::Result<Task, String>,
}

/// What a line asks for. What it leaves open, the command line says.
#[derive(Debug, PartialEq)]
pub(super) struct Task {
    pub(super) words: Words,
    pub(super) system: Option<String>,
    pub(super) max_tokens: Option<usize>,
    pub(super) seed: Option<u64>,
    pub(super) stop: Option<Vec<String>>,
}

/// A question, or a conversation to go on with.
#[derive(Debug, PartialEq)]
pub(super) enum Words {
    Prompt(String),
    Messages(Vec<Message>),
}

/// Whether a path stands for stdin or stdout.
pub(super) fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads all lines; empty ones are no prompts.
pub(super) fn read(path: &Path) -> Result<Vec<Line>> {
    let bytes = if is_stream(path) {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|e| Error::io("standard input", e))?;
        bytes
    } else {
        std::fs::read(path).map_err(|e| Error::io(path, e))?
    };
    let lines = parse(&bytes);
    if lines.is_empty() {
        return Err(Error::format(path.display(), "no line with a prompt"));
    }
    let mut seen = HashMap::new();
    for (n, line) in lines.iter().enumerate() {
        if let Some(first) = seen.insert(line.id.to_string(), n) {
            let what = format!(
                "prompts {} and {} have the same id {}; a line without an id has its number",
                first + 1,
                n + 1,
                line.id
            );
            return Err(Error::format(path.display(), what));
        }
    }
    Ok(lines)
}

fn parse(bytes: &[u8]) -> Vec<Line> {
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    lines.filter(|(_, line)| !line.is_empty()).map(|(n, line)| parse_line(n + 1, line)).collect()
}

fn parse_line(number: usize, line: &[u8]) -> Line {
    let object = serde_json::from_slice::<Value>(line).map_err(|error| format!("malformed JSON: {error}"));
    let object = object.and_then(|value| match value {
        Value::Object(object) => Ok(object),
        other => Err(format!("{} found, an object expected", kind(&other))),
    });
    let mut id = Value::from(number);
    let task = object.and_then(|object| {
        if let Some(own) = object.get("id") {
            if !own.is_string() && !own.is_i64() && !own.is_u64() {
                return Err(wrong("id", own, "a text or an integer"));
            }
            id = own.clone();
        }
        task(&object)
    });
    Line { id, task }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn wrong(key: &str, found: &Value, expected: &str) -> String {
    let found = match found {
        Value::Number(number) => number.to_string(),
        other => kind(other).to_owned(),
    };
    format!("key `{key}`: {found} found, {expected} expected")
}

fn task(object: &Map<String, Value>) -> std::result::Result<Task, String> {
    const KEYS: [&str; 7] = ["id", "prompt", "messages", "system", "max_tokens", "seed", "stop"];
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key `{key}`, known are {}", KEYS.join(", ")));
    }
    let words = match (object.get("prompt"), object.get("messages")) {
        (Some(prompt), None) => Words::Prompt(text("prompt", prompt)?),
        (None, Some(messages)) => Words::Messages(self::messages(messages)?),
        (None, None) => return Err("no key `prompt` or `messages`".to_owned()),
        (Some(_), Some(_)) => {
            return Err("keys `prompt` and `messages` are both there, one expected".to_owned());
        }
    };
    let number = |key: &'static str| {
        let value = |value: &Value| value.as_u64().ok_or_else(|| wrong(key, value, "an integer from 0 on"));
        object.get(key).map(value).transpose()
    };
    Ok(Task {
        words,
        system: object.get("system").map(|value| text("system", value)).transpose()?,
        max_tokens: number("max_tokens")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        seed: number("seed")?,
        stop: object.get("stop").map(stop).transpose()?,
    })
}

fn text(key: &str, value: &Value) -> std::result::Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(key, value, "a text"))
}

fn stop(value: &Value) -> std::result::Result<Vec<String>, String> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(list) => list.iter().map(|item| text("stop", item)).collect(),
        other => Err(wrong("stop", other, "a text or a list of texts")),
    }
}

fn messages(value: &Value) -> std::result::Result<Vec<Message>, String> {
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| wrong("messages", value, "a list of at least one message"))?;
    let message = |item: &Value| {
        let object = item.as_object().ok_or_else(|| wrong("messages", item, "objects with role and content"));
        let object = object?;
        if let Some(key) = object.keys().find(|key| !["role", "content"].contains(&key.as_str())) {
            return Err(format!("unknown key `{key}` of a message, known are role, content"));
        }
        let field = |key: &str| {
            let value = object.get(key).ok_or_else(|| format!("a message has no key `{key}`"))?;
            text(key, value)
        };
        Ok(Message::new(field("role")?, field("content")?))
    };
    list.iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn only(text: &str) -> Line {
        let mut lines = parse(text.as_bytes());
        assert_eq!(lines.len(), 1, "{text}");
        lines.remove(0)
    }

    #[test]
    fn every_key_is_read() {
        let line = only(
            r#"{"id": "a", "prompt": "hi", "system": "s", "max_tokens": 5, "seed": 18446744073709551615, "stop": ["x"]}"#,
        );
        assert_eq!(line.id, json!("a"));
        let expected = Task {
            words: Words::Prompt("hi".into()),
            system: Some("s".into()),
            max_tokens: Some(5),
            seed: Some(u64::MAX),
            stop: Some(vec!["x".into()]),
        };
        assert_eq!(line.task.unwrap(), expected);
        let chat = only(r#"{"messages": [{"role": "user", "content": "hi"}], "stop": "x"}"#).task.unwrap();
        assert_eq!(chat.words, Words::Messages(vec![Message::new("user", "hi")]));
        assert_eq!(chat.stop, Some(vec!["x".into()]));
    }

    #[test]
    fn lines_without_an_id_have_their_number_and_empty_lines_count() {
        let lines = parse(b"{\"prompt\": \"a\"}\r\n\n  \n{\"prompt\": \"b\"}");
        let ids: Vec<_> = lines.iter().map(|line| line.id.clone()).collect();
        assert_eq!(ids, [json!(1), json!(4)]);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_and_its_id_kept() {
        for (text, message) in [
            ("{", "malformed JSON"),
            ("[1]", "a list found, an object expected"),
            (r#"{"id": 1.5, "prompt": "a"}"#, "key `id`: 1.5 found, a text or an integer expected"),
            (r#"{"id": null, "prompt": "a"}"#, "key `id`: null found"),
            (r#"{"promt": "a"}"#, "unknown key `promt`, known are id, prompt, messages"),
            ("{}", "no key `prompt` or `messages`"),
            (r#"{"prompt": "a", "messages": []}"#, "both there, one expected"),
            (r#"{"prompt": 5}"#, "key `prompt`: 5 found, a text expected"),
            (r#"{"prompt": "a", "seed": -1}"#, "key `seed`: -1 found, an integer from 0 on expected"),
            (r#"{"prompt": "a", "max_tokens": 1.5}"#, "key `max_tokens`: 1.5 found"),
            (r#"{"prompt": "a", "stop": 1}"#, "a text or a list of texts expected"),
            (r#"{"messages": []}"#, "at least one message"),
            (r#"{"messages": [{"role": "user"}]}"#, "a message has no key `content`"),
            (r#"{"messages": [{"role": "user", "content": "a", "name": "b"}]}"#, "unknown key `name`"),
        ] {
            let line = only(text);
            let error = line.task.unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
            assert_eq!(line.id, json!(1), "{text}");
        }
        let line = only(r#"{"id": "mine", "prompt": 5}"#);
        assert!(line.task.is_err() && line.id == "mine");
        let line = only("{\"prompt\": \"\u{1}\"}");
        assert!(line.task.unwrap_err().contains("malformed JSON"));
    }
}
