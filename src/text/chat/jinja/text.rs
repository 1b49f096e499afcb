//! [`Text`]: a Python string, a sequence of code points. Each knows whether it came in through a message, which no filter and
//! no slice forgets.

use super::unicode;
use std::cmp::Ordering;
use std::sync::Arc;

/// A code point and where it came from.
#[derive(Clone, Copy)]
pub(super) struct Ch(u32);

/// Marks what came in through a message.
const FOREIGN: u32 = 1 << 31;

/// A string.
pub(super) type Text = Arc<[Ch]>;

impl Ch {
    pub(super) fn new(c: char) -> Self {
        Self(c as u32)
    }

    /// A character of a message.
    pub(super) fn foreign(c: char) -> Self {
        Self(c as u32 | FOREIGN)
    }

    pub(super) fn get(self) -> char {
        char::from_u32(self.0 & !FOREIGN).expect("made of a character")
    }

    pub(super) fn is_foreign(self) -> bool {
        self.0 & FOREIGN != 0
    }

    /// Another character from the same place.
    pub(super) fn with(self, c: char) -> Self {
        Self(c as u32 | (self.0 & FOREIGN))
    }

    /// What `str.isspace` calls a blank.
    pub(super) fn is_space(self) -> bool {
        is_space(self.get())
    }
}

impl PartialEq for Ch {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Ch {}

impl PartialOrd for Ch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ch {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().cmp(&other.get())
    }
}

/// Python's blanks: Unicode's, and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Where `str.splitlines` splits.
pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Characters of the template itself.
pub(super) fn chars(text: &str) -> Vec<Ch> {
    text.chars().map(Ch::new).collect()
}

pub(super) fn text(source: &str) -> Text {
    source.chars().map(Ch::new).collect()
}

pub(super) fn plain(text: &[Ch]) -> String {
    text.iter().map(|c| c.get()).collect()
}

/// Position of `part` in `whole`, from `start` on.
pub(super) fn find(whole: &[Ch], part: &[Ch], start: usize) -> Option<usize> {
    if part.is_empty() {
        return (start <= whole.len()).then_some(start);
    }
    let rest = whole.get(start..)?;
    if part.len() <= SHORT {
        return rest.windows(part.len()).position(|window| window == part).map(|at| start + at);
    }
    search(rest.iter(), part.iter()).map(|end| start + end - part.len())
}

/// Position of the last `part` in `whole`.
pub(super) fn rfind(whole: &[Ch], part: &[Ch]) -> Option<usize> {
    if part.is_empty() {
        return Some(whole.len());
    }
    if part.len() <= SHORT {
        return whole.windows(part.len()).rposition(|window| window == part);
    }
    search(whole.iter().rev(), part.iter().rev()).map(|end| whole.len() - end)
}

/// Strings up to this length are searched for by comparing at every position.
const SHORT: usize = 16;

/// Where the first `part` ends, in a time that does not depend on what the strings have in common (Knuth, Morris, Pratt).
fn search<'a>(whole: impl Iterator<Item = &'a Ch>, part: impl Iterator<Item = &'a Ch>) -> Option<usize> {
    let part: Vec<Ch> = part.copied().collect();
    // How long the longest start of `part` is that ends at each place of it.
    let mut borders = vec![0; part.len()];
    let mut matched = 0;
    for i in 1..part.len() {
        while matched > 0 && part[i] != part[matched] {
            matched = borders[matched - 1];
        }
        matched += usize::from(part[i] == part[matched]);
        borders[i] = matched;
    }
    matched = 0;
    for (i, c) in whole.enumerate() {
        while matched > 0 && *c != part[matched] {
            matched = borders[matched - 1];
        }
        matched += usize::from(*c == part[matched]);
        if matched == part.len() {
            return Some(i + 1);
        }
    }
    None
}

/// How often `part` is in `whole`, without overlaps.
pub(super) fn count(whole: &[Ch], part: &[Ch]) -> usize {
    if part.is_empty() {
        return whole.len() + 1;
    }
    let (mut n, mut at) = (0, 0);
    while let Some(found) = find(whole, part, at) {
        n += 1;
        at = found + part.len();
    }
    n
}

