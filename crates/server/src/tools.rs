//! Tools that a model may call: what a request says of them for the chat template, and what an answer calls.
//!
//! Answers are taken apart where the template tells the model to write calls as Qwen's do: a JSON object with `name` and
//! `arguments` between `<tool_call>` and `</tool_call>`. What is not written so stays text.

use crate::api::new_id;
use crate::error::ApiError;
use crate::state::Server;
use diffulex::json::Value as Json;
use diffulex::text_model::Prompt;
use serde_json::{Map, Value, json};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A value as the library reads it.
fn json(field: &str, value: &Value) -> Result<Json, ApiError> {
    Ok(Json::parse(field, value.to_string().as_bytes())?)
}

/// The tools of a request, as the template sees them.
///
/// # Errors
/// If a tool is not a function with a name.
pub(crate) fn tools(given: &[Value]) -> Result<Vec<Json>, ApiError> {
    let each = given.iter().enumerate().map(|(i, tool)| {
        let field = |name: &str| format!("tools[{i}].{name}");
        if tool["type"] != "function" {
            let message = format!("{} found, \"function\" expected", tool["type"]);
            return Err(ApiError::unsupported(&field("type"), message));
        }
        if tool["function"]["name"].as_str().is_none_or(str::is_empty) {
            let message = format!("{} found, a name expected", tool["function"]["name"]);
            return Err(ApiError::field(field("function.name"), message));
        }
        json("tools", tool)
    });
    each.collect()
}

/// The calls of a message. Arguments that are written as a string become the object that the string is, as transformers takes them.
///
/// # Errors
/// If something is not a call, or its arguments are not an object.
pub(crate) fn calls(given: &[Value], field: &str) -> Result<Json, ApiError> {
    let mut calls = Vec::new();
    for (i, call) in given.iter().enumerate() {
        let field = |name: &str| format!("{field}[{i}].{name}");
        if !call["function"]["name"].is_string() {
            let message = format!("{} found, a name expected", call["function"]["name"]);
            return Err(ApiError::field(field("function.name"), message));
        }
        let arguments = match &call["function"]["arguments"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            other => other.clone(),
        };
        if !arguments.is_object() {
            let message = "a JSON object expected, or a string that holds one";
            return Err(ApiError::field(field("function.arguments"), message));
        }
        let mut call = call.clone();
        call["function"]["arguments"] = arguments;
        calls.push(call);
    }
    json("tool_calls", &Value::from(calls))
}

/// What the answers to a request may call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// Names of tools; none where calls are not taken apart.
    names: Vec<String>,
}

impl Calls {
    /// # Errors
    /// What the tokenizer cannot decode.
    pub(crate) fn of(server: &Server, prompt: &Prompt, tools: &[Json]) -> Result<Self, ApiError> {
        if tools.is_empty() || !server.model.tokenizer()?.decode(&prompt.ids, false)?.contains(OPEN) {
            return Ok(Self::default());
        }
        let name = |tool: &Json| Some(tool.get("function")?.get("name")?.as_str()?.to_owned());
        Ok(Self { names: tools.iter().filter_map(name).collect() })
    }

    /// What an answer says before it calls, and its calls. `None` if it does not call, or not as it should.
    pub(crate) fn split(&self, text: &str) -> Option<(String, Vec<Value>)> {
        if self.names.is_empty() {
            return None;
        }
        let (said, mut rest) = text.split_once(OPEN)?;
        let mut calls = Vec::new();
        loop {
            let (call, after) = rest.split_once(CLOSE)?;
            calls.push(self.call(call)?);
            let after = after.trim_start();
            if after.is_empty() {
                return Some((said.trim_end().to_owned(), calls));
            }
            rest = after.strip_prefix(OPEN)?;
        }
    }

    fn call(&self, text: &str) -> Option<Value> {
        let call: Map<String, Value> = serde_json::from_str(text).ok()?;
        let name = call.get("name")?.as_str().filter(|name| self.names.iter().any(|known| known == name))?;
        let arguments = call.get("arguments").filter(|arguments| arguments.is_object() && call.len() == 2)?;
        let function = json!({ "name": name, "arguments": arguments.to_string() });
        Some(json!({ "id": new_id("call"), "type": "function", "function": function }))
    }
}

