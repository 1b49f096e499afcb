//! [`Value`]: what expressions of a template evaluate to, with Python's rules for truth, equality and order.

use super::ast::{Literal, MacroDef};
use super::machine::Scope;
use super::text::{Text, text};
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Containers may be nested this deep: comparing, printing and dropping them recurses.
const MAX_DEPTH: u32 = 100;

/// A value may have this many parts, with those that are in it twice counted twice: comparing and printing goes through all.
const MAX_SIZE: u64 = 1 << 22;

/// How deep a value is nested, and how many parts it has.
#[derive(Clone, Copy)]
struct Extent {
    depth: u32,
    size: u64,
}

/// What went wrong, without the line.
pub(super) type Or<T> = Result<T, String>;

#[derive(Clone)]
pub(super) enum Value {
    /// The message when it is used.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text),
    /// A string that counts as escaped HTML.
    Markup(Text),
    Seq(Rc<Seq>),
    Dict(Rc<Dict>),
    /// A generator: what is left of it.
    Iter(Rc<Iter>),
    /// A namespace, cycler or joiner, by its number: values may refer to each other in circles.
    Object(usize),
    Loop(Rc<Loop>),
    Macro(Rc<Macro>),
    /// A method of a value.
    Method(Rc<(Self, &'static str)>),
    /// A function of the environment.
    Function(&'static str),
}

/// Which of Python's sequences it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Tuple,
    /// A tuple of a key and a list, as `groupby` makes them.
    Group,
    /// Start, stop and step.
    Range(i128, i128, i128),
    Keys,
    Values,
    Items,
}

impl Kind {
    pub(super) fn is_tuple(self) -> bool {
        matches!(self, Self::Tuple | Self::Group)
    }
}

pub(super) struct Seq {
    pub(super) kind: Kind,
    pub(super) items: Vec<Value>,
    extent: Extent,
}

pub(super) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    extent: Extent,
}

pub(super) struct Iter {
    pub(super) what: &'static str,
    pub(super) left: RefCell<std::vec::IntoIter<Value>>,
    extent: Extent,
}

/// The variable `loop`.
pub(super) struct Loop {
    pub(super) items: Rc<Seq>,
    pub(super) at: usize,
    pub(super) depth0: usize,
    pub(super) recursive: Option<(Arc<super::ast::For>, Rc<Scope>)>,
    /// The number of the object with what `loop.changed` saw last; all iterations share it.
    pub(super) seen: usize,
}

pub(super) struct Macro {
    pub(super) def: Arc<MacroDef>,
    /// Where it was defined. Weak: the scope holds the macro.
    pub(super) scope: Weak<Scope>,
}

impl From<&Literal> for Value {
    fn from(literal: &Literal) -> Self {
        match literal {
            Literal::None => Self::None,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Int(value) => Self::Int(*value),
            Literal::Float(value) => Self::Float(*value),
            Literal::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl Value {
    pub(super) fn str(source: &str) -> Self {
        Self::Text(text(source))
    }

    pub(super) fn int(value: usize) -> Self {
        Self::Int(value as i128)
    }

    pub(super) fn undefined(what: impl Into<String>) -> Self {
        Self::Undefined(what.into().into())
    }

    pub(super) fn seq(kind: Kind, items: Vec<Self>) -> Or<Self> {
        let extent = extent(items.iter())?;
        Ok(Self::Seq(Rc::new(Seq { kind, items, extent })))
    }

    pub(super) fn list(items: Vec<Self>) -> Or<Self> {
        Self::seq(Kind::List, items)
    }

    /// What a loop iterates over.
    pub(super) fn loop_items(items: Vec<Self>) -> Or<Rc<Seq>> {
        let extent = extent(items.iter())?;
        Ok(Rc::new(Seq { kind: Kind::List, items, extent }))
    }

    pub(super) fn tuple(items: Vec<Self>) -> Or<Self> {
        Self::seq(Kind::Tuple, items)
    }

    pub(super) fn iter(what: &'static str, items: Vec<Self>) -> Or<Self> {
        let extent = extent(items.iter())?;
        Ok(Self::Iter(Rc::new(Iter { what, left: RefCell::new(items.into_iter()), extent })))
    }

    /// A dictionary; of equal keys the first stays and the last value counts.
    pub(super) fn dict(given: Vec<(Self, Self)>) -> Or<Self> {
        let mut entries: Vec<(Self, Self)> = Vec::with_capacity(given.len());
        for (key, value) in given {
            key.hashable()?;
            match entries.iter_mut().find(|(known, _)| known.equals(&key)) {
                Some(entry) => entry.1 = value,
                None => entries.push((key, value)),
            }
        }
        let mut extent = extent(entries.iter().flat_map(|(key, value)| [key, value]))?;
        // Comparing looks for every key among all.
        extent.size += (entries.len() as u64).pow(2) / 64;
        Ok(Self::Dict(Rc::new(Dict { entries, extent })))
    }

    pub(super) fn method(of: Self, name: &'static str) -> Or<Self> {
        extent([&of].into_iter())?;
        Ok(Self::Method(Rc::new((of, name))))
    }

    fn extent(&self) -> Extent {
        match self {
            Self::Seq(seq) => seq.extent,
            Self::Dict(dict) => dict.extent,
            Self::Iter(iter) => iter.extent,
            Self::Method(method) => Extent { depth: 1 + method.0.extent().depth, size: 1 },
            Self::Loop(state) => Extent { depth: 1 + state.items.extent.depth, size: 1 },
            Self::Text(text) | Self::Markup(text) => Extent { depth: 0, size: 1 + text.len() as u64 / 16 },
            _ => Extent { depth: 0, size: 1 },
        }
    }

    /// How many parts it has: what comparing or printing it costs.
    pub(super) fn size(&self) -> u64 {
        self.extent().size
    }

    /// Python's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::Markup(_) => "Markup",
            Self::Seq(seq) => match seq.kind {
                Kind::List => "list",
                Kind::Tuple => "tuple",
                Kind::Group => "_GroupTuple",
                Kind::Range(..) => "range",
                Kind::Keys => "dict_keys",
                Kind::Values => "dict_values",
                Kind::Items => "dict_items",
            },
            Self::Dict(_) => "dict",
            Self::Iter(iter) => iter.what,
            Self::Object(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Method(_) | Self::Function(_) => "function",
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// The characters, if it is a string.
    pub(super) fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, as Python takes truth values for numbers.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Markup(text) => !text.is_empty(),
            Self::Seq(seq) => !seq.items.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            Self::Loop(state) => !state.items.items.is_empty(),
            Self::Iter(_) | Self::Object(_) | Self::Macro(_) | Self::Method(_) | Self::Function(_) => true,
        }
    }

    /// What `len` says, where it says something.
    pub(super) fn len(&self) -> Or<usize> {
        match self {
            Self::Undefined(_) => Ok(0),
            Self::Text(text) | Self::Markup(text) => Ok(text.len()),
            Self::Seq(seq) => Ok(seq.items.len()),
            Self::Dict(dict) => Ok(dict.entries.len()),
            Self::Loop(state) => Ok(state.items.items.len()),
            _ => Err(format!("object of type '{}' has no len()", self.type_name())),
        }
    }

    /// What a loop over it iterates over. A generator is empty afterwards.
    pub(super) fn items(&self) -> Or<Vec<Self>> {
        match self {
            Self::Undefined(_) => Ok(Vec::new()),
            Self::Text(text) | Self::Markup(text) => {
                let of = |c| if matches!(self, Self::Markup(_)) { Self::Markup(c) } else { Self::Text(c) };
                Ok(text.iter().map(|&c| of(Arc::from([c]))).collect())
            }
            Self::Seq(seq) => Ok(seq.items.clone()),
            Self::Dict(dict) => Ok(dict.entries.iter().map(|(key, _)| key.clone()).collect()),
            Self::Iter(iter) => Ok(iter.left.take().collect()),
            Self::Loop(_) => Err("a loop over the variable `loop` is not supported".into()),
            _ => Err(format!("'{}' object is not iterable", self.type_name())),
        }
    }

    /// Whether it can be a key of a dictionary.
    pub(super) fn hashable(&self) -> Or<()> {
        match self {
            Self::Seq(seq) if seq.kind.is_tuple() => seq.items.iter().try_for_each(Self::hashable),
            Self::Seq(seq) if matches!(seq.kind, Kind::Range(..)) => Ok(()),
            Self::Seq(_) | Self::Dict(_) => Err(format!("unhashable type: '{}'", self.type_name())),
            _ => Ok(()),
        }
    }
}

impl Dict {
    pub(super) fn get(&self, key: &Value) -> Option<&Value> {
        self.entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value)
    }
}

/// The extent of a container of these values.
fn extent<'a>(items: impl Iterator<Item = &'a Value>) -> Or<Extent> {
    let mut extent = Extent { depth: 0, size: 1 };
    for item in items {
        let Extent { depth, size } = item.extent();
        extent = Extent { depth: extent.depth.max(depth), size: extent.size + size };
    }
    extent.depth += 1;
    if extent.depth > MAX_DEPTH {
        return Err(format!("values nested more than {MAX_DEPTH} deep are not supported"));
    }
    if extent.size > MAX_SIZE {
        return Err(format!("values of more than {MAX_SIZE} parts are not supported"));
    }
    Ok(extent)
}