/// Which ends `strip` works on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Both,
    Left,
    Right,
}

/// `str.strip` and its siblings; `None` strips blanks.
pub(super) fn strip<'a>(text: &'a [Ch], of: Option<&[Ch]>, ends: Ends) -> &'a [Ch] {
    let mut set = of.map(<[Ch]>::to_vec);
    set.iter_mut().for_each(|set| set.sort_unstable());
    let out = |c: &Ch| set.as_ref().map_or_else(|| c.is_space(), |set| set.binary_search(c).is_ok());
    let start = if ends == Ends::Right { 0 } else { text.iter().take_while(|c| out(c)).count() };
    let rest = &text[start..];
    let end = if ends == Ends::Left { 0 } else { rest.iter().rev().take_while(|c| out(c)).count() };
    &rest[..rest.len() - end]
}

/// `str.splitlines`.
pub(super) fn lines(text: &[Ch], keep_ends: bool) -> Vec<&[Ch]> {
    let (mut out, mut start, mut i) = (Vec::new(), 0, 0);
    while i < text.len() {
        if !is_line_end(text[i].get()) {
            i += 1;
            continue;
        }
        let pair = text[i].get() == '\r' && text.get(i + 1).is_some_and(|c| c.get() == '\n');
        let end = i + 1 + usize::from(pair);
        out.push(&text[start..if keep_ends { end } else { i }]);
        (start, i) = (end, end);
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

/// `str.lower`.
pub(super) fn lower(text: &[Ch]) -> Vec<Ch> {
    // A capital sigma at the end of a word becomes another letter than elsewhere, which only the whole string tells.
    let sigma = text.iter().any(|c| c.get() == 'Σ');
    let whole: Vec<char> = if sigma { plain(text).to_lowercase().chars().collect() } else { Vec::new() };
    let mut out = Vec::with_capacity(text.len());
    for &c in text {
        match c.get() {
            'Σ' => out.push(c.with(whole[out.len()])),
            letter => out.extend(letter.to_lowercase().map(|l| c.with(l))),
        }
    }
    out
}

/// `str.upper`.
pub(super) fn upper(text: &[Ch]) -> Vec<Ch> {
    text.iter().flat_map(|&c| c.get().to_uppercase().map(move |u| c.with(u))).collect()
}

fn push_title(out: &mut Vec<Ch>, c: Ch) {
    match unicode::title(c.get()) {
        Some(title) => out.extend(title.chars().map(|t| c.with(t))),
        None => out.extend(c.get().to_uppercase().map(|t| c.with(t))),
    }
}

/// `str.capitalize`.
pub(super) fn capitalize(text: &[Ch]) -> Vec<Ch> {
    let mut out = Vec::with_capacity(text.len());
    if let Some((&first, _)) = text.split_first() {
        push_title(&mut out, first);
        // Of the whole, for the sigma's sake.
        let skipped = lower(&[first]).len();
        out.extend_from_slice(&lower(text)[skipped..]);
    }
    out
}

/// `str.title`.
pub(super) fn title(text: &[Ch]) -> Vec<Ch> {
    let (mut out, mut start) = (Vec::with_capacity(text.len()), 0);
    while start < text.len() {
        let cased = |c: &&Ch| unicode::is_cased(c.get());
        let word = text[start..].iter().take_while(cased).count();
        match word {
            0 => out.push(text[start]),
            _ => out.extend(capitalize(&text[start..start + word])),
        }
        start += word.max(1);
    }
    out
}

/// `str.swapcase`.
pub(super) fn swapcase(text: &[Ch]) -> Vec<Ch> {
    let lowered = lower(text);
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    for &c in text {
        let next = at + c.get().to_lowercase().count();
        match c.get() {
            letter if letter.is_uppercase() => out.extend_from_slice(&lowered[at..next]),
            letter if letter.is_lowercase() => out.extend(letter.to_uppercase().map(|u| c.with(u))),
            _ => out.push(c),
        }
        at = next;
    }
    out
}
