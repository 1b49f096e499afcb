//! Jinja2 as the transformers library runs chat templates: a sandbox without mutation, without a loader, without escaping,
//! with `trim_blocks` and `lstrip_blocks`, the loop controls, `{% generation %}`, `tojson`, `raise_exception` and
//! `strftime_now`. A template prints here what it prints there, byte for byte, or is refused with the name of what is not supported.
//!
//! Engines for Jinja in other languages print other numbers, other lists, other escapes. Values here are Python's: `value.rs`
//! has truth, equality and order, `print.rs` how they are written, `ops.rs` the arithmetic.
//!
//! Templates are untrusted: steps, text and nesting are bounded (`machine.rs`, `value.rs`, `expressions.rs`), so it ends, in
//! bounded memory and on a small stack.
//!
//! Source: Jinja2 3.1.6 (`lexer.py`, `parser.py`, `compiler.py`, `runtime.py`, `filters.py`, `tests.py`, `sandbox.py`) and
//! transformers 4.53, `chat_template_utils.py`.

mod access;
mod arguments;
mod ast;
mod call;
mod checks;
mod compare;
mod eval;
mod expressions;
mod filters;
mod format;
mod functions;
mod json;
mod lexer;
mod literal;
mod machine;
mod methods;
mod numbers;
mod ops;
mod parser;
mod percent;
mod print;
mod sequences;
mod strings;
mod text;
mod unicode;
mod value;

use crate::json::Value as Json;
use crate::text::Message;
use std::ops::Range;

/// What is wrong with a template or a rendering.
#[derive(Debug)]
pub(super) struct Fault {
    /// Counted from 1.
    pub(super) line: u32,
    pub(super) what: String,
}

/// A variable of a rendering.
pub(super) enum Variable<'a> {
    None,
    Bool(bool),
    Text(&'a str),
    Texts(&'a [String]),
    /// The `content` of a message and its other keys count as coming in through a message.
    Messages(&'a [Message]),
    /// A list that came in as messages do.
    Json(&'a [Json]),
}

/// A parsed template.
pub(super) struct Program(ast::Body);

/// What a template printed.
pub(super) struct Printed {
    pub(super) text: String,
    /// Byte ranges of `text` that came in through messages.
    pub(super) foreign: Vec<Range<usize>>,
}

impl Program {
    pub(super) fn parse(source: &str) -> Result<Self, Fault> {
        parser::parse(source).map(Self)
    }

    /// Runs the template. `now` formats the current time.
    pub(super) fn render(
        &self,
        variables: &[(&str, Variable)],
        now: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Printed, Fault> {
        let mut machine = machine::Machine::new(now);
        let globals = variables.iter().map(|(name, variable)| Ok((*name, value_of(variable)?)));
        let globals: Result<Vec<_>, String> = globals.collect();
        let globals = globals.map_err(|what| Fault { line: 1, what })?;
        Ok(printed(&machine.run(&self.0, globals)?))
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program({} statements)", self.0.len())
    }
}

fn value_of(variable: &Variable) -> Result<value::Value, String> {
    use value::Value;
    Ok(match variable {
        Variable::None => Value::None,
        Variable::Bool(value) => Value::Bool(*value),
        Variable::Text(text) => Value::str(text),
        Variable::Texts(texts) => Value::list(texts.iter().map(|text| Value::str(text)).collect())?,
        Variable::Messages(messages) => {
            let message = |message: &Message| {
                let mut keys = vec![
                    (Value::str("role"), Value::str(&message.role)),
                    (Value::str("content"), foreign(&message.content)),
                ];
                for (key, value) in &message.more {
                    keys.push((Value::str(key), value_of_json(value)?));
                }
                Value::dict(keys)
            };
            Value::list(messages.iter().map(message).collect::<Result<_, _>>()?)?
        }
        Variable::Json(values) => Value::list(values.iter().map(value_of_json).collect::<Result<_, _>>()?)?,
    })
}

/// Text that came in through a message.
fn foreign(words: &str) -> value::Value {
    value::Value::Text(words.chars().map(text::Ch::foreign).collect())
}

/// What Python's `json.loads` makes of a value.
fn value_of_json(json: &Json) -> Result<value::Value, String> {
    use value::Value;
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(_) => {
            let written = json.to_string();
            let is_float = written.contains(['.', 'e', 'E']);
            let float = || json.as_f64().map(Value::Float);
            let number = if is_float { float() } else { written.parse().ok().map(Value::Int) };
            number.ok_or_else(|| format!("the number {written} is too large"))?
        }
        Json::String(words) => foreign(words),
        Json::Surrogates(words) => return Err(format!("half of a surrogate pair in `{words}`")),
        Json::Array(values) => Value::list(values.iter().map(value_of_json).collect::<Result<_, _>>()?)?,
        Json::Object(entries) => {
            let entry = |(key, value): &(String, Json)| Ok((foreign(key), value_of_json(value)?));
            Value::dict(entries.iter().map(entry).collect::<Result<_, String>>()?)?
        }
    })
}

fn printed(chars: &[text::Ch]) -> Printed {
    let (mut text, mut foreign) = (String::with_capacity(chars.len()), Vec::<Range<usize>>::new());
    for c in chars {
        let start = text.len();
        text.push(c.get());
        if !c.is_foreign() {
            continue;
        }
        match foreign.last_mut().filter(|range| range.end == start) {
            Some(range) => range.end = text.len(),
            None => foreign.push(start..text.len()),
        }
    }
    Printed { text, foreign }
}
