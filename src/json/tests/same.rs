//! Our reader and serde_json side by side. The fuzz target `json` includes this file, so it names its types through `super`.

use super::{Theirs, Value};

/// Whether two readers found the same tree. serde_json may round the last bit of a float differently.
pub(super) fn same(ours: &Value, theirs: &Theirs) -> bool {
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => true,
        (Value::Bool(a), Theirs::Bool(b)) => a == b,
        (Value::String(a), Theirs::String(b)) => a == b,
        (Value::Number(_), Theirs::Number(b)) => {
            if let Some(b) = b.as_u64() {
                return ours.as_u64() == Some(b);
            }
            if let Some(b) = b.as_i64() {
                return ours.as_i64() == Some(b);
            }
            let (a, b) = (ours.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || (a - b).abs() <= 4.0 * f64::EPSILON * a.abs()
        }
        (Value::Array(a), Theirs::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Theirs::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}
