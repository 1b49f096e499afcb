//! Escapes, and brackets with what they hold.

use super::{Member, Parser};
use crate::text::hf::regex::class;
use regex_syntax::hir::ClassUnicode;

impl Parser<'_> {
    /// After a backslash: a character or a class, `alone` or in a bracket.
    pub(super) fn member(&mut self, alone: bool) -> Result<Member, String> {
        let c = self.rest.next().ok_or("a backslash at the end")?;
        let class = |name| match name {
            "word" if alone => class::word(),
            name => class::posix(name).expect("a known name"),
        };
        let known = |name| Ok(Member::Class(class(name)));
        let negated = |name| {
            let mut class = class(name);
            class.negate();
            Ok(Member::Class(class))
        };
        Ok(Member::Char(match c {
            'd' => return known("digit"),
            'D' => return negated("digit"),
            's' => return known("space"),
            'S' => return negated("space"),
            'w' => return known("word"),
            'W' => return negated("word"),
            'h' => return known("xdigit"),
            'H' => return negated("xdigit"),
            'p' | 'P' => return self.property(c, alone).map(Member::Class),
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\x0c',
            'v' => '\x0b',
            'a' => '\x07',
            'e' => '\x1b',
            'x' => self.hexadecimal()?,
            'u' => self.digits("u", 4)?,
            c if c.is_ascii_alphanumeric() => return Err(format!("`\\{c}` is not supported")),
            c => c,
        }))
    }

    /// After `\p` or `\P`.
    fn property(&mut self, letter: char, alone: bool) -> Result<ClassUnicode, String> {
        if !self.eat('{') {
            return Err(format!("`\\{letter}` without a name in braces is not supported"));
        }
        let not = self.eat('^') != (letter == 'P');
        let name: String = self.rest.by_ref().take_while(|&c| c != '}').collect();
        let known = if alone && name.eq_ignore_ascii_case("word") {
            Some(class::word())
        } else {
            class::property(&name)
        };
        let mut class = known.ok_or_else(|| format!("the property `{name}` is not supported"))?;
        if not {
            class.negate();
        }
        Ok(class)
    }

    /// After `\x`: two digits of an ASCII character, or any number of them in braces.
    fn hexadecimal(&mut self) -> Result<char, String> {
        if !self.eat('{') {
            let c = self.digits("x", 2)?;
            // More is a byte of an encoded character.
            return if c.is_ascii() {
                Ok(c)
            } else {
                Err(format!("`\\x{:x}` is not supported", u32::from(c)))
            };
        }
        let digits: String = self.rest.by_ref().take_while(|&c| c != '}').collect();
        let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        c.ok_or_else(|| format!("`\\x{{{digits}}}` is not a character"))
    }

    fn digits(&mut self, escape: &str, n: usize) -> Result<char, String> {
        let digits: String = self.rest.by_ref().take(n).collect();
        let code = Some(digits.as_str())
            .filter(|text| text.len() == n && text.chars().all(|c| c.is_ascii_hexdigit()));
        let c = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        c.ok_or_else(|| format!("`\\{escape}{digits}` is not supported"))
    }

    /// After an opening bracket.
    pub(super) fn bracket(&mut self) -> Result<ClassUnicode, String> {
        let not = self.eat('^');
        let mut whole: Option<ClassUnicode> = None;
        let mut part = class::ranges(&[]);
        let mut first = true;
        loop {
            let next = *self.rest.peek().ok_or("a bracket without its closing one")?;
            match next {
                ']' if first => {
                    return Err("a class that is empty, or a `]` in it without a backslash".into());
                }
                ']' => break,
                '&' if self.eat_all("&&") => {
                    whole = Some(intersection(whole, part));
                    part = class::ranges(&[]);
                }
                _ => self.item(&mut part)?,
            }
            first = false;
        }
        self.rest.next();
        let mut class = intersection(whole, part);
        if not {
            class.negate();
        }
        Ok(class)
    }

    /// One item of a bracket: a nested bracket, a named class, a character or a range.
    fn item(&mut self, part: &mut ClassUnicode) -> Result<(), String> {
        let first = match self.one()? {
            Member::Class(class) => {
                part.union(&class);
                return if self.rest.peek() == Some(&'-') && self.rest.clone().nth(1) != Some(']') {
                    Err("a range that begins with a class is not supported".into())
                } else {
                    Ok(())
                };
            }
            Member::Char(c) => c,
        };
        let mut ahead = self.rest.clone();
        let range = ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
        if !range {
            part.union(&class::single(first));
            return Ok(());
        }
        self.rest.next();
        match self.one()? {
            Member::Char(last) if first <= last => part.union(&class::ranges(&[(first, last)])),
            Member::Char(last) => return Err(format!("the range `{first}-{last}` is empty")),
            Member::Class(_) => return Err("a range that ends with a class is not supported".into()),
        }
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('-') && ahead.next() != Some(']') {
            return Err("a `-` right after a range is not supported".into());
        }
        Ok(())
    }

    fn one(&mut self) -> Result<Member, String> {
        match self.rest.next().ok_or("a bracket without its closing one")? {
            '[' if self.rest.peek() == Some(&':') => {
                self.rest.next();
                let not = self.eat('^');
                let name: String = self.rest.by_ref().take_while(|&c| c != ':').collect();
                let class = class::posix(&name).filter(|_| self.eat(']'));
                let mut class = class.ok_or_else(|| format!("`[:{name}` is not supported"))?;
                if not {
                    class.negate();
                }
                Ok(Member::Class(class))
            }
            '[' => self.deeper(|parser| parser.bracket()).map(Member::Class),
            '\\' if self.eat('b') => Ok(Member::Char('\x08')),
            '\\' => self.member(false),
            c => Ok(Member::Char(c)),
        }
    }
}

fn intersection(whole: Option<ClassUnicode>, part: ClassUnicode) -> ClassUnicode {
    match whole {
        None => part,
        Some(mut whole) => {
            whole.intersect(&part);
            whole
        }
    }
}
