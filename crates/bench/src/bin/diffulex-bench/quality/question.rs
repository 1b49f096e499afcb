//! Questions whose answers can be checked, one JSON object a line:
//! `{"task", "messages": [{"role", "content"}] or "text" with a gap, "expect" or "must" and "must_not", "max_tokens"}`.

use diffulex::tensor::TokenId;
use diffulex::text::Message;
use diffulex::{Error, Model, Result};
use diffulex_cli::{
    self as cli,
    input::{Object, some},
};
use serde::Deserialize;
use std::path::Path;

/// A question.
pub(crate) struct Question {
    /// What it asks, such as `sum`.
    pub(crate) task: String,
    ask: Ask,
    check: Check,
    /// The most new tokens; 0 where a gap is filled in.
    pub(crate) max_tokens: usize,
}

enum Ask {
    Chat(Vec<Message>),
    /// Text with gaps to fill in.
    Text(String),
}

enum Check {
    Exact(String),
    Parts { must: Vec<String>, must_not: Vec<String> },
}

/// The keys of a line. It has `messages` or `text`, and `expect` or `must`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    task: String,
    #[serde(default, deserialize_with = "some")]
    messages: Option<Vec<Object<Turn>>>,
    #[serde(default, deserialize_with = "some")]
    text: Option<String>,
    #[serde(default, deserialize_with = "some")]
    expect: Option<String>,
    #[serde(default, deserialize_with = "some")]
    must: Option<Vec<String>>,
    #[serde(default, deserialize_with = "some")]
    must_not: Option<Vec<String>>,
    #[serde(default = "default_max_tokens")]
    max_tokens: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: String,
    content: String,
}

/// The most new tokens where a question does not say.
fn default_max_tokens() -> usize {
    32
}

/// Reads a file of questions.
///
/// # Errors
/// If the file cannot be read, or a line is not a question: the line is named.
pub(crate) fn read(path: &Path) -> Result<Vec<Question>> {
    let file = path.display();
    let text = cli::input::read(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let question = |(number, line): (usize, &str)| {
        Question::parse(line).map_err(|what| Error::format(&file, format!("line {number}: {what}")))
    };
    let questions: Vec<_> = lines.map(question).collect::<Result<_>>()?;
    if questions.is_empty() {
        return Err(Error::format(file, "no question in it, at least one line expected"));
    }
    Ok(questions)
}

impl Question {
    fn parse(line: &str) -> std::result::Result<Self, String> {
        let record: Record = cli::input::json_line(line.as_bytes())?;
        let ask = match (record.messages, record.text) {
            (Some(messages), None) if messages.is_empty() => {
                return Err("key `messages`: at least one message expected".into());
            }
            (Some(messages), None) => Ask::Chat(
                messages.into_iter().map(|Object(turn)| Message::new(turn.role, turn.content)).collect(),
            ),
            (None, Some(text)) => Ask::Text(text),
            _ => return Err("either `messages` or `text` expected".into()),
        };
        let check = match (record.expect, record.must) {
            (Some(_), None) if record.must_not.is_some() => {
                return Err("`must_not` is there without `must`, which it belongs to".into());
            }
            (Some(answer), None) => Check::Exact(answer),
            (None, Some(must)) => Check::Parts { must, must_not: record.must_not.unwrap_or_default() },
            _ => return Err("either `expect` or `must` expected".into()),
        };
        Ok(Self { task: record.task, ask, check, max_tokens: record.max_tokens })
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

    /// Whether the answer is text whose gaps were filled in, prompt included.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> std::result::Result<Question, String> {
        Question::parse(line)
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
            (r#"{"task": 1, "text": "b", "expect": "c"}"#, "key `task`: invalid type: integer `1`"),
            (r#"{"text": "b", "expect": "c"}"#, "missing field `task`"),
            (r#"{"task": "a", "text": "b", "expect": "c", "x": 1}"#, "unknown field `x`"),
            (r#"{"task": "a", "messages": [], "expect": "c"}"#, "at least one message"),
            (
                r#"{"task": "a", "messages": [{"role": "user"}], "expect": "c"}"#,
                "`messages[0]`: missing field `content`",
            ),
            (r#"{"task": "a", "text": "b", "expect": "c", "max_tokens": -1}"#, "`max_tokens`: invalid value"),
            (r#"{"task": "a", "text": "b", "must": "c"}"#, "key `must`: invalid type"),
            (r#"{"task": "a", "text": "b", "expect": "c", "must_not": ["d"]}"#, "`must_not`"),
            (r#"["a", [], "b"]"#, "invalid type: sequence, expected an object"),
            ("{", "malformed JSON"),
        ] {
            let error = parse(line).err().unwrap_or_default();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
