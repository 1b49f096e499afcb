//! Operators, as Python computes them.

use super::ast::{Binary, Compare};
use super::machine::Machine;
use super::percent;
use super::value::{Kind, Or, Value};
use std::cmp::Ordering;

/// Whole numbers beyond these do not have exact floats.
const EXACT: i128 = 1 << 53;

fn unsupported<T>(sign: &str, left: &Value, right: &Value) -> Or<T> {
    let (left, right) = (left.type_name(), right.type_name());
    Err(format!("unsupported operand types for {sign}: '{left}' and '{right}'"))
}

fn too_large<T>() -> Or<T> {
    Err("a whole number of more than 127 bits is not supported".into())
}

pub(super) fn negative(value: &Value) -> Or<Value> {
    match (value, value.as_int()) {
        (Value::Undefined(what), _) => Err(what.to_string()),
        (Value::Float(value), _) => Ok(Value::Float(-value)),
        (_, Some(value)) => value.checked_neg().map_or_else(too_large, |value| Ok(Value::Int(value))),
        _ => Err(format!("bad operand type for unary -: '{}'", value.type_name())),
    }
}

pub(super) fn positive(value: &Value) -> Or<Value> {
    match (value, value.as_int()) {
        (Value::Undefined(what), _) => Err(what.to_string()),
        (Value::Float(value), _) => Ok(Value::Float(*value)),
        (_, Some(value)) => Ok(Value::Int(value)),
        _ => Err(format!("bad operand type for unary +: '{}'", value.type_name())),
    }
}

pub(super) fn binary(machine: &mut Machine, operator: Binary, left: &Value, right: &Value) -> Or<Value> {
    // `'..' % undefined` formats it.
    let formats = operator == Binary::Rem && left.as_text().is_some();
    for value in [left, right] {
        if let Value::Undefined(what) = value
            && !formats
        {
            return Err(what.to_string());
        }
    }
    match (left, right) {
        (Value::Markup(_), _) | (_, Value::Markup(_)) => {
            Err("an operator on escaped text is not supported".into())
        }
        (Value::Text(format), value) if operator == Binary::Rem => {
            let text = percent::format(machine, format, value)?;
            Ok(Value::Text(text))
        }
        (Value::Text(a), Value::Text(b)) if operator == Binary::Add => {
            machine.charge_text(a.len() + b.len())?;
            Ok(Value::Text(a.iter().chain(b.iter()).copied().collect()))
        }
        (Value::Seq(a), Value::Seq(b)) if operator == Binary::Add => {
            machine.charge((a.items.len() + b.items.len()) as u64)?;
            let items = a.items.iter().chain(&b.items).cloned().collect();
            match (a.kind, b.kind) {
                (Kind::List, Kind::List) => Value::list(items),
                (x, y) if x.is_tuple() && y.is_tuple() => Value::tuple(items),
                _ => unsupported("+", left, right),
            }
        }
        (Value::Text(_) | Value::Seq(_), other) | (other, Value::Text(_) | Value::Seq(_))
            if operator == Binary::Mul && other.as_int().is_some() =>
        {
            let whole = if left.as_int().is_some() { right } else { left };
            repeat(machine, whole, other.as_int().expect("checked"))
        }
        _ => numbers(operator, left, right),
    }
}

/// `sequence * times`
fn repeat(machine: &mut Machine, value: &Value, times: i128) -> Or<Value> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    let len = value.len()?.saturating_mul(times);
    match value {
        Value::Text(text) => {
            machine.charge_text(len)?;
            Ok(Value::Text(text.repeat(if len == 0 { 0 } else { times }).into()))
        }
        Value::Seq(seq) if seq.kind == Kind::List || seq.kind.is_tuple() => {
            machine.charge(len as u64)?;
            let items =
                if len == 0 { Vec::new() } else { (0..times).flat_map(|_| seq.items.clone()).collect() };
            Value::seq(if seq.kind == Kind::List { Kind::List } else { Kind::Tuple }, items)
        }
        other => unsupported("*", other, &Value::Int(0)),
    }
}

fn sign_of(operator: Binary) -> &'static str {
    match operator {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Rem => "%",
        Binary::Pow => "**",
    }
}

