//! Our JSON reader against serde_json: the same texts are accepted and mean the same. What ours refuses on purpose is
//! listed in [`deliberate`].

#[path = "../../src/json/tests/same.rs"]
mod same;

use diffulex::Error;
use diffulex::json::Value;
use same::same;
use serde_json::Value as Theirs;

/// See the module.
pub fn check(text: &[u8]) {
    match (Value::parse("input", text), serde_json::from_slice::<Theirs>(text)) {
        (Ok(ours), Ok(theirs)) => {
            assert!(same(&ours, &theirs), "{ours} is not {theirs}");
            let printed = Value::parse("printed", ours.to_string().as_bytes());
            assert_eq!(printed.expect("what was printed is JSON"), ours);
        }
        (Ok(ours), Err(error)) => panic!("serde_json refuses {ours}: {error}"),
        (Err(error), Ok(theirs)) => assert!(deliberate(&error), "{error}, but serde_json reads {theirs}"),
        (Err(_), Err(_)) => {}
    }
}

/// A key that stands twice, which serde_json resolves silently.
fn deliberate(error: &Error) -> bool {
    matches!(error, Error::Json { what, .. } if what.starts_with("duplicate key"))
}
