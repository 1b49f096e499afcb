//! Filters on sequences.

use super::call::Given;
use super::filters::{self, Arguments};
use super::machine::Machine;
use super::text::{Text, lower, plain};
use super::value::{Kind, Or, Value};
use super::{access, checks, ops, print};

/// What Jinja2's filters that yield give.
const GENERATOR: &str = "generator";

pub(super) fn filter(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    match arguments.name {
        "count" | "length" => value.len().map(Value::int),
        "list" => Value::list(value.items()?),
        "first" => first(value),
        "last" => {
            if matches!(value, Value::Iter(_)) {
                return Err("a generator cannot be reversed".into());
            }
            Ok(value.items()?.pop().unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")))
        }
        "reverse" => reverse(value),
        "items" => match value {
            Value::Undefined(_) => Value::iter(GENERATOR, Vec::new()),
            Value::Dict(dict) => {
                let pairs: Or<Vec<_>> = dict
                    .entries
                    .iter()
                    .map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()]))
                    .collect();
                Value::iter(GENERATOR, pairs?)
            }
            _ => Err("items: a mapping expected".into()),
        },
        "join" => join(machine, value, arguments),
        "batch" => batch(machine, value, arguments),
        "slice" => slice(machine, value, arguments),
        "sort" => {
            let keyed = keyed(machine, value.items()?, arguments.some(2), arguments.truth(1), true)?;
            sorted(machine, keyed, arguments.truth(0))
        }
        "dictsort" => dictsort(machine, value, arguments),
        "unique" => unique(machine, value, arguments),
        "min" | "max" => extreme(machine, value, arguments),
        "groupby" => groupby(machine, value, arguments),
        "sum" => sum(machine, value, arguments),
        other => Err(format!("the filter `{other}` is not supported")),
    }
}

fn first(value: &Value) -> Or<Value> {
    let item = match value {
        Value::Iter(iter) => iter.left.borrow_mut().next(),
        other => other.items()?.into_iter().next(),
    };
    Ok(item.unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")))
}

fn reverse(value: &Value) -> Or<Value> {
    let mirrored = |text: &Text| text.iter().rev().copied().collect();
    let what = match value {
        Value::Text(text) => return Ok(Value::Text(mirrored(text))),
        Value::Markup(text) => return Ok(Value::Markup(mirrored(text))),
        Value::Iter(_) => "list",
        _ => "reversed",
    };
    let mut items = value.items()?;
    items.reverse();
    if what == "list" { Value::list(items) } else { Value::iter(what, items) }
}

/// What `attribute` means: names and numbers with dots between them; with `several`, more of them with commas.
fn paths(attribute: &Value, several: bool) -> Or<Vec<Vec<Value>>> {
    let Some(text) = attribute.as_text() else { return Ok(vec![vec![attribute.clone()]]) };
    let part = |part: &str| match part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() {
        true => part.parse().map(Value::Int).map_err(|_| "an index that is too large".to_owned()),
        false => Ok(Value::str(part)),
    };
    let path = |path: &str| path.split('.').map(part).collect();
    let text = plain(text);
    if several { text.split(',').map(path).collect() } else { Ok(vec![path(&text)?]) }
}

fn walk(machine: &Machine, item: &Value, path: &[Value], default: Option<&Value>) -> Or<Value> {
    let mut item = item.clone();
    for part in path {
        item = access::item(machine, &item, part)?;
        if let Some(default) = default
            && item.is_undefined()
        {
            item = default.clone();
        }
    }
    Ok(item)
}

fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_text() {
        Some(text) if !case_sensitive => Value::Text(lower(text).into()),
        _ => value,
    }
}

/// Items with the keys that they are compared by. Where there may be several, they make a list: equal ones need no order then.
fn keyed(
    machine: &mut Machine,
    items: Vec<Value>,
    attribute: Option<&Value>,
    case_sensitive: bool,
    several: bool,
) -> Or<Vec<(Value, Value)>> {
    machine.charge(items.len() as u64)?;
    let paths = attribute.map_or(Ok(vec![Vec::new()]), |attribute| paths(attribute, several))?;
    let key = |item: &Value| {
        let part = |path: &Vec<Value>| Ok(folded(walk(machine, item, path, None)?, case_sensitive));
        let mut keys = paths.iter().map(part).collect::<Or<Vec<_>>>()?;
        if several { Value::list(keys) } else { Ok(keys.remove(0)) }
    };
    items.into_iter().map(|item| Ok((key(&item)?, item))).collect()
}

