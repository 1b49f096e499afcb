//! The recursive descent parser behind [`Value::parse`].

use super::{Dialect, MAX_DEPTH, MAX_VALUES, Number, Value};
use std::collections::HashSet;

/// Up to this many keys, comparing all pairs takes less time than a set.
const FEW_KEYS: usize = 8;

/// Parses a whole document. On failure: the offset of the offending byte, and what is wrong there.
pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Value, (usize, String)> {
    let mut parser = Parser { text, dialect, pos: 0, values: 0 };
    parser.document().map_err(|what| (parser.pos, what))
}

/// A recursive descent parser. On failure `pos` is the offending byte.
struct Parser<'a> {
    text: &'a str,
    dialect: Dialect,
    pos: usize,
    /// Values and keys so far.
    values: usize,
}

/// What is wrong at `pos`.
type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    fn document(&mut self) -> Parsed<Value> {
        let value = self.value(0)?;
        self.skip_space();
        if self.pos < self.text.len() { self.unexpected("the end of the text") } else { Ok(value) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    /// Consumes `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
    }

    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        match self.text.get(self.pos..).and_then(|rest| rest.chars().next()) {
            Some(c) => Err(format!("found `{}`, expected {expected}", c.escape_debug())),
            None => Err(format!("the text ends, expected {expected}")),
        }
    }

    /// Counts a value or a key.
    fn count(&mut self) -> Parsed<()> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(format!("more than {MAX_VALUES} values")) } else { Ok(()) }
    }

    /// A value inside `depth` arrays and objects, after any space.
    fn value(&mut self, depth: usize) -> Parsed<Value> {
        self.skip_space();
        self.count()?;
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => {
                Err(format!("nested deeper than {MAX_DEPTH} arrays and objects"))
            }
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => self.number().map(Value::Number),
            _ => {
                for (word, value) in
                    [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
                {
                    if self.take_word(word) {
                        return Ok(value);
                    }
                }
                self.unexpected("a value")
            }
        }
    }

    /// Consumes `word` if it is next.
    fn take_word(&mut self, word: &str) -> bool {
        let found = self.text[self.pos..].starts_with(word);
        self.pos += if found { word.len() } else { 0 };
        found
    }

    fn array(&mut self, depth: usize) -> Parsed<Value> {
        self.pos += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(elements));
            }
            if !self.take(b',') {
                return self.unexpected("`,` or `]`");
            }
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<Value> {
        self.pos += 1;
        let mut entries = Vec::new();
        let mut offsets = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(entries));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return self.unexpected("a key in quotes");
            }
            self.count()?;
            offsets.push(self.pos);
            let (Value::String(key) | Value::Surrogates(key)) = self.string()? else { unreachable!() };
            self.skip_space();
            if !self.take(b':') {
                return self.unexpected("`:`");
            }
            entries.push((key, self.value(depth)?));
            self.skip_space();
            if self.take(b'}') {
                self.refuse_duplicates(&entries, &offsets)?;
                return Ok(Value::Object(entries));
            }
            if !self.take(b',') {
                return self.unexpected("`,` or `}`");
            }
        }
    }

    /// Does not compare all pairs of many keys: a hostile header may hold millions.
    fn refuse_duplicates(&mut self, entries: &[(String, Value)], offsets: &[usize]) -> Parsed<()> {
        let distinct = if entries.len() <= FEW_KEYS {
            entries.iter().enumerate().all(|(i, (key, _))| entries[..i].iter().all(|(other, _)| other != key))
        } else {
            let mut seen = HashSet::with_capacity(entries.len());
            entries.iter().all(|(key, _)| seen.insert(key))
        };
        if distinct {
            return Ok(());
        }
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|&i| (&entries[i].0, i));
        for pair in order.windows(2) {
            if entries[pair[0]].0 == entries[pair[1]].0 {
                self.pos = offsets[pair[1]];
                return Err(format!("duplicate key `{}`", entries[pair[1]].0.escape_debug()));
            }
        }
        Ok(())
    }

    /// [`Value::String`], or [`Value::Surrogates`].
    fn string(&mut self) -> Parsed<Value> {
        self.pos += 1;
        let (start, mut whole) = (self.pos, true);
        let mut out = String::new();
        loop {
            let run =
                self.text[self.pos..].bytes().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
            out.push_str(&self.text[self.pos..self.pos + run]);
            self.pos += run;
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    let written = || self.text[start..self.pos - 1].to_string();
                    return Ok(if whole { Value::String(out) } else { Value::Surrogates(written()) });
                }
                Some(b'\\') => {
                    self.pos += 1;
                    let escaped = self.escape()?;
                    whole &= escaped.is_some();
                    out.extend(escaped);
                }
                _ => return self.unexpected("a character of a string or its closing quote"),
            }
        }
    }

    /// What follows a backslash; `None` for half of a surrogate pair.
    fn escape(&mut self) -> Parsed<Option<char>> {
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.pos += 1;
                return self.unicode_escape();
            }
            _ => return self.unexpected("an escape"),
        };
        self.pos += 1;
        Ok(Some(c))
    }

    /// What follows `\u`: four hex digits, and a second escape where they are the first half of a surrogate pair.
    fn unicode_escape(&mut self) -> Parsed<Option<char>> {
        let start = self.pos;
        let high = self.hex4()?;
        if let Some(c) = char::from_u32(high) {
            return Ok(Some(c));
        }
        let behind = self.pos;
        if (0xd800..0xdc00).contains(&high)
            && self.take_word("\\u")
            && let low @ 0xdc00..0xe000 = self.hex4()?
        {
            return Ok(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
        }
        if self.dialect == Dialect::Python {
            self.pos = behind;
            return Ok(None);
        }
        self.pos = start;
        Err(format!("\\u{high:04x} is half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|b| char::from(b).to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.unexpected("four hexadecimal digits"),
            }
            self.pos += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Parsed<Number> {
        let start = self.pos;
        let python = self.dialect == Dialect::Python;
        let negative = self.take(b'-');
        if python && (self.take_word("Infinity") || (!negative && self.take_word("NaN"))) {
            return Ok(Number(self.text[start..self.pos].to_string()));
        }
        if !negative && !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.unexpected("a value");
        }
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let text = &self.text[start..self.pos];
        if python || text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Ok(Number(text.to_string()));
        }
        self.pos = start;
        Err("the number does not fit a 64-bit float".to_string())
    }

    /// One digit or more.
    fn digits(&mut self) -> Parsed<()> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.unexpected("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.pos += 1;
        }
        Ok(())
    }
}
