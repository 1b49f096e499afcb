//! The prompts of a batch: a JSON object per line, whose keys are those of [`Record`].

use crate::cli::input::{self, Object, some};
use diffulex::text::chat::Message;
use diffulex::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// A line of the file.
#[derive(Debug)]
pub(super) struct Line {
    /// Its own id, else its number; of a line that cannot be answered, one that nobody else has.
    pub(super) id: Value,
    /// Its place in the file, from 1, empty lines counted.
    number: usize,
    /// The task, or what is wrong with the line.
    pub(super) task: std::result::Result<Task, String>,
}

/// What a line requests. What it leaves open comes from the command line.
#[derive(Debug, PartialEq)]
pub(super) struct Task {
    pub(super) words: Words,
    pub(super) system: Option<String>,
    pub(super) max_tokens: Option<usize>,
    pub(super) seed: Option<u64>,
    pub(super) stop: Option<Vec<String>>,
}

/// A question, or a conversation to continue.
#[derive(Debug, PartialEq)]
pub(super) enum Words {
    Prompt(String),
    Messages(Vec<Message>),
}

/// The keys of a line. One of `prompt` and `messages` is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(default, deserialize_with = "id")]
    id: Option<Value>,
    #[serde(default, deserialize_with = "some")]
    prompt: Option<String>,
    #[serde(default, deserialize_with = "some")]
    messages: Option<Vec<Object<Turn>>>,
    #[serde(default, deserialize_with = "some")]
    system: Option<String>,
    #[serde(default, deserialize_with = "some")]
    max_tokens: Option<usize>,
    #[serde(default, deserialize_with = "some")]
    seed: Option<u64>,
    #[serde(default, deserialize_with = "some")]
    stop: Option<Stop>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings expected")]
enum Stop {
    One(String),
    Several(Vec<String>),
}

/// What can still be read from a malformed line.
#[derive(Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "id")]
    id: Option<Value>,
}

/// Reads an id, which may be absent.
///
/// # Errors
/// Anything but a string or an integer.
pub(crate) fn id<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<Value>, D::Error> {
    let value = Value::deserialize(value)?;
    if value.is_string() || value.is_i64() || value.is_u64() {
        return Ok(Some(value));
    }
    Err(serde::de::Error::custom(format!("{value} found, a string or an integer expected")))
}

impl Record {
    fn task(self) -> std::result::Result<Task, String> {
        let words = match (self.prompt, self.messages) {
            (Some(prompt), None) => Words::Prompt(prompt),
            (None, Some(messages)) if messages.is_empty() => {
                return Err("key `messages`: at least one message expected".to_owned());
            }
            (None, Some(messages)) => Words::Messages(
                messages.into_iter().map(|Object(turn)| Message::new(turn.role, turn.content)).collect(),
            ),
            (None, None) => return Err("no key `prompt` or `messages`".to_owned()),
            (Some(_), Some(_)) => {
                return Err("keys `prompt` and `messages` are both there, one expected".to_owned());
            }
        };
        let stop = self.stop.map(|stop| match stop {
            Stop::One(text) => vec![text],
            Stop::Several(texts) => texts,
        });
        Ok(Task { words, system: self.system, max_tokens: self.max_tokens, seed: self.seed, stop })
    }
}

/// Whether a path means stdin or stdout.
pub(super) fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads all lines; empty ones are skipped.
///
/// # Errors
/// [`Error::Io`], no line at all, or two lines with the same id.
pub(super) fn read(path: &Path) -> Result<Vec<Line>> {
    let mut lines = parse(&input::bytes(path)?);
    if lines.is_empty() {
        return Err(Error::format(path.display(), "no line with a prompt"));
    }
    let mut seen = HashMap::new();
    for line in lines.iter().filter(|line| line.task.is_ok()) {
        if let Some(first) = seen.insert(line.id.to_string(), line.number) {
            let (number, id) = (line.number, &line.id);
            let what = format!(
                "lines {first} and {number} have the same id {id}; a line without an id has its number"
            );
            return Err(Error::format(path.display(), what));
        }
    }
    // A line that cannot be answered does not keep others from an answer: it takes an unused id.
    for line in lines.iter_mut().filter(|line| line.task.is_err()) {
        let others = (0..).map(|n| Value::from(format!("line {}{}", line.number, "'".repeat(n))));
        let names = [line.id.clone(), line.number.into()].into_iter().chain(others);
        line.id = names.into_iter().find(|name| !seen.contains_key(&name.to_string())).unwrap_or_default();
        seen.insert(line.id.to_string(), line.number);
    }
    Ok(lines)
}

