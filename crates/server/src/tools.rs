//! Tools that a model may call: what a request tells the chat template about them, and what an answer calls.
//!
//! Answers are parsed where the template tells the model to write calls as Qwen's do: a JSON object with `name` and
//! `arguments` between `<tool_call>` and `</tool_call>`. Anything else stays text. Where a call is required, the answer is constrained to a
//! grammar of that form, with the schema of the parameters in it.

use crate::api::new_id;
use crate::bound::Wish;
use crate::error::ApiError;
use crate::state::Server;
use diffulex::json::Value as Json;
use diffulex::text::grammar::Form;
use diffulex::text_model::Prompt;
use serde_json::{Map, Value, json};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A value in the form that the library takes.
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

/// The calls of a message. Arguments that are written as a string become the object that the string contains, as in transformers.
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

/// What a request says about calling tools.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Choice {
    /// The template is given no tools.
    None,
    /// The model decides.
    #[default]
    Auto,
    /// The answer is a call of some tool.
    Required,
    /// The answer is a call of this tool.
    Named(String),
}

impl Choice {
    /// `tool_choice` of OpenAI's API.
    ///
    /// # Errors
    /// A value that is not one, and a tool that is not given.
    pub(crate) fn read(given: Option<&Value>, tools: &[Value]) -> Result<Self, ApiError> {
        let field = "tool_choice";
        let choice = match given {
            None | Some(Value::Null) => return Ok(Self::Auto),
            Some(Value::String(word)) => match word.as_str() {
                "none" => return Ok(Self::None),
                "auto" => return Ok(Self::Auto),
                "required" => Self::Required,
                _ => {
                    let message =
                        format!("\"{word}\" found, \"none\", \"auto\", \"required\" or a function expected");
                    return Err(ApiError::field(field, message));
                }
            },
            Some(object) if object["type"] == "function" => {
                let name = object["function"]["name"].as_str().ok_or_else(|| {
                    let message = format!("{} found, a name expected", object["function"]["name"]);
                    ApiError::field("tool_choice.function.name", message)
                })?;
                if !tools.iter().any(|tool| tool["function"]["name"] == name) {
                    let message = format!("\"{name}\" found, the name of one of `tools` expected");
                    return Err(ApiError::field("tool_choice.function.name", message));
                }
                Self::Named(name.to_owned())
            }
            Some(other) => {
                let message =
                    format!("{other} found, \"none\", \"auto\", \"required\" or a function expected");
                return Err(ApiError::unsupported(field, message));
            }
        };
        if tools.is_empty() {
            return Err(ApiError::field(field, "a call is required, but `tools` has none"));
        }
        Ok(choice)
    }

    /// Whether the answer has to be a call.
    pub(crate) fn is_required(&self) -> bool {
        matches!(self, Self::Required | Self::Named(_))
    }

    /// Requires that a call which has to be made can be parsed.
    ///
    /// # Errors
    /// The template does not say how calls are written.
    pub(crate) fn check(&self, calls: &Calls) -> Result<(), ApiError> {
        if self.is_required() && calls.names.is_empty() {
            let message = "a call is required, but the chat template does not say how calls are written: \"none\" or \"auto\" expected";
            return Err(ApiError::unsupported("tool_choice", message));
        }
        Ok(())
    }

    /// What the answer is constrained to: one call, in the form that [`Calls::split`] parses.
    ///
    /// # Errors
    /// Parameters that are not the schema of an object.
    pub(crate) fn form(&self, tools: &[Value]) -> Result<Option<Form>, ApiError> {
        if !self.is_required() {
            return Ok(None);
        }
        let (mut names, mut rules) = (Vec::new(), String::new());
        for (i, tool) in tools.iter().enumerate() {
            let name = &tool["function"]["name"];
            if matches!(self, Self::Named(only) if name != only.as_str()) {
                continue;
            }
            let begin = Value::from(format!("{OPEN}\n{{\"name\": {name}, \"arguments\": "));
            let end = Value::from(format!("}}\n{CLOSE}"));
            let schema = Form::written(parameters(tool, i)?);
            rules += &format!("call_{i}: {begin} arguments_{i} {end}\narguments_{i}: %json {schema}\n");
            names.push(format!("call_{i}"));
        }
        Ok(Some(Form::Lark(format!("start: {}\n{rules}", names.join(" | ")))))
    }
}

