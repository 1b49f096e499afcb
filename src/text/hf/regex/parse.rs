//! Parsing an expression: Oniguruma's Ruby syntax, as far as it is supported.

use super::class;
use regex_syntax::hir::ClassUnicode;
use std::iter::Peekable;
use std::str::Chars;

/// Groups and brackets may be nested this deep.
const MAX_DEPTH: usize = 100;

/// An interval may have this many repetitions, as in Oniguruma.
const MAX_REPEAT: usize = 100_000;

/// An expression, parsed.
pub(super) enum Node {
    Set(ClassUnicode),
    Concat(Vec<Self>),
    Alternatives(Vec<Self>),
    Repeat { node: Box<Self>, min: usize, max: Option<usize>, greed: Greed },
    Look { node: Box<Self>, behind: bool, not: bool },
    Atomic(Box<Self>),
    Assert(Assert),
}

/// How much a quantifier takes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Greed {
    Greedy,
    Lazy,
    Possessive,
}

/// A condition on a position.
#[derive(Clone, Copy)]
pub(super) enum Assert {
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    LastLineEnd,
    Word,
    NoWord,
}

impl Node {
    /// The least and the greatest number of characters of a match, if there is a greatest.
    pub(super) fn width(&self) -> Option<(usize, usize)> {
        match self {
            Self::Set(_) => Some((1, 1)),
            Self::Concat(nodes) => nodes.iter().try_fold((0usize, 0usize), |(low, high), node| {
                let (min, max) = node.width()?;
                Some((low.checked_add(min)?, high.checked_add(max)?))
            }),
            Self::Alternatives(nodes) => {
                let widths: Option<Vec<_>> = nodes.iter().map(Self::width).collect();
                let (lows, highs): (Vec<_>, Vec<_>) = widths?.into_iter().unzip();
                Some((lows.into_iter().min().unwrap_or(0), highs.into_iter().max().unwrap_or(0)))
            }
            Self::Repeat { node, min, max, .. } => {
                let (low, high) = node.width()?;
                Some((low.checked_mul(*min)?, high.checked_mul((*max)?)?))
            }
            Self::Look { .. } | Self::Assert(_) => Some((0, 0)),
            Self::Atomic(node) => node.width(),
        }
    }
}

/// The expression that matches exactly this string.
pub(super) fn literal(text: &str) -> Node {
    Node::Concat(text.chars().map(|c| Node::Set(class::single(c))).collect())
}

/// Parses an expression.
pub(super) fn parse(source: &str) -> Result<Node, String> {
    let mut parser = Parser { rest: source.chars().peekable(), depth: 0 };
    let node = parser.alternatives(Flags::default())?;
    match parser.rest.next() {
        None => Ok(node),
        Some(_) => Err("a closing parenthesis without an opening one".into()),
    }
}

/// `(?i)`, `(?m)` and `(?x)`.
#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    dot_all: bool,
    extended: bool,
}

