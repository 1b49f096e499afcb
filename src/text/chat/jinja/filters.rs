//! Filters on strings, numbers and single values. Those on sequences are in `sequences.rs`.

use super::call::Given;
use super::json;
use super::machine::Machine;
use super::text::{self, Ch, Ends, Text, plain};
use super::unicode::{is_alpha, is_numeric};
use super::value::{Or, Value};
use super::{methods, numbers, percent, print, sequences, strings};

/// Every filter with the names of its arguments and how many must be there.
const FILTERS: [(&str, &[&str], usize); 47] = [
    ("abs", &[], 0),
    ("attr", &["name"], 1),
    ("batch", &["linecount", "fill_with"], 1),
    ("capitalize", &[], 0),
    ("center", &["width"], 0),
    ("count", &[], 0),
    ("d", &["default_value", "boolean"], 0),
    ("default", &["default_value", "boolean"], 0),
    ("dictsort", &["case_sensitive", "by", "reverse"], 0),
    ("e", &[], 0),
    ("escape", &[], 0),
    ("first", &[], 0),
    ("float", &["default"], 0),
    ("forceescape", &[], 0),
    ("groupby", &["attribute", "default", "case_sensitive"], 1),
    ("indent", &["width", "first", "blank"], 0),
    ("int", &["default", "base"], 0),
    ("items", &[], 0),
    ("join", &["d", "attribute"], 0),
    ("last", &[], 0),
    ("length", &[], 0),
    ("list", &[], 0),
    ("lower", &[], 0),
    ("max", &["case_sensitive", "attribute"], 0),
    ("min", &["case_sensitive", "attribute"], 0),
    ("replace", &["old", "new", "count"], 2),
    ("reverse", &[], 0),
    ("round", &["precision", "method"], 0),
    ("safe", &[], 0),
    ("slice", &["slices", "fill_with"], 1),
    ("sort", &["reverse", "case_sensitive", "attribute"], 0),
    ("string", &[], 0),
    ("sum", &["attribute", "start"], 0),
    ("title", &[], 0),
    ("tojson", &["ensure_ascii", "indent", "separators", "sort_keys"], 0),
    ("trim", &["chars"], 0),
    ("truncate", &["length", "killwords", "end", "leeway"], 0),
    ("unique", &["case_sensitive", "attribute"], 0),
    ("upper", &[], 0),
    ("urlencode", &[], 0),
    ("wordcount", &[], 0),
    // The arguments of these are not named.
    ("format", &[], 0),
    ("map", &[], 0),
    ("reject", &[], 0),
    ("rejectattr", &[], 0),
    ("select", &[], 0),
    ("selectattr", &[], 0),
];

/// Whether `is filter` knows it: those that Jinja2 has and this does not, too.
pub(super) fn exists(name: &str) -> bool {
    FILTERS.iter().any(|(known, ..)| *known == name) || UNSUPPORTED.contains(&name)
}

const UNSUPPORTED: [&str; 7] =
    ["filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"];

/// `value|name(..)`
pub(super) fn filter(machine: &mut Machine, value: &Value, name: &str, given: Given) -> Or<Value> {
    machine.charge(value.size())?;
    match name {
        "format" => return format(machine, value, given),
        "map" => return sequences::map(machine, value, given),
        "select" | "reject" | "selectattr" | "rejectattr" => {
            return sequences::select(machine, value, name, given);
        }
        _ => {}
    }
    let Some((_, params, needed)) = FILTERS.iter().find(|(known, ..)| *known == name) else {
        let known = if UNSUPPORTED.contains(&name) { "is not supported" } else { "is not known" };
        return Err(format!("the filter `{name}` {known}"));
    };
    let bound = given.bind(name, params, *needed)?;
    let arguments = Arguments { name, bound };
    match single(machine, value, &arguments)? {
        Some(value) => Ok(value),
        None => sequences::filter(machine, value, &arguments),
    }
}

/// The arguments of a filter.
pub(super) struct Arguments<'a> {
    pub(super) name: &'a str,
    bound: Vec<Option<Value>>,
}

impl Arguments<'_> {
    pub(super) fn get(&self, at: usize) -> Option<&Value> {
        self.bound.get(at).and_then(Option::as_ref)
    }

    /// The argument, unless it is missing or `none`.
    pub(super) fn some(&self, at: usize) -> Option<&Value> {
        self.get(at).filter(|value| !matches!(value, Value::None))
    }

    pub(super) fn truth(&self, at: usize) -> bool {
        self.get(at).is_some_and(Value::truth)
    }

    pub(super) fn number(&self, at: usize, default: i128) -> Or<i128> {
        match self.get(at) {
            None => Ok(default),
            Some(value) => {
                let found = value.type_name();
                value.as_int().ok_or_else(|| format!("{}: a whole number expected, not {found}", self.name))
            }
        }
    }

    pub(super) fn text(&self, at: usize) -> Or<Option<Text>> {
        match self.some(at) {
            None => Ok(None),
            Some(value) => {
                let found = value.type_name();
                value
                    .as_text()
                    .cloned()
                    .map(Some)
                    .ok_or_else(|| format!("{}: a string expected, not {found}", self.name))
            }
        }
    }
}

