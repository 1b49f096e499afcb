//! [`Regex`]: the regular expressions of `tokenizer.json` as the reference runs them.
//!
//! The files are written for Python's tokenizers package, which cuts with Oniguruma in its Ruby syntax: `^` and `$` hold at every
//! line, `(?m)` lets the dot match a line end, `[[:alpha:]]` is Unicode. Rust's engines differ in these points, and the
//! backtracking one among them ends a search without an error when a million characters follow each other. So the expressions are
//! parsed and run here: what is supported matches what Oniguruma matches, the rest is refused by name, a run of one character class
//! takes one entry of the stack whatever its length, and the work of a search is bounded.
//!
//! Source: Oniguruma, `doc/RE` and `regparse.c`; the classes are compared with the package over all of Unicode (tests/tokenizers).

mod class;
mod parse;
mod run;

use std::fmt;

/// Steps that splitting one string may take: a fixed number, and more for each byte. Published expressions take below 100 for a
/// byte.
const STEPS: u64 = 100_000_000;
const STEPS_PER_BYTE: u64 = 1000;

/// An expression may have this many bytes. Published ones have up to 1000.
const MAX_SOURCE: usize = 1 << 14;

/// Byte ranges that cover a string, and whether each is a match.
pub(super) type Pieces = Vec<((usize, usize), bool)>;

/// A compiled regular expression.
pub(super) struct Regex {
    source: String,
    program: run::Program,
}

