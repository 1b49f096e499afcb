//! `--schema`, `--json-object`, `--regex` and `--grammar`: constraints on answers.

use crate::args::LengthArgs;
use crate::cli::input;
use diffulex::text::grammar::{Form, Grammars};
use diffulex::text_model::Bound;
use diffulex::{Error, Model, Result};
use std::path::Path;
use std::sync::Arc;

/// The grammar that the options give, if they give one.
///
/// # Errors
/// A file that cannot be read, an invalid grammar, and a model without a tokenizer.
pub(crate) fn bound(args: &LengthArgs, model: &Model) -> Result<Option<Bound>> {
    let read = |path: &Path| Ok((input::read(path)?, Some(path.display().to_string())));
    let (form, file) = match args {
        LengthArgs { schema: Some(path), .. } => {
            let (text, file) = read(path)?;
            (Form::JsonSchema(text), file)
        }
        LengthArgs { grammar: Some(path), .. } => {
            let (text, file) = read(path)?;
            (Form::Lark(text), file)
        }
        LengthArgs { regex: Some(pattern), .. } => (Form::Regex(pattern.clone()), None),
        LengthArgs { json_object: true, .. } => (Form::JsonObject, None),
        _ => return Ok(None),
    };
    let grammar = Grammars::new(Arc::clone(model.tokenizer()?))?.compile(&form).map_err(|error| {
        match (error, file) {
            (Error::Option { name, reason }, Some(file)) => Error::option(name, format!("{file}: {reason}")),
            (error, _) => error,
        }
    })?;
    Ok(Some(Bound(Arc::new(grammar))))
}