/// The schema of the arguments of a tool; one without parameters takes none, and others only those that they name.
///
/// # Errors
/// One that allows anything but objects.
fn parameters(tool: &Value, i: usize) -> Result<Value, ApiError> {
    let mut schema = match &tool["function"]["parameters"] {
        Value::Null => json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        given => given.clone(),
    };
    let is_object = schema.is_object() && schema.get("type").is_none_or(|kind| kind == "object");
    if !is_object {
        let message = format!("{schema} found, the JSON schema of an object expected");
        return Err(ApiError::field(format!("tools[{i}].function.parameters"), message));
    }
    schema["type"] = "object".into();
    // A function takes only what its schema names, unless the schema allows more; elsewhere in the schema that may be said in other ways.
    let elsewhere = ["patternProperties", "allOf", "anyOf", "oneOf", "$ref"];
    if schema.get("properties").is_some() && elsewhere.iter().all(|key| schema.get(key).is_none()) {
        let object = schema.as_object_mut().expect("it is an object");
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    Ok(schema)
}

/// The error of a grammar that was made from tools, with the tool whose parameters it is about.
pub(crate) fn blame(server: &Server, tools: &[Value], error: ApiError) -> ApiError {
    if error.param.as_deref() != Some("tool_choice") {
        return error;
    }
    let wrong = tools.iter().enumerate().find_map(|(i, tool)| {
        let form = Form::JsonSchema(parameters(tool, i).ok()?.to_string());
        let error = server.words.bind(&server.model, &Wish { field: "tool_choice", form }).err()?;
        Some(ApiError { param: Some(format!("tools[{i}].function.parameters")), ..error })
    });
    wrong.unwrap_or(error)
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    name: String,
    arguments: Map<String, Value>,
}

impl Call {
    /// As OpenAI writes it.
    pub(crate) fn with_id(&self) -> Value {
        let arguments = Value::Object(self.arguments.clone()).to_string();
        let function = json!({ "name": self.name, "arguments": arguments });
        json!({ "id": new_id("call"), "type": "function", "function": function })
    }

    /// As Ollama writes it.
    pub(crate) fn plain(&self) -> Value {
        json!({ "function": { "name": self.name, "arguments": self.arguments } })
    }
}

/// What the answers to a request may call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// Names of tools; none where calls are not parsed.
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
    pub(crate) fn split(&self, text: &str) -> Option<(String, Vec<Call>)> {
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

    fn call(&self, text: &str) -> Option<Call> {
        let mut call: Map<String, Value> = serde_json::from_str(text).ok()?;
        let name = call.get("name")?.as_str().filter(|name| self.names.iter().any(|known| known == name))?;
        let name = name.to_owned();
        let Value::Object(arguments) = call.remove("arguments")? else { return None };
        (call.len() == 1).then_some(Call { name, arguments })
    }

    /// Whether answers are parsed for calls.
    pub(crate) fn are_read(&self) -> bool {
        !self.names.is_empty()
    }
}

/// The text of a stream that may turn out to be a call, or a blank before one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    text: String,
    /// Bytes of the text that have been sent.
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
        let [first, second] = [0, 1].map(|i: usize| calls[i].with_id());
        assert_eq!(second["function"], json!({ "name": "look", "arguments": "{\"a\":1}" }));
        assert_ne!(first["id"], second["id"]);
        assert_eq!(calls[0].plain(), json!({ "function": { "name": "add", "arguments": { "a": 1 } } }));
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
