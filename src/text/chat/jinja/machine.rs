//! [`Machine`]: runs the statements of a template.

use super::Fault;
use super::ast::{Action, Body, Expr, For, MacroDef, Name, Stmt, Target};
use super::text::Ch;
use super::value::{Loop, Macro, Or, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Steps that one rendering may take. A conversation of a thousand messages takes some 100 000.
const MAX_STEPS: u64 = 10_000_000;

/// The longest text that a template may print, in bytes, and the longest string, in characters. A million tokens take some 4 MB.
pub(super) const MAX_TEXT: usize = 64 << 20;

/// Expressions, blocks and calls inside each other, each of which takes a part of the stack.
const MAX_NESTED: u32 = 400;

pub(super) type Run<T> = Result<T, Fault>;

/// Variables of a block, and the block around it.
pub(super) struct Scope {
    variables: RefCell<HashMap<Name, Value>>,
    outer: Option<Rc<Self>>,
}

impl Scope {
    pub(super) fn inside(outer: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::default(), outer: Some(outer.clone()) })
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(value) = here.variables.borrow().get(name) {
                return Some(value.clone());
            }
            scope = here.outer.as_deref();
        }
        None
    }

    pub(super) fn set(&self, name: &Name, value: Value) {
        self.variables.borrow_mut().insert(name.clone(), value);
    }
}

/// A mutable value.
pub(super) enum Object {
    Namespace(HashMap<Name, Value>),
    Cycler(Vec<Value>, usize),
    Joiner(Value, bool),
    /// What `loop.changed` was called with last.
    Seen(Option<Vec<Value>>),
}

pub(super) struct Machine<'a> {
    pub(super) now: &'a dyn Fn(&str) -> Result<String, String>,
    pub(super) objects: Vec<Object>,
    steps: u64,
    nested: u32,
    out: Vec<Ch>,
    /// Bytes printed, into blocks that are kept as values, too.
    printed: usize,
}

