//! Methods of Python's types.

use super::call::Given;
use super::format;
use super::machine::{Machine, Object};
use super::strings::{
    affixed, expand_tabs, join, pad, partition, question, replace, rsplit, search, split, texts, within,
    zero_fill,
};
use super::text::{self, Ch, Ends, Text, chars};
use super::value::{Dict, Kind, Or, Seq, Value};

/// Methods of a string that are known here.
const TEXT: [&str; 41] = [
    "capitalize",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
];
const MORE_TEXT: [&str; 3] = ["upper", "zfill", "casefold"];
const SEQUENCE: [&str; 2] = ["count", "index"];
const DICT: [&str; 5] = ["copy", "get", "items", "keys", "values"];

/// Methods that change their object, which the sandbox hides.
const CHANGES: [(&str, &[&str]); 2] = [
    ("list", &["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"]),
    ("dict", &["clear", "pop", "popitem", "setdefault", "update"]),
];

/// Other attributes that Python has. Without this list they would be taken for undefined.
const UNSUPPORTED: [(&str, &[&str]); 10] = [
    ("str", &["encode", "maketrans", "translate"]),
    ("Markup", &["encode", "maketrans", "translate", "escape", "striptags", "unescape"]),
    ("dict", &["fromkeys"]),
    (
        "int",
        &[
            "as_integer_ratio",
            "bit_count",
            "bit_length",
            "conjugate",
            "denominator",
            "from_bytes",
            "imag",
            "is_integer",
            "numerator",
            "real",
            "to_bytes",
        ],
    ),
    (
        "bool",
        &[
            "as_integer_ratio",
            "bit_count",
            "bit_length",
            "conjugate",
            "denominator",
            "from_bytes",
            "imag",
            "is_integer",
            "numerator",
            "real",
            "to_bytes",
        ],
    ),
    ("float", &["as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "is_integer", "real"]),
    (
        "generator",
        &["close", "gi_code", "gi_frame", "gi_running", "gi_suspended", "gi_yieldfrom", "send", "throw"],
    ),
    ("dict_keys", &["isdisjoint", "mapping"]),
    ("dict_values", &["mapping"]),
    ("dict_items", &["isdisjoint", "mapping"]),
];

/// The attribute of a Python object, if the type has it.
pub(super) fn attribute(value: &Value, name: &str) -> Or<Option<Value>> {
    let kind = value.type_name();
    let listed =
        |table: &[(&str, &[&str])]| table.iter().any(|(of, names)| *of == kind && names.contains(&name));
    if listed(&CHANGES) {
        return Ok(Some(Value::undefined(format!(
            "access to attribute '{name}' of '{kind}' object is unsafe."
        ))));
    }
    if listed(&UNSUPPORTED) {
        return Err(format!("the attribute `{name}` of an object of type '{kind}' is not supported"));
    }
    let known: &[&[&'static str]] = match value {
        Value::Text(_) | Value::Markup(_) => &[&TEXT, &MORE_TEXT],
        Value::Dict(_) => &[&DICT],
        Value::Seq(seq) => match seq.kind {
            Kind::List => &[&SEQUENCE, &["copy"]],
            Kind::Tuple | Kind::Group | Kind::Range(..) => &[&SEQUENCE],
            Kind::Keys | Kind::Values | Kind::Items => &[],
        },
        _ => &[],
    };
    let found = known.iter().flat_map(|names| names.iter()).find(|known| **known == name);
    found.map(|name| Value::method(value.clone(), name)).transpose()
}

/// Calls a method.
pub(super) fn call(machine: &mut Machine, of: &Value, name: &'static str, given: Given) -> Or<Value> {
    machine.charge(of.size())?;
    match of {
        Value::Text(text) if name == "format" => format::format(machine, text, given).map(Value::Text),
        Value::Text(text) if name == "format_map" => {
            let bound = given.bind(name, &["/mapping"], 1)?;
            let mut given = Given::default();
            given.add_dict(bound[0].as_ref().expect("bound"))?;
            format::format(machine, text, given).map(Value::Text)
        }
        Value::Text(text) => of_text(machine, text, name, given),
        Value::Markup(_) => Err(format!("`{name}` of escaped text is not supported")),
        Value::Dict(dict) => of_dict(dict, name, given),
        Value::Seq(seq) => of_sequence(seq, name, given),
        Value::Loop(state) if name == "cycle" => {
            let Given { positional, named } = given;
            match positional.is_empty() || !named.is_empty() {
                true => Err("no items for cycling given".into()),
                false => Ok(positional[state.at % positional.len()].clone()),
            }
        }
        Value::Loop(state) => changed(machine, state.seen, given),
        Value::Object(at) => {
            given.bind(name, &[], 0)?;
            let Object::Cycler(items, position) = &mut machine.objects[*at] else {
                return Err(format!("`{name}` is not supported"));
            };
            let current = items[*position].clone();
            *position = if name == "next" { (*position + 1) % items.len() } else { 0 };
            Ok(if name == "next" { current } else { Value::None })
        }
        other => Err(format!("`{name}` of an object of type '{}' is not supported", other.type_name())),
    }
}

fn of_dict(dict: &Dict, name: &str, given: Given) -> Or<Value> {
    let (keys, values) = (
        || dict.entries.iter().map(|(key, _)| key.clone()),
        || dict.entries.iter().map(|(_, value)| value.clone()),
    );
    if name == "get" {
        let mut bound = given.bind(name, &["/key", "/default"], 1)?;
        let default = bound.pop().flatten().unwrap_or(Value::None);
        let key = bound.remove(0).expect("bound");
        key.hashable()?;
        return Ok(dict.get(&key).cloned().unwrap_or(default));
    }
    given.bind(name, &[], 0)?;
    match name {
        "keys" => Value::seq(Kind::Keys, keys().collect()),
        "values" => Value::seq(Kind::Values, values().collect()),
        "items" => {
            let pairs: Or<Vec<_>> =
                keys().zip(values()).map(|(key, value)| Value::tuple(vec![key, value])).collect();
            Value::seq(Kind::Items, pairs?)
        }
        _ => Value::dict(dict.entries.clone()),
    }
}

fn of_sequence(seq: &Seq, name: &str, given: Given) -> Or<Value> {
    if name == "copy" {
        given.bind(name, &[], 0)?;
        return Value::list(seq.items.clone());
    }
    let bound = given.bind(name, &["/value"], 1)?;
    let same = |item: &Value| item.equals(bound[0].as_ref().expect("bound"));
    match name {
        "count" => Ok(Value::int(seq.items.iter().filter(|item| same(item)).count())),
        _ => {
            let found = seq.items.iter().position(same);
            found.map(Value::int).ok_or_else(|| "the value is not in the list".to_owned())
        }
    }
}

fn changed(machine: &mut Machine, seen: usize, given: Given) -> Or<Value> {
    let Object::Seen(before) = &mut machine.objects[seen] else { unreachable!("a loop's object") };
    let now = given.positional;
    let same = before.as_ref().is_some_and(|before| {
        before.len() == now.len() && before.iter().zip(&now).all(|(before, now)| before.equals(now))
    });
    *before = Some(now);
    Ok(Value::Bool(!same))
}

/// The arguments of a string's method: names, and how many must be there.
fn parameters(name: &str) -> (&'static [&'static str], usize) {
    match name {
        "center" | "ljust" | "rjust" => (&["/width", "/fillchar"], 1),
        "count" | "find" | "index" | "rfind" | "rindex" | "endswith" | "startswith" => {
            (&["/sub", "/start", "/end"], 1)
        }
        "expandtabs" => (&["tabsize"], 0),
        "join" => (&["/iterable"], 1),
        "strip" | "lstrip" | "rstrip" => (&["/chars"], 0),
        "partition" | "rpartition" => (&["/sep"], 1),
        "removeprefix" | "removesuffix" => (&["/affix"], 1),
        "replace" => (&["/old", "/new", "count"], 2),
        "split" | "rsplit" => (&["sep", "maxsplit"], 0),
        "splitlines" => (&["keepends"], 0),
        "zfill" => (&["/width"], 1),
        _ => (&[], 0),
    }
}

/// The arguments of a string's method.
struct Words<'a> {
    name: &'a str,
    bound: Vec<Option<Value>>,
}

impl Words<'_> {
    /// The argument; none if it is missing, or `none` where Python takes that for missing.
    fn get(&self, at: usize) -> Or<Option<&Value>> {
        let optional = match self.name {
            "strip" | "lstrip" | "rstrip" | "split" | "rsplit" => at == 0,
            "count" | "find" | "index" | "rfind" | "rindex" | "endswith" | "startswith" => at > 0,
            _ => false,
        };
        match self.bound.get(at).and_then(Option::as_ref) {
            Some(Value::None) if optional => Ok(None),
            Some(Value::None) => Err(format!("{}: an argument must not be None", self.name)),
            found => Ok(found),
        }
    }

    fn text(&self, at: usize) -> Or<Option<Text>> {
        let Some(value) = self.get(at)? else { return Ok(None) };
        let found = value.type_name();
        value
            .as_text()
            .cloned()
            .map(Some)
            .ok_or_else(|| format!("{}: a string expected, not {found}", self.name))
    }

    fn needed(&self, at: usize) -> Or<Text> {
        self.text(at)?.ok_or_else(|| format!("{}: a string expected", self.name))
    }

    fn number(&self, at: usize) -> Or<Option<i128>> {
        let Some(value) = self.get(at)? else { return Ok(None) };
        let found = value.type_name();
        value.as_int().map(Some).ok_or_else(|| format!("{}: a whole number expected, not {found}", self.name))
    }

    /// A width in characters.
    fn width(&self, machine: &mut Machine) -> Or<usize> {
        let width = usize::try_from(self.number(0)?.unwrap_or(0).max(0)).unwrap_or(usize::MAX);
        machine.charge_text(width)?;
        Ok(width)
    }
}

