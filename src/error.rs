//! The one error type of the crate.
//!
//! Wrong *input data* (a file, a config value, a prompt that does not fit) is an [`Error`]. A wrong *call* (slice
//! lengths that disagree) is a panic with a message, documented under `# Panics` of the function.
//!
//! The type is one non-exhaustive enum because embedders match on it ("is this a missing file or a model that we do not
//! support?") and because every variant names what was found and what was expected.

use std::fmt;
use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong with an input.
///
/// `Display` is lower case without a full stop and names the file, tensor, key or option.
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open, read or map a file.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read but its contents are not what the format demands.
    Format {
        /// What was read: a path, or a word such as "buffer" for bytes in memory.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// JSON is malformed.
    Json {
        /// What was read.
        file: String,
        /// Byte offset of the first offending byte.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// A tensor that the model needs is not in the checkpoint.
    MissingTensor {
        /// Where it was looked for.
        file: String,
        /// Its name in the checkpoint.
        name: String,
        /// What is there that explains it, if anything does.
        instead: Option<String>,
    },
    /// A tensor has a different shape than the config implies.
    Shape {
        /// Where it is.
        file: String,
        /// Its name in the checkpoint.
        name: String,
        /// The shape that the config implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor has an element type that cannot be used in its place.
    DType {
        /// Where it is.
        file: String,
        /// Its name in the checkpoint.
        name: String,
        /// The element types that can be used.
        expected: &'static str,
        /// The element type in the file.
        found: String,
    },
    /// A key of a configuration file has an impossible value.
    Config {
        /// What was read.
        file: String,
        /// The key.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// The input requires something that this engine does not do.
    Unsupported {
        /// What was requested, and what is known instead.
        what: String,
    },
    /// An option of the caller is out of range.
    Option {
        /// The option's name.
        name: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// A fixed capacity would be exceeded.
    Capacity {
        /// What would overflow, and the unit.
        what: &'static str,
        /// The capacity.
        limit: usize,
        /// What was requested.
        asked: usize,
    },
    /// The system has no memory for something.
    Memory {
        /// What it was for.
        what: String,
        /// How much was requested, in bytes.
        bytes: usize,
    },
    /// A prompt holds a token id outside the vocabulary.
    TokenId {
        /// The id.
        id: i64,
        /// Ids are below this number.
        vocab: usize,
    },
    /// A value that is NaN or infinite appeared in the forward pass.
    NotFinite {
        /// Where it appeared first, such as "layer 3, after attention".
        place: String,
    },
    /// The tokenizer or the chat template could not be loaded or applied.
    Text {
        /// What was read or rendered.
        file: String,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// Wraps an operating system error with the path it is about.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// A malformed file: `file` is the path or the name of the buffer.
    pub fn format(file: impl fmt::Display, what: impl Into<String>) -> Self {
        Self::Format { file: file.to_string(), what: what.into() }
    }

    /// A tensor that is not there, without an explanation.
    pub fn missing_tensor(file: impl fmt::Display, name: &str) -> Self {
        Self::MissingTensor { file: file.to_string(), name: name.to_string(), instead: None }
    }

    /// A bad value of a configuration key.
    pub fn config(file: impl fmt::Display, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { file: file.to_string(), key: key.into(), reason: reason.into() }
    }

    /// Something that this engine does not do.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    /// An option of the caller that is out of range.
    pub fn option(name: &'static str, reason: impl Into<String>) -> Self {
        Self::Option { name, reason: reason.into() }
    }
}

/// Passes characters on, and what a terminal would interpret, or what would begin a line of its own, as an escape: names of files and
/// tensors in messages come from untrusted sources.
struct Shown<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Shown<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| c.is_control()) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", c.escape_default())?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// The same as `Display`: a `main` that returns an error prints it with `Debug`, and that should be the message.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let f = &mut Shown(f);
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Format { file, what } => write!(f, "{file}: {what}"),
            Self::Json { file, offset, what } => write!(f, "{file}: malformed JSON at byte {offset}: {what}"),
            Self::MissingTensor { file, name, instead: None } => {
                write!(f, "{file}: tensor `{name}` is missing")
            }
            Self::MissingTensor { file, name, instead: Some(instead) } => {
                write!(f, "{file}: tensor `{name}` is missing: {instead}")
            }
            Self::Shape { file, name, expected, found } => {
                write!(f, "{file}: tensor `{name}` has shape {found:?}, expected {expected:?}")
            }
            Self::DType { file, name, expected, found } => {
                write!(f, "{file}: tensor `{name}` has element type {found}, expected {expected}")
            }
            Self::Config { file, key, reason } => write!(f, "{file}: key `{key}`: {reason}"),
            Self::Unsupported { what } => write!(f, "not supported: {what}"),
            Self::Option { name, reason } => write!(f, "option `{name}`: {reason}"),
            Self::Capacity { what, limit, asked } => {
                write!(f, "{what}: {asked} asked for, {limit} is the limit")
            }
            Self::Memory { what, bytes } => write!(f, "no memory for {what}: {bytes} bytes asked for"),
            Self::TokenId { id, vocab } => {
                write!(f, "token id {id} is outside the vocabulary (0 to {})", vocab.saturating_sub(1))
            }
            Self::NotFinite { place } => write!(f, "a value is NaN or infinite: {place}"),
            Self::Text { file, what } => write!(f, "{file}: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_the_message() {
        let error = Error::config("config.json", "key", "a reason");
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
