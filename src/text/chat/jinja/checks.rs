//! Tests: `value is name`.

use super::ast::Compare;
use super::call::Given;
use super::filters;
use super::machine::{Machine, Object};
use super::ops;
use super::text::plain;
use super::unicode::is_titlecase;
use super::value::{Kind, Or, Value};

/// Tests that compare, by all their names.
const COMPARES: [(&str, Compare); 18] = [
    ("==", Compare::Eq),
    ("eq", Compare::Eq),
    ("equalto", Compare::Eq),
    ("!=", Compare::Ne),
    ("ne", Compare::Ne),
    (">", Compare::Gt),
    ("gt", Compare::Gt),
    ("greaterthan", Compare::Gt),
    (">=", Compare::Ge),
    ("ge", Compare::Ge),
    ("<", Compare::Lt),
    ("lt", Compare::Lt),
    ("lessthan", Compare::Lt),
    ("<=", Compare::Le),
    ("le", Compare::Le),
    ("in", Compare::In),
    ("sameas", Compare::Eq),
    ("divisibleby", Compare::Eq),
];

/// Tests without an argument.
const PLAIN: [&str; 21] = [
    "odd",
    "even",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "escaped",
];

fn exists(name: &str) -> bool {
    PLAIN.contains(&name) || COMPARES.iter().any(|(known, _)| *known == name)
}

/// Whether `value is name(..)`.
pub(super) fn test(machine: &mut Machine, value: &Value, name: &str, given: Given) -> Or<bool> {
    if !exists(name) {
        return Err(format!("the test `{name}` is not known"));
    }
    machine.charge(value.size())?;
    if PLAIN.contains(&name) {
        given.bind(name, &[], 0)?;
        return plain_test(machine, value, name);
    }
    let other = given.bind(name, &["other"], 1)?.remove(0).expect("bound");
    machine.charge(other.size())?;
    match name {
        "sameas" => same(value, &other),
        "divisibleby" => Ok(!ops::binary(machine, super::ast::Binary::Rem, value, &other)?.truth()),
        _ => {
            let (_, compare) = COMPARES.iter().find(|(known, _)| *known == name).expect("it exists");
            ops::compare(*compare, value, &other)
        }
    }
}

/// `is` of Python, where two implementations agree on it.
fn same(value: &Value, other: &Value) -> Or<bool> {
    match (value, other) {
        (Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Markup(_), _)
            if value.type_name() == other.type_name() =>
        {
            Err(format!("`sameas` of two objects of type '{}' is not supported", value.type_name()))
        }
        (Value::Seq(a), Value::Seq(b)) if a.kind.is_tuple() && b.kind.is_tuple() => {
            Err("`sameas` of two tuples is not supported".into())
        }
        _ => Ok(value.is(other)),
    }
}

fn plain_test(machine: &mut Machine, value: &Value, name: &str) -> Or<bool> {
    Ok(match name {
        "odd" | "even" => {
            let rest = ops::binary(machine, super::ast::Binary::Rem, value, &Value::Int(2))?;
            rest.equals(&Value::Int(i128::from(name == "odd")))
        }
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "filter" => filters::exists(&named(value)?),
        "test" => exists(&named(value)?),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "false" => matches!(value, Value::Bool(false)),
        "true" => matches!(value, Value::Bool(true)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        "string" => value.as_text().is_some(),
        "escaped" => matches!(value, Value::Markup(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "lower" | "upper" => {
            let text = super::print::str(value)?;
            let (mut wanted, mut other) = (false, false);
            for c in text.iter().map(|c| c.get()) {
                let (lower, upper) = (c.is_lowercase(), c.is_uppercase());
                wanted |= if name == "lower" { lower } else { upper };
                other |= is_titlecase(c) || if name == "lower" { upper } else { lower };
            }
            wanted && !other
        }
        "sequence" => match value {
            Value::Seq(seq) => !matches!(seq.kind, Kind::Keys | Kind::Values | Kind::Items),
            Value::Undefined(_) => true,
            other => other.as_text().is_some() || matches!(other, Value::Dict(_)),
        },
        "iterable" => match value {
            Value::Undefined(_) | Value::Seq(_) | Value::Dict(_) | Value::Iter(_) | Value::Loop(_) => true,
            Value::Object(at) => {
                matches!(machine.objects[*at], Object::Cycler(..))
                    && return Err("`iterable` of a cycler is not supported".into())
            }
            other => other.as_text().is_some(),
        },
        _ => match value {
            // An undefined value has `__call__`.
            Value::Undefined(_)
            | Value::Macro(_)
            | Value::Method(_)
            | Value::Function(_)
            | Value::Loop(_) => true,
            Value::Object(at) => matches!(machine.objects[*at], Object::Joiner(..)),
            _ => false,
        },
    })
}

fn named(value: &Value) -> Or<String> {
    value.as_text().map(|text| plain(text)).ok_or_else(|| "a name expected".to_owned())
}
