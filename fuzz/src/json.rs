//! Our JSON reader against serde_json: the same inputs are accepted and mean the same. What ours refuses on purpose is
//! listed in [`deliberate`].

#[path = "../../src/json/tests/same.rs"]
mod same;

use diffulex::Error;
use diffulex::json::Value;
use same::same;
use serde_json::Value as Theirs;

/// See the module. Python's dialect takes what the strict one takes, and both read what they print.
pub fn check(text: &[u8]) {
    if let Ok(python) = Value::parse_python("input", text) {
        let printed = Value::parse_python("printed", python.to_string().as_bytes());
        assert_eq!(printed.expect("what was printed is JSON"), python);
        assert!(Value::parse("input", text).is_ok_and(|ours| ours == python) || beyond(&python), "{python}");
    }
    match (Value::parse("input", text), serde_json::from_slice::<Theirs>(text)) {
        (Ok(ours), Ok(theirs)) => {
            assert!(same(&ours, &theirs), "{ours} is not {theirs}");
            assert_eq!(Value::parse_python("input", text).expect("Python takes all JSON"), ours);
            let printed = Value::parse("printed", ours.to_string().as_bytes());
            assert_eq!(printed.expect("what was printed is JSON"), ours);
        }
        (Ok(ours), Err(error)) => panic!("serde_json refuses {ours}: {error}"),
        (Err(error), Ok(theirs)) => assert!(deliberate(&error), "{error}, but serde_json reads {theirs}"),
        (Err(_), Err(_)) => {}
    }
}

/// Whether a value holds what only Python's dialect has. A key may hold it, too: as in the text, with a backslash.
fn beyond(value: &Value) -> bool {
    match value {
        Value::Surrogates(_) => true,
        Value::Number(_) => value.as_f64().is_none(),
        Value::Array(elements) => elements.iter().any(beyond),
        Value::Object(entries) => entries.iter().any(|(key, value)| key.contains('\\') || beyond(value)),
        _ => false,
    }
}

/// A key that occurs twice, which serde_json resolves silently.
fn deliberate(error: &Error) -> bool {
    matches!(error, Error::Json { what, .. } if what.starts_with("duplicate key"))
}
