"""Writes src/text/chat/jinja/unicode.rs: what Python's string methods know of characters and Rust's do not.

Run in the repository root; needs nothing but Python:
    python tools/unicode_tables.py > src/text/chat/jinja/unicode.rs && cargo fmt --all
"""

import sys
import unicodedata

CHARACTERS = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]


def ranges(test):
    out = []
    for c in CHARACTERS:
        if test(c):
            if out and ord(c) == out[-1][1] + 1:
                out[-1][1] += 1
            else:
                out.append([ord(c), ord(c)])
    return out


def table(name, doc, test):
    print(f"\n/// {doc}, as ranges with both ends.")
    rows = ranges(test)
    print("#[rustfmt::skip]")
    print(f"const {name}: [(u32, u32); {len(rows)}] = [")
    line = "   "
    for first, last in rows:
        entry = f" ({first:#x}, {last:#x}),"
        if len(line) + len(entry) > 130:
            print(line)
            line = "   "
        line += entry
    print(line + "\n];")


def main():
    print("//! What Python's string methods know of characters and Rust's do not.")
    print(f"//! Written by `tools/unicode_tables.py` with Python {sys.version.split()[0]}, Unicode {unicodedata.unidata_version}.")
    print(
        """
/// Whether a sorted table of ranges has the character.
fn has(table: &[(u32, u32)], c: char) -> bool {
    let at = table.partition_point(|&(_, last)| last < c as u32);
    table.get(at).is_some_and(|&(first, _)| first <= c as u32)
}

/// `str.isprintable`: what `repr` does not escape.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() { (' '..='~').contains(&c) } else { !has(&HIDDEN, c) }
}

/// `str.isalpha`
pub(super) fn is_alpha(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { has(&ALPHA, c) }
}

/// `str.isdecimal`
pub(super) fn is_decimal(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { has(&DECIMAL, c) }
}

/// `str.isdigit`
pub(super) fn is_digit(c: char) -> bool {
    is_decimal(c) || has(&DIGIT, c)
}

/// `str.isnumeric`
pub(super) fn is_numeric(c: char) -> bool {
    is_digit(c) || has(&NUMERIC, c)
}

/// Whether a word of `str.title` goes on with it.
pub(super) fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || is_titlecase(c)
}

/// A letter that is a capital followed by a small one.
pub(super) fn is_titlecase(c: char) -> bool {
    has(&TITLECASE, c)
}

/// What a character becomes at the start of a word, where that is not its upper case.
pub(super) fn title(c: char) -> Option<&'static str> {
    if c.is_ascii() {
        return None;
    }
    TITLE.binary_search_by_key(&c, |&(from, _)| from).ok().map(|at| TITLE[at].1)
}"""
    )
    table("HIDDEN", "What `repr` escapes beyond ASCII", lambda c: ord(c) > 127 and not c.isprintable())
    table("ALPHA", "Letters beyond ASCII", lambda c: ord(c) > 127 and c.isalpha())
    table("DECIMAL", "Decimal digits beyond ASCII", lambda c: ord(c) > 127 and c.isdecimal())
    table("DIGIT", "Digits that are not decimal", lambda c: c.isdigit() and not c.isdecimal())
    table("NUMERIC", "Numbers that are not digits", lambda c: c.isnumeric() and not c.isdigit())
    table("TITLECASE", "Letters of two cases", lambda c: unicodedata.category(c) == "Lt")
    special = [(c, c.title()) for c in CHARACTERS if c.title() != c.upper()]
    print("\n/// Characters whose title case is not their upper case.")
    print("#[rustfmt::skip]")
    print(f"const TITLE: [(char, &str); {len(special)}] = [")
    line = "   "
    for c, t in special:
        entry = " ('\\u{%x}', \"%s\")," % (ord(c), "".join("\\u{%x}" % ord(x) for x in t))
        if len(line) + len(entry) > 130:
            print(line)
            line = "   "
        line += entry
    print(line + "\n];")


if __name__ == "__main__":
    main()