fn of_text(machine: &mut Machine, text: &Text, name: &'static str, given: Given) -> Or<Value> {
    if name.starts_with("is") {
        given.bind(name, &[], 0)?;
        return question(text, name).map(Value::Bool);
    }
    let (params, needed) = parameters(name);
    let words = Words { name, bound: given.bind(name, params, needed)? };
    let strip = |ends: Ends| -> Or<_> { Ok(text::strip(text, words.text(0)?.as_deref(), ends).to_vec()) };
    let chars: Vec<Ch> = match name {
        "lower" => text::lower(text),
        "upper" => text::upper(text),
        "title" => text::title(text),
        "capitalize" => text::capitalize(text),
        "swapcase" => text::swapcase(text),
        "casefold" if text.iter().all(|c| c.get().is_ascii()) => text::lower(text),
        "casefold" => return Err("casefold of text beyond ASCII is not supported".into()),
        "strip" => strip(Ends::Both)?,
        "lstrip" => strip(Ends::Left)?,
        "rstrip" => strip(Ends::Right)?,
        "removeprefix" => text.strip_prefix(&words.needed(0)?[..]).unwrap_or(text).to_vec(),
        "removesuffix" => text.strip_suffix(&words.needed(0)?[..]).unwrap_or(text).to_vec(),
        "center" | "ljust" | "rjust" => {
            let fill = words.text(1)?.unwrap_or_else(|| text::text(" "));
            let [fill] = fill[..] else {
                return Err(format!("{name}: the fill character must be exactly one character long"));
            };
            pad(text, words.width(machine)?, fill, name)
        }
        "zfill" => zero_fill(text, words.width(machine)?),
        "expandtabs" => {
            let size = usize::try_from(words.number(0)?.unwrap_or(8).max(0)).unwrap_or(usize::MAX);
            let tabs = text.iter().filter(|c| c.get() == '\t').count();
            machine.charge_text(tabs.saturating_mul(size))?;
            expand_tabs(text, size)
        }
        _ => return found(machine, text, &words),
    };
    Ok(Value::Text(chars.into()))
}