/// The text of a stream that may turn out to be a call, or a blank before one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    text: String,
    /// Bytes of the text that were sent.
    sent: usize,
}

impl Held {
    /// Takes a piece, and returns what can be sent.
    pub(crate) fn push(&mut self, calls: &Calls, piece: &str) -> String {
        self.text += piece;
        let rest = &self.text[self.sent..];
        let open = match rest.find(OPEN) {
            _ if calls.names.is_empty() => rest.len(),
            Some(at) => rest[..at].trim_end().len(),
            None => {
                let begun = (1..OPEN.len()).rev().find(|&len| rest.ends_with(&OPEN[..len])).unwrap_or(0);
                rest[..rest.len() - begun].trim_end().len()
            }
        };
        self.take(open)
    }

    fn take(&mut self, len: usize) -> String {
        let piece = self.text[self.sent..self.sent + len].to_owned();
        self.sent += len;
        piece
    }

    /// What was not sent of the text before the calls.
    pub(crate) fn up_to(&mut self, said: &str) -> String {
        self.take(said.len().saturating_sub(self.sent))
    }

    /// What was not sent.
    pub(crate) fn rest(&mut self) -> String {
        self.take(self.text.len() - self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> Calls {
        Calls { names: vec!["add".into(), "look".into()] }
    }

    #[test]
    fn calls_are_taken_apart_if_all_of_them_are_calls() {
        let call = |name: &str| {
            format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {{\"a\": 1}}}}\n</tool_call>")
        };
        let (said, calls) =
            both().split(&format!("Let me see.\n{}\n{}\n", call("add"), call("look"))).unwrap();
        assert_eq!((said.as_str(), calls.len()), ("Let me see.", 2));
        assert_eq!(calls[1]["function"], json!({ "name": "look", "arguments": "{\"a\":1}" }));
        assert_ne!(calls[0]["id"], calls[1]["id"]);
        for text in [
            "no call".to_owned(),
            call("unknown"),
            call("add") + " and so on",
            call("add").replace("</tool_call>", ""),
            call("add").replace("{\"a\": 1}", "[1]"),
            call("add").replace("\"arguments\"", "\"parameters\""),
            "<tool_call>add(1)</tool_call>".to_owned(),
        ] {
            assert!(both().split(&text).is_none(), "{text}");
        }
        assert!(Calls::default().split(&call("add")).is_none(), "nothing can be called");
    }

    #[test]
    fn a_stream_holds_back_what_may_be_a_call() {
        for text in ["a <tool_call>x", "a < b <tool", "a\n\n b <tool_call>", "", "<tool_call>"] {
            let (mut held, mut sent) = (Held::default(), String::new());
            for piece in text.split_inclusive(|_| true) {
                sent += &held.push(&both(), piece);
                assert!(!sent.contains(OPEN), "{text}");
            }
            let said = text.split(OPEN).next().unwrap().trim_end();
            let mut called = held.clone();
            if text.contains(OPEN) {
                assert_eq!(sent.clone() + &called.up_to(said), said);
            }
            assert_eq!(sent + &held.rest(), text);
        }
    }

    #[test]
    fn arguments_are_objects() {
        let with = |arguments: Value| {
            let call = json!({ "id": "x", "type": "function", "function": { "name": "add", "arguments": arguments } });
            calls(&[call], "messages[1].tool_calls").map_err(|error| error.param.unwrap())
        };
        let text = with(json!("{\"a\": [1, 2.5]}")).unwrap();
        assert_eq!(text, with(json!({ "a": [1, 2.5] })).unwrap());
        for wrong in [json!("x"), json!("[1]"), json!(null), json!(1)] {
            assert_eq!(with(wrong).unwrap_err(), "messages[1].tool_calls[0].function.arguments");
        }
    }
}
