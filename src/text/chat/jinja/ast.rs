//! What the parser makes of a template.

use super::text::Text;
use std::sync::Arc;

/// An expression.
pub(super) struct Expr {
    pub(super) line: u32,
    /// How deep it is nested: a leaf is 1. Evaluation recurses that deep.
    pub(super) height: u32,
    pub(super) kind: Kind,
}

pub(super) type Name = Arc<str>;

#[derive(Clone)]
pub(super) enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

pub(super) enum Kind {
    Literal(Literal),
    Name(Name),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Name),
    Item(Box<Expr>, Box<Expr>),
    /// Start, stop and step, as the index of an item.
    Slice(Vec<Option<Expr>>),
    Call(Box<Expr>, Args),
    /// Without a subject in `{% filter %}` and `{% set %}` of a block, where it is what the block prints.
    Filter(Option<Box<Expr>>, Name, Args),
    Test(Box<Expr>, Name, Args),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    /// Condition, then, else.
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

/// Arguments of a call.
#[derive(Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Name, Expr)>,
    /// `*args`
    pub(super) list: Option<Box<Expr>>,
    /// `**kwargs`
    pub(super) dict: Option<Box<Expr>>,
}

/// Where a value is stored.
pub(super) enum Target {
    Name(Name),
    /// Namespace and attribute.
    Attribute(Name, Name),
    Tuple(Vec<Self>),
}

pub(super) struct Stmt {
    pub(super) line: u32,
    pub(super) action: Action,
}

pub(super) type Body = Vec<Stmt>;

pub(super) enum Action {
    Data(Text),
    Print(Vec<Expr>),
    /// Conditions with their bodies, and what is left.
    If(Vec<(Expr, Body)>, Body),
    For(Arc<For>),
    Set(Target, Expr),
    /// What the block prints, through the filters if there are any.
    SetBlock(Target, Option<Expr>, Body),
    With(Vec<(Target, Expr)>, Body),
    Macro(Arc<MacroDef>),
    /// A call, and the macro that is its `caller`.
    CallBlock(Expr, Arc<MacroDef>),
    FilterBlock(Expr, Body),
    /// `{% generation %}`: what it prints, in a scope of its own.
    Generation(Body),
    Break,
    Continue,
}

pub(super) struct For {
    pub(super) target: Target,
    pub(super) items: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Body,
    pub(super) otherwise: Body,
}

pub(super) struct MacroDef {
    /// A `caller` has none.
    pub(super) name: Option<Name>,
    pub(super) params: Vec<Name>,
    /// Of the last parameters.
    pub(super) defaults: Vec<Expr>,
    pub(super) body: Body,
    /// Whether the body names `caller`, `kwargs` and `varargs`: it takes no other arguments than it uses.
    pub(super) uses_caller: bool,
    pub(super) uses_kwargs: bool,
    pub(super) uses_varargs: bool,
}

/// How deep the deepest part of a node is nested.
pub(super) fn height_of(kind: &Kind) -> u32 {
    let all = |parts: &mut dyn Iterator<Item = &Expr>| parts.map(|part| part.height).max().unwrap_or(0);
    let args = |args: &Args| {
        let named = args.named.iter().map(|(_, value)| value);
        let stars = args.list.iter().chain(&args.dict).map(|value| &**value);
        all(&mut args.positional.iter().chain(named).chain(stars))
    };
    match kind {
        Kind::Literal(_) | Kind::Name(_) => 0,
        Kind::List(items) | Kind::Tuple(items) | Kind::Concat(items) => all(&mut items.iter()),
        Kind::Dict(entries) => all(&mut entries.iter().flat_map(|(key, value)| [key, value])),
        Kind::Attribute(value, _) | Kind::Negative(value) | Kind::Positive(value) | Kind::Not(value) => {
            value.height
        }
        Kind::Item(left, right)
        | Kind::And(left, right)
        | Kind::Or(left, right)
        | Kind::Binary(_, left, right) => left.height.max(right.height),
        Kind::Slice(bounds) => all(&mut bounds.iter().flatten()),
        Kind::Call(value, given) | Kind::Test(value, _, given) => value.height.max(args(given)),
        Kind::Filter(value, _, given) => value.as_ref().map_or(0, |value| value.height).max(args(given)),
        Kind::Compare(first, rest) => first.height.max(all(&mut rest.iter().map(|(_, value)| value))),
        Kind::If(condition, then, otherwise) => {
            let otherwise = otherwise.as_ref().map_or(0, |value| value.height);
            condition.height.max(then.height).max(otherwise)
        }
    }
}
