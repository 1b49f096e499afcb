//! Reads keys of a configuration file, with the file and the key in every error.
//!
//! `null` means the same as an absent key, as in the Python classes that write these files.

use crate::json::Value;
use crate::tensor::TokenId;
use crate::{Error, Result};
use std::ops::RangeInclusive;

/// Token ids are below this number, whatever the vocabulary.
pub(super) const MAX_VOCAB: usize = 1 << 24;

/// A JSON object and the file that it came from.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    pub(super) file: &'a str,
    json: &'a Value,
}

impl<'a> Config<'a> {
    pub(super) fn new(file: &'a str, json: &'a Value) -> Result<Self> {
        match json {
            Value::Object(_) => Ok(Self { file, json }),
            other => Err(Error::format(file, format!("found {}, expected a JSON object", shown(other)))),
        }
    }

    /// The value of `key`, unless it is absent or `null`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// An error about the value of `key`.
    pub(super) fn bad(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or("nothing".to_string(), shown);
        Error::config(self.file, key, format!("found {found}, expected {expected}"))
    }

    /// The value of `key` requires something that this engine does not do.
    pub(super) fn unsupported(&self, key: &str, known: &str) -> Error {
        let found = self.get(key).map_or("absent".to_string(), shown);
        Error::unsupported(format!("{}: key `{key}` is {found}, only {known} is known", self.file))
    }

    /// A size from 1 to `limit`, if there is one.
    pub(super) fn optional_size(&self, key: &str, limit: usize) -> Result<Option<usize>> {
        self.whole(key, 1..=limit)
    }

    /// A size from 1 to `limit`.
    pub(super) fn size(&self, key: &str, limit: usize) -> Result<usize> {
        self.optional_size(key, limit)?
            .ok_or_else(|| self.bad(key, &format!("a whole number from 1 to {limit}")))
    }

    /// A whole number in `range`, if there is one.
    pub(super) fn whole(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad(key, &format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A number in `range`, if there is one.
    pub(super) fn optional_real(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|x| range.contains(x)) {
            Some(x) => Ok(Some(x)),
            None => Err(self.bad(key, &span(&range))),
        }
    }

    /// A number in `range`.
    pub(super) fn real(&self, key: &str, range: RangeInclusive<f64>) -> Result<f64> {
        self.optional_real(key, range.clone())?.ok_or_else(|| self.bad(key, &span(&range)))
    }

    /// `true` or `false`, if given.
    pub(super) fn optional_flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.bad(key, "true or false"))
    }

    /// `true` or `false`; `default` if not given.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.optional_flag(key)?.unwrap_or(default))
    }

    /// A string, if there is one.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.bad(key, "a string"))
    }

    /// A list of numbers below `limit`; empty if there is none.
    pub(super) fn indices(&self, key: &str, limit: usize) -> Result<Vec<usize>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let index =
            |value: &Value| value.as_u64().and_then(|i| usize::try_from(i).ok()).filter(|&i| i < limit);
        let all = value.as_array().and_then(|values| values.iter().map(index).collect());
        all.ok_or_else(|| self.bad(key, &format!("a list of whole numbers below {limit}")))
    }

    /// Token ids below `vocab`: none, one, or a list.
    pub(super) fn tokens(&self, key: &str, vocab: usize) -> Result<Vec<TokenId>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let ids = value.as_array().unwrap_or(std::slice::from_ref(value));
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| TokenId::try_from(id).ok())?;
            (usize::try_from(id).ok()? < vocab).then_some(id)
        };
        ids.iter().map(id).collect::<Option<_>>().ok_or_else(|| {
            self.bad(key, &format!("a token id from 0 to {}, or a list of them", vocab.saturating_sub(1)))
        })
    }

    /// Ids below `vocab` that end the text, if the key is there: one, or a list. -1, which no token has, is a way to say "none".
    pub(super) fn stop_ids(&self, key: &str, vocab: usize) -> Result<Option<Vec<TokenId>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let ids = value.as_array().unwrap_or(std::slice::from_ref(value));
        if !ids.iter().any(|id| id.as_i64() == Some(-1)) {
            return self.tokens(key, vocab).map(Some);
        }
        let real: Vec<Value> = ids.iter().filter(|id| id.as_i64() != Some(-1)).cloned().collect();
        let rest = Value::Object(vec![(key.to_string(), Value::Array(real))]);
        Config { file: self.file, json: &rest }.tokens(key, vocab).map(Some)
    }

    /// A token id below `vocab`, if there is one.
    pub(super) fn token(&self, key: &str, vocab: usize) -> Result<Option<TokenId>> {
        match self.tokens(key, vocab)?.as_slice() {
            [] if self.get(key).is_none() => Ok(None),
            &[id] => Ok(Some(id)),
            _ => Err(self.bad(key, "one token id")),
        }
    }
}

fn span(range: &RangeInclusive<f64>) -> String {
    format!("a number from {:e} to {:e}", range.start(), range.end())
}

/// The value as messages show it: not longer than a line, whatever the file holds.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}...`", &text[..end]),
    }
}
