//! Functions of the environment.

use super::ast::Name;
use super::call::Given;
use super::machine::{Machine, Object};
use super::print;
use super::text::plain;
use super::value::{Kind, Or, Value};
use std::collections::HashMap;

const FUNCTIONS: [&str; 8] =
    ["range", "dict", "lipsum", "cycler", "joiner", "namespace", "raise_exception", "strftime_now"];

/// What the sandbox allows a range to have.
const MAX_RANGE: i128 = 100_000;

/// The function of this name, if there is one.
pub(super) fn named(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|known| **known == name).copied()
}

pub(super) fn call(machine: &mut Machine, name: &str, given: Given) -> Or<Value> {
    match name {
        "range" => {
            let given = given.bind(name, &["/start", "/stop", "/step"], 1)?;
            let number = |value: &Value| {
                value
                    .as_int()
                    .ok_or_else(|| format!("range: a whole number expected, not {}", value.type_name()))
            };
            let numbers = given.iter().flatten().map(number).collect::<Or<Vec<_>>>()?;
            range(machine, &numbers)
        }
        "dict" => dict(machine, given),
        "namespace" => namespace(machine, given),
        "cycler" => {
            let Given { positional, named } = given;
            if positional.is_empty() || !named.is_empty() {
                return Err("cycler: at least one item has to be provided".into());
            }
            Ok(object(machine, Object::Cycler(positional, 0)))
        }
        "joiner" => {
            let separator = given.bind(name, &["sep"], 0)?.remove(0);
            let separator = separator.unwrap_or_else(|| Value::str(", "));
            Ok(object(machine, Object::Joiner(separator, false)))
        }
        "raise_exception" => {
            let message = given.bind(name, &["message"], 1)?.remove(0).expect("bound");
            Err(plain(&print::str(&message)?))
        }
        "strftime_now" => {
            let format = given.bind(name, &["format"], 1)?.remove(0).expect("bound");
            let format = format.as_text().map(|text| plain(text)).ok_or("strftime_now: a string expected")?;
            Ok(Value::str(&(machine.now)(&format)?))
        }
        other => Err(format!("the function `{other}` is not supported")),
    }
}

fn dict(machine: &mut Machine, given: Given) -> Or<Value> {
    let Given { mut positional, named } = given;
    if positional.len() > 1 {
        return Err("dict: at most one argument expected".into());
    }
    let mut entries = match positional.pop() {
        None => Vec::new(),
        Some(Value::Dict(dict)) => dict.entries.clone(),
        Some(pairs) => {
            let pair = |pair: Value| match pair.items()?.as_slice() {
                [key, value] => Ok((key.clone(), value.clone())),
                _ => Err("dict: pairs expected".to_owned()),
            };
            pairs.items()?.into_iter().map(pair).collect::<Or<_>>()?
        }
    };
    entries.extend(named.into_iter().map(|(name, value)| (Value::str(&name), value)));
    machine.dict(entries)
}

fn namespace(machine: &mut Machine, given: Given) -> Or<Value> {
    let Given { mut positional, named } = given;
    if positional.len() > 1 {
        return Err("namespace: at most one argument expected".into());
    }
    let mut entries: HashMap<Name, Value> = HashMap::new();
    if let Some(first) = positional.pop() {
        let mut dict = Given::default();
        dict.add_dict(&first)?;
        entries.extend(dict.named.into_iter().map(|(name, value)| (name.into(), value)));
    }
    entries.extend(named.into_iter().map(|(name, value)| (name.into(), value)));
    Ok(object(machine, Object::Namespace(entries)))
}

fn object(machine: &mut Machine, object: Object) -> Value {
    machine.objects.push(object);
    Value::Object(machine.objects.len() - 1)
}

fn range(machine: &mut Machine, numbers: &[i128]) -> Or<Value> {
    let (start, stop, step) = match *numbers {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => unreachable!("one to three arguments"),
    };
    if step == 0 {
        return Err("range: the step must not be zero".into());
    }
    let (mut items, mut at) = (Vec::new(), start);
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        if items.len() as i128 == MAX_RANGE {
            return Err(format!("range: more than {MAX_RANGE} numbers"));
        }
        items.push(Value::Int(at));
        at = at.saturating_add(step);
    }
    machine.charge(items.len() as u64)?;
    Value::seq(Kind::Range(start, stop, step), items)
}
