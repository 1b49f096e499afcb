//! Calls: arguments, macros, and the functions that values are.

use super::Fault;
use super::ast::{Args, Expr, Kind, Name};
use super::machine::{Machine, Object, Run, Scope};
use super::text::plain;
use super::value::{Loop, Macro, Or, Value};
use super::{eval, functions, methods};
use std::rc::Rc;

/// Evaluated arguments.
#[derive(Default)]
pub(super) struct Given {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(String, Value)>,
}

impl Given {
    /// Adds the entries of a `**dict`.
    pub(super) fn add_dict(&mut self, value: &Value) -> Or<()> {
        let Value::Dict(dict) = value else {
            return Err(format!("argument after ** must be a mapping, not {}", value.type_name()));
        };
        for (key, value) in &dict.entries {
            let name = key.as_text().ok_or("keywords must be strings")?;
            let name = plain(name);
            if self.named.iter().any(|(known, _)| *known == name) {
                return Err(format!("multiple values for keyword argument '{name}'"));
            }
            self.named.push((name, value.clone()));
        }
        Ok(())
    }

    /// The arguments in the order of `params`, as Python binds them. A name that begins with `/` cannot be used as a keyword;
    /// the first `needed` must be there.
    pub(super) fn bind(self, what: &str, params: &[&str], needed: usize) -> Or<Vec<Option<Value>>> {
        if self.positional.len() > params.len() {
            let (found, most) = (self.positional.len(), params.len());
            return Err(format!("{what}: {found} arguments found, at most {most} expected"));
        }
        let mut bound: Vec<_> = self.positional.into_iter().map(Some).collect();
        bound.resize_with(params.len(), || None);
        for (name, value) in self.named {
            match params.iter().position(|param| *param == name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => return Err(format!("{what}: two values for the argument `{name}`")),
                None => return Err(format!("{what}: unexpected argument `{name}`")),
            }
        }
        match bound.iter().take(needed).position(Option::is_none) {
            Some(at) => {
                Err(format!("{what}: the argument `{}` is missing", params[at].trim_start_matches('/')))
            }
            None => Ok(bound),
        }
    }
}

impl Machine<'_> {
    pub(super) fn call_with_caller(&mut self, call: &Expr, caller: Value, scope: &Rc<Scope>) -> Run<Value> {
        let Kind::Call(callee, args) = &call.kind else {
            unreachable!("the parser makes nothing but calls here")
        };
        self.call_expression(call, callee, args, Some(caller), scope)
    }

    pub(super) fn call_expression(
        &mut self,
        call: &Expr,
        callee: &Expr,
        args: &Args,
        caller: Option<Value>,
        scope: &Rc<Scope>,
    ) -> Run<Value> {
        let callee = self.eval(callee, scope)?;
        let given = self.given(args, caller, scope)?;
        self.call(&callee, given, call.line)
    }

    fn call(&mut self, callee: &Value, given: Given, line: u32) -> Run<Value> {
        let fault = |what| Fault { line, what };
        match callee {
            Value::Macro(item) => self.call_macro(item, given, line),
            Value::Loop(state) => self.call_loop(state, given, line),
            Value::Method(method) => methods::call(self, &method.0, method.1, given).map_err(fault),
            Value::Function(name) => functions::call(self, name, given).map_err(fault),
            Value::Object(at) => self.call_object(*at, given).map_err(fault),
            Value::Undefined(what) => Err(fault(what.to_string())),
            other => Err(fault(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    fn call_object(&mut self, at: usize, given: Given) -> Or<Value> {
        given.bind("joiner", &[], 0)?;
        match &mut self.objects[at] {
            Object::Joiner(separator, used) => {
                let first = !std::mem::replace(used, true);
                Ok(if first { Value::str("") } else { separator.clone() })
            }
            _ => Err("'Namespace' object is not callable".into()),
        }
    }

    /// `loop(items)` in a recursive loop.
    fn call_loop(&mut self, state: &Loop, given: Given, line: u32) -> Run<Value> {
        let fault = |what| Fault { line, what };
        let Some((definition, scope)) = &state.recursive else {
            return Err(fault("the loop must have the 'recursive' marker to be called recursively".into()));
        };
        let mut bound = given.bind("loop", &["iterable"], 1).map_err(fault)?;
        let items = bound.remove(0).expect("bound");
        self.printing(|machine| machine.for_loop(definition, &items, scope, state.depth0 + 1).map(drop))
    }

    fn call_macro(&mut self, item: &Macro, mut given: Given, line: u32) -> Run<Value> {
        let fault = |what| Fault { line, what };
        let def = &item.def;
        let name = def.name.as_deref().unwrap_or("caller");
        let Some(outer) = item.scope.upgrade() else {
            return Err(fault(format!(
                "calling the macro `{name}` outside the block that defines it is not supported"
            )));
        };
        let scope = Scope::inside(&outer);
        let more = given.positional.split_off(given.positional.len().min(def.params.len()));
        if !def.uses_varargs && !more.is_empty() {
            let most = def.params.len();
            return Err(fault(format!("macro '{name}' takes not more than {most} argument(s)")));
        }
        let mut values: Vec<Option<Value>> = given.positional.into_iter().map(Some).collect();
        for param in &def.params[values.len()..] {
            let at = given.named.iter().position(|(known, _)| **known == **param);
            values.push(at.map(|at| given.named.remove(at).1));
        }
        if def.uses_caller {
            let at = given.named.iter().position(|(known, _)| known == "caller");
            let caller = at.map(|at| given.named.remove(at).1).filter(|value| !matches!(value, Value::None));
            scope.set(&Name::from("caller"), caller.unwrap_or_else(|| Value::undefined("No caller defined")));
        }
        if def.uses_varargs {
            scope.set(&Name::from("varargs"), Value::tuple(more).map_err(fault)?);
        }
        if def.uses_kwargs {
            let entries = given.named.into_iter().map(|(name, value)| (Value::str(&name), value)).collect();
            scope.set(&Name::from("kwargs"), self.dict(entries).map_err(fault)?);
        } else if let Some((unknown, _)) = given.named.first() {
            return Err(fault(format!("macro '{name}' takes no keyword argument '{unknown}'")));
        }
        let first_default = def.params.len() - def.defaults.len();
        for (i, (param, value)) in def.params.iter().zip(values).enumerate() {
            let value = match value {
                Some(value) => value,
                None if i >= first_default => self.eval(&def.defaults[i - first_default], &scope)?,
                None => Value::undefined(format!("parameter '{param}' was not provided")),
            };
            scope.set(param, value);
        }
        self.captured(&def.body, &scope)
    }

    /// Attributes of a macro.
    pub(super) fn macro_attribute(item: &Macro, name: &str) -> Option<Or<Value>> {
        let def = &item.def;
        Some(match name {
            "name" => Ok(def.name.as_deref().map_or(Value::None, Value::str)),
            "arguments" => eval::names(def.params.iter().map(|param| &**param)),
            "catch_kwargs" => Ok(Value::Bool(def.uses_kwargs)),
            "catch_varargs" => Ok(Value::Bool(def.uses_varargs)),
            "caller" => Ok(Value::Bool(def.uses_caller)),
            _ => return None,
        })
    }
}
