//! Tokens of a template, as Jinja2's lexer makes them with `trim_blocks` and `lstrip_blocks`.

use super::Fault;
use super::literal::unescaped;
use super::text::{Ch, Text, is_space};

/// A token. Words of the language are names, too.
#[derive(Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside tags.
    Data(Text),
    BlockStart,
    BlockEnd,
    PrintStart,
    PrintEnd,
    Name(String),
    String(Text),
    Int(i128),
    Float(f64),
    /// An operator or bracket.
    Sign(&'static str),
}

/// Operators and brackets, longer ones first.
const SIGNS: [&str; 28] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";", "!", "&",
];

/// A token and the line that it begins on.
pub(super) type Placed = (Token, u32);

/// The tokens of a template.
pub(super) fn tokens(source: &str) -> Result<Vec<Placed>, Fault> {
    // Every line end of a source is "\n" for Jinja2, and one at the very end does not count.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source: Vec<char> = source.strip_suffix('\n').unwrap_or(&source).chars().collect();
    let mut lexer = Lexer { source, at: 0, line: 1, fresh: true, out: Vec::new() };
    lexer.run()?;
    Ok(lexer.out)
}

/// What begins a tag.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Block,
    Print,
    Comment,
    Raw,
}

struct Lexer {
    source: Vec<char>,
    at: usize,
    line: u32,
    /// Whether the last token ended a line, or none came yet.
    fresh: bool,
    out: Vec<Placed>,
}

impl Lexer {
    fn run(&mut self) -> Result<(), Fault> {
        while self.at < self.source.len() {
            let Some((position, start)) = self.next_start() else {
                self.data(self.source.len());
                return Ok(());
            };
            let (sign, inside) = self.start_at(position, start);
            self.data_before(position, start, sign);
            self.skip_to(inside);
            self.fresh = self.source[inside - 1] == '\n';
            match start {
                Start::Comment => self.comment()?,
                Start::Raw => self.raw()?,
                Start::Block => self.tag(Token::BlockStart)?,
                Start::Print => self.tag(Token::PrintStart)?,
            }
        }
        Ok(())
    }

    fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { line: self.line, what: what.into() })
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.source.get(self.at + ahead).copied()
    }

    fn starts(&self, at: usize, word: &str) -> bool {
        let mut i = at;
        word.chars().all(|c| {
            i += 1;
            self.source.get(i - 1) == Some(&c)
        })
    }

    /// Moves on and counts lines.
    fn skip_to(&mut self, at: usize) {
        self.line += self.source[self.at..at].iter().filter(|&&c| c == '\n').count() as u32;
        self.at = at;
    }

    fn skip_spaces(&self, mut at: usize) -> usize {
        while self.source.get(at).is_some_and(|&c| is_space(c)) {
            at += 1;
        }
        at
    }

    fn next_start(&self) -> Option<(usize, Start)> {
        (self.at..self.source.len().saturating_sub(1)).find_map(|at| {
            let start = match (self.source[at], self.source[at + 1]) {
                ('{', '%') if self.after_raw(at, "raw").is_some() => Start::Raw,
                ('{', '%') => Start::Block,
                ('{', '{') => Start::Print,
                ('{', '#') => Start::Comment,
                _ => return None,
            };
            Some((at, start))
        })
    }

    /// Where what follows the tag `{% raw %}` or `{% endraw %}` at `at` begins, if it is that tag.
    fn after_raw(&self, at: usize, word: &str) -> Option<usize> {
        if !self.starts(at, "{%") {
            return None;
        }
        let sign = usize::from(matches!(self.source.get(at + 2), Some('-' | '+')));
        let name = self.skip_spaces(at + 2 + sign);
        if !self.starts(name, word) {
            return None;
        }
        let end = self.skip_spaces(name + word.len());
        if self.starts(end, "-%}") {
            return Some(self.skip_spaces(end + 3));
        }
        if word == "raw" {
            return self.starts(end, "%}").then_some(end + 2);
        }
        let plus = usize::from(self.starts(end, "+%}"));
        if !self.starts(end + plus, "%}") {
            return None;
        }
        let newline = usize::from(plus == 0 && self.starts(end + 2, "\n"));
        Some(end + plus + 2 + newline)
    }

    /// The sign of whitespace control and where the inside of the tag begins.
    fn start_at(&self, at: usize, start: Start) -> (Option<char>, usize) {
        let sign = self.source.get(at + 2).copied().filter(|c| matches!(c, '-' | '+'));
        let inside = match start {
            Start::Raw => self.after_raw(at, "raw").expect("the tag was found"),
            _ => at + 2 + usize::from(sign.is_some()),
        };
        (sign, inside)
    }

    /// Emits the text up to a tag, without the blanks that the tag removes.
    fn data_before(&mut self, position: usize, start: Start, sign: Option<char>) {
        let text = &self.source[self.at..position];
        let kept = match sign {
            Some('-') => text.len() - text.iter().rev().take_while(|&&c| is_space(c)).count(),
            None if start != Start::Print => {
                let line = text.iter().rposition(|&c| c == '\n').map_or(0, |at| at + 1);
                let blank = text[line..].iter().all(|&c| is_space(c));
                if blank && (line > 0 || self.fresh) { line } else { text.len() }
            }
            _ => text.len(),
        };
        let end = self.at + kept;
        self.data(end);
        self.skip_to(position);
    }

    fn data(&mut self, end: usize) {
        if end > self.at {
            let text = self.source[self.at..end].iter().map(|&c| Ch::new(c)).collect();
            self.out.push((Token::Data(text), self.line));
            self.skip_to(end);
        }
    }

    /// A comment or raw block that is not closed is an error for Jinja2, unless nothing at all follows.
    fn unclosed(&self, what: &str) -> Result<(), Fault> {
        if self.at == self.source.len() { Ok(()) } else { self.fault(format!("missing end of {what}")) }
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let Some(end) = (self.at..self.source.len()).find(|&at| self.starts(at, "#}")) else {
            return self.unclosed("comment tag");
        };
        let sign = (end > self.at).then(|| self.source[end - 1]);
        self.close(end + 2, sign);
        Ok(())
    }

    /// Moves past the end of a tag and the whitespace that it removes.
    fn close(&mut self, end: usize, sign: Option<char>) {
        let end = match sign {
            Some('-') => self.skip_spaces(end),
            Some('+') => end,
            _ => end + usize::from(self.starts(end, "\n")),
        };
        self.fresh = self.source[end - 1] == '\n';
        self.skip_to(end);
    }

    fn raw(&mut self) -> Result<(), Fault> {
        let found = (self.at..self.source.len()).find_map(|at| Some((at, self.after_raw(at, "endraw")?)));
        let Some((position, end)) = found else { return self.unclosed("raw directive") };
        let sign = self.source.get(position + 2).copied().filter(|c| matches!(c, '-' | '+'));
        self.data_before(position, Start::Raw, sign);
        self.fresh = self.source[end - 1] == '\n';
        self.skip_to(end);
        Ok(())
    }

    /// The tokens of a tag and its end.
    fn tag(&mut self, start: Token) -> Result<(), Fault> {
        let block = start == Token::BlockStart;
        self.out.push((start, self.line));
        let (end, close) = if block { ("%}", Token::BlockEnd) } else { ("}}", Token::PrintEnd) };
        let mut open: Vec<char> = Vec::new();
        loop {
            let space = self.skip_spaces(self.at);
            if open.is_empty() {
                let sign = self.source.get(space).copied().filter(|&c| c == '-' || (block && c == '+'));
                let at = space + usize::from(sign.is_some());
                if let Some((at, sign)) =
                    [(at, sign), (space, None)].into_iter().find(|&(at, _)| self.starts(at, end))
                {
                    self.skip_to(space);
                    self.out.push((close, self.line));
                    // Only a block removes the line end that follows it.
                    self.close(at + 2, if block || sign == Some('-') { sign } else { Some('+') });
                    return Ok(());
                }
            }
            self.skip_to(space);
            if self.at == self.source.len() {
                return self.fault("unexpected end of template");
            }
            let line = self.line;
            let token = self.token()?;
            self.balance(&token, &mut open)?;
            self.out.push((token, line));
        }
    }

    fn balance(&self, token: &Token, open: &mut Vec<char>) -> Result<(), Fault> {
        let Token::Sign(sign) = token else { return Ok(()) };
        match *sign {
            "(" => open.push(')'),
            "[" => open.push(']'),
            "{" => open.push('}'),
            ")" | "]" | "}" => match open.pop() {
                Some(expected) if sign.starts_with(expected) => {}
                Some(expected) => return self.fault(format!("unexpected '{sign}', expected '{expected}'")),
                None => return self.fault(format!("unexpected '{sign}'")),
            },
            _ => {}
        }
        Ok(())
    }

    fn token(&mut self) -> Result<Token, Fault> {
        let c = self.source[self.at];
        match c {
            '0'..='9' => self.number(),
            '\'' | '"' => self.string(c),
            c if c.is_alphanumeric() || c == '_' => Ok(Token::Name(self.word())),
            _ => match SIGNS.iter().find(|sign| self.starts(self.at, sign)) {
                Some(sign) if !matches!(*sign, "!" | "&") => {
                    self.at += sign.len();
                    Ok(Token::Sign(sign))
                }
                _ => self.fault(format!("unexpected character {c:?}")),
            },
        }
    }

    fn word(&mut self) -> String {
        let rest = &self.source[self.at..];
        let word: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
        self.at += word.chars().count();
        word
    }

    /// Digits of a base, which may have single underscores between them; the end of the run.
    fn digits(&self, at: usize, base: u32) -> usize {
        let (mut at, mut end) = (at, at);
        while let Some(&c) = self.source.get(at) {
            if c.is_digit(base) {
                end = at + 1;
            } else if c != '_' || end != at {
                break;
            }
            at += 1;
        }
        end
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let whole = self.digits(self.at, 10);
        // After a dot a number is an index, as in `a.0.1`.
        if self.at > 0 && self.source[self.at - 1] == '.' {
            return self.integer(whole);
        }
        let mut end = whole;
        if self.starts(end, ".") && self.digits(end + 1, 10) > end + 1 && self.source[end + 1] != '_' {
            end = self.digits(end + 1, 10);
        }
        if self.source.get(end).is_some_and(|c| matches!(c, 'e' | 'E')) {
            let sign = usize::from(self.source.get(end + 1).is_some_and(|c| matches!(c, '+' | '-')));
            let first = end + 1 + sign;
            let power = self.digits(first, 10);
            if power > first && self.source[first] != '_' {
                end = power;
            }
        }
        if end > whole {
            let text: String = self.source[self.at..end].iter().filter(|&&c| c != '_').collect();
            self.at = end;
            return Ok(Token::Float(text.parse().expect("digits of a float")));
        }
        self.integer(whole)
    }

    fn integer(&mut self, decimal: usize) -> Result<Token, Fault> {
        let base = match self.peek(1) {
            Some('x' | 'X') if self.peek(0) == Some('0') => 16,
            Some('o' | 'O') if self.peek(0) == Some('0') => 8,
            Some('b' | 'B') if self.peek(0) == Some('0') => 2,
            _ => 10,
        };
        let start = if base == 10 { self.at } else { self.at + 2 };
        let end = if base == 10 { decimal } else { self.digits(start, base) };
        let text: String = self.source[start..end].iter().filter(|&&c| c != '_').collect();
        if base == 10 && text.len() > 1 && text.starts_with('0') && text.contains(|c| c != '0') {
            return self.fault(format!("unexpected number `{text}`: it begins with 0"));
        }
        self.at = end;
        match i128::from_str_radix(&text, base) {
            Ok(value) => Ok(Token::Int(value)),
            Err(_) => self.fault(format!("the number `{text}` is not supported")),
        }
    }

    fn string(&mut self, quote: char) -> Result<Token, Fault> {
        let mut end = self.at + 1;
        while let Some(&c) = self.source.get(end).filter(|&&c| c != quote) {
            end += if c == '\\' { 2 } else { 1 };
        }
        if end >= self.source.len() {
            return self.fault("a string without its end");
        }
        let text = unescaped(&self.source[self.at + 1..end]);
        let text = text.or_else(|what| self.fault(what))?;
        self.skip_to(end + 1);
        Ok(Token::String(text.into()))
    }
}
