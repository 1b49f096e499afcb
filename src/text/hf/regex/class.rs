//! Sets of characters: what `\p{..}`, `[[:alpha:]]`, `\w` and brackets name, as Oniguruma has them for UTF-8.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

/// A set of characters, ready for queries.
pub(super) struct Set {
    /// One bit for each character below 128.
    ascii: u128,
    /// Inclusive ranges, ascending.
    ranges: Vec<(char, char)>,
}

impl Set {
    pub(super) fn new(class: &ClassUnicode) -> Self {
        let ranges: Vec<_> = class.iter().map(|range| (range.start(), range.end())).collect();
        let ascii = |c: &u8| ranges.iter().any(|&(first, last)| (first..=last).contains(&char::from(*c)));
        Self { ascii: (0..128).filter(ascii).fold(0, |bits, c| bits | 1 << c), ranges }
    }

    /// Whether `c` belongs to it.
    pub(super) fn has(&self, c: char) -> bool {
        if c.is_ascii() {
            return self.ascii >> u32::from(c) & 1 == 1;
        }
        let after = self.ranges.partition_point(|&(first, _)| first <= c);
        after > 0 && c <= self.ranges[after - 1].1
    }
}

/// The characters of inclusive ranges.
pub(super) fn ranges(list: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(list.iter().map(|&(first, last)| ClassUnicodeRange::new(first, last)))
}

/// The one character.
pub(super) fn single(c: char) -> ClassUnicode {
    ranges(&[(c, c)])
}

/// All characters but the line end, or all of them.
pub(super) fn dot(all: bool) -> ClassUnicode {
    let mut class = if all { ranges(&[]) } else { single('\n') };
    class.negate();
    class
}

/// The characters that a property of the Rust syntax names.
fn unicode(property: &str) -> Option<ClassUnicode> {
    let hir: Hir = regex_syntax::Parser::new().parse(&format!(r"\p{{{property}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A property of one character only.
        HirKind::Literal(text) => Some(single(std::str::from_utf8(&text.0).ok()?.chars().next()?)),
        _ => None,
    }
}

fn union(properties: &[&str]) -> ClassUnicode {
    let mut all = ranges(&[]);
    for property in properties {
        all.union(&unicode(property).expect("a property of Unicode"));
    }
    all
}

/// `\w` and `\p{Word}` outside of brackets, and what word boundaries use: some more characters of Latin-1 than `[[:word:]]` has.
pub(super) fn word() -> ClassUnicode {
    let mut class = posix("word").expect("a known name");
    class.union(&ranges(&[('²', '³'), ('¹', '¹'), ('¼', '¾')]));
    class
}

/// The characters of a name in `[[:name:]]`, most of which `\p{name}` knows, too.
pub(super) fn posix(name: &str) -> Option<ClassUnicode> {
    let ascii = |list: &[(char, char)]| Some(ranges(list));
    Some(match name {
        "alnum" => union(&["Alphabetic", "Nd"]),
        "alpha" => union(&["Alphabetic"]),
        "ascii" => return ascii(&[('\0', '\x7f')]),
        "blank" => {
            let mut class = union(&["Zs"]);
            class.union(&single('\t'));
            class
        }
        "cntrl" => union(&["Cc"]),
        "digit" => union(&["Nd"]),
        "graph" => {
            let mut class = union(&["White_Space", "Cc", "Cn"]);
            class.negate();
            class
        }
        "lower" => union(&["Lowercase"]),
        "print" => {
            let mut class = posix("graph")?;
            class.union(&union(&["Zs"]));
            class
        }
        "punct" => union(&["P", "S"]),
        "space" => union(&["White_Space"]),
        "upper" => union(&["Uppercase"]),
        "word" => union(&["Alphabetic", "M", "Nd", "Pc"]),
        "xdigit" => return ascii(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        _ => return None,
    })
}

/// The characters of `\p{name}`: a name of [`posix`], a general category, a script or another property.
pub(super) fn property(name: &str) -> Option<ClassUnicode> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-');
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    match folded.as_str() {
        "punct" => unicode("P"),
        _ => posix(&folded).or_else(|| unicode(name)),
    }
}

/// Characters whose full case folding has several characters, and the other parts of such sequences beyond ASCII. Oniguruma lets
/// one such character match several under `(?i)`, which is not supported.
///
/// Source: Unicode, CaseFolding.txt, status F.
const SEVERAL: [(char, char); 22] = [
    ('\u{df}', '\u{df}'),
    ('\u{130}', '\u{130}'),
    ('\u{149}', '\u{149}'),
    ('\u{1f0}', '\u{1f0}'),
    ('\u{2bc}', '\u{2bc}'),
    ('\u{2be}', '\u{2be}'),
    ('\u{300}', '\u{36f}'),
    ('\u{390}', '\u{390}'),
    ('\u{3b0}', '\u{3b0}'),
    ('\u{587}', '\u{587}'),
    ('\u{1e96}', '\u{1e9a}'),
    ('\u{1e9e}', '\u{1e9e}'),
    ('\u{1f50}', '\u{1f56}'),
    ('\u{1f80}', '\u{1faf}'),
    ('\u{1fb2}', '\u{1fb7}'),
    ('\u{1fbc}', '\u{1fbc}'),
    ('\u{1fc2}', '\u{1fc7}'),
    ('\u{1fcc}', '\u{1fcc}'),
    ('\u{1fd2}', '\u{1fe7}'),
    ('\u{1ff2}', '\u{1ffc}'),
    ('\u{fb00}', '\u{fb06}'),
    ('\u{fb13}', '\u{fb17}'),
];

/// The set as `(?i)` widens it. `None` where that is more than exchanging single characters.
pub(super) fn without_case(class: &ClassUnicode) -> Option<ClassUnicode> {
    let mut several = ranges(&SEVERAL);
    several.intersect(class);
    let mut folded = class.clone();
    folded.case_fold_simple();
    let ascii = class.iter().all(|range| range.end().is_ascii());
    let closed = folded.ranges() == class.ranges() && several.ranges().is_empty();
    (ascii || closed).then_some(folded)
}
