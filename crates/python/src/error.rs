//! Errors of the library as exceptions, and the boundary that no panic crosses: [`detached`].

use diffulex::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an exception holds in addition to its message.
#[derive(Default)]
struct Parts {
    file: Option<String>,
    key: Option<String>,
    found: Option<String>,
    expected: Option<String>,
}

impl Parts {
    fn of(error: &Error) -> Self {
        let mut parts = Self::default();
        match error {
            Error::Io { path, .. } => parts.file = Some(path.display().to_string()),
            Error::Format { file, .. } | Error::Json { file, .. } | Error::Text { file, .. } => {
                parts.file = Some(file.clone());
            }
            Error::MissingTensor { file, name, instead } => {
                (parts.file, parts.key) = (Some(file.clone()), Some(name.clone()));
                parts.found.clone_from(instead);
            }
            Error::Shape { file, name, expected, found } => {
                (parts.file, parts.key) = (Some(file.clone()), Some(name.clone()));
                (parts.found, parts.expected) = (Some(format!("{found:?}")), Some(format!("{expected:?}")));
            }
            Error::DType { file, name, expected, found } => {
                (parts.file, parts.key) = (Some(file.clone()), Some(name.clone()));
                (parts.found, parts.expected) = (Some(found.clone()), Some((*expected).to_owned()));
            }
            Error::Config { file, key, reason } => {
                (parts.file, parts.key) = (Some(file.clone()), Some(key.clone()));
                parts.reason(reason);
            }
            Error::Option { name, reason } => {
                parts.key = Some((*name).to_owned());
                parts.reason(reason);
            }
            Error::Capacity { what, limit, asked } => {
                parts.key = Some((*what).to_owned());
                (parts.found, parts.expected) = (Some(asked.to_string()), Some(format!("at most {limit}")));
            }
            Error::TokenId { id, vocab } => {
                (parts.found, parts.expected) = (Some(id.to_string()), Some(format!("below {vocab}")));
            }
            _ => {}
        }
        parts
    }

    /// What a reason in the usual form says: `5 given, 1 to 4 expected`.
    fn reason(&mut self, reason: &str) {
        let Some(before) = reason.strip_suffix(" expected") else { return };
        let cut = [" given, ", " found, "].iter().find_map(|word| before.split_once(word));
        if let Some((found, expected)) = cut {
            self.found = Some(found.trim_matches('`').to_owned());
            self.expected = Some(expected.to_owned());
        }
    }
}

/// The name of the status of an error, as the C interface calls it.
fn status(error: &Error) -> &'static str {
    match error {
        Error::Io { .. } => "IO",
        Error::Unsupported { .. } => "UNSUPPORTED",
        Error::Option { .. } => "OPTION",
        Error::Capacity { .. } => "CAPACITY",
        Error::Memory { .. } => "MEMORY",
        Error::TokenId { .. } => "TOKEN",
        Error::NotFinite { .. } => "NOT_FINITE",
        // Every other variant says what is wrong with the contents of an input.
        _ => "FORMAT",
    }
}

/// The exception of a status.
fn exception(py: Python<'_>, status: &str, message: &str, parts: Parts) -> PyErr {
    let raise = || {
        let class = py.import("diffulex._types")?.getattr("ERRORS")?.get_item(status)?;
        class.call1((message, parts.file, parts.key, parts.found, parts.expected))
    };
    raise().map_or_else(|error| error, PyErr::from_value)
}

/// An error of the library as an exception.
pub(crate) fn error(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, status(error), &error.to_string(), Parts::of(error))
}

/// A failure that is not the library's: a call out of order, a session in use.
pub(crate) fn failure(py: Python<'_>, status: &str, message: impl AsRef<str>) -> PyErr {
    exception(py, status, message.as_ref(), Parts::default())
}

/// A wrong call.
pub(crate) fn argument(py: Python<'_>, message: impl AsRef<str>) -> PyErr {
    failure(py, "ARGUMENT", message)
}

/// Results of the library as results of Python.
pub(crate) trait Raise<T> {
    /// The value, or the exception.
    fn raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> Raise<T> for diffulex::Result<T> {
    fn raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| self::error(py, &error))
    }
}

/// Why work without the global lock ended early.
pub(crate) enum Stopped {
    /// The library failed.
    Library(Error),
    /// Python did: a callback, or a signal.
    Python(PyErr),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<PyErr> for Stopped {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Works without the global lock. A panic becomes an exception.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Stopped> + Send,
) -> PyResult<T> {
    // Unwind safe: a session that panicked has a poisoned lock, and everything else that is shared is never written.
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Stopped::Library(error))) => Err(self::error(py, &error)),
        Ok(Err(Stopped::Python(error))) => Err(error),
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            Err(failure(py, "PANIC", text.unwrap_or_else(|| "panic without a message".into())))
        }
    }
}

/// What a callback returns where the library only takes errors of its own: the exception later takes the place of this one.
#[derive(Default)]
pub(crate) struct Raised(Option<PyErr>);

impl Raised {
    /// Keeps an exception, and ends the work with an error.
    pub(crate) fn keep<T>(&mut self, result: PyResult<T>) -> diffulex::Result<T> {
        result.map_err(|error| {
            self.0 = Some(error);
            Error::unsupported("a callback raised")
        })
    }

    /// The exception, if there is one, else the outcome.
    pub(crate) fn or<T>(self, outcome: diffulex::Result<T>) -> Result<T, Stopped> {
        match (self.0, outcome) {
            (Some(error), _) => Err(Stopped::Python(error)),
            (None, outcome) => Ok(outcome?),
        }
    }
}

/// A lock that nobody holds while the global lock is released, so that it is never waited for.
pub(crate) fn held<T>(outcome: std::sync::LockResult<T>) -> PyResult<T> {
    outcome.map_err(|_| PyRuntimeError::new_err("an earlier call panicked"))
}