fn sorted(machine: &mut Machine, mut items: Vec<(Value, Value)>, reverse: bool) -> Or<Value> {
    machine.charge(items.iter().map(|(key, _)| 20 * key.size()).sum())?;
    // Equals keep their order in a reversed sort, too.
    if reverse {
        items.reverse();
    }
    ops::sort_by(&mut items, |(key, _)| key)?;
    if reverse {
        items.reverse();
    }
    Value::list(items.into_iter().map(|(_, item)| item).collect())
}

fn join(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let separator = arguments.get(0).map_or_else(|| Ok(Text::from([])), print::str)?;
    let paths = arguments.some(1).map_or(Ok(vec![Vec::new()]), |attribute| paths(attribute, false))?;
    let items = value.items()?;
    machine.check_text(separator.len().saturating_mul(items.len().saturating_sub(1)))?;
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(&separator);
        }
        let item = walk(machine, item, &paths[0], None)?;
        machine.charge(item.size())?;
        let before = out.len();
        print::write_str(&mut out, &item)?;
        machine.charge_text(out.len() - before + separator.len())?;
    }
    machine.charge_text(out.len())?;
    Ok(Value::Text(out.into()))
}

fn batch(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let count = arguments.number(0, 0)?;
    let (mut out, mut row) = (Vec::new(), Vec::new());
    for item in value.items()? {
        if row.len() as i128 == count {
            out.push(Value::list(std::mem::take(&mut row))?);
        }
        row.push(item);
    }
    if !row.is_empty() {
        if let Some(fill) = arguments.some(1) {
            let missing =
                usize::try_from(count - row.len() as i128).unwrap_or(if count < 0 { 0 } else { usize::MAX });
            let missing = if (row.len() as i128) < count { missing } else { 0 };
            machine.charge(missing as u64)?;
            row.extend(std::iter::repeat_n(fill.clone(), missing));
        }
        out.push(Value::list(row)?);
    }
    Value::iter(GENERATOR, out)
}

fn slice(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let (items, slices) = (value.items()?, arguments.number(0, 0)?);
    if slices == 0 {
        return Err("slice: division by zero".into());
    }
    let Ok(slices) = usize::try_from(slices) else { return Value::iter(GENERATOR, Vec::new()) };
    machine.charge(slices as u64)?;
    let (each, extra) = (items.len() / slices, items.len() % slices);
    let (mut out, mut start) = (Vec::new(), 0);
    for n in 0..slices {
        let end = start + each + usize::from(n < extra);
        let mut row = items[start..end].to_vec();
        if n >= extra {
            row.extend(arguments.some(1).cloned());
        }
        out.push(Value::list(row)?);
        start = end;
    }
    Value::iter(GENERATOR, out)
}

fn dictsort(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let Value::Dict(dict) = value else {
        return Err(format!("dictsort: a mapping expected, not {}", value.type_name()));
    };
    let by = arguments.get(1).and_then(Value::as_text).map_or_else(|| "key".to_owned(), |text| plain(text));
    if by != "key" && by != "value" {
        return Err("dictsort: you can only sort by either \"key\" or \"value\"".into());
    }
    let entry = |(key, value): &(Value, Value)| {
        let by = if by == "key" { key } else { value };
        Ok((folded(by.clone(), arguments.truth(0)), Value::tuple(vec![key.clone(), value.clone()])?))
    };
    let entries = dict.entries.iter().map(entry).collect::<Or<Vec<_>>>()?;
    sorted(machine, entries, arguments.truth(2))
}

fn unique(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let entries = keyed(machine, value.items()?, arguments.some(1), arguments.truth(0), false)?;
    machine.charge((entries.len() as u64).pow(2) / 8)?;
    let (mut seen, mut out) = (Vec::<Value>::new(), Vec::new());
    for (key, item) in entries {
        key.hashable()?;
        if !seen.iter().any(|known| known.equals(&key)) {
            seen.push(key);
            out.push(item);
        }
    }
    Value::iter(GENERATOR, out)
}