fn single(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Option<Value>> {
    let owned = |chars: Vec<Ch>| Ok(Some(Value::Text(chars.into())));
    match arguments.name {
        "lower" => owned(text::lower(&methods::subject(value)?)),
        "upper" => owned(text::upper(&methods::subject(value)?)),
        "capitalize" => owned(text::capitalize(&methods::subject(value)?)),
        "title" => owned(title(&methods::subject(value)?)),
        "trim" => {
            let (text, of) = (methods::subject(value)?, arguments.text(0)?);
            owned(text::strip(&text, of.as_deref(), Ends::Both).to_vec())
        }
        "string" => match value {
            Value::Markup(_) => Ok(Some(value.clone())),
            other => Ok(Some(Value::Text(print::str(other)?))),
        },
        "safe" => Ok(Some(Value::Markup(print::str(value)?))),
        "e" | "escape" if matches!(value, Value::Markup(_)) => Ok(Some(value.clone())),
        "e" | "escape" | "forceescape" => Ok(Some(Value::Markup(escaped(machine, &print::str(value)?)?))),
        "center" => {
            let width = usize::try_from(arguments.number(0, 80)?.max(0)).unwrap_or(usize::MAX);
            machine.charge_text(width)?;
            owned(strings::pad(&methods::subject(value)?, width, Ch::new(' '), "center"))
        }
        "replace" => {
            let word = |at: usize| print::str(arguments.get(at).expect("bound"));
            let count = if arguments.some(2).is_some() { arguments.number(2, -1)? } else { -1 };
            let replaced = strings::replace(machine, &print::str(value)?, &word(0)?, &word(1)?, count)?;
            Ok(Some(Value::Text(replaced)))
        }
        "indent" => indent(machine, value, arguments).map(Some),
        "truncate" => truncate(value, arguments).map(Some),
        "wordcount" => Ok(Some(Value::int(words(&methods::subject(value)?)))),
        "urlencode" => urlencode(machine, value).map(Some),
        "abs" => numbers::absolute(value).map(Some),
        "int" => numbers::int(value, arguments).map(Some),
        "float" => numbers::float(value, arguments).map(Some),
        "round" => numbers::round(value, arguments).map(Some),
        "tojson" => tojson(machine, value, arguments).map(Some),
        "d" | "default" => {
            let missing = value.is_undefined() || (arguments.truth(1) && !value.truth());
            let default = || arguments.get(0).cloned().unwrap_or_else(|| Value::str(""));
            Ok(Some(if missing { default() } else { value.clone() }))
        }
        "attr" => {
            let name = arguments.text(0)?.ok_or("attr: a string expected")?;
            let name = plain(&name);
            let found = machine.own_attribute(value, &name)?;
            Ok(Some(found.unwrap_or_else(|| Value::undefined(format!("there is no attribute '{name}'")))))
        }
        _ => Ok(None),
    }
}

fn escaped(machine: &mut Machine, text: &[Ch]) -> Or<Text> {
    let mut out = Vec::with_capacity(text.len());
    for &c in text {
        let entity = match c.get() {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\'' => "&#39;",
            '"' => "&#34;",
            _ => {
                out.push(c);
                continue;
            }
        };
        out.extend(entity.chars().map(|e| c.with(e)));
    }
    machine.charge_text(out.len())?;
    Ok(out.into())
}

/// Jinja2's own `title`: words begin after blanks, dashes and opening brackets.
fn title(text: &[Ch]) -> Vec<Ch> {
    let breaks = |c: Ch| c.is_space() || "-({[<".contains(c.get());
    let (mut out, mut start) = (Vec::with_capacity(text.len()), 0);
    while start < text.len() {
        let kind = breaks(text[start]);
        let end = start + text[start..].iter().take_while(|&&c| breaks(c) == kind).count();
        out.extend(text::upper(&text[start..start + 1]));
        out.extend(text::lower(&text[start + 1..end]));
        start = end;
    }
    out
}

fn words(text: &[Ch]) -> usize {
    let inside = |c: &Ch| is_alpha(c.get()) || is_numeric(c.get()) || c.get() == '_';
    let starts = |i: &usize| inside(&text[*i]) && (*i == 0 || !inside(&text[*i - 1]));
    (0..text.len()).filter(starts).count()
}

fn indent(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let Value::Text(text) = value else {
        return Err(format!("indent: a string expected, not {}", value.type_name()));
    };
    let indent: Text = match arguments.get(0) {
        None => methods::blanks(4).into(),
        Some(width) => match width.as_text() {
            Some(text) => text.clone(),
            None => {
                let width = usize::try_from(arguments.number(0, 4)?.max(0)).unwrap_or(usize::MAX);
                machine.charge_text(width)?;
                methods::blanks(width).into()
            }
        },
    };
    let (first, blank) = (arguments.truth(1), arguments.truth(2));
    // Jinja2 adds a line end, so that the last line counts even where it is empty.
    let whole: Vec<Ch> = text.iter().copied().chain([Ch::new('\n')]).collect();
    let lines = text::lines(&whole, false);
    machine.charge_text(text.len().saturating_add(lines.len().saturating_mul(indent.len())))?;
    let mut out = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        if i > 0 {
            out.push(Ch::new('\n'));
        }
        let indented = if i == 0 { first } else { blank || !line.is_empty() };
        if indented {
            out.extend_from_slice(&indent);
        }
        out.extend_from_slice(line);
    }
    Ok(Value::Text(out.into()))
}

