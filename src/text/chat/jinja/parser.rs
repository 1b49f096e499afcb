//! Statements of a template. Expressions are in `expressions.rs`.

use super::Fault;
use super::arguments::MAX_ARGUMENTS;
use super::ast::{Action, Args, Body, Expr, For, Kind, MacroDef, Name, Stmt, Target};
use super::lexer::{Placed, Token, tokens};
use std::sync::Arc;

/// Blocks inside blocks; Python itself allows 20 loops and 100 indents.
const MAX_BLOCKS: usize = 90;

/// Names that a macro body may use without naming them as parameters.
const IMPLIED: [&str; 3] = ["caller", "kwargs", "varargs"];

pub(super) struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    /// Expressions that are being parsed inside each other.
    pub(super) nested: usize,
    blocks: usize,
    /// Whether `break` would leave a loop here.
    in_loop: bool,
    /// For each enclosing macro, which of [`IMPLIED`] it uses.
    implied: Vec<[bool; 3]>,
}

/// Parses a template.
pub(super) fn parse(source: &str) -> Result<Body, Fault> {
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens, at: 0, nested: 0, blocks: 0, in_loop: false, implied: Vec::new() };
    let (body, _) = parser.body(&[])?;
    Ok(body)
}

impl Parser {
    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |&(_, line)| line)
    }

    pub(super) fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { line: self.line(), what: what.into() })
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(token, _)| token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek(0).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    pub(super) fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.peek(ahead), Some(Token::Sign(found)) if *found == sign)
    }

    pub(super) fn is_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek(ahead), Some(Token::Name(name)) if name == word)
    }

    pub(super) fn skip_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(0, sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_sign(&mut self, sign: &str) -> Result<(), Fault> {
        if self.skip_sign(sign) { Ok(()) } else { self.unexpected(&format!("'{sign}'")) }
    }

    pub(super) fn expect_name(&mut self) -> Result<Name, Fault> {
        let Some(Token::Name(name)) = self.peek(0).cloned() else { return self.unexpected("a name") };
        self.at += 1;
        Ok(name.into())
    }

    pub(super) fn unexpected<T>(&self, expected: &str) -> Result<T, Fault> {
        let found = match self.peek(0) {
            None => "the end of the template".to_owned(),
            Some(Token::Data(_)) => "text".to_owned(),
            Some(Token::BlockStart) => "the start of a block".to_owned(),
            Some(Token::BlockEnd) => "the end of a block".to_owned(),
            Some(Token::PrintStart) => "'{{'".to_owned(),
            Some(Token::PrintEnd) => "'}}'".to_owned(),
            Some(Token::Name(name)) => format!("'{name}'"),
            Some(Token::String(_)) => "a string".to_owned(),
            Some(Token::Int(_) | Token::Float(_)) => "a number".to_owned(),
            Some(Token::Sign(sign)) => format!("'{sign}'"),
        };
        self.fault(format!("{found} found, {expected} expected"))
    }

    /// Notes that the enclosing macros use a name.
    pub(super) fn uses(&mut self, name: &str) {
        if let Some(at) = IMPLIED.iter().position(|implied| *implied == name) {
            self.implied.iter_mut().for_each(|used| used[at] = true);
        }
    }

    fn end_of_block(&mut self) -> Result<(), Fault> {
        if self.peek(0) != Some(&Token::BlockEnd) {
            return self.unexpected("the end of the block");
        }
        self.at += 1;
        Ok(())
    }

    /// Statements up to one of the words that end them, and which it was. The end of its block is not read.
    fn body(&mut self, ends: &[&str]) -> Result<(Body, String), Fault> {
        self.blocks += 1;
        if self.blocks > MAX_BLOCKS {
            return self.fault(format!("more than {MAX_BLOCKS} blocks inside each other"));
        }
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let action = match self.next() {
                None if ends.is_empty() => {
                    self.blocks -= 1;
                    return Ok((body, String::new()));
                }
                None => {
                    return self.fault(format!("unexpected end of template, {} expected", ends.join(" or ")));
                }
                Some(Token::Data(text)) => Action::Data(text),
                Some(Token::PrintStart) => {
                    let value = self.tuple(true, &[], false)?;
                    if self.next() != Some(Token::PrintEnd) {
                        self.at -= 1;
                        return self.unexpected("'}}'");
                    }
                    Action::Print(vec![value])
                }
                Some(Token::BlockStart) => {
                    let word = self.expect_name()?;
                    if ends.contains(&&*word) {
                        self.blocks -= 1;
                        return Ok((body, word.to_string()));
                    }
                    self.statement(&word)?
                }
                Some(_) => unreachable!("the lexer closes every tag"),
            };
            body.push(Stmt { line, action });
        }
    }

    /// A body whose end is one word, with the end of the block of that word.
    fn whole(&mut self, end: &str) -> Result<Body, Fault> {
        self.end_of_block()?;
        let (body, _) = self.body(&[end])?;
        self.end_of_block()?;
        Ok(body)
    }

    fn statement(&mut self, word: &str) -> Result<Action, Fault> {
        match word {
            "if" => self.condition(),
            "for" => self.for_loop(),
            "set" => self.set(),
            "with" => self.with(),
            "macro" => self.macro_definition(),
            "call" => self.call_block(),
            "filter" => {
                let filter = self.filters(None)?;
                Ok(Action::FilterBlock(filter, self.whole("endfilter")?))
            }
            "generation" => {
                // Jinja2 makes a function of it, from which a loop cannot be left.
                let around = std::mem::take(&mut self.in_loop);
                let body = self.whole("endgeneration")?;
                self.in_loop = around;
                Ok(Action::Generation(body))
            }
            "print" => {
                let mut values = Vec::new();
                while self.peek(0) != Some(&Token::BlockEnd) {
                    if !values.is_empty() {
                        self.expect_sign(",")?;
                    }
                    values.push(self.expression()?);
                }
                self.end_of_block()?;
                Ok(Action::Print(values))
            }
            "break" | "continue" => {
                if !self.in_loop {
                    return self.fault(format!("`{word}` outside a loop"));
                }
                self.end_of_block()?;
                Ok(if word == "break" { Action::Break } else { Action::Continue })
            }
            "block" | "extends" | "include" | "import" | "from" | "autoescape" => {
                self.fault(format!("the statement `{word}` is not supported"))
            }
            other => self.fault(format!("unknown statement `{other}`")),
        }
    }

    fn condition(&mut self) -> Result<Action, Fault> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false, &[], false)?;
            self.end_of_block()?;
            let (body, word) = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match word.as_str() {
                "elif" => {}
                "else" => return Ok(Action::If(branches, self.whole("endif")?)),
                _ => {
                    self.end_of_block()?;
                    return Ok(Action::If(branches, Vec::new()));
                }
            }
        }
    }

    fn for_loop(&mut self) -> Result<Action, Fault> {
        let target = self.target(&["in"], false)?;
        if !self.skip_word("in") {
            return self.unexpected("`in`");
        }
        let items = self.tuple(false, &["recursive"], false)?;
        let condition = if self.skip_word("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_word("recursive");
        self.end_of_block()?;
        let around = std::mem::replace(&mut self.in_loop, true);
        let (body, word) = self.body(&["endfor", "else"])?;
        self.in_loop = around;
        let otherwise = if word == "else" {
            self.whole("endfor")?
        } else {
            self.end_of_block()?;
            Vec::new()
        };
        Ok(Action::For(Arc::new(For { target, items, condition, recursive, body, otherwise })))
    }

    fn set(&mut self) -> Result<Action, Fault> {
        let target = self.target(&[], true)?;
        if self.skip_sign("=") {
            let value = self.tuple(true, &[], false)?;
            self.end_of_block()?;
            return Ok(Action::Set(target, value));
        }
        let filter = if self.is_sign(0, "|") { Some(self.filter_chain(None)?) } else { None };
        Ok(Action::SetBlock(target, filter, self.whole("endset")?))
    }

    fn with(&mut self) -> Result<Action, Fault> {
        let mut values = Vec::new();
        while self.peek(0) != Some(&Token::BlockEnd) {
            if !values.is_empty() {
                self.expect_sign(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_sign("=")?;
            values.push((target, self.expression()?));
        }
        Ok(Action::With(values, self.whole("endwith")?))
    }

    fn macro_definition(&mut self) -> Result<Action, Fault> {
        let name = self.expect_name()?;
        if is_constant(&name) {
            return self.fault(format!("`{name}` cannot be a macro"));
        }
        let (params, defaults) = self.signature()?;
        self.macro_body(Some(name), params, defaults, "endmacro").map(Action::Macro)
    }

    fn macro_body(
        &mut self,
        name: Option<Name>,
        params: Vec<Name>,
        defaults: Vec<Expr>,
        end: &str,
    ) -> Result<Arc<MacroDef>, Fault> {
        self.implied.push([false; 3]);
        let around = std::mem::take(&mut self.in_loop);
        let body = self.whole(end)?;
        self.in_loop = around;
        let [uses_caller, uses_kwargs, uses_varargs] = self.implied.pop().expect("pushed above");
        Ok(Arc::new(MacroDef { name, params, defaults, body, uses_caller, uses_kwargs, uses_varargs }))
    }

    fn signature(&mut self) -> Result<(Vec<Name>, Vec<Expr>), Fault> {
        let (mut params, mut defaults) = (Vec::new(), Vec::new());
        self.expect_sign("(")?;
        while !self.skip_sign(")") {
            if !params.is_empty() {
                self.expect_sign(",")?;
            }
            let name = self.expect_name()?;
            if is_constant(&name) || IMPLIED.contains(&&*name) || params.contains(&name) {
                return self.fault(format!("a macro parameter called `{name}` is not supported"));
            }
            if params.len() == MAX_ARGUMENTS {
                return self.fault(format!("more than {MAX_ARGUMENTS} parameters are not supported"));
            }
            params.push(name);
            if self.skip_sign("=") {
                defaults.push(self.expression()?);
            } else if !defaults.is_empty() {
                return self.fault("a parameter without a default follows one with a default");
            }
        }
        Ok((params, defaults))
    }

    fn call_block(&mut self) -> Result<Action, Fault> {
        let (params, defaults) =
            if self.is_sign(0, "(") { self.signature()? } else { (Vec::new(), Vec::new()) };
        let call = self.expression()?;
        if !matches!(call.kind, Kind::Call(..)) {
            return self.fault("`call` expects a call");
        }
        Ok(Action::CallBlock(call, self.macro_body(None, params, defaults, "endcall")?))
    }

    /// What a `{% filter %}` names: a filter without the bar, and more of them.
    fn filters(&mut self, subject: Option<Expr>) -> Result<Expr, Fault> {
        let first = self.filter(subject)?;
        if self.is_sign(0, "|") { self.filter_chain(Some(first)) } else { Ok(first) }
    }

    /// Filters, each after its bar.
    fn filter_chain(&mut self, mut subject: Option<Expr>) -> Result<Expr, Fault> {
        while self.skip_sign("|") {
            subject = Some(self.filter(subject)?);
        }
        match subject {
            Some(filters) => Ok(filters),
            None => self.unexpected("a filter"),
        }
    }

    /// A filter after its bar.
    pub(super) fn filter(&mut self, subject: Option<Expr>) -> Result<Expr, Fault> {
        let line = self.line();
        let name = self.dotted_name()?;
        let args = if self.is_sign(0, "(") { self.arguments()? } else { Args::default() };
        self.node(line, Kind::Filter(subject.map(Box::new), name, args))
    }

    /// Where a value goes; the words end a tuple.
    fn target(&mut self, ends: &[&str], attributes: bool) -> Result<Target, Fault> {
        let mut targets = Vec::new();
        let mut tuple = false;
        loop {
            if tuple && (ends.iter().any(|end| self.is_word(0, end)) || self.is_end()) {
                break;
            }
            targets.push(self.one_target(attributes)?);
            if !self.skip_sign(",") {
                break;
            }
            tuple = true;
        }
        Ok(if tuple { Target::Tuple(targets) } else { targets.remove(0) })
    }

    fn one_target(&mut self, attributes: bool) -> Result<Target, Fault> {
        if self.skip_sign("(") {
            self.enter()?;
            let inner = self.target(&[], false)?;
            self.nested -= 1;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let name = self.expect_name()?;
        if is_constant(&name) {
            return self.fault(format!("`{name}` cannot be assigned to"));
        }
        if attributes && self.skip_sign(".") {
            return Ok(Target::Attribute(name, self.expect_name()?));
        }
        Ok(Target::Name(name))
    }

    /// Whether no expression can continue here.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.peek(0), Some(Token::PrintEnd | Token::BlockEnd)) || self.is_sign(0, ")")
    }
}

/// Words that are values and not names.
pub(super) fn is_constant(name: &str) -> bool {
    matches!(name, "true" | "false" | "none" | "True" | "False" | "None")
}