fn extreme(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let entries = keyed(machine, value.items()?, arguments.some(1), arguments.truth(0), false)?;
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in entries {
        let better = match &best {
            None => true,
            Some((known, _)) => {
                let order = key.order(known)?.ok_or("min and max with a NaN are not supported")?;
                if arguments.name == "min" { order.is_lt() } else { order.is_gt() }
            }
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
}

fn groupby(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let path = paths(arguments.get(0).expect("bound"), false)?.remove(0);
    let default = arguments.some(1);
    let mut entries = Vec::new();
    for item in value.items()? {
        let key = walk(machine, &item, &path, default)?;
        entries.push((folded(key, arguments.truth(2)), item));
    }
    machine.charge(entries.iter().map(|(key, _)| 20 * key.size()).sum())?;
    ops::sort_by(&mut entries, |(key, _)| key)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in entries {
        match groups.last_mut().filter(|(known, _)| known.equals(&key)) {
            Some((_, group)) => group.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    let group = |(_, items): (Value, Vec<Value>)| {
        // The key as the first item has it, and not in lower case.
        let key = walk(machine, &items[0], &path, default)?;
        Value::seq(Kind::Group, vec![key, Value::list(items)?])
    };
    Value::list(groups.into_iter().map(group).collect::<Or<_>>()?)
}

fn sum(machine: &mut Machine, value: &Value, arguments: &Arguments) -> Or<Value> {
    let paths = arguments.some(0).map_or(Ok(vec![Vec::new()]), |attribute| paths(attribute, false))?;
    let mut total = arguments.get(1).cloned().unwrap_or(Value::Int(0));
    if total.as_text().is_some() {
        return Err("sum: strings cannot be summed".into());
    }
    let (mut floats, mut lost) = (0, 0.0);
    for item in value.items()? {
        let item = walk(machine, &item, &paths[0], None)?;
        let next = ops::binary(machine, super::ast::Binary::Add, &total, &item)?;
        if let (Ok(Some(a)), Ok(Some(b)), Value::Float(sum)) =
            (ops::as_float(&total), ops::as_float(&item), &next)
        {
            floats += 1;
            lost += if a.abs() >= b.abs() { (a - sum) + b } else { (b - sum) + a };
        }
        total = next;
    }
    match total {
        // Python 3.12 adds up what the additions lost, older ones do not.
        Value::Float(sum) if floats > 1 && sum + lost != sum => {
            Err("sum: floats whose sum is rounded are not supported".into())
        }
        total => Ok(total),
    }
}

/// `values|map(..)`
pub(super) fn map(machine: &mut Machine, value: &Value, given: Given) -> Or<Value> {
    let Given { mut positional, mut named } = given;
    if !value.truth() {
        return Value::iter(GENERATOR, Vec::new());
    }
    let items = value.items()?;
    machine.charge(items.len() as u64)?;
    let mut out = Vec::with_capacity(items.len());
    if positional.is_empty() {
        let mut take =
            |name: &str| named.iter().position(|(known, _)| known == name).map(|at| named.remove(at).1);
        let Some(attribute) = take("attribute") else {
            return Err("map: a filter or an attribute expected".into());
        };
        let default = take("default").filter(|value| !matches!(value, Value::None));
        if let Some((unknown, _)) = named.first() {
            return Err(format!("map: unexpected argument `{unknown}`"));
        }
        let path =
            if matches!(attribute, Value::None) { Vec::new() } else { paths(&attribute, false)?.remove(0) };
        for item in items {
            out.push(walk(machine, &item, &path, default.as_ref())?);
        }
        return Value::iter(GENERATOR, out);
    }
    let name = positional.remove(0);
    let name = name.as_text().map(|text| plain(text)).ok_or("map: the name of a filter expected")?;
    for item in items {
        let given = Given { positional: positional.clone(), named: named.clone() };
        out.push(filters::filter(machine, &item, &name, given)?);
    }
    Value::iter(GENERATOR, out)
}

/// `select`, `reject`, `selectattr` and `rejectattr`.
pub(super) fn select(machine: &mut Machine, value: &Value, filter: &str, given: Given) -> Or<Value> {
    let Given { mut positional, named } = given;
    if !value.truth() {
        return Value::iter(GENERATOR, Vec::new());
    }
    let mut path = Vec::new();
    if filter.ends_with("attr") {
        if positional.is_empty() {
            return Err(format!("{filter}: the name of an attribute expected"));
        }
        path = paths(&positional.remove(0), false)?.remove(0);
    }
    let test = (!positional.is_empty()).then(|| positional.remove(0));
    let test = test
        .map(|name| name.as_text().map(|text| plain(text)).ok_or("the name of a test expected"))
        .transpose()?;
    let items = value.items()?;
    machine.charge(items.len() as u64)?;
    let mut out = Vec::new();
    for item in items {
        let subject = walk(machine, &item, &path, None)?;
        let holds = match &test {
            None => subject.truth(),
            Some(test) => {
                let given = Given { positional: positional.clone(), named: named.clone() };
                checks::test(machine, &subject, test, given)?
            }
        };
        if holds != filter.starts_with("reject") {
            out.push(item);
        }
    }
    Value::iter(GENERATOR, out)
}
