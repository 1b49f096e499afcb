//! Text that programs read: UTF-8, with or without a byte order mark at its start, with line ends as on any system.

use diffulex::error::{Error, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

/// What messages call standard input.
pub const STDIN: &str = "standard input";
/// The byte order mark that some editors put at the start of a file.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The text of a file, without a byte order mark.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] for bytes that are not UTF-8.
pub fn read(path: &Path) -> Result<String> {
    utf8(&path.display().to_string(), std::fs::read(path).map_err(|error| Error::io(path, error))?)
}

/// All of standard input, as [`read`] does.
///
/// # Errors
/// As [`read`].
pub fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Error::io(STDIN, error))?;
    utf8(STDIN, bytes)
}

/// The bytes of a file, or of standard input for `-`, without a byte order mark.
///
/// # Errors
/// [`Error::Io`].
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Error::io(STDIN, error))?;
    } else {
        bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    }
    Ok(bytes.strip_prefix(MARK).map(<[u8]>::to_vec).unwrap_or(bytes))
}

/// Bytes as text, without a byte order mark at their start; `file` names them in the error.
///
/// # Errors
/// [`Error::Format`] with the first byte that is not UTF-8.
pub fn utf8(file: &str, bytes: Vec<u8>) -> Result<String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::format(file, "UTF-16 (by its byte order mark), UTF-8 expected"));
    }
    let mut text = utf8_as_is(file, bytes)?;
    if text.as_bytes().starts_with(MARK) {
        text.drain(..MARK.len());
    }
    Ok(text)
}

/// As [`utf8`], for bytes that are not the start of a file.
///
/// # Errors
/// As [`utf8`].
pub fn utf8_as_is(file: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::format(file, format!("not UTF-8 from byte {at} on"))
    })
}

/// Text without the end of its last line: that belongs to the file, not to what somebody wrote.
pub fn without_line_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// A struct from an object only: by default it would take a list of its values, too.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct OfKeys<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfKeys<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OfKeys(PhantomData))
    }
}

/// What a reader of JSON says, without the programming language's names of types.
pub fn for_people(words: &str) -> String {
    const TYPES: [(&str, &str); 6] = [
        ("usize", "a whole number from 0 on"),
        ("u64", "a whole number from 0 on"),
        ("u32", "a whole number from 0 on"),
        ("i64", "a whole number"),
        ("f64", "a number"),
        ("f32", "a number"),
    ];
    let (what, place) = words.split_at(words.rfind(" at line ").unwrap_or(words.len()));
    let known = TYPES.iter().find_map(|(name, meant)| Some((what.strip_suffix(name)?, meant)));
    let known = known.filter(|(rest, _)| rest.ends_with("expected "));
    known.map_or(words.to_owned(), |(rest, meant)| format!("{rest}{meant}{place}"))
}

/// A line of JSON, an object, as a value whose keys are known, such as a struct that denies unknown fields.
///
/// # Errors
/// What is wrong, and with which key or at which column; the caller, who knows file and line, adds them.
pub fn json_line<T: DeserializeOwned>(line: &[u8]) -> std::result::Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(line);
    // The position is within this one line, so its line number means nothing.
    let words = |error: &serde_json::Error| {
        let words = error.to_string();
        for_people(words.rsplit_once(" at line ").map_or(&*words, |(words, _)| words))
    };
    let malformed =
        |error: &serde_json::Error| format!("malformed JSON: {} (column {})", words(error), error.column());
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        match inner.classify() {
            Category::Data if path == "." => words(inner),
            Category::Data => format!("key `{path}`: {}", words(inner)),
            _ => malformed(inner),
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Reads a key that may be absent and may not be null.
///
/// # Errors
/// As the type of the key.
pub fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_line_ends_are_no_part_of_a_text() {
        let text = |bytes: &[u8]| utf8("f", bytes.to_vec());
        assert_eq!(text(b"\xef\xbb\xbfa\r\n").unwrap(), "a\r\n");
        assert_eq!(text("\u{feff}\u{feff}a".as_bytes()).unwrap(), "\u{feff}a", "only one is a mark");
        assert_eq!(text("a\u{feff}".as_bytes()).unwrap(), "a\u{feff}", "only at the start");
        for (line, meant) in
            [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), ("\n", ""), ("a\nb\n", "a\nb")]
        {
            assert_eq!(without_line_end(line), meant, "{line:?}");
        }
        for (said, meant) in [
            ("invalid type: null, expected usize", "invalid type: null, expected a whole number from 0 on"),
            (
                "invalid type: null, expected f32 at line 1 column 2",
                "invalid type: null, expected a number at line 1 column 2",
            ),
            ("unknown field `usize`", "unknown field `usize`"),
            ("expected a boolean at line 1", "expected a boolean at line 1"),
        ] {
            assert_eq!(for_people(said), meant);
        }
        for (bytes, words) in [(&b"ab\xff"[..], "f: not UTF-8 from byte 2 on"), (b"\xff\xfea\0", "f: UTF-16")]
        {
            assert!(text(bytes).unwrap_err().to_string().starts_with(words));
        }
    }
}
