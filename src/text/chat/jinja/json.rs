//! The filter `tojson` as transformers defines it: Python's `json.dumps`.

use super::print::float;
use super::text::{Ch, Text, chars};
use super::value::{Kind, Or, Value};

/// How to write.
pub(super) struct Style {
    pub(super) ascii: bool,
    /// What a level is indented by; none for a single line.
    pub(super) indent: Option<Vec<Ch>>,
    pub(super) item_separator: Text,
    pub(super) key_separator: Text,
    pub(super) sort_keys: bool,
}

/// Appends the JSON of a value.
pub(super) fn write(out: &mut Vec<Ch>, value: &Value, style: &Style, level: usize) -> Or<()> {
    match value {
        Value::None => out.extend(chars("null")),
        Value::Bool(true) => out.extend(chars("true")),
        Value::Bool(false) => out.extend(chars("false")),
        Value::Int(value) => out.extend(chars(&value.to_string())),
        Value::Float(value) => out.extend(chars(&number(*value))),
        Value::Text(text) | Value::Markup(text) => string(out, text, style.ascii),
        Value::Seq(seq) if seq.kind == Kind::List || seq.kind.is_tuple() => {
            let mut items = seq.items.iter();
            container(out, style, level, ['[', ']'], |out| {
                let Some(item) = items.next() else { return Ok(false) };
                write(out, item, style, level + 1)?;
                Ok(true)
            })?;
        }
        Value::Dict(dict) => {
            let mut entries: Vec<_> = dict.entries.iter().collect();
            if style.sort_keys {
                super::ops::sort_by(&mut entries, |(key, _)| key)?;
            }
            let mut entries = entries.into_iter();
            container(out, style, level, ['{', '}'], |out| {
                let Some((name, value)) = entries.next() else { return Ok(false) };
                string(out, &key(name)?, style.ascii);
                out.extend_from_slice(&style.key_separator);
                write(out, value, style, level + 1)?;
                Ok(true)
            })?;
        }
        other => return Err(format!("an object of type {} is not JSON serializable", other.type_name())),
    }
    Ok(())
}

/// Brackets around elements; `one` writes the next and says whether there was one.
fn container(
    out: &mut Vec<Ch>,
    style: &Style,
    level: usize,
    [open, close]: [char; 2],
    mut one: impl FnMut(&mut Vec<Ch>) -> Or<bool>,
) -> Or<()> {
    let newline = |out: &mut Vec<Ch>, level: usize| {
        if let Some(indent) = &style.indent {
            out.push(Ch::new('\n'));
            (0..level).for_each(|_| out.extend_from_slice(indent));
        }
    };
    out.push(Ch::new(open));
    let mut first = true;
    loop {
        let before = out.len();
        if !first {
            out.extend_from_slice(&style.item_separator);
        }
        newline(out, level + 1);
        if !one(out)? {
            out.truncate(before);
            break;
        }
        first = false;
    }
    if !first {
        newline(out, level);
    }
    out.push(Ch::new(close));
    Ok(())
}

fn number(value: f64) -> String {
    match float(value).as_str() {
        "nan" => "NaN".into(),
        "inf" => "Infinity".into(),
        "-inf" => "-Infinity".into(),
        finite => finite.into(),
    }
}

fn key(value: &Value) -> Or<Text> {
    let word = match value {
        Value::Text(text) | Value::Markup(text) => return Ok(text.clone()),
        Value::None => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => number(*value),
        other => {
            let found = other.type_name();
            return Err(format!("keys must be str, int, float, bool or None, not {found}"));
        }
    };
    Ok(super::text::text(&word))
}

fn string(out: &mut Vec<Ch>, text: &[Ch], ascii: bool) {
    out.push(Ch::new('"'));
    for &c in text {
        let escape = match c.get() {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\x08' => "\\b".to_owned(),
            '\x0c' => "\\f".to_owned(),
            other if other < ' ' => format!("\\u{:04x}", other as u32),
            other if ascii && !(' '..='~').contains(&other) => {
                other.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            }
            _ => {
                out.push(c);
                continue;
            }
        };
        out.extend(escape.chars().map(|e| c.with(e)));
    }
    out.push(Ch::new('"'));
}