fn truncate(value: &Value, arguments: &Arguments) -> Or<Value> {
    let end = arguments.text(2)?.unwrap_or_else(|| text::text("..."));
    let (length, len) = (arguments.number(0, 255)?, end.len() as i128);
    let leeway = if arguments.some(3).is_some() { arguments.number(3, 5)? } else { 5 };
    if length < len || leeway < 0 {
        return Err(format!("truncate: a length of at least {len} expected, {length} found"));
    }
    if value.len()? as i128 <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let Value::Text(text) = value else {
        return Err(format!("truncate of an object of type '{}' is not supported", value.type_name()));
    };
    let cut = &text[..(length - len) as usize];
    let blank = cut.iter().rposition(|c| c.get() == ' ').filter(|_| !arguments.truth(1));
    let kept = &cut[..blank.unwrap_or(cut.len())];
    Ok(Value::Text(kept.iter().chain(end.iter()).copied().collect()))
}

fn urlencode(machine: &mut Machine, value: &Value) -> Or<Value> {
    let quoted = |text: &[Ch], query: bool| -> Vec<Ch> {
        let mut out = Vec::new();
        for &c in text {
            match c.get() {
                letter if letter.is_ascii_alphanumeric() || "_.-~".contains(letter) => out.push(c),
                '/' if !query => out.push(c),
                ' ' if query => out.push(c.with('+')),
                letter => {
                    let bytes =
                        letter.to_string().into_bytes().into_iter().map(|byte| format!("%{byte:02X}"));
                    out.extend(bytes.collect::<String>().chars().map(|e| c.with(e)));
                }
            }
        }
        out
    };
    let pairs = match value {
        Value::Dict(dict) => dict.entries.clone(),
        Value::Text(_) | Value::Markup(_) => {
            return Ok(Value::Text(quoted(&print::str(value)?, false).into()));
        }
        other => match other.items() {
            Err(_) => return Ok(Value::Text(quoted(&print::str(value)?, false).into())),
            Ok(items) => {
                let pair = |item: Value| match item.items()?.as_slice() {
                    [key, value] => Ok((key.clone(), value.clone())),
                    _ => Err("urlencode: pairs expected".to_owned()),
                };
                items.into_iter().map(pair).collect::<Or<_>>()?
            }
        },
    };
    let mut out = Vec::new();
    for (i, (key, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(Ch::new('&'));
        }
        out.extend(quoted(&print::str(key)?, true));
        out.push(Ch::new('='));
        out.extend(quoted(&print::str(value)?, true));
        machine.charge_text(out.len())?;
    }
    Ok(Value::Text(out.into()))
}

fn tojson(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let indent = match arguments.some(1) {
        None => None,
        Some(indent) => Some(match indent.as_text() {
            Some(text) => text.to_vec(),
            None => {
                let width = usize::try_from(arguments.number(1, 0)?.max(0)).unwrap_or(usize::MAX);
                machine.charge_text(width)?;
                methods::blanks(width)
            }
        }),
    };
    let (item_separator, key_separator) = match arguments.some(2) {
        None => (text::text(if indent.is_some() { "," } else { ", " }), text::text(": ")),
        Some(pair) => match pair.items()?.as_slice() {
            [Value::Text(item), Value::Text(key)] => (item.clone(), key.clone()),
            _ => return Err("tojson: two strings expected as separators".into()),
        },
    };
    // Separators and indents come on top of what was charged for the value.
    let extra =
        item_separator.len().max(key_separator.len()) + indent.as_ref().map_or(0, |indent| indent.len() * 8);
    machine.charge_text(usize::try_from(value.size()).unwrap_or(usize::MAX).saturating_mul(1 + extra))?;
    let style = json::Style {
        ascii: arguments.truth(0),
        indent,
        item_separator,
        key_separator,
        sort_keys: arguments.truth(3),
    };
    let mut out = Vec::new();
    json::write(&mut out, value, &style, 0)?;
    machine.charge_text(out.len())?;
    Ok(Value::Text(out.into()))
}

/// `value|format(..)`
fn format(machine: &mut Machine, value: &Value, given: Given) -> Or<Value> {
    let format = methods::subject(value)?;
    let Given { positional, named } = given;
    if !positional.is_empty() && !named.is_empty() {
        return Err("format: positional and keyword arguments at the same time".into());
    }
    let values = if named.is_empty() {
        Value::tuple(positional)?
    } else {
        Value::dict(named.into_iter().map(|(name, value)| (Value::str(&name), value)).collect())?
    };
    percent::format(machine, &format, &values).map(Value::Text)
}
