//! Tests and the arguments of calls, as the parser reads them.

use super::Fault;
use super::ast::{Args, Expr, Kind};
use super::lexer::Token;
use super::parser::Parser;
use std::sync::Arc;

/// Arguments of a call, and parameters of a macro.
pub(super) const MAX_ARGUMENTS: usize = 1000;

impl Parser {
    /// A test after its `is`.
    pub(super) fn test(&mut self, line: u32, value: Expr) -> Result<Expr, Fault> {
        let negated = self.skip_word("not");
        let name = self.dotted_name()?;
        let args = if self.is_sign(0, "(") {
            self.arguments()?
        } else if self.begins_argument() {
            if self.is_word(0, "is") {
                return self.fault("tests cannot be chained with `is`");
            }
            let argument = self.primary()?;
            Args { positional: vec![self.postfix(argument, false)?], ..Args::default() }
        } else {
            Args::default()
        };
        let test = self.node(line, Kind::Test(Box::new(value), name, args))?;
        if negated { self.node(line, Kind::Not(Box::new(test))) } else { Ok(test) }
    }

    /// Whether the argument of a test follows without parentheses.
    fn begins_argument(&self) -> bool {
        match self.peek(0) {
            Some(Token::Name(name)) => !matches!(&**name, "else" | "or" | "and"),
            Some(Token::String(_) | Token::Int(_) | Token::Float(_)) => true,
            _ => self.is_sign(0, "[") || self.is_sign(0, "{"),
        }
    }

    pub(super) fn arguments(&mut self) -> Result<Args, Fault> {
        let mut args = Args::default();
        self.expect_sign("(")?;
        let mut first = true;
        while !self.skip_sign(")") {
            if !first {
                self.expect_sign(",")?;
                if self.skip_sign(")") {
                    break;
                }
            }
            first = false;
            self.argument(&mut args)?;
            if args.positional.len() + args.named.len() > MAX_ARGUMENTS {
                return self.fault(format!("more than {MAX_ARGUMENTS} arguments are not supported"));
            }
        }
        Ok(args)
    }

    fn argument(&mut self, args: &mut Args) -> Result<(), Fault> {
        let late = args.list.is_some() || args.dict.is_some();
        let ordered = if self.skip_sign("*") {
            args.list = Some(Box::new(self.expression()?));
            !late
        } else if self.skip_sign("**") {
            let again = args.dict.is_some();
            args.dict = Some(Box::new(self.expression()?));
            !again
        } else if matches!(self.peek(0), Some(Token::Name(_))) && self.is_sign(1, "=") {
            let name: Arc<str> = self.expect_name()?;
            self.skip_sign("=");
            let again = args.named.iter().any(|(other, _)| *other == name);
            args.named.push((name, self.expression()?));
            args.dict.is_none() && !again
        } else {
            args.positional.push(self.expression()?);
            !late && args.named.is_empty()
        };
        if ordered { Ok(()) } else { self.fault("the order of arguments is not that of Python") }
    }
}
