//! Expressions of a template.

use super::Fault;
use super::ast::{Args, Compare, Expr, Kind, Name};
use super::call::Given;
use super::machine::{Machine, Run, Scope};
use super::text::text;
use super::value::{Kind as Of, Or, Value};
use super::{access, checks, filters, functions, ops};
use std::rc::Rc;

impl Machine<'_> {
    pub(super) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Run<Value> {
        self.enter(expr.line)?;
        let value = match &expr.kind {
            Kind::Literal(literal) => Value::from(literal),
            Kind::Name(name) => lookup(name, scope).map_err(|what| Fault { line: expr.line, what })?,
            Kind::List(_) | Kind::Tuple(_) | Kind::Dict(_) | Kind::Slice(_) => self.container(expr, scope)?,
            Kind::Attribute(value, name) => {
                let value = self.eval(value, scope)?;
                self.charge_look(&value).map_err(|what| Fault { line: expr.line, what })?;
                self.attribute(&value, name).map_err(|what| Fault { line: expr.line, what })?
            }
            Kind::Item(value, index) => self.item(value, index, scope)?,
            Kind::Call(callee, args) => self.call_expression(expr, callee, args, None, scope)?,
            Kind::Filter(subject, name, args) => {
                let subject = subject.as_ref().expect("only a block's filter has no subject");
                let subject = self.eval(subject, scope)?;
                self.filter(expr.line, subject, name, args, scope)?
            }
            Kind::Test(value, name, args) => self.test(expr.line, value, name, args, scope)?,
            Kind::Not(value) => Value::Bool(!self.eval(value, scope)?.truth()),
            Kind::And(left, right) => {
                let left = self.eval(left, scope)?;
                if left.truth() { self.eval(right, scope)? } else { left }
            }
            Kind::Or(left, right) => {
                let left = self.eval(left, scope)?;
                if left.truth() { left } else { self.eval(right, scope)? }
            }
            Kind::If(condition, then, otherwise) => {
                if self.eval(condition, scope)?.truth() {
                    self.eval(then, scope)?
                } else if let Some(otherwise) = otherwise {
                    self.eval(otherwise, scope)?
                } else {
                    let line = expr.line;
                    Value::undefined(format!("the inline if-expression on line {line} has no else"))
                }
            }
            Kind::Compare(first, rest) => self.compare(expr.line, first, rest, scope)?,
            Kind::Negative(_) | Kind::Positive(_) | Kind::Binary(..) | Kind::Concat(_) => {
                self.arithmetic(expr, scope)?
            }
        };
        self.leave();
        Ok(value)
    }

    pub(super) fn eval_all(&mut self, exprs: &[Expr], scope: &Rc<Scope>) -> Run<Vec<Value>> {
        exprs.iter().map(|expr| self.eval(expr, scope)).collect()
    }

    fn container(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Run<Value> {
        let made = match &expr.kind {
            Kind::List(items) => Value::list(self.eval_all(items, scope)?),
            Kind::Tuple(items) => Value::tuple(self.eval_all(items, scope)?),
            Kind::Slice(_) => Err("a slice among other indices is not supported".to_owned()),
            Kind::Dict(entries) => {
                let mut values = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    values.push((self.eval(key, scope)?, self.eval(value, scope)?));
                }
                self.dict(values)
            }
            _ => unreachable!("only containers come here"),
        };
        made.map_err(|what| Fault { line: expr.line, what })
    }

    /// Looking for a key goes through all.
    fn charge_look(&mut self, value: &Value) -> Or<()> {
        match value {
            Value::Dict(dict) => self.charge(dict.entries.len() as u64 / 8),
            _ => Ok(()),
        }
    }

    /// A dictionary. Looking for equal keys takes the square of its length.
    pub(super) fn dict(&mut self, entries: Vec<(Value, Value)>) -> Or<Value> {
        self.charge((entries.len() as u64).pow(2) / 8)?;
        Value::dict(entries)
    }

    fn item(&mut self, value: &Expr, index: &Expr, scope: &Rc<Scope>) -> Run<Value> {
        let line = value.line;
        let fault = |what| Fault { line, what };
        let value = self.eval(value, scope)?;
        let Kind::Slice(bounds) = &index.kind else {
            let index = self.eval(index, scope)?;
            self.charge_look(&value).map_err(fault)?;
            return access::item(self, &value, &index).map_err(fault);
        };
        let mut ends = Vec::with_capacity(3);
        for bound in bounds {
            ends.push(match bound {
                Some(bound) => self.eval(bound, scope)?,
                None => Value::None,
            });
        }
        self.charge(value.size()).map_err(fault)?;
        access::slice(&value, &ends).map_err(fault)
    }

    fn arithmetic(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Run<Value> {
        let fault = |what| Fault { line: expr.line, what };
        match &expr.kind {
            Kind::Negative(value) => ops::negative(&self.eval(value, scope)?).map_err(fault),
            Kind::Positive(value) => ops::positive(&self.eval(value, scope)?).map_err(fault),
            Kind::Binary(operator, left, right) => {
                let (left, right) = (self.eval(left, scope)?, self.eval(right, scope)?);
                ops::binary(self, *operator, &left, &right).map_err(fault)
            }
            Kind::Concat(parts) => {
                let mut out = Vec::new();
                for value in self.eval_all(parts, scope)? {
                    self.charge(value.size()).map_err(fault)?;
                    let before = out.len();
                    super::print::write_str(&mut out, &value).map_err(fault)?;
                    self.charge_text(out.len() - before).map_err(fault)?;
                    self.check_text(out.len()).map_err(fault)?;
                }
                Ok(Value::Text(out.into()))
            }
            _ => unreachable!("only arithmetic comes here"),
        }
    }

    fn compare(
        &mut self,
        line: u32,
        first: &Expr,
        rest: &[(Compare, Expr)],
        scope: &Rc<Scope>,
    ) -> Run<Value> {
        let fault = |what| Fault { line, what };
        let mut left = self.eval(first, scope)?;
        for (compare, right) in rest {
            let right = self.eval(right, scope)?;
            self.charge(left.size() + right.size()).map_err(fault)?;
            if !ops::compare(*compare, &left, &right).map_err(fault)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn test(&mut self, line: u32, value: &Expr, name: &Name, args: &Args, scope: &Rc<Scope>) -> Run<Value> {
        let value = self.eval(value, scope)?;
        let given = self.given(args, None, scope)?;
        let answer = checks::test(self, &value, name, given);
        answer.map(Value::Bool).map_err(|what| Fault { line, what })
    }

    fn filter(
        &mut self,
        line: u32,
        subject: Value,
        name: &Name,
        args: &Args,
        scope: &Rc<Scope>,
    ) -> Run<Value> {
        let given = self.given(args, None, scope)?;
        filters::filter(self, &subject, name, given).map_err(|what| Fault { line, what })
    }

    /// The filters of a block on what it printed.
    pub(super) fn filtered(&mut self, filters: &Expr, value: Value, scope: &Rc<Scope>) -> Run<Value> {
        let Kind::Filter(subject, name, args) = &filters.kind else {
            unreachable!("the parser makes nothing but filters here")
        };
        let value = match subject {
            Some(inner) => self.filtered(inner, value, scope)?,
            None => value,
        };
        self.filter(filters.line, value, name, args, scope)
    }

    /// The arguments of a call.
    pub(super) fn given(&mut self, args: &Args, caller: Option<Value>, scope: &Rc<Scope>) -> Run<Given> {
        let mut given = Given { positional: self.eval_all(&args.positional, scope)?, named: Vec::new() };
        for (name, value) in &args.named {
            given.named.push((name.to_string(), self.eval(value, scope)?));
        }
        if let Some(caller) = caller {
            given.named.push(("caller".to_owned(), caller));
        }
        if let Some(list) = &args.list {
            let items = self.eval(list, scope)?.items();
            given.positional.extend(items.map_err(|what| Fault { line: list.line, what })?);
        }
        if let Some(dict) = &args.dict {
            let value = self.eval(dict, scope)?;
            let added = given.add_dict(&value);
            added.map_err(|what| Fault { line: dict.line, what })?;
        }
        Ok(given)
    }
}

/// The variable of a name, else the function of the environment.
fn lookup(name: &Name, scope: &Scope) -> Or<Value> {
    let function = || functions::named(name).map(Value::Function);
    match scope.get(name).or_else(function) {
        Some(value) => Ok(value),
        // The blocks of the template, of which there are none.
        None if &**name == "self" => Err("the variable `self` is not supported".into()),
        None => Ok(Value::undefined(format!("'{name}' is undefined"))),
    }
}

/// A tuple of names, for what Python gives as one.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>) -> Or<Value> {
    Value::seq(Of::Tuple, names.map(|name| Value::Text(text(name))).collect())
}
