//! Filters on numbers.

use super::filters::Arguments;
use super::text::{self, Ch, Ends, plain};
use super::unicode::is_numeric;
use super::value::{Or, Value};
use super::{ops, percent};

pub(super) fn absolute(value: &Value) -> Or<Value> {
    match (value, value.as_int()) {
        (Value::Float(value), _) => Ok(Value::Float(value.abs())),
        (_, Some(value)) => {
            value.checked_abs().map(Value::Int).ok_or_else(|| "abs: the number is too large".to_owned())
        }
        _ => Err(format!("bad operand type for abs(): '{}'", value.type_name())),
    }
}

/// Digits as Python reads them: blanks around, single underscores between, any decimal digits.
fn digits(text: &[Ch]) -> Option<String> {
    let stripped = plain(text::strip(text, None, Ends::Both));
    let bytes = stripped.as_bytes();
    if !stripped.is_ascii() {
        return None;
    }
    let single = |i: usize| {
        let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_alphanumeric);
        bytes[i] != b'_' || (digit(i.checked_sub(1)) && digit(Some(i + 1)))
    };
    (0..bytes.len()).all(single).then(|| stripped.replace('_', ""))
}

fn text_to_float(text: &[Ch]) -> Option<f64> {
    digits(text)?.parse().ok()
}

pub(super) fn int(value: &Value, arguments: &Arguments) -> Or<Value> {
    let default = || arguments.get(0).cloned().unwrap_or(Value::Int(0));
    let base = arguments.number(1, 10)?;
    match value {
        Value::Undefined(what) => Err(what.to_string()),
        Value::Float(number) if number.is_nan() => Ok(default()),
        Value::Float(number) => percent::whole(*number).map(Value::Int),
        Value::Text(text) | Value::Markup(text) => {
            if text.iter().any(|c| !c.get().is_ascii() && is_numeric(c.get())) {
                return Err("int: digits beyond ASCII are not supported".into());
            }
            if let Some(number) =
                digits(text).map(|digits| whole_number(&digits, base)).transpose()?.flatten()
            {
                return Ok(Value::Int(number));
            }
            match text_to_float(text) {
                Some(number) if number.is_finite() => percent::whole(number).map(Value::Int),
                _ => Ok(default()),
            }
        }
        other => Ok(other.as_int().map_or_else(default, Value::Int)),
    }
}

/// `int(digits, base)`
fn whole_number(digits: &str, base: i128) -> Or<Option<i128>> {
    let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or("int: a base from 2 to 36 expected")?;
    let (negative, size) = match digits.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let prefix = match base {
        16 => "0x",
        8 => "0o",
        2 => "0b",
        _ => "",
    };
    let size = match size.get(..2) {
        Some(start) if !prefix.is_empty() && start.eq_ignore_ascii_case(prefix) => &size[2..],
        _ => size,
    };
    if size.is_empty() || !size.chars().all(|c| c.is_digit(base)) {
        return Ok(None);
    }
    let number = i128::from_str_radix(size, base);
    let number = number.map_err(|_| "a whole number of more than 127 bits is not supported".to_owned())?;
    Ok(Some(if negative { -number } else { number }))
}

pub(super) fn float(value: &Value, arguments: &Arguments) -> Or<Value> {
    let default = || arguments.get(0).cloned().unwrap_or(Value::Float(0.0));
    match value {
        Value::Undefined(what) => Err(what.to_string()),
        Value::Text(text) | Value::Markup(text) => {
            if text.iter().any(|c| !c.get().is_ascii() && is_numeric(c.get())) {
                return Err("float: digits beyond ASCII are not supported".into());
            }
            Ok(text_to_float(text).map_or_else(default, Value::Float))
        }
        other => Ok(ops::as_float(other)?.map_or_else(default, Value::Float)),
    }
}

pub(super) fn round(value: &Value, arguments: &Arguments) -> Or<Value> {
    let precision = arguments.number(0, 0)?;
    let Ok(precision) = usize::try_from(precision) else {
        return Err("round: a negative precision is not supported".into());
    };
    if precision > 20 {
        return Err("round: a precision above 20 is not supported".into());
    }
    let method = arguments.text(1)?.map_or_else(|| "common".to_owned(), |text| plain(&text));
    let number = ops::as_float(value)?
        .ok_or_else(|| format!("round: a number expected, not {}", value.type_name()))?;
    match method.as_str() {
        "common" => match value.as_int() {
            Some(whole) => Ok(Value::Int(whole)),
            None if number.is_finite() => {
                Ok(Value::Float(format!("{number:.precision$}").parse().expect("a number")))
            }
            None => Ok(Value::Float(number)),
        },
        "ceil" | "floor" => {
            let scale = 10f64.powi(precision as i32);
            let scaled = number * scale;
            let whole = percent::whole(if method == "ceil" { scaled.ceil() } else { scaled.floor() })?;
            let whole = ops::as_float(&Value::Int(whole))?.expect("a number");
            Ok(Value::Float(whole / scale))
        }
        _ => Err("round: the method must be common, ceil or floor".into()),
    }
}