fn numbers(operator: Binary, left: &Value, right: &Value) -> Or<Value> {
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        return integers(operator, a, b);
    }
    match (as_float(left)?, as_float(right)?) {
        (Some(a), Some(b)) => floats(operator, a, b).map(Value::Float),
        _ => unsupported(sign_of(operator), left, right),
    }
}

/// The number as a float, if it is one.
pub(super) fn as_float(value: &Value) -> Or<Option<f64>> {
    match (value, value.as_int()) {
        (Value::Float(value), _) => Ok(Some(*value)),
        (_, Some(value)) if value.abs() <= EXACT => Ok(Some(value as f64)),
        (_, Some(_)) => Err("a whole number beyond 2**53 as a float is not supported".into()),
        _ => Ok(None),
    }
}

fn integers(operator: Binary, a: i128, b: i128) -> Or<Value> {
    let zero = matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Rem) && b == 0;
    if zero {
        return Err("division by zero".into());
    }
    let value = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::FloorDiv => floor_div(a, b),
        Binary::Rem => {
            a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        Binary::Pow if b >= 0 => match a {
            0 | 1 => Some(if b == 0 { 1 } else { a }),
            -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
            _ => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        },
        Binary::Div | Binary::Pow => {
            let (Some(x), Some(y)) = (as_float(&Value::Int(a))?, as_float(&Value::Int(b))?) else {
                unreachable!("whole numbers are numbers")
            };
            return floats(operator, x, y).map(Value::Float);
        }
    };
    value.map_or_else(too_large, |value| Ok(Value::Int(value)))
}

fn floor_div(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

fn floats(operator: Binary, a: f64, b: f64) -> Or<f64> {
    if b == 0.0 && matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Rem) {
        return Err("float division by zero".into());
    }
    Ok(match operator {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => div_rem(a, b).0,
        Binary::Rem => div_rem(a, b).1,
        Binary::Pow => return power(a, b),
    })
}

/// Quotient and rest, as CPython's `float_divmod` has them.
fn div_rem(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    let floor = if quotient == 0.0 {
        0f64.copysign(a / b)
    } else {
        let floor = quotient.floor();
        if quotient - floor > 0.5 { floor + 1.0 } else { floor }
    };
    (floor, rest)
}

fn power(a: f64, b: f64) -> Or<f64> {
    if a == 0.0 && b < 0.0 {
        return Err("zero to a negative power".into());
    }
    // Other exponents differ in the last bit between libraries.
    let whole = b.fract() == 0.0 && b.abs() <= 64.0;
    let value = if whole || b == 0.5 { a.powf(b) } else { f64::NAN };
    if !value.is_finite() || (b == 0.5 && a < 0.0) {
        return Err("this power of a float is not supported".into());
    }
    Ok(value)
}

pub(super) fn compare(compare: Compare, left: &Value, right: &Value) -> Or<bool> {
    let order = |accept: fn(Ordering) -> bool| Ok(left.order(right)?.is_some_and(accept));
    match compare {
        Compare::Eq => Ok(left.equals(right)),
        Compare::Ne => Ok(!left.equals(right)),
        Compare::Lt => order(Ordering::is_lt),
        Compare::Le => order(Ordering::is_le),
        Compare::Gt => order(Ordering::is_gt),
        Compare::Ge => order(Ordering::is_ge),
        Compare::In => right.contains(left),
        Compare::NotIn => Ok(!right.contains(left)?),
    }
}

/// Sorts by keys as Python does: with `<`, and equals keep their order. The comparison can fail, so it is a merge sort of our own.
pub(super) fn sort_by<T: Clone>(items: &mut Vec<T>, key: impl Fn(&T) -> &Value + Copy) -> Or<()> {
    if items.len() < 2 {
        return Ok(());
    }
    let mut right = items.split_off(items.len() / 2);
    sort_by(items, key)?;
    sort_by(&mut right, key)?;
    let (mut merged, mut a, mut b) = (Vec::with_capacity(items.len() + right.len()), 0, 0);
    while a < items.len() && b < right.len() {
        let Some(order) = key(&right[b]).order(key(&items[a]))? else {
            return Err("sorting with a NaN is not supported".into());
        };
        let (from, at) = if order.is_lt() { (&right, &mut b) } else { (&*items, &mut a) };
        merged.push(from[*at].clone());
        *at += 1;
    }
    merged.extend_from_slice(&items[a..]);
    merged.extend_from_slice(&right[b..]);
    *items = merged;
    Ok(())
}
