//! What requests say that an answer has to be: `response_format`, Ollama's `format`, and `regex` and `grammar` of our own.

use crate::error::ApiError;
use diffulex::Model;
use diffulex::text::grammar::{Form, Grammars};
use diffulex::text_model::Bound;
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use utoipa::ToSchema;

/// A grammar of a request, and the field that gives it.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) field: &'static str,
    pub(crate) form: Form,
}

/// `response_format` of OpenAI's API.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ResponseFormat {
    /// Anything.
    Text,
    /// A JSON object; other servers also take a schema here.
    JsonObject {
        #[serde(default)]
        schema: Option<Value>,
    },
    /// What a schema allows.
    JsonSchema { json_schema: Named },
}

/// A schema with what is said about it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    #[allow(dead_code, reason = "answers do not carry it")]
    name: String,
    #[serde(default)]
    #[allow(dead_code, reason = "the prompt says what is wanted")]
    description: Option<String>,
    schema: Value,
    /// Whether the schema is enforced, which it always is.
    #[serde(default)]
    #[allow(dead_code, reason = "it always is")]
    strict: Option<bool>,
}

/// The one form that a request names.
///
/// # Errors
/// Several of them.
pub(crate) fn one_of<const N: usize>(
    forms: [(&'static str, Option<Form>); N],
) -> Result<Option<Wish>, ApiError> {
    one(forms.map(|(field, form)| form.map(|form| Wish { field, form })))
}

/// The one of these that is given.
///
/// # Errors
/// Several of them.
pub(crate) fn one<const N: usize>(wishes: [Option<Wish>; N]) -> Result<Option<Wish>, ApiError> {
    let mut given = wishes.into_iter().flatten();
    let first = given.next();
    match given.next() {
        Some(second) => Err(ApiError::field(second.field, "another grammar is given as well, one expected")),
        None => Ok(first),
    }
}

impl ResponseFormat {
    pub(crate) fn form(self) -> Option<Form> {
        match self {
            Self::Text => None,
            Self::JsonObject { schema: None } => Some(Form::JsonObject),
            Self::JsonObject { schema: Some(schema) } => Some(Form::JsonSchema(schema.to_string())),
            Self::JsonSchema { json_schema } => Some(Form::JsonSchema(json_schema.schema.to_string())),
        }
    }
}

/// `format` of Ollama's API: `json`, or a schema.
///
/// # Errors
/// Anything else.
pub(crate) fn of_format(format: Option<Value>) -> Result<Option<Wish>, ApiError> {
    let form = match format {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(name)) if name.is_empty() => return Ok(None),
        Some(Value::String(name)) if name == "json" => Form::JsonObject,
        Some(schema @ Value::Object(_)) => Form::JsonSchema(schema.to_string()),
        Some(other) => {
            let message = format!("{other} given, \"json\" or a JSON schema expected");
            return Err(ApiError::unsupported("format", message));
        }
    };
    Ok(Some(Wish { field: "format", form }))
}

/// Grammars for the tokens of the model, which are read when the first request needs them.
#[derive(Default)]
pub(crate) struct Words(OnceLock<Result<Grammars, ApiError>>);

impl Words {
    /// # Errors
    /// A grammar that makes no sense, or a model whose tokens are unknown.
    pub(crate) fn bind(&self, model: &Model, wish: &Wish) -> Result<Bound, ApiError> {
        let grammars = self.0.get_or_init(|| Ok(Grammars::new(Arc::clone(model.tokenizer()?))?));
        let grammars = grammars.as_ref().map_err(Clone::clone)?;
        match grammars.compile(&wish.form) {
            Ok(grammar) => Ok(Bound(Arc::new(grammar))),
            Err(error) => Err(ApiError { param: Some(wish.field.into()), ..ApiError::from(error) }),
        }
    }
}
