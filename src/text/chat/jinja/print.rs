//! How Python writes values: `str`, `repr` and numbers.

use super::text::{Ch, Text, chars, plain};
use super::unicode::is_printable;
use super::value::{Dict, Kind, Or, Value};

/// `str(value)`
pub(super) fn str(value: &Value) -> Or<Text> {
    match value {
        Value::Text(text) | Value::Markup(text) => Ok(text.clone()),
        other => {
            let mut out = Vec::new();
            write_str(&mut out, other)?;
            Ok(out.into())
        }
    }
}

/// Appends `str(value)`.
pub(super) fn write_str(out: &mut Vec<Ch>, value: &Value) -> Or<()> {
    match value {
        Value::Text(text) | Value::Markup(text) => out.extend_from_slice(text),
        Value::Undefined(_) => {}
        other => return write_repr(out, other),
    }
    Ok(())
}

/// Appends `repr(value)`.
pub(super) fn write_repr(out: &mut Vec<Ch>, value: &Value) -> Or<()> {
    let mut word = |word: &str| out.extend(chars(word));
    match value {
        Value::Undefined(_) => word("Undefined"),
        Value::None => word("None"),
        Value::Bool(true) => word("True"),
        Value::Bool(false) => word("False"),
        Value::Int(value) => word(&value.to_string()),
        Value::Float(value) => word(&float(*value)),
        Value::Text(text) => write_quoted(out, text),
        Value::Markup(text) => {
            word("Markup(");
            write_quoted(out, text);
            out.push(Ch::new(')'));
        }
        Value::Seq(seq) => {
            let (open, close) = match seq.kind {
                Kind::List => ("[", "]"),
                Kind::Tuple if seq.items.len() == 1 => ("(", ",)"),
                Kind::Tuple | Kind::Group => ("(", ")"),
                Kind::Keys => ("dict_keys([", "])"),
                Kind::Values => ("dict_values([", "])"),
                Kind::Items => ("dict_items([", "])"),
                Kind::Range(start, stop, step) => {
                    let step = if step == 1 { String::new() } else { format!(", {step}") };
                    word(&format!("range({start}, {stop}{step})"));
                    return Ok(());
                }
            };
            word(open);
            for (i, item) in seq.items.iter().enumerate() {
                if i > 0 {
                    out.extend(chars(", "));
                }
                write_repr(out, item)?;
            }
            out.extend(chars(close));
        }
        Value::Dict(dict) => write_dict(out, dict)?,
        Value::Loop(state) => word(&format!("<LoopContext {}/{}>", state.at + 1, state.items.items.len())),
        Value::Macro(item) => match &item.def.name {
            Some(name) => word(&format!("<Macro '{name}'>")),
            None => word("<Macro anonymous>"),
        },
        Value::Iter(_) | Value::Object(_) | Value::Method(_) | Value::Function(_) => {
            // Python writes an address, which no two runs share.
            return Err(format!("printing an object of type '{}' is not supported", value.type_name()));
        }
    }
    Ok(())
}

fn write_dict(out: &mut Vec<Ch>, dict: &Dict) -> Or<()> {
    out.push(Ch::new('{'));
    for (i, (key, value)) in dict.entries.iter().enumerate() {
        if i > 0 {
            out.extend(chars(", "));
        }
        write_repr(out, key)?;
        out.extend(chars(": "));
        write_repr(out, value)?;
    }
    out.push(Ch::new('}'));
    Ok(())
}

fn write_quoted(out: &mut Vec<Ch>, text: &[Ch]) {
    let has = |quote| text.iter().any(|c| c.get() == quote);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.push(Ch::new(quote));
    for &c in text {
        let escape = match c.get() {
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            other if other == quote => format!("\\{quote}"),
            other if is_printable(other) => {
                out.push(c);
                continue;
            }
            other => match other as u32 {
                code @ 0..0x100 => format!("\\x{code:02x}"),
                code @ 0x100..0x10000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            },
        };
        out.extend(escape.chars().map(|e| c.with(e)));
    }
    out.push(Ch::new(quote));
}

/// `repr` of a float: the fewest digits that read back as the same number.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let shortest = format!("{value:e}");
    let (digits, exponent) = shortest.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A name for messages: what the value is, shortened.
pub(super) fn shown(value: &Value) -> String {
    let mut out = Vec::new();
    match write_repr(&mut out, value) {
        Ok(()) if out.len() <= 60 => plain(&out),
        Ok(()) => plain(&out[..60]) + "..",
        Err(_) => value.type_name().to_owned(),
    }
}
