//! `value.name`, `value[index]` and slices, as the sandbox of Jinja2 allows them.

use super::machine::{Machine, Object};
use super::methods;
use super::text::{Text, plain};
use super::value::{Kind, Loop, Or, Value};
use std::sync::Arc;

impl Machine<'_> {
    /// `value.name`: an attribute, else the item of that name.
    pub(super) fn attribute(&self, value: &Value, name: &str) -> Or<Value> {
        match self.own_attribute(value, name)? {
            Some(found) => Ok(found),
            None => Ok(subscript(value, &Value::str(name)).unwrap_or_else(|| missing(value, name))),
        }
    }

    /// An attribute in Python's sense: methods and fields, no items.
    pub(super) fn own_attribute(&self, value: &Value, name: &str) -> Or<Option<Value>> {
        if let Value::Undefined(what) = value {
            return Err(what.to_string());
        }
        if name.starts_with("__") {
            return Err(format!("the attribute `{name}` is not supported"));
        }
        match value {
            Value::Object(at) => Ok(self.object_attribute(*at, value, name)?),
            Value::Loop(state) => loop_attribute(state, value, name),
            Value::Macro(item) => Self::macro_attribute(item, name).transpose(),
            Value::Seq(seq) => match (seq.kind, name) {
                (Kind::Group, "grouper") => Ok(Some(seq.items[0].clone())),
                (Kind::Group, "list") => Ok(Some(seq.items[1].clone())),
                (Kind::Range(start, ..), "start") => Ok(Some(Value::Int(start))),
                (Kind::Range(_, stop, _), "stop") => Ok(Some(Value::Int(stop))),
                (Kind::Range(_, _, step), "step") => Ok(Some(Value::Int(step))),
                _ => methods::attribute(value, name),
            },
            _ => methods::attribute(value, name),
        }
    }

    fn object_attribute(&self, at: usize, value: &Value, name: &str) -> Or<Option<Value>> {
        Ok(match (&self.objects[at], name) {
            (Object::Namespace(entries), _) => entries.get(name).cloned(),
            (Object::Cycler(items, position), "current") => Some(items[*position].clone()),
            (Object::Cycler(items, _), "items") => Some(Value::tuple(items.clone())?),
            (Object::Cycler(_, position), "pos") => Some(Value::int(*position)),
            (Object::Cycler(..), "next") => Some(Value::method(value.clone(), "next")?),
            (Object::Cycler(..), "reset") => Some(Value::method(value.clone(), "reset")?),
            (Object::Joiner(separator, _), "sep") => Some(separator.clone()),
            (Object::Joiner(_, used), "used") => Some(Value::Bool(*used)),
            _ => None,
        })
    }
}

fn loop_attribute(state: &Loop, value: &Value, name: &str) -> Or<Option<Value>> {
    let (items, at) = (&state.items.items, state.at);
    let neighbour = |at: Option<usize>, which: &str| {
        let item = at.and_then(|at| items.get(at).cloned());
        item.unwrap_or_else(|| Value::undefined(format!("there is no {which} item")))
    };
    Ok(Some(match name {
        "index" => Value::int(at + 1),
        "index0" => Value::int(at),
        "revindex" => Value::int(items.len() - at),
        "revindex0" => Value::int(items.len() - at - 1),
        "first" => Value::Bool(at == 0),
        "last" => Value::Bool(at + 1 == items.len()),
        "length" => Value::int(items.len()),
        "depth" => Value::int(state.depth0 + 1),
        "depth0" => Value::int(state.depth0),
        "previtem" => neighbour(at.checked_sub(1), "previous"),
        "nextitem" => neighbour(Some(at + 1), "next"),
        "cycle" => Value::method(value.clone(), "cycle")?,
        "changed" => Value::method(value.clone(), "changed")?,
        _ => return Ok(None),
    }))
}

/// What does not exist. Using it is an error that says so.
fn missing(value: &Value, name: &str) -> Value {
    Value::undefined(format!("'{}' has no attribute '{name}'", described(value)))
}

fn described(value: &Value) -> String {
    match value {
        Value::None => "None".to_owned(),
        other => format!("{} object", other.type_name()),
    }
}

