//! Questions whose answers can be checked, one JSON object a line:
//! `{"task", "messages": [{"role", "content"}] or "text" with a gap, "expect" or "must" and "must_not", "max_tokens"}`.

use diffulex::tensor::TokenId;
use diffulex::text::Message;
use diffulex::{Error, Model, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// A question.
pub(crate) struct Question {
    /// What it asks for, such as `sum`.
    pub(crate) task: String,
    ask: Ask,
    check: Check,
    /// New tokens at most; 0 where a gap is filled in.
    pub(crate) max_tokens: usize,
}

enum Ask {
    Chat(Vec<Message>),
    /// A text with gaps to fill in.
    Text(String),
}

enum Check {
    Exact(String),
    Parts { must: Vec<String>, must_not: Vec<String> },
}

/// Reads a file of questions.
///
/// # Errors
/// If the file cannot be read, or a line is not a question: the line is named.
pub(crate) fn read(path: &Path) -> Result<Vec<Question>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let questions: Vec<_> = lines
        .map(|(index, line)| {
            let wrong = |what: String| {
                Error::format(path.display().to_string(), format!("line {}: {what}", index + 1))
            };
            let value = serde_json::from_str::<Value>(line).map_err(|e| wrong(format!("not JSON ({e})")))?;
            Question::parse(value.as_object().ok_or_else(|| wrong("not a JSON object".into()))?)
                .map_err(wrong)
        })
        .collect::<Result<_>>()?;
    if questions.is_empty() {
        return Err(Error::format(
            path.display().to_string(),
            "no question in it, at least one line expected",
        ));
    }
    Ok(questions)
}

impl Question {
    fn parse(line: &Map<String, Value>) -> std::result::Result<Self, String> {
        const KEYS: [&str; 7] = ["task", "messages", "text", "expect", "must", "must_not", "max_tokens"];
        if let Some(key) = line.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key `{key}`, expected {}", KEYS.join(", ")));
        }
        let ask = match (line.get("messages"), line.get("text")) {
            (Some(messages), None) => Ask::Chat(messages_of(messages)?),
            (None, Some(text)) => Ask::Text(string(text, "text")?),
            _ => return Err("either `messages` or `text` expected".into()),
        };
        let check = match (line.get("expect"), line.get("must")) {
            (Some(answer), None) => Check::Exact(string(answer, "expect")?),
            (None, Some(must)) => Check::Parts {
                must: strings(must, "must")?,
                must_not: line.get("must_not").map_or(Ok(Vec::new()), |list| strings(list, "must_not"))?,
            },
            _ => return Err("either `expect` or `must` expected".into()),
        };
        let max_tokens = match line.get("max_tokens") {
            None => DEFAULT_MAX_TOKENS,
            Some(n) => n.as_u64().ok_or_else(|| format!("`max_tokens` is {n}, a number expected"))? as usize,
        };
        let task = string(line.get("task").unwrap_or(&Value::Null), "task")?;
        Ok(Self { task, ask, check, max_tokens })
    }

    /// The prompt for a model.
    ///
    /// # Errors
    /// If the model has no tokenizer or no chat template, or a gap is malformed.
    pub(crate) fn prompt(&self, model: &Model) -> Result<Vec<TokenId>> {
        match &self.ask {
            Ask::Text(text) => model.encode_with_gaps(text),
            Ask::Chat(messages) => Ok(model.conversation(messages)?.ids),
        }
    }

    /// Whether the answer is a text whose gaps were filled in, prompt included.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.ask, Ask::Text(_))
    }

    /// Whether an answer is right.
    pub(crate) fn accepts(&self, answer: &str) -> bool {
        let answer = answer.trim();
        match &self.check {
            Check::Exact(expected) => answer == expected,
            Check::Parts { must, must_not } => {
                // Whole words, or several in a row.
                let words =
                    |text: &str| text.split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>().join(" ");
                let text = format!(" {} ", words(answer));
                let has = |part: &String| text.contains(&format!(" {} ", words(part)));
                must.iter().all(has) && !must_not.iter().any(has)
            }
        }
    }
}

/// New tokens at most where a question does not say.
const DEFAULT_MAX_TOKENS: usize = 32;

fn messages_of(value: &Value) -> std::result::Result<Vec<Message>, String> {
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or("`messages` is no list of messages")?;
    let message =
        |m: &Value| Ok(Message::new(string(&m["role"], "role")?, string(&m["content"], "content")?));
    list.iter().map(message).collect()
}

fn string(value: &Value, key: &str) -> std::result::Result<String, String> {
    value.as_str().map(str::to_string).ok_or_else(|| format!("`{key}` is {value}, a string expected"))
}

fn strings(value: &Value, key: &str) -> std::result::Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| format!("`{key}` is {value}, a list of strings expected"))?;
    list.iter().map(|item| string(item, key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> std::result::Result<Question, String> {
        Question::parse(serde_json::from_str::<Value>(line).unwrap().as_object().unwrap())
    }

    #[test]
    fn answers_are_compared_as_a_whole_or_by_words() {
        let sum = parse(
            r#"{"task": "sum", "messages": [{"role": "user", "content": "1 + 1 = ?"}], "expect": "2"}"#,
        )
        .unwrap();
        assert!(sum.accepts(" 2\n") && !sum.accepts("22") && !sum.is_text(), "exact answers");
        let story = r#"{"task": "s", "text": "a <mask:2>", "must": ["fox", "red"], "must_not": ["bear"]}"#;
        let story = parse(story).unwrap();
        assert!(story.accepts("A red fox.") && story.is_text(), "all words");
        assert!(!story.accepts("A redder fox."), "whole words only");
        assert!(!story.accepts("A red fox, a bear."), "a forbidden word");
        let phrase = r#"{"task": "s", "text": "a <mask:2>", "must": ["a fox"], "must_not": ["the fox"]}"#;
        let phrase = parse(phrase).unwrap();
        assert!(phrase.accepts("there was a fox") && !phrase.accepts("a fox, the fox."), "words in a row");
    }

    #[test]
    fn malformed_questions_are_refused() {
        for (line, reason) in [
            (r#"{"task": "a", "expect": "b"}"#, "either `messages` or `text`"),
            (r#"{"task": "a", "text": "b"}"#, "either `expect` or `must`"),
            (r#"{"task": 1, "text": "b", "expect": "c"}"#, "`task` is 1"),
            (r#"{"task": "a", "text": "b", "expect": "c", "x": 1}"#, "unknown key `x`"),
            (r#"{"task": "a", "messages": [], "expect": "c"}"#, "no list of messages"),
            (r#"{"task": "a", "messages": [{"role": "user"}], "expect": "c"}"#, "`content` is null"),
            (r#"{"task": "a", "text": "b", "expect": "c", "max_tokens": -1}"#, "`max_tokens` is -1"),
            (r#"{"task": "a", "text": "b", "must": "c"}"#, "a list of strings expected"),
        ] {
            let error = parse(line).err().unwrap_or_default();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
