//! Reads JSON: `config.json`, `model.safetensors.index.json` and the header of a safetensors file.
//!
//! Strict RFC 8259: UTF-8, nothing after the value, no control characters in strings, no lone surrogates. Beyond the
//! RFC, and because these files may be hostile: a key may occur only once in an object (two readers would disagree on
//! which one counts), nesting is limited to [`MAX_DEPTH`] levels, a document has at most [`MAX_VALUES`] values, and numbers must
//! fit an `f64`. Numbers keep their text, so that a 64-bit integer is never rounded on its way through a float.
//!
//! Configuration files are written and read by Python, whose `json` module goes beyond the RFC: [`Value::parse_python`] takes
//! that, too, as values that no key accepts.
#![forbid(unsafe_code)]

use crate::files::read_text;
use crate::{Error, Result};
use std::fmt;
use std::path::Path;

mod parser;
#[cfg(test)]
mod tests;

/// Arrays and objects may be nested this deep. Real files stay below 10; serde_json's limit is the same.
pub const MAX_DEPTH: usize = 127;

/// A document may hold this many values and keys. A tokenizer with 256 000 tokens and 512 000 merges has half as many. Each takes up
/// to 100 bytes, so a document of [`MAX_FILE`] that is nothing but small values would take gigabytes.
pub const MAX_VALUES: usize = 1 << 22;

pub use crate::files::MAX_FILE;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(Number),
    /// A string, unescaped.
    String(String),
    /// A string with half of a surrogate pair, which is not a character: as written between the quotes. Only from
    /// [`Self::parse_python`].
    Surrogates(String),
    /// An array.
    Array(Vec<Self>),
    /// An object, in the order of the text. No key occurs twice.
    Object(Vec<(String, Self)>),
}

/// What is accepted beyond RFC 8259.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Nothing.
    Rfc,
    /// What [`Value::parse_python`] names.
    Python,
}

/// A number as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

impl Value {
    /// Parses `text`; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Json`] with the offset of the first offending byte.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self> {
        Self::parse_as(file, text, Dialect::Rfc)
    }

    /// Parses what Python's `json` module takes: also `NaN`, `Infinity`, `-Infinity`, numbers beyond an `f64` such as `1e400`, and
    /// half of a surrogate pair in a string. None of these is a number or a string to [`Self::as_f64`] or [`Self::as_str`], so
    /// that they are refused by the key that is read, and do no harm in one that is not.
    ///
    /// # Errors
    /// As [`Self::parse`].
    ///
    /// # Source
    /// `json.decoder` of Python's standard library.
    pub fn parse_python(file: &str, text: &[u8]) -> Result<Self> {
        Self::parse_as(file, text, Dialect::Python)
    }

    fn parse_as(file: &str, text: &[u8], dialect: Dialect) -> Result<Self> {
        let error =
            |offset, what: &str| Error::Json { file: file.to_string(), offset, what: what.to_string() };
        let text = std::str::from_utf8(text).map_err(|e| error(e.valid_up_to(), "not UTF-8"))?;
        parser::parse(text, dialect).map_err(|(offset, what)| error(offset, &what))
    }

    /// Reads a file and parses it as Python does ([`Self::parse_python`]).
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is not a regular file, larger than [`MAX_FILE`], or a Git LFS
    /// pointer, [`Error::Json`] if it is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse_python(&path.display().to_string(), &read_text(path)?)
    }

    /// The value of `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// Keys and values, if this is an object.
    pub fn entries(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements, if this is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if this is one.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The exact value, if this is a whole number from 0 to 2^64 - 1. `1000000.0` and `1e6` are whole numbers.
    pub fn as_u64(&self) -> Option<u64> {
        let (negative, magnitude) = self.as_number()?.whole()?;
        (!negative || magnitude == 0).then_some(magnitude)
    }

    /// The exact value, if this is a whole number from -2^63 to 2^63 - 1.
    pub fn as_i64(&self) -> Option<i64> {
        let (negative, magnitude) = self.as_number()?.whole()?;
        if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
    }

    /// The nearest `f64`, if this is a number and that is finite.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number()?.0.parse().ok().filter(|x: &f64| x.is_finite())
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Number(Number(value.to_string()))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_string())
    }
}

impl Number {
    /// The number as written, in the grammar of RFC 8259; also `NaN`, `Infinity` or `-Infinity` from [`Value::parse_python`].
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Sign and magnitude, if the number is whole and its magnitude fits 64 bits.
    fn whole(&self) -> Option<(bool, u64)> {
        let (negative, unsigned) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.0.as_str()),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{integer}{fraction}");
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Some((negative, 0));
        }
        // value = significant * 10^scale; as its last digit is not 0, it is whole iff scale >= 0.
        let shift = i64::try_from(integer.len()).ok()? - i64::try_from(significant.len()).ok()?;
        let scale = u32::try_from(exponent.parse::<i64>().ok()?.checked_add(shift)?).ok()?;
        let magnitude = significant.trim_start_matches('0').parse::<u64>().ok()?;
        Some((negative, magnitude.checked_mul(10u64.checked_pow(scale)?)?))
    }
}

/// Prints compact JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => f.write_str(&number.0),
            Self::String(text) => write_string(f, text),
            Self::Surrogates(written) => write!(f, "\"{written}\""),
            Self::Array(elements) => {
                f.write_str("[")?;
                for (i, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    write_string(f, key)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}