impl Regex {
    /// Compiles an expression in Oniguruma's Ruby syntax.
    ///
    /// # Errors
    /// What is malformed or not supported, with the expression.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!(
                "a regular expression of {} bytes, at most {MAX_SOURCE} expected",
                source.len()
            ));
        }
        let program = parse::parse(source).and_then(|node| run::compile(&node));
        let program = program.map_err(|what| format!("regular expression `{source}`: {what}"))?;
        Ok(Self { source: source.to_owned(), program })
    }

    /// The expression that matches `text` and nothing else.
    ///
    /// # Errors
    /// If it is too long.
    pub(super) fn literal(text: &str) -> Result<Self, String> {
        let program =
            run::compile(&parse::literal(text)).map_err(|what| format!("pattern `{text}`: {what}"))?;
        Ok(Self { source: text.to_owned(), program })
    }

    /// Cuts a string into matches and what lies between them. An empty string is one piece that is not a match, and an empty match right
    /// after a match does not count, as in the tokenizers package.
    ///
    /// # Errors
    /// If the search takes too many steps.
    pub(super) fn pieces(&self, text: &str) -> Result<Pieces, String> {
        if text.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let limit = STEPS.saturating_add(STEPS_PER_BYTE.saturating_mul(text.len() as u64));
        let mut search = run::Search::new(&self.program, text, limit);
        let (mut pieces, mut covered, mut from, mut last) = (Vec::new(), 0, 0, None);
        while from <= text.len() {
            let found = search.find(from).map_err(|run::TooLong| {
                format!(
                    "regular expression `{}`: it takes more than {limit} steps for this text",
                    self.source
                )
            })?;
            let Some((start, end)) = found else { break };
            if start == end && last == Some(end) {
                from += text[from..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            if covered != start {
                pieces.push(((covered, start), false));
            }
            pieces.push(((start, end), true));
            (covered, from, last) = (end, end, Some(end));
        }
        if covered != text.len() {
            pieces.push(((covered, text.len()), false));
        }
        Ok(pieces)
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Value;
    use regex_syntax::hir::ClassUnicode;
    use std::path::Path;

    /// The matches, as text.
    fn matches<'t>(source: &str, text: &'t str) -> Vec<&'t str> {
        let pieces = Regex::new(source).unwrap().pieces(text).unwrap();
        assert_eq!(pieces.iter().map(|((start, end), _)| &text[*start..*end]).collect::<String>(), text);
        pieces.into_iter().filter(|(_, found)| *found).map(|((start, end), _)| &text[start..end]).collect()
    }

    /// `tests/tokenizers/patterns.json`, recorded by `tools/record_tokenizer_cases.py`. The published package does not have it.
    fn table() -> Option<Value> {
        let path = Path::new("tests/tokenizers/patterns.json");
        if !path.is_file() {
            eprintln!("SKIPPED: {} is not there", path.display());
            return None;
        }
        Some(Value::read(path).unwrap())
    }

    fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
        value.get(key).and_then(Value::as_array).expect(key)
    }

    #[test]
    fn pieces_are_those_of_the_tokenizers_package() {
        let Some(table) = table() else { return };
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let mut failures = Vec::new();
        for pattern in list(&table, "patterns") {
            let [pattern, pieces] = pattern.as_array().unwrap() else { panic!("a pattern with its pieces") };
            let source = text(pattern);
            let regex = match Regex::new(&source) {
                Ok(regex) => regex,
                Err(error) => {
                    failures.push(error);
                    continue;
                }
            };
            for (line, want) in list(&table, "texts").iter().zip(pieces.as_array().unwrap()) {
                let line = text(line);
                let pieces = regex.pieces(&line).unwrap().into_iter().filter(|((start, end), _)| start < end);
                let got: Vec<_> = pieces.map(|((start, end), _)| line[start..end].to_owned()).collect();
                let want: Vec<_> = want.as_array().unwrap().iter().map(text).collect();
                if got != want {
                    failures.push(format!("{source} on {line:?}:\n got {got:?}\nwant {want:?}"));
                }
            }
        }
        for source in list(&table, "refused").iter().map(text) {
            if Regex::new(&source).is_ok() {
                failures.push(format!("`{source}` is not refused"));
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    }

    #[test]
    fn classes_are_those_of_oniguruma() {
        let Some(table) = table() else { return };
        // The characters of `ASSIGNED` there. The gap of the surrogates would not be counted.
        let assigned = [('\0', '\u{d7ff}'), ('\u{e000}', '\u{323ff}'), ('\u{e0000}', '\u{e01ff}')];
        let part = |class: &ClassUnicode, range| {
            let mut part = class::ranges(&[range]);
            part.intersect(class);
            part.iter().map(|range| (range.start() as u32, range.end() as u32)).collect::<Vec<_>>()
        };
        let mut failures = Vec::new();
        for entry in list(&table, "classes") {
            let [source, count, hash] = entry.as_array().unwrap() else {
                panic!("a class, its size and a hash")
            };
            let source = source.as_str().unwrap();
            let Ok(parse::Node::Set(class)) = parse::parse(source) else { panic!("{source} is not a class") };
            let ranges: Vec<_> = assigned.iter().flat_map(|&range| part(&class, range)).collect();
            let size: u64 = ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
            let text: String = ranges.iter().map(|(first, last)| format!("{first:x}-{last:x};")).collect();
            let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            let found = format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step));
            if Some(size) != count.as_u64() || Some(found.as_str()) != hash.as_str() {
                failures.push(format!("{source}: {size} characters, not {count}"));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn quantifiers_groups_and_lookaround() {
        for (source, text, want) in [
            ("a+?b|a", "aab a", &["aab", "a"][..]),
            ("(?:ab){2,3}", "abababab ab", &["ababab"]),
            ("x{,2}y", "xxxy", &["xxy"]),
            ("a{2}?", "aaa", &["aa", ""]),
            ("a++a|b", "aab", &["b"]),
            ("(?>a|ab)c", "abc ac", &["ac"]),
            (r"(?<=\s|^)\w+(?!\w)", "one,two three", &["one", "three"]),
            ("(?<!a{1,2})b", "bab", &["b"]),
            (r"\s+(?!\S)|\s+", "a   b ", &["  ", " ", " "]),
            ("(a*)*b", "aab", &["aab"]),
            ("a(?i)b|c", "aB aC c", &["aB", "aC"]),
            ("(?mx: a . b # a comment\n)", "a\nb", &["a\nb"]),
            (r"\bé+\b", "éé éa", &["éé"]),
            ("[a-z&&[^aeiou]]+", "abcde", &["bcd"]),
            ("{a}|]", "{a}]", &["{a}", "]"]),
        ] {
            assert_eq!(matches(source, text), want, "{source}");
        }
    }

    #[test]
    fn lines_and_the_dot_are_those_of_oniguruma() {
        assert_eq!(matches("^ab|ab$", "ab\nab\nxab"), ["ab", "ab", "ab"]);
        assert_eq!(matches(r"\Aab|ab\z", "ab\nab\nab"), ["ab", "ab"]);
        assert_eq!(matches(r"a\Z", "a\na\n"), ["a"]);
        assert_eq!(matches("(?m:a.b)|.", "a\nb\n"), ["a\nb"]);
        assert_eq!(matches("$", "a\n"), ["", ""]);
        assert_eq!(matches("^", "a\n"), [""]);
    }

    #[test]
    fn case_is_folded_one_character_at_a_time() {
        assert_eq!(matches("(?i:'S|k)", "'s 'ſ K"), ["'s", "'ſ", "K"]);
        for source in ["(?i)ss", "(?i)ß", "(?i:[é])", r"(?i:[\p{L}])"] {
            let error = Regex::new(source).unwrap_err();
            assert!(error.starts_with(&format!("regular expression `{source}`: (?i) ")), "{error}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (source, part) in [
            (r"(a)\1", r"`\1`"),
            (r"\X", r"`\X`"),
            (r"\pL", r"`\p`"),
            (r"\p{Nonsense}", "`Nonsense`"),
            ("(?~a)", "`(?~`"),
            ("(?<=a+)b", "look-behind"),
            ("a**", "quantifier"),
            ("*a", "quantifier"),
            ("(a", "parenthesis"),
            ("a)", "parenthesis"),
            ("[a", "bracket"),
            ("[b-a]", "range"),
            ("[]", "class"),
            ("a{3,2}", "{3,2}"),
            (r"\xff", r"\xff"),
            ("(((a{1000}){1000}){1000}", "parenthesis"),
            ("(?:(?:aa){1000}){1000}", "too large"),
            (&r"\p{L}".repeat(200), "too large"),
            (&"a".repeat(20_000), "a regular expression of 20000 bytes"),
        ] {
            let error = Regex::new(source).unwrap_err();
            assert!(error.contains(part), "{source}: {error}");
        }
        assert!(Regex::new(&"(".repeat(10_000)).unwrap_err().ends_with("nested too deep"));
    }

    #[test]
    fn long_runs_take_no_stack_and_senseless_work_ends() {
        let blanks = format!("a{}x", " ".repeat(3_000_000));
        assert_eq!(matches(r"\p{L}+|\s+(?!\S)|\s+", &blanks).len(), 4);
        let error = Regex::new("(?:a*)*b|(a+)+$").unwrap().pieces(&"a".repeat(5000)).unwrap_err();
        assert!(error.contains("takes more than"), "{error}");
    }
}