/// `value[index]`: an item, else the attribute of that name.
pub(super) fn item(machine: &Machine, value: &Value, index: &Value) -> Or<Value> {
    if let Value::Undefined(what) = value {
        return Err(what.to_string());
    }
    if let Some(found) = subscript(value, index) {
        return Ok(found);
    }
    match index.as_text() {
        Some(name) => {
            let name = plain(name);
            let found = if name.starts_with("__") { None } else { machine.own_attribute(value, &name)? };
            Ok(found.unwrap_or_else(|| missing(value, &name)))
        }
        None => {
            let shown = super::print::shown(index);
            Ok(Value::undefined(format!("{} has no element {shown}", described(value))))
        }
    }
}

/// An item, if Python finds one.
fn subscript(value: &Value, index: &Value) -> Option<Value> {
    match value {
        Value::Dict(dict) => {
            index.hashable().ok()?;
            dict.get(index).cloned()
        }
        Value::Seq(seq) if matches!(seq.kind, Kind::List | Kind::Tuple | Kind::Group | Kind::Range(..)) => {
            seq.items.get(position(index.as_int()?, seq.items.len())?).cloned()
        }
        Value::Text(text) => Some(Value::Text(character(text, index)?)),
        Value::Markup(text) => Some(Value::Markup(character(text, index)?)),
        _ => None,
    }
}

fn character(text: &Text, index: &Value) -> Option<Text> {
    let c = *text.get(position(index.as_int()?, text.len())?)?;
    Some(Arc::from([c]))
}

/// Where an index that may count from the end points to.
fn position(index: i128, len: usize) -> Option<usize> {
    let at = if index < 0 { index + len as i128 } else { index };
    usize::try_from(at).ok().filter(|&at| at < len)
}

/// `value[start:stop:step]`
pub(super) fn slice(value: &Value, bounds: &[Value]) -> Or<Value> {
    if let Value::Undefined(what) = value {
        return Err(what.to_string());
    }
    let undefined = || Ok(Value::undefined(format!("{} has no such slice", described(value))));
    let mut ends = [None; 3];
    for (end, bound) in ends.iter_mut().zip(bounds) {
        match (bound, bound.as_int()) {
            (Value::None, _) => {}
            (_, Some(number)) => *end = Some(number),
            _ => return undefined(),
        }
    }
    if ends[2] == Some(0) && !matches!(value, Value::Dict(_) | Value::None) {
        return Err("slice step cannot be zero".into());
    }
    let pick = |len: usize| indices(ends, len);
    match value {
        Value::Text(text) => Ok(Value::Text(pick(text.len()).into_iter().map(|i| text[i]).collect())),
        Value::Markup(text) => Ok(Value::Markup(pick(text.len()).into_iter().map(|i| text[i]).collect())),
        Value::Seq(seq) => {
            let items: Vec<_> = pick(seq.items.len()).into_iter().map(|i| seq.items[i].clone()).collect();
            match seq.kind {
                Kind::List => Value::list(items),
                Kind::Tuple | Kind::Group => Value::tuple(items),
                Kind::Range(..) => Err("a slice of a range is not supported".into()),
                Kind::Keys | Kind::Values | Kind::Items => undefined(),
            }
        }
        _ => undefined(),
    }
}

/// The positions of a slice, as Python's `slice.indices` has them.
fn indices([start, stop, step]: [Option<i128>; 3], len: usize) -> Vec<usize> {
    let (len, step) = (len as i128, step.unwrap_or(1));
    let (low, high) = if step < 0 { (-1, len - 1) } else { (0, len) };
    let clamp = |bound: Option<i128>, default: i128| match bound {
        None => default,
        Some(bound) => (if bound < 0 { bound.saturating_add(len) } else { bound }).clamp(low, high),
    };
    let (mut at, stop) = if step < 0 {
        (clamp(start, high), clamp(stop, low))
    } else {
        (clamp(start, low), clamp(stop, high))
    };
    let mut out = Vec::new();
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        out.push(at as usize);
        at = at.saturating_add(step);
    }
    out
}
