//! Expressions of a template, in the order of precedence of Jinja2's parser.

use super::Fault;
use super::ast::{Binary, Compare, Expr, Kind, Literal, Name};
use super::lexer::Token;
use super::parser::Parser;

/// Expressions inside expressions, and links of a chain such as `a + b + c`. Python fails at about as many.
const MAX_NESTED: u32 = 200;

type Parsed = Result<Expr, Fault>;

const COMPARES: [(&str, Compare); 6] = [
    ("==", Compare::Eq),
    ("!=", Compare::Ne),
    ("<", Compare::Lt),
    ("<=", Compare::Le),
    (">", Compare::Gt),
    (">=", Compare::Ge),
];

impl Parser {
    /// An expression node, unless it is nested too deep.
    pub(super) fn node(&self, line: u32, kind: Kind) -> Parsed {
        let height = 1 + super::ast::height_of(&kind);
        if height > MAX_NESTED {
            return self.fault(format!("an expression of more than {MAX_NESTED} levels is not supported"));
        }
        Ok(Expr { line, height, kind })
    }

    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.nested += 1;
        if self.nested > MAX_NESTED as usize {
            return self.fault(format!("an expression of more than {MAX_NESTED} levels is not supported"));
        }
        Ok(())
    }

    pub(super) fn expression(&mut self) -> Parsed {
        self.expression_with(true)
    }

    fn expression_with(&mut self, conditions: bool) -> Parsed {
        self.enter()?;
        let value = if conditions { self.conditional() } else { self.or() };
        self.nested -= 1;
        value
    }

    fn conditional(&mut self) -> Parsed {
        let mut line = self.line();
        let mut value = self.or()?;
        while self.skip_word("if") {
            let condition = self.or()?;
            let otherwise = if self.skip_word("else") {
                self.enter()?;
                let otherwise = self.conditional()?;
                self.nested -= 1;
                Some(Box::new(otherwise))
            } else {
                None
            };
            value = self.node(line, Kind::If(Box::new(condition), Box::new(value), otherwise))?;
            line = self.line();
        }
        Ok(value)
    }

    fn or(&mut self) -> Parsed {
        let line = self.line();
        let mut left = self.and()?;
        while self.skip_word("or") {
            let right = self.and()?;
            left = self.node(line, Kind::Or(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let line = self.line();
        let mut left = self.not()?;
        while self.skip_word("and") {
            let right = self.not()?;
            left = self.node(line, Kind::And(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed {
        let line = self.line();
        let mut negations = 0;
        while self.skip_word("not") {
            negations += 1;
            if negations > MAX_NESTED {
                break;
            }
        }
        let mut value = self.compare()?;
        for _ in 0..negations {
            value = self.node(line, Kind::Not(Box::new(value)))?;
        }
        Ok(value)
    }

    fn compare(&mut self) -> Parsed {
        let line = self.line();
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let sign = COMPARES.iter().find(|(sign, _)| self.is_sign(0, sign));
            let compare = if let Some(&(sign, compare)) = sign {
                self.skip_sign(sign);
                compare
            } else if self.skip_word("in") {
                Compare::In
            } else if self.is_word(0, "not") && self.is_word(1, "in") {
                self.skip_word("not");
                self.skip_word("in");
                Compare::NotIn
            } else {
                break;
            };
            rest.push((compare, self.sum()?));
        }
        if rest.is_empty() { Ok(first) } else { self.node(line, Kind::Compare(Box::new(first), rest)) }
    }

    /// Operands joined from the left by operators of one precedence.
    fn chain(&mut self, signs: &[(&str, Binary)], operand: fn(&mut Self) -> Parsed) -> Parsed {
        let line = self.line();
        let mut left = operand(self)?;
        while let Some(&(sign, binary)) = signs.iter().find(|(sign, _)| self.is_sign(0, sign)) {
            self.skip_sign(sign);
            let right = operand(self)?;
            left = self.node(line, Kind::Binary(binary, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed {
        self.chain(&[("+", Binary::Add), ("-", Binary::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Parsed {
        let line = self.line();
        let mut parts = vec![self.product()?];
        while self.skip_sign("~") {
            parts.push(self.product()?);
        }
        if parts.len() == 1 { Ok(parts.remove(0)) } else { self.node(line, Kind::Concat(parts)) }
    }

    fn product(&mut self) -> Parsed {
        let signs = [("*", Binary::Mul), ("/", Binary::Div), ("//", Binary::FloorDiv), ("%", Binary::Rem)];
        self.chain(&signs, Self::power)
    }

    fn power(&mut self) -> Parsed {
        self.chain(&[("**", Binary::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, filters: bool) -> Parsed {
        let line = self.line();
        self.enter()?;
        let value = if self.skip_sign("-") {
            let value = Box::new(self.unary(false)?);
            self.node(line, Kind::Negative(value))
        } else if self.skip_sign("+") {
            let value = Box::new(self.unary(false)?);
            self.node(line, Kind::Positive(value))
        } else {
            self.primary()
        };
        self.nested -= 1;
        self.postfix(value?, filters)
    }

    pub(super) fn primary(&mut self) -> Parsed {
        let line = self.line();
        let kind = match self.peek(0).cloned() {
            Some(Token::Name(name)) => {
                self.next();
                match &*name {
                    "true" | "True" => Kind::Literal(Literal::Bool(true)),
                    "false" | "False" => Kind::Literal(Literal::Bool(false)),
                    "none" | "None" => Kind::Literal(Literal::None),
                    _ => {
                        self.uses(&name);
                        Kind::Name(name.into())
                    }
                }
            }
            Some(Token::String(text)) => {
                self.next();
                let mut text = text.to_vec();
                while let Some(Token::String(more)) = self.peek(0) {
                    text.extend_from_slice(more);
                    self.next();
                }
                Kind::Literal(Literal::Text(text.into()))
            }
            Some(Token::Int(value)) => {
                self.next();
                Kind::Literal(Literal::Int(value))
            }
            Some(Token::Float(value)) => {
                self.next();
                Kind::Literal(Literal::Float(value))
            }
            Some(Token::Sign("(")) => {
                self.next();
                let value = self.tuple(true, &[], true)?;
                self.expect_sign(")")?;
                return Ok(value);
            }
            Some(Token::Sign("[")) => {
                self.next();
                Kind::List(self.items("]", Self::expression)?)
            }
            Some(Token::Sign("{")) => {
                self.next();
                Kind::Dict(self.items("}", |parser| {
                    let key = parser.expression()?;
                    parser.expect_sign(":")?;
                    Ok((key, parser.expression()?))
                })?)
            }
            _ => return self.unexpected("an expression"),
        };
        self.node(line, kind)
    }

    /// Elements with commas between them, up to a closing bracket.
    fn items<T>(&mut self, close: &str, one: fn(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let mut items = Vec::new();
        while !self.skip_sign(close) {
            if !items.is_empty() {
                self.expect_sign(",")?;
                if self.skip_sign(close) {
                    break;
                }
            }
            items.push(one(self)?);
        }
        Ok(items)
    }

    /// An expression, or several with commas: a tuple. The words end it.
    pub(super) fn tuple(&mut self, conditions: bool, ends: &[&str], parentheses: bool) -> Parsed {
        let line = self.line();
        let (mut items, mut tuple) = (Vec::new(), false);
        loop {
            if self.is_end() || ends.iter().any(|end| self.is_word(0, end)) {
                break;
            }
            items.push(self.expression_with(conditions)?);
            if !self.skip_sign(",") {
                break;
            }
            tuple = true;
        }
        match items.pop() {
            Some(only) if !tuple => Ok(only),
            None if !parentheses => self.unexpected("an expression"),
            last => {
                items.extend(last);
                self.node(line, Kind::Tuple(items))
            }
        }
    }

    /// What follows a value: attributes, items, calls; with `filters` filters and tests, too.
    pub(super) fn postfix(&mut self, mut value: Expr, filters: bool) -> Parsed {
        let mut filtered = false;
        loop {
            let line = self.line();
            if !filtered && self.skip_sign(".") {
                value = self.attribute(line, value)?;
            } else if !filtered && self.skip_sign("[") {
                value = self.subscript(line, value)?;
            } else if self.is_sign(0, "(") {
                let args = self.arguments()?;
                value = self.node(line, Kind::Call(Box::new(value), args))?;
            } else if filters && self.skip_sign("|") {
                value = self.filter(Some(value))?;
                filtered = true;
            } else if filters && self.skip_word("is") {
                value = self.test(line, value)?;
                filtered = true;
            } else {
                return Ok(value);
            }
        }
    }

    fn attribute(&mut self, line: u32, value: Expr) -> Parsed {
        match self.next() {
            Some(Token::Name(name)) => self.node(line, Kind::Attribute(Box::new(value), name.into())),
            Some(Token::Int(index)) => {
                let index = self.node(line, Kind::Literal(Literal::Int(index)))?;
                self.node(line, Kind::Item(Box::new(value), Box::new(index)))
            }
            _ => self.fault("a name or number expected after '.'"),
        }
    }

    fn subscript(&mut self, line: u32, value: Expr) -> Parsed {
        let mut parts = Vec::new();
        while !self.skip_sign("]") {
            if !parts.is_empty() {
                self.expect_sign(",")?;
            }
            parts.push(self.subscribed()?);
        }
        let index = if parts.len() == 1 { parts.remove(0) } else { self.node(line, Kind::Tuple(parts))? };
        self.node(line, Kind::Item(Box::new(value), Box::new(index)))
    }

    fn subscribed(&mut self) -> Parsed {
        let line = self.line();
        let mut bounds = Vec::new();
        if !self.is_sign(0, ":") {
            let index = self.expression()?;
            if !self.is_sign(0, ":") {
                return Ok(index);
            }
            bounds.push(Some(index));
        } else {
            bounds.push(None);
        }
        while bounds.len() < 3 && self.skip_sign(":") {
            let empty = [":", "]", ","].iter().any(|sign| self.is_sign(0, sign));
            bounds.push(if empty { None } else { Some(self.expression()?) });
        }
        bounds.resize_with(3, || None);
        self.node(line, Kind::Slice(bounds))
    }

    pub(super) fn dotted_name(&mut self) -> Result<Name, Fault> {
        let mut name = self.expect_name()?.to_string();
        while self.skip_sign(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name.into())
    }
}