struct Parser<'s> {
    rest: Peekable<Chars<'s>>,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, c: char) -> bool {
        self.rest.next_if_eq(&c).is_some()
    }

    /// Takes `text` if it comes next.
    fn eat_all(&mut self, text: &str) -> bool {
        let mut ahead = self.rest.clone();
        let there = text.chars().all(|c| ahead.next() == Some(c));
        if there {
            self.rest = ahead;
        }
        there
    }

    fn deeper<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth >= MAX_DEPTH {
            return Err("nested too deep".into());
        }
        self.depth += 1;
        let done = body(self);
        self.depth -= 1;
        done
    }

    fn alternatives(&mut self, flags: Flags) -> Result<Node, String> {
        let mut all = vec![self.concat(flags)?];
        while self.eat('|') {
            all.push(self.concat(flags)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Alternatives(all) })
    }

    fn concat(&mut self, flags: Flags) -> Result<Node, String> {
        let mut nodes = Vec::new();
        // The letter right before, which may make a sequence with the next one.
        let mut last = None;
        while let Some(&c) = self.rest.peek() {
            match c {
                '|' | ')' => break,
                c if flags.extended && matches!(c, ' ' | '\t'..='\r') => {
                    self.rest.next();
                    continue;
                }
                '#' if flags.extended => {
                    self.rest.by_ref().find(|&c| c == '\n');
                    continue;
                }
                '(' if self.eat_all("(?#") => {
                    self.rest.find(|&c| c == ')').ok_or("a comment without its closing parenthesis")?;
                    continue;
                }
                _ => {}
            }
            let (node, letter) = match self.atom(flags)? {
                Atom::Node(node) => (node, None),
                Atom::Letter(c) => (Node::Set(letter(c, flags)?), Some(c)),
                // The rest of the group, alternatives and all, is under the new flags.
                Atom::Flags(flags) => {
                    let rest = self.deeper(|parser| parser.alternatives(flags))?;
                    nodes.push(rest);
                    break;
                }
            };
            let (node, quantified) = self.quantified(node)?;
            let letter = letter.filter(|_| flags.ignore_case && !quantified);
            if let (Some(a), Some(b)) = (last, letter) {
                check_sequence(a, b)?;
            }
            last = letter;
            nodes.push(node);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Concat(nodes) })
    }

    fn atom(&mut self, flags: Flags) -> Result<Atom, String> {
        let node = match self.rest.next().expect("the caller saw a character") {
            '(' => return self.deeper(|parser| parser.group(flags)),
            '[' => {
                let class = self.deeper(|parser| parser.bracket())?;
                let folded = if flags.ignore_case { class::without_case(&class) } else { Some(class) };
                Node::Set(folded.ok_or("(?i) on a bracket with letters beyond ASCII is not supported")?)
            }
            '.' => Node::Set(class::dot(flags.dot_all)),
            '^' => Node::Assert(Assert::LineStart),
            '$' => Node::Assert(Assert::LineEnd),
            '*' | '+' | '?' => return Err("a quantifier without what it repeats".into()),
            '\\' => return self.escape(),
            c => return Ok(Atom::Letter(c)),
        };
        Ok(Atom::Node(node))
    }

    fn escape(&mut self) -> Result<Atom, String> {
        let assert = match self.rest.peek() {
            Some('A') => Assert::TextStart,
            Some('z') => Assert::TextEnd,
            Some('Z') => Assert::LastLineEnd,
            Some('b') => Assert::Word,
            Some('B') => Assert::NoWord,
            _ => {
                return Ok(match self.member(true)? {
                    Member::Char(c) => Atom::Letter(c),
                    Member::Class(class) => Atom::Node(Node::Set(class)),
                });
            }
        };
        self.rest.next();
        Ok(Atom::Node(Node::Assert(assert)))
    }

    /// After an opening parenthesis.
    fn group(&mut self, flags: Flags) -> Result<Atom, String> {
        let look = |node, behind, not| Node::Look { node: Box::new(node), behind, not };
        let looks = [("?=", false, false), ("?!", false, true), ("?<=", true, false), ("?<!", true, true)];
        if let Some((_, behind, not)) = looks.into_iter().find(|(open, ..)| self.eat_all(open)) {
            return Ok(Atom::Node(look(self.body(flags)?, behind, not)));
        }
        if self.eat_all("?>") {
            return Ok(Atom::Node(Node::Atomic(Box::new(self.body(flags)?))));
        }
        if self.eat_all("?:") || !self.eat('?') {
            return self.body(flags).map(Atom::Node);
        }
        if self.eat('<') {
            let name: String =
                std::iter::from_fn(|| self.rest.next_if(|&c| c.is_alphanumeric() || c == '_')).collect();
            if name.is_empty() || !self.eat('>') {
                return Err("a group's name is malformed".into());
            }
            return self.body(flags).map(Atom::Node);
        }
        let (mut new, mut on) = (flags, true);
        loop {
            match self.rest.next() {
                Some('-') => on = false,
                Some('i') => new.ignore_case = on,
                Some('m') => new.dot_all = on,
                Some('x') => new.extended = on,
                Some(':') => return self.body(new).map(Atom::Node),
                Some(')') => return Ok(Atom::Flags(new)),
                Some(c) => return Err(format!("`(?{c}` is not supported")),
                None => return Err("a parenthesis without its closing one".into()),
            }
        }
    }

    /// The rest of a group with its closing parenthesis.
    fn body(&mut self, flags: Flags) -> Result<Node, String> {
        let node = self.alternatives(flags)?;
        if self.eat(')') { Ok(node) } else { Err("a parenthesis without its closing one".into()) }
    }

    /// The node with the quantifiers after it.
    fn quantified(&mut self, mut node: Node) -> Result<(Node, bool), String> {
        let mut before = None;
        loop {
            let (min, max, interval) = match self.rest.peek() {
                Some('*') => (0, None, false),
                Some('+') => (1, None, false),
                Some('?') => (0, Some(1), false),
                Some('{') => match self.interval()? {
                    Some((min, max)) => (min, max, true),
                    None => return Ok((node, before.is_some())),
                },
                _ => return Ok((node, before.is_some())),
            };
            if !interval {
                self.rest.next();
            }
            // `{n}?` and `{n}+` repeat `{n}`, and are neither lazy nor possessive.
            if before == Some(false) {
                return Err("a quantifier right after a quantifier is not supported".into());
            }
            let greed = match self.rest.peek() {
                Some('?') if !interval || max != Some(min) => Greed::Lazy,
                Some('+') if !interval => Greed::Possessive,
                _ => Greed::Greedy,
            };
            if greed != Greed::Greedy {
                self.rest.next();
            }
            before = Some(interval && greed == Greed::Greedy);
            node = Node::Repeat { node: Box::new(node), min, max, greed };
        }
    }

    /// An interval, if the brace opens one: else it is a letter.
    fn interval(&mut self) -> Result<Option<(usize, Option<usize>)>, String> {
        let ahead: String = self.rest.clone().skip(1).take_while(|&c| c != '}').take(20).collect();
        let (low, high) =
            ahead.split_once(',').map_or((ahead.as_str(), None), |(low, high)| (low, Some(high)));
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let closed = self.rest.clone().nth(1 + ahead.chars().count()) == Some('}');
        let empty = low.is_empty() && high.is_none_or(str::is_empty);
        if !closed || empty || !digits(low) || !high.is_none_or(digits) {
            return Ok(None);
        }
        let number = |text: &str| text.parse().ok().filter(|&n| n <= MAX_REPEAT);
        let min = if low.is_empty() { Some(0) } else { number(low) };
        let max = match high {
            None => min.map(Some),
            Some("") => Some(None),
            Some(high) => number(high).map(Some),
        };
        match (min, max) {
            (Some(min), Some(max)) if max.is_none_or(|max| min <= max) => {
                self.eat_all(&format!("{{{ahead}}}"));
                Ok(Some((min, max)))
            }
            _ => Err(format!("the interval {{{ahead}}} is not supported")),
        }
    }
}

enum Atom {
    Node(Node),
    Letter(char),
    Flags(Flags),
}

/// What an escape or a place in a bracket names.
pub(super) enum Member {
    Char(char),
    Class(ClassUnicode),
}

/// The set of one letter.
fn letter(c: char, flags: Flags) -> Result<ClassUnicode, String> {
    let class = class::single(c);
    if !flags.ignore_case {
        return Ok(class);
    }
    class::without_case(&class).ok_or_else(|| format!("(?i) on `{c}` is not supported"))
}

/// Refuses two letters that Oniguruma takes for one under `(?i)`.
fn check_sequence(a: char, b: char) -> Result<(), String> {
    let pair = [a.to_ascii_lowercase(), b.to_ascii_lowercase()];
    if [['s', 's'], ['f', 'f'], ['f', 'i'], ['f', 'l'], ['s', 't']].contains(&pair) {
        return Err(format!("(?i) on `{a}{b}`, which may be written as one character, is not supported"));
    }
    Ok(())
}

mod bracket;
