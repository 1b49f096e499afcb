//! What Python gives, as the library takes it. Numbers out of range and what is not text are refused, never truncated.

use crate::error::Raise;
use diffulex::Error;
use diffulex::Policy;
use diffulex::engine::options::DecodeOption;
use diffulex::engine::{Engine, Overrides};
use diffulex::tensor::TokenId;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyString};
use std::path::PathBuf;

/// A whole number of at most `most`; absent or None is `default`.
pub(crate) fn whole(name: &str, value: Option<&Bound<'_, PyAny>>, default: u64, most: u64) -> PyResult<u64> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(default) };
    let index = value.py().import("operator")?.call_method1("index", (value,))?;
    let refuse = || Ok(PyValueError::new_err(format!("{name} is {}, 0 to {most} expected", index.str()?)));
    match index.extract::<u64>() {
        Ok(number) if number <= most => Ok(number),
        Err(error) if !error.is_instance_of::<PyOverflowError>(value.py()) => Err(error),
        _ => refuse().and_then(Err),
    }
}

/// A number of positions, rows or threads.
pub(crate) fn size(name: &str, value: Option<&Bound<'_, PyAny>>, default: usize) -> PyResult<usize> {
    Ok(whole(name, value, default as u64, usize::MAX as u64)? as usize)
}

/// Token ids: whatever Python iterates over, of whole numbers.
pub(crate) fn ids(value: &Bound<'_, PyAny>) -> PyResult<Vec<TokenId>> {
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err(format!("{} given, token ids expected", value.repr()?)));
    }
    let id = |item: PyResult<Bound<'_, PyAny>>| {
        let item = item?;
        if let Ok(id) = item.extract::<TokenId>() {
            return Ok(id);
        }
        Ok(whole("token id", Some(&item), 0, u64::from(TokenId::MAX))? as TokenId)
    };
    value.try_iter()?.map(id).collect()
}

/// Rows of a pass.
pub(crate) fn rows(value: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    value.try_iter()?.map(|item| size("row", Some(&item?), 0)).collect()
}

/// A string without a NUL, which text does not contain and a path cannot.
pub(crate) fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text: String = value.cast::<PyString>().map_err(PyErr::from)?.extract()?;
    if text.contains('\0') {
        return Err(PyValueError::new_err(format!("{} holds a NUL", value.repr()?)));
    }
    Ok(text)
}

/// As [`text`], of something that may be absent.
pub(crate) fn optional_text(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    value.filter(|value| !value.is_none()).map(text).transpose()
}

/// A path: a string, bytes, or what `os.fspath` takes.
pub(crate) fn path(value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let name = value.py().import("os")?.call_method1("fsdecode", (value,))?;
    let path: PathBuf = name.extract()?;
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(PyValueError::new_err(format!("{} holds a NUL", name.repr()?)));
    }
    Ok(path)
}

/// The value of a decode option as the table of options reads it.
fn written(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if value.is_instance_of::<PyBool>() {
        return Ok(if value.is_truthy()? { "true" } else { "false" }.into());
    }
    value.str()?.extract()
}

/// How to decode: a published policy by name, or that and changes as a string, and changes by keyword. None changes nothing.
pub(crate) fn overrides(
    py: Python<'_>,
    policy: Option<&Bound<'_, PyAny>>,
    changes: Option<&Bound<'_, PyDict>>,
) -> PyResult<Overrides> {
    let named = optional_text(policy)?.unwrap_or_default();
    let mut overrides: Overrides = named.parse::<Overrides>().raise(py)?;
    for (key, value) in changes.into_iter().flatten() {
        let name = key.extract::<String>()?.replace('_', "-");
        if value.is_none() {
            continue;
        }
        let option = DecodeOption::named(&name).ok_or_else(|| {
            let reason = format!("`{name}` is not a decode option; docs/decoding.md lists them");
            Error::option("policy", reason)
        });
        let option = option.raise(py)?;
        if option.get(&overrides).is_some() {
            return Err(Error::option(option.name, "given twice")).raise(py);
        }
        option.set(&mut overrides, Some(&written(&value)?)).raise(py)?;
    }
    Ok(overrides)
}

/// As [`overrides`], for an engine.
pub(crate) fn policy(
    engine: &Engine,
    policy: Option<&Bound<'_, PyAny>>,
    changes: Option<&Bound<'_, PyDict>>,
    py: Python<'_>,
) -> PyResult<Policy> {
    overrides(py, policy, changes)?.policy(engine).raise(py)
}
