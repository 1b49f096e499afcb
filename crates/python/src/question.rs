//! What is asked and how it is answered, as Python gives it.

use crate::arguments::{ids, optional_text, policy, size, text, whole};
use crate::error::{argument, detached};
use crate::model::Opened;
use diffulex::text::Message;
use diffulex::text::grammar::Form;
use diffulex::text_model::{Prompt, Setup};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyString};
use std::sync::Arc;

/// The keywords of a question that say how it is answered.
#[derive(Default)]
pub(crate) struct Keywords {
    max_new: Option<usize>,
    stop: Vec<String>,
    seed: u64,
    raw: bool,
    suffix: Option<String>,
    form: Option<Form>,
}

/// Takes a keyword out of the rest, which are decode options.
pub(crate) fn take<'py>(options: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    let value = options.get_item(name)?;
    if value.is_some() {
        options.del_item(name)?;
    }
    Ok(value.filter(|value| !value.is_none()))
}

impl Keywords {
    fn read(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let max_new = take(options, "max_new")?;
        let max_new = max_new.map(|value| size("max_new", Some(&value), 0)).transpose()?;
        if max_new == Some(0) {
            return Err(PyValueError::new_err("max_new is 0, at least 1 expected"));
        }
        let stop = match take(options, "stop")? {
            Some(stop) if stop.is_instance_of::<PyString>() => {
                return Err(PyTypeError::new_err("stop is a string, a list of strings expected"));
            }
            Some(stop) => stop.try_iter()?.map(|string| text(&string?)).collect::<PyResult<Vec<_>>>()?,
            None => Vec::new(),
        };
        if stop.iter().any(String::is_empty) {
            return Err(argument(py, "stop: a string is empty"));
        }
        Ok(Self {
            max_new,
            stop,
            seed: whole("seed", take(options, "seed")?.as_ref(), 0, u64::MAX)?,
            raw: take(options, "raw")?.is_some_and(|raw| raw.is_truthy().unwrap_or(true)),
            suffix: optional_text(take(options, "suffix")?.as_ref())?,
            form: form(py, options)?,
        })
    }
}

/// What an answer has to be: at most one of a schema, a regular expression and a grammar.
fn form(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Option<Form>> {
    let schema = match take(options, "schema")? {
        Some(schema) if schema.is_instance_of::<PyString>() => Some(text(&schema)?),
        Some(schema) => Some(py.import("json")?.call_method1("dumps", (schema,))?.extract()?),
        None => None,
    };
    let regex = optional_text(take(options, "regex")?.as_ref())?;
    let grammar = optional_text(take(options, "grammar")?.as_ref())?;
    let forms = [schema.map(Form::JsonSchema), regex.map(Form::Regex), grammar.map(Form::Lark)];
    let mut forms = forms.into_iter().flatten();
    let form = forms.next();
    match forms.next() {
        Some(_) => Err(argument(py, "several of schema, regex and grammar are given, one of them expected")),
        None => Ok(form),
    }
}

/// A turn of a conversation.
fn turn(place: usize, turn: &Bound<'_, PyAny>) -> PyResult<Message> {
    let Ok(turn) = turn.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!(
            "messages[{place}] is {}, a mapping expected",
            turn.repr()?
        )));
    };
    let member = |key: &str| {
        if !turn.contains(key)? {
            return Err(PyKeyError::new_err(format!("messages[{place}] has no {key}")));
        }
        text(&turn.get_item(key)?)
    };
    for value in turn.values()?.try_iter()? {
        let value = value?;
        if !value.is_instance_of::<PyString>() {
            let what = format!("messages[{place}] holds {}, strings expected", value.repr()?);
            return Err(PyTypeError::new_err(what));
        }
    }
    let message = Message::new(member("role")?, member("content")?);
    if turn.len()? > 2 {
        // Nothing is left out of a prompt silently.
        let keys = turn.keys()?.repr()?;
        return Err(PyValueError::new_err(format!(
            "messages[{place}] has the keys {keys}, only role and content are known"
        )));
    }
    Ok(message)
}

/// The turns of a conversation.
pub(crate) fn turns(messages: &Bound<'_, PyAny>) -> PyResult<Vec<Message>> {
    messages.try_iter()?.enumerate().map(|(place, item)| turn(place, &item?)).collect()
}

/// What is asked: a string, a conversation, or ids.
pub(crate) enum Question {
    Text(String),
    Talk(Vec<Message>),
    Ids(Vec<u32>),
}

impl Question {
    /// A string or messages; also ids, if they are allowed.
    pub(crate) fn read(given: &Bound<'_, PyAny>, with_ids: bool) -> PyResult<Self> {
        let what = if with_ids { "a string, token ids" } else { "a string" };
        let refuse = || {
            Ok(PyTypeError::new_err(format!(
                "{} given, {what} or a list of messages expected",
                given.repr()?
            )))
        };
        if given.is_instance_of::<PyString>() {
            return Ok(Self::Text(text(given)?));
        }
        if given.is_instance_of::<PyBytes>() || given.cast::<PyMapping>().is_ok() || given.is_none() {
            return refuse().and_then(Err);
        }
        let items = given.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        if with_ids && items.first().is_none_or(|first| first.cast::<PyMapping>().is_err()) {
            return Ok(Self::Ids(ids(given
                .py()
                .import("builtins")?
                .call_method1("list", (items,))?
                .as_any())?));
        }
        items
            .iter()
            .enumerate()
            .map(|(place, item)| turn(place, item))
            .collect::<PyResult<_>>()
            .map(Self::Talk)
    }

    /// The ids of it.
    fn prompt(self, opened: &Opened, keywords: &Keywords) -> diffulex::Result<Prompt> {
        let model = &opened.model;
        let option = |what: &str| Err(diffulex::Error::option("prompt", what));
        match (self, &keywords.suffix) {
            (Self::Text(text), Some(suffix)) => {
                let masks = keywords.max_new.unwrap_or(diffulex::text_model::DEFAULT_MAX_TOKENS);
                model.prompt_around(&text, masks, suffix)
            }
            (_, Some(_)) => option("a suffix goes after a string, which is not given"),
            (Self::Text(text), None) => model.prompt_with(&text, None, keywords.raw),
            (Self::Talk(turns), None) if turns.is_empty() => {
                option("no messages given, at least one expected")
            }
            (Self::Talk(_), None) if keywords.raw => {
                option("raw is for text; messages go through the template")
            }
            (Self::Talk(turns), None) => model.conversation(&turns),
            (Self::Ids(ids), None) => Ok(Prompt { as_ids: false, ..Prompt::of_ids(ids)? }),
        }
    }
}

/// What goes into the decoding loop.
pub(crate) fn prepare(
    py: Python<'_>,
    opened: &Arc<Opened>,
    question: Question,
    options: &Bound<'_, PyDict>,
    raw: bool,
) -> PyResult<(Prompt, Setup)> {
    let given = take(options, "policy")?;
    let mut keywords = Keywords::read(py, options)?;
    keywords.raw |= raw && matches!(question, Question::Text(_));
    let model = &opened.model;
    let policy = policy(&model.engine, given.as_ref(), Some(options), py)?;
    detached(py, || {
        let grammar = keywords.form.as_ref().map(|form| opened.bound(form)).transpose()?;
        let prompt = question.prompt(opened, &keywords)?;
        let Keywords { max_new, stop, seed, .. } = keywords;
        Ok((prompt, Setup { policy, stop, seed, grammar, max_tokens: max_new, ..model.setup() }))
    })
}