/// What follows a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl<'a> Machine<'a> {
    pub(super) fn new(now: &'a dyn Fn(&str) -> Result<String, String>) -> Self {
        Self { now, objects: Vec::new(), steps: MAX_STEPS, nested: 0, out: Vec::new(), printed: 0 }
    }

    pub(super) fn run(&mut self, body: &Body, globals: Vec<(&str, Value)>) -> Run<Vec<Ch>> {
        let variables = globals.into_iter().map(|(name, value)| (Name::from(name), value)).collect();
        // A template's own variables shadow those it was given, and do not replace them.
        let context = Rc::new(Scope { variables: RefCell::new(variables), outer: None });
        self.body(body, &Scope::inside(&context))?;
        Ok(std::mem::take(&mut self.out))
    }

    /// Takes steps from what is left.
    pub(super) fn charge(&mut self, steps: u64) -> Or<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(format!("it runs for more than {MAX_STEPS} steps")),
        }
    }

    /// Takes the steps of a string of this many characters.
    pub(super) fn charge_text(&mut self, chars: usize) -> Or<()> {
        self.check_text(chars)?;
        self.charge(1 + chars as u64 / 16)
    }

    /// Refuses a string that is too long.
    pub(super) fn check_text(&self, chars: usize) -> Or<()> {
        if chars > MAX_TEXT {
            return Err(format!("a string of more than {MAX_TEXT} characters is not supported"));
        }
        Ok(())
    }

    /// Goes one level deeper; `leave` comes back.
    pub(super) fn enter(&mut self, line: u32) -> Run<()> {
        self.nested += 1;
        let deep = if self.nested > MAX_NESTED {
            Err(format!("more than {MAX_NESTED} expressions, blocks and calls inside each other"))
        } else {
            self.charge(1)
        };
        deep.map_err(|what| Fault { line, what })
    }

    pub(super) fn leave(&mut self) {
        self.nested -= 1;
    }

    fn print(&mut self, text: &[Ch]) -> Or<()> {
        self.printed += text.iter().map(|c| c.get().len_utf8()).sum::<usize>();
        if self.printed > MAX_TEXT {
            return Err(format!("it prints more than {MAX_TEXT} bytes"));
        }
        self.charge_text(text.len())?;
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn print_value(&mut self, value: &Value) -> Or<()> {
        self.charge(value.size())?;
        let text = super::print::str(value)?;
        self.print(&text)
    }

    /// What a block prints, through its filters; nothing if it leaves a loop.
    fn block(&mut self, body: &Body, filter: Option<&Expr>, scope: &Rc<Scope>) -> Run<(Option<Value>, Flow)> {
        let (value, flow) = self.capture(body, &Scope::inside(scope))?;
        match filter {
            _ if flow != Flow::Next => Ok((None, flow)),
            Some(filter) => Ok((Some(self.filtered(filter, value, scope)?), flow)),
            None => Ok((Some(value), flow)),
        }
    }

    /// What a body prints, as a value.
    pub(super) fn captured(&mut self, body: &Body, scope: &Rc<Scope>) -> Run<Value> {
        self.capture(body, scope).map(|(value, _)| value)
    }

    fn capture(&mut self, body: &Body, scope: &Rc<Scope>) -> Run<(Value, Flow)> {
        let mut flow = Flow::Next;
        let value = self.printing(|machine| {
            flow = machine.body(body, scope)?;
            Ok(())
        })?;
        Ok((value, flow))
    }

    /// What `run` prints, as a value.
    pub(super) fn printing(&mut self, run: impl FnOnce(&mut Self) -> Run<()>) -> Run<Value> {
        let around = std::mem::take(&mut self.out);
        run(self)?;
        let text = std::mem::replace(&mut self.out, around);
        Ok(Value::Text(text.into()))
    }

    fn body(&mut self, body: &Body, scope: &Rc<Scope>) -> Run<Flow> {
        for statement in body {
            match self.statement(statement, scope)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Stmt, scope: &Rc<Scope>) -> Run<Flow> {
        let line = statement.line;
        let fault = |what| Fault { line, what };
        self.enter(line)?;
        let mut flow = Flow::Next;
        match &statement.action {
            Action::Data(text) => self.print(text).map_err(fault)?,
            Action::Print(values) => {
                for value in values {
                    let value = self.eval(value, scope)?;
                    self.print_value(&value).map_err(fault)?;
                }
            }
            Action::If(branches, otherwise) => flow = self.branch(branches, otherwise, scope)?,
            Action::For(definition) => {
                let items = self.eval(&definition.items, scope)?;
                flow = self.for_loop(definition, &items, scope, 0)?;
            }
            Action::Set(target, value) => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope).map_err(fault)?;
            }
            Action::SetBlock(target, filter, body) => {
                let (value, left) = self.block(body, filter.as_ref(), scope)?;
                flow = left;
                if let Some(value) = value {
                    self.assign(target, value, scope).map_err(fault)?;
                }
            }
            Action::With(values, body) => flow = self.with(values, body, scope, line)?,
            Action::Macro(def) => {
                let name = def.name.as_ref().expect("a macro of a template has a name");
                scope.set(name, closure(def, scope));
            }
            Action::CallBlock(call, def) => {
                let value = self.call_with_caller(call, closure(def, scope), scope)?;
                self.print_value(&value).map_err(fault)?;
            }
            Action::FilterBlock(filter, body) => {
                let (value, left) = self.block(body, Some(filter), scope)?;
                flow = left;
                if let Some(value) = value {
                    if value.as_text().is_none() {
                        let what = format!("a filter block prints strings only, not {}", value.type_name());
                        return Err(fault(what));
                    }
                    self.print_value(&value).map_err(fault)?;
                }
            }
            Action::Generation(body) => {
                self.body(body, &Scope::inside(scope))?;
            }
            Action::Break => flow = Flow::Break,
            Action::Continue => flow = Flow::Continue,
        }
        self.leave();
        Ok(flow)
    }

    fn branch(&mut self, branches: &[(Expr, Body)], otherwise: &Body, scope: &Rc<Scope>) -> Run<Flow> {
        for (condition, body) in branches {
            if self.eval(condition, scope)?.truth() {
                return self.body(body, scope);
            }
        }
        self.body(otherwise, scope)
    }

    fn with(&mut self, values: &[(Target, Expr)], body: &Body, scope: &Rc<Scope>, line: u32) -> Run<Flow> {
        let inner = Scope::inside(scope);
        for (target, value) in values {
            let value = self.eval(value, scope)?;
            self.assign(target, value, &inner).map_err(|what| Fault { line, what })?;
        }
        self.body(body, &inner)
    }

    /// Runs a loop over `items`. Its `else` runs if no pass of the loop came to its end, and may leave an enclosing loop.
    ///
    /// Source: Jinja2, `CodeGenerator.visit_For`.
    pub(super) fn for_loop(
        &mut self,
        definition: &Arc<For>,
        items: &Value,
        scope: &Rc<Scope>,
        depth0: usize,
    ) -> Run<Flow> {
        let line = definition.items.line;
        let fault = |what| Fault { line, what };
        let mut items = items.items().map_err(fault)?;
        self.charge(items.len() as u64).map_err(fault)?;
        if let Some(condition) = &definition.condition {
            let mut kept = Vec::new();
            for item in items {
                let inner = Scope::inside(scope);
                self.assign(&definition.target, item.clone(), &inner).map_err(fault)?;
                if self.eval(condition, &inner)?.truth() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let items = Value::loop_items(items).map_err(fault)?;
        let mut ended = false;
        let seen = self.objects.len();
        self.objects.push(Object::Seen(None));
        for at in 0..items.items.len() {
            let recursive = definition.recursive.then(|| (definition.clone(), scope.clone()));
            let state = Loop { items: items.clone(), at, depth0, recursive, seen };
            let inner = Scope::inside(scope);
            inner.set(&Name::from("loop"), Value::Loop(Rc::new(state)));
            self.assign(&definition.target, items.items[at].clone(), &inner).map_err(fault)?;
            match self.body(&definition.body, &inner)? {
                Flow::Next => ended = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        if ended { Ok(Flow::Next) } else { self.body(&definition.otherwise, &Scope::inside(scope)) }
    }

    /// Stores a value in the innermost block.
    pub(super) fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>) -> Or<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Attribute(space, name) => {
                let found = scope.get(space);
                let Some(Value::Object(at)) = found else {
                    return Err("cannot assign attribute on non-namespace object".into());
                };
                let Object::Namespace(entries) = &mut self.objects[at] else {
                    return Err("cannot assign attribute on non-namespace object".into());
                };
                entries.insert(name.clone(), value);
            }
            Target::Tuple(targets) => {
                let values = value
                    .items()
                    .map_err(|_| format!("cannot unpack non-iterable {} object", value.type_name()))?;
                if values.len() != targets.len() {
                    let (found, expected) = (values.len(), targets.len());
                    return Err(format!("{found} values to unpack, {expected} expected"));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, scope)?;
                }
            }
        }
        Ok(())
    }
}

fn closure(def: &Arc<MacroDef>, scope: &Rc<Scope>) -> Value {
    Value::Macro(Rc::new(Macro { def: def.clone(), scope: Rc::downgrade(scope) }))
}