/// Whether an id may be one that [`read`] gave to a line without an id of its own.
pub(super) fn is_given(id: &Value) -> bool {
    id.is_u64() || id.as_str().is_some_and(|id| id.starts_with("line "))
}

fn parse(bytes: &[u8]) -> Vec<Line> {
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    lines.filter(|(_, line)| !line.is_empty()).map(|(n, line)| parse_line(n + 1, line)).collect()
}

fn parse_line(number: usize, line: &[u8]) -> Line {
    let (id, task) = match input::json_line::<Record>(line) {
        Ok(mut record) => (record.id.take(), record.task()),
        Err(reason) => (input::json_line::<Named>(line).ok().and_then(|named| named.id), Err(reason)),
    };
    let task = task.map_err(|reason| format!("line {number}: {reason}"));
    Line { id: id.unwrap_or_else(|| number.into()), number, task }
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
            ("{", "line 1: malformed JSON: EOF while parsing an object (column 1)"),
            (r#"{"prompt": "a"} b"#, "malformed JSON: trailing characters (column 17)"),
            ("[1]", "invalid type: sequence, expected an object"),
            (r#"{"id": 1.5, "prompt": "a"}"#, "key `id`: 1.5 found, a string or an integer expected"),
            (r#"{"id": null, "prompt": "a"}"#, "key `id`: null found"),
            (r#"{"promt": "a"}"#, "unknown field `promt`, expected one of `id`, `prompt`"),
            (r#"{"prompt": "a", "prompt": "b"}"#, "duplicate field `prompt`"),
            ("{}", "no key `prompt` or `messages`"),
            (r#"{"prompt": "a", "messages": []}"#, "both there, one expected"),
            (r#"{"prompt": 5}"#, "key `prompt`: invalid type: integer `5`, expected a string"),
            (r#"{"prompt": "a", "system": null}"#, "key `system`: invalid type: null, expected a string"),
            (r#"{"prompt": "a", "seed": -1}"#, "key `seed`: invalid value: integer `-1`"),
            (r#"{"prompt": "a", "max_tokens": 1.5}"#, "key `max_tokens`: invalid type: floating point `1.5`"),
            (r#"{"prompt": "a", "stop": 1}"#, "key `stop`: a string or a list of strings expected"),
            (r#"{"messages": []}"#, "at least one message"),
            (r#"["id", "a prompt"]"#, "invalid type: sequence, expected an object"),
            (
                r#"{"messages": [["user", "a"]]}"#,
                "key `messages[0]`: invalid type: sequence, expected an object",
            ),
            (r#"{"messages": [{"role": "user"}]}"#, "key `messages[0]`: missing field `content`"),
            (r#"{"messages": [{"role": "user", "content": "a", "name": "b"}]}"#, "unknown field `name`"),
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

    #[test]
    fn lines_that_cannot_be_answered_get_ids_that_nobody_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.jsonl");
        let ids = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).map(|lines| lines.into_iter().map(|line| line.id).collect::<Vec<_>>())
        };
        let good = |id: &str| format!("{{\"id\": {id}, \"prompt\": \"a\"}}\n");
        let text = good("2") + "{\n" + &good("\"line 2\"");
        assert_eq!(ids(&text).unwrap(), [json!(2), json!("line 2'"), json!("line 2")]);
        let text = "\u{feff}{\n".to_owned() + &good("2") + "{\"id\": 2, \"promt\": 1}\n";
        assert_eq!(ids(&text).unwrap(), [json!(1), json!(2), json!(3)]);
        let error = ids(&(good("2") + "{\"prompt\": \"b\"}\n")).unwrap_err().to_string();
        assert!(error.contains("lines 1 and 2 have the same id 2"), "{error}");
    }
}
