//! Equality, identity and order of values, as Python has them.

use super::value::{Kind, Or, Seq, Value};
use std::cmp::Ordering;
use std::rc::Rc;

impl Value {
    /// `==`
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Text(a) | Self::Markup(a), Self::Text(b) | Self::Markup(b)) => a == b,
            (Self::Seq(a), Self::Seq(b)) => equal_sequences(a, b),
            (Self::Dict(a), Self::Dict(b)) => {
                let same =
                    |(key, value): &(Self, Self)| b.get(key).is_some_and(|found| found.is_or_equals(value));
                a.entries.len() == b.entries.len() && a.entries.iter().all(same)
            }
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Function(a), Self::Function(b)) => a == b,
            _ => numbers(self, other) == Some(Some(Ordering::Equal)) || self.is(other),
        }
    }

    /// As containers compare elements: the same one is equal even where `==` says no.
    fn is_or_equals(&self, other: &Self) -> bool {
        self.is(other) || self.equals(other)
    }

    /// `is`, for values that have an identity.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Seq(a), Self::Seq(b)) => Rc::ptr_eq(a, b),
            (Self::Dict(a), Self::Dict(b)) => Rc::ptr_eq(a, b),
            (Self::Iter(a), Self::Iter(b)) => Rc::ptr_eq(a, b),
            (Self::Loop(a), Self::Loop(b)) => a.seen == b.seen,
            (Self::Macro(a), Self::Macro(b)) => Rc::ptr_eq(a, b),
            (Self::None, Self::None) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => false,
        }
    }

    /// What `<` and its siblings compare by; `None` with a NaN.
    pub(super) fn order(&self, other: &Self) -> Or<Option<Ordering>> {
        if let Self::Undefined(what) = self {
            return Err(what.to_string());
        }
        if let Self::Undefined(what) = other {
            return Err(what.to_string());
        }
        match (self, other) {
            (Self::Text(a) | Self::Markup(a), Self::Text(b) | Self::Markup(b)) => Ok(Some(a.cmp(b))),
            (Self::Seq(a), Self::Seq(b)) if ordered(a.kind, b.kind) => {
                for (x, y) in a.items.iter().zip(&b.items) {
                    if !x.is_or_equals(y) {
                        return x.order(y);
                    }
                }
                Ok(Some(a.items.len().cmp(&b.items.len())))
            }
            _ => numbers(self, other).ok_or_else(|| {
                format!("no order between instances of '{}' and '{}'", self.type_name(), other.type_name())
            }),
        }
    }

    /// `in`
    pub(super) fn contains(&self, item: &Self) -> Or<bool> {
        match self {
            Self::Text(whole) | Self::Markup(whole) => match item.as_text() {
                Some(part) => Ok(super::text::find(whole, part, 0).is_some()),
                None => {
                    Err(format!("'in <string>' requires string as left operand, not {}", item.type_name()))
                }
            },
            Self::Seq(seq) => Ok(seq.items.iter().any(|known| known.is_or_equals(item))),
            Self::Dict(dict) => {
                item.hashable()?;
                Ok(dict.get(item).is_some())
            }
            Self::Iter(iter) => Ok(iter.left.borrow_mut().any(|known| known.is_or_equals(item))),
            Self::Undefined(_) => Ok(false),
            _ => Err(format!("argument of type '{}' is not iterable", self.type_name())),
        }
    }
}

fn equal_sequences(a: &Seq, b: &Seq) -> bool {
    let same_items =
        || a.items.len() == b.items.len() && a.items.iter().zip(&b.items).all(|(a, b)| a.is_or_equals(b));
    match (a.kind, b.kind) {
        (Kind::Range(..), Kind::Range(..)) => same_items(),
        // Views of keys and items are sets.
        (Kind::Keys | Kind::Items, Kind::Keys | Kind::Items) => {
            a.items.len() == b.items.len() && a.items.iter().all(|x| b.items.iter().any(|y| x.equals(y)))
        }
        (Kind::Values, Kind::Values) => false,
        (x, y) => (x == y || (x.is_tuple() && y.is_tuple())) && same_items(),
    }
}

/// Whether sequences of these kinds have an order.
fn ordered(a: Kind, b: Kind) -> bool {
    (a == Kind::List && b == Kind::List) || (a.is_tuple() && b.is_tuple())
}

/// How two numbers compare, if both are numbers.
fn numbers(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    if let (Some(a), Some(b)) = (a.as_int(), b.as_int()) {
        return Some(Some(a.cmp(&b)));
    }
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Some(a.partial_cmp(b)),
        (Value::Float(a), b) => Some(float_to_int(*a, b.as_int()?)),
        (a, Value::Float(b)) => Some(float_to_int(*b, a.as_int()?).map(Ordering::reverse)),
        _ => None,
    }
}

/// Compares exactly: the whole number is never rounded.
fn float_to_int(float: f64, int: i128) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Saturates, which keeps the order: no whole number here is larger.
    let whole = float.trunc() as i128;
    Some(whole.cmp(&int).then(float.fract().partial_cmp(&0.0)?))
}