/// The methods that look for something in a string.
fn found(machine: &mut Machine, text: &Text, words: &Words) -> Or<Value> {
    let name = words.name;
    match name {
        "replace" => {
            let count = words.number(2)?.unwrap_or(-1);
            replace(machine, text, &words.needed(0)?, &words.needed(1)?, count).map(Value::Text)
        }
        "split" | "rsplit" => {
            let (separator, most) = (words.text(0)?, words.number(1)?.unwrap_or(-1));
            let cut = if name == "split" { split } else { rsplit };
            Value::list(texts(cut(text, separator.as_deref(), most)?))
        }
        "splitlines" => {
            Value::list(texts(text::lines(text, words.bound[0].as_ref().is_some_and(Value::truth))))
        }
        "partition" | "rpartition" => partition(text, &words.needed(0)?, name == "rpartition"),
        "join" => join(machine, text, words.bound[0].as_ref().expect("bound")),
        "startswith" | "endswith" => {
            let part = within(text, words.number(1)?, words.number(2)?);
            let affix = words.bound[0].as_ref().expect("bound");
            affixed(part, affix, name == "endswith").map(Value::Bool)
        }
        _ => search(text, &words.needed(0)?, words.number(1)?, words.number(2)?, name),
    }
}

/// `str(value)` of a filter's subject.
pub(super) fn subject(value: &Value) -> Or<Text> {
    match value {
        Value::Markup(_) => Err("this filter of escaped text is not supported".into()),
        other => super::print::str(other),
    }
}

/// Blanks, as an indent is given by its width.
pub(super) fn blanks(width: usize) -> Vec<Ch> {
    chars(&" ".repeat(width))
}
