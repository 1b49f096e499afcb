//! The floors of ARCHITECTURE.md, section 6: an item may use only lower floors. Every path in `src` that begins at the root of
//! the crate is looked up there, however it is written: `use crate::a::{b, c}`, `crate::a::b` inside an expression, or enough
//! `super::` to leave the module.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floor of every module of the root, and of `bin`.
type Floors = BTreeMap<String, u32>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Reads the list: a line is a floor and its modules; what is in parentheses is a remark.
fn floors(architecture: &str) -> Floors {
    let section = architecture.split("\n## 6. Floors").nth(1).expect("section 6 lists the floors");
    let list = section.split("```").nth(1).expect("the list is a block").trim_start_matches("text");
    let mut floors = Floors::new();
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let (floor, rooms) = line.trim().split_once(' ').expect("a floor and its rooms");
        let floor = floor.parse().expect("a floor is a number");
        let rooms = rooms.split('(').next().unwrap_or("");
        for room in rooms.split([',', ' ']).filter(|room| !room.is_empty()) {
            let room = room.split('/').next().unwrap_or(room);
            let before = floors.insert(room.to_string(), floor);
            assert!(before.is_none() || room == "bin", "{room} is listed twice");
        }
    }
    floors
}

/// Words and punctuation of a Rust source, without comments, strings and characters.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let (c, next) = (chars[i], chars.get(i + 1).copied().unwrap_or(' '));
        if c == '/' && next == '/' {
            i += chars[i..].iter().take_while(|&&c| c != '\n').count();
        } else if c == '/' && next == '*' {
            i += 2;
            while i < chars.len() && !(chars[i - 1] == '*' && chars[i] == '/') {
                i += 1;
            }
            i += 1;
        } else if c == 'r' && (next == '"' || next == '#') && raw_string(&chars[i..]).is_some() {
            i += raw_string(&chars[i..]).expect("just found");
        } else if c == '"' {
            i += quoted(&chars[i..], '"');
        } else if c == '\'' && (next == '\\' || chars.get(i + 2) == Some(&'\'')) {
            i += quoted(&chars[i..], '\'');
        } else if c.is_alphanumeric() || c == '_' {
            let word: String = chars[i..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            i += word.chars().count();
            tokens.push(word);
        } else if c == ':' && next == ':' {
            tokens.push("::".to_string());
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            i += 1;
        }
    }
    tokens
}

/// Length of a quoted string, quotes included.
fn quoted(chars: &[char], quote: char) -> usize {
    let mut i = 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Length of a raw string, if one begins here (and not a raw identifier).
fn raw_string(chars: &[char]) -> Option<usize> {
    let hashes = chars[1..].iter().take_while(|&&c| c == '#').count();
    let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let text: String = chars.get(1 + hashes..)?.iter().collect();
    let inner = text.strip_prefix('"')?;
    let length = inner.find(&end)?;
    Some(2 + hashes + inner[..length].chars().count() + end.len())
}

/// Every path of a token list that begins with `crate`, `super` or `diffulex`, groups written out.
/// With each comes the number of inline modules around it.
fn paths(tokens: &[String]) -> Vec<(Vec<String>, usize)> {
    let (mut found, mut i) = (Vec::new(), 0);
    let (mut depth, mut modules) = (0, Vec::new());
    while i < tokens.len() {
        match tokens[i].as_str() {
            "{" => {
                depth += 1;
                // `mod name {`
                if i >= 2 && tokens[i - 2] == "mod" {
                    modules.push(depth);
                }
            }
            "}" => {
                if modules.last() == Some(&depth) {
                    modules.pop();
                }
                depth -= 1;
            }
            "crate" | "super" | "diffulex"
                if (i == 0 || tokens[i - 1] != "::")
                    && tokens.get(i + 1).is_some_and(|next| next == "::") =>
            {
                let mut all = Vec::new();
                i = path(tokens, i, &[], &mut all);
                found.extend(all.into_iter().map(|path| (path, modules.len())));
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Collects the path that begins at token `i`, after `prefix`. Returns the token after it.
fn path(tokens: &[String], mut i: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(i).map(String::as_str) {
            Some("{") => {
                i += 1;
                while tokens.get(i).is_some_and(|token| token != "}") {
                    i = self::path(tokens, i, &path, found);
                    while tokens.get(i).is_some_and(|token| token != "," && token != "}") {
                        i += 1; // `as name`
                    }
                    i += usize::from(tokens.get(i).is_some_and(|token| token == ","));
                }
                return i + 1;
            }
            Some(word) => path.push(word.to_string()),
            None => {}
        }
        if tokens.get(i + 1).is_none_or(|next| next != "::") {
            found.push(path);
            return i + 1;
        }
        i += 2;
    }
}

/// What a source file uses of the root of the crate, by its path below `src`.
struct File<'a> {
    name: &'a str,
    source: &'a str,
}

impl File<'_> {
    /// The modules of the file: `kernels/simd/mod.rs` is `[kernels, simd]`.
    fn modules(&self) -> Vec<&str> {
        let stem = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        if stem == "lib" { Vec::new() } else { stem.split('/').collect() }
    }

    /// Names that are used of the root.
    fn used(&self) -> Vec<String> {
        let depth = self.modules().len();
        let is_program = self.modules().first() == Some(&"bin");
        let mut used = Vec::new();
        for (path, inline) in paths(&tokens(self.source)) {
            let supers = path.iter().take_while(|word| *word == "super").count();
            let after = match path[0].as_str() {
                // A program is a crate of its own.
                "diffulex" if is_program => 1,
                "crate" if !is_program => 1,
                "super" if !is_program && supers >= depth + inline => supers,
                _ => continue,
            };
            used.push(path.get(after).expect("a path continues after its root").clone());
        }
        used
    }

    /// Uses of a floor that is not below.
    fn violations(&self, floors: &Floors, exports: &BTreeMap<String, String>) -> Vec<String> {
        let modules = self.modules();
        let Some(&room) = modules.first() else { return Vec::new() };
        let Some(own) = floors.get(room) else { return vec![format!("{room} has no floor")] };
        let wrong = |name: String| {
            let target = exports.get(&name).unwrap_or(&name);
            match floors.get(target) {
                _ if target == room => None,
                Some(floor) if floor < own => None,
                Some(floor) => Some(format!("src/{} (floor {own}) uses {target} (floor {floor})", self.name)),
                None => Some(format!("src/{} uses `{name}` of the root, which has no floor", self.name)),
            }
        };
        let mut wrong: Vec<_> = self.used().into_iter().filter_map(wrong).collect();
        wrong.dedup();
        wrong
    }
}

/// What `lib.rs` re-exports: name and module.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let tokens = tokens(lib);
    let mut found = Vec::new();
    for (i, _) in tokens.iter().enumerate().filter(|(_, token)| *token == "use") {
        path(&tokens, i + 1, &[], &mut found);
    }
    found.into_iter().map(|path| (path[path.len() - 1].clone(), path[0].clone())).collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_uses_a_higher_floor() {
    let floors = floors(&std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let src = root().join("src");
    let exports = exports(&std::fs::read_to_string(src.join("lib.rs")).unwrap());
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 80, "only {} files were found", files.len());
    let (mut wrong, mut uses) = (Vec::new(), 0);
    for path in files {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let source = std::fs::read_to_string(&path).unwrap();
        let file = File { name: &name, source: &source };
        uses += file.used().len();
        wrong.extend(file.violations(&floors, &exports));
    }
    assert!(uses > 300, "only {uses} uses were found");
    assert!(wrong.is_empty(), "{} wrong uses:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_room_has_a_floor_and_every_floor_its_rooms() {
    let floors = floors(&std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    for room in floors.keys() {
        let there = root().join("src").join(room).is_dir() || root().join(format!("src/{room}.rs")).is_file();
        assert!(there, "{room} is listed and does not exist");
    }
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let room = name.trim_end_matches(".rs");
        assert!(room == "lib" || floors.contains_key(room), "{room} exists and has no floor");
    }
}

#[test]
fn fabricated_upward_uses_are_caught() {
    let floors =
        floors("\n## 6. Floors\n```text\n9 bin/run\n3 high, wide (a remark, too)\n2 middle\n1 low\n```\n");
    assert_eq!(floors.len(), 5, "{floors:?}");
    let exports = exports("pub mod low; pub use high::{Top, sub::Under}; pub use low::Base;");
    let violations = |name: &str, source: &str| File { name, source }.violations(&floors, &exports);
    for (name, source, found) in [
        ("middle.rs", "use crate::high::Thing;", "high (floor 3)"),
        ("middle.rs", "use crate::{low::A, high::{B, C as D}};", "high (floor 3)"),
        ("middle.rs", "fn f() -> u32 { crate::high::f() + 1 }", "high (floor 3)"),
        ("middle.rs", "use crate::Top;", "high (floor 3)"),
        ("middle.rs", "use crate::Under;", "high (floor 3)"),
        ("middle.rs", "pub(crate) use super::high;", "high (floor 3)"),
        ("middle/mod.rs", "mod a { use super::super::high::X; }", "high (floor 3)"),
        ("middle/part.rs", "use super::super::high::X;", "high (floor 3)"),
        ("middle/deep/part.rs", "type X = super::super::super::{low::Y, high::X};", "high (floor 3)"),
        (
            "middle/part.rs",
            "const A: char = '\"'; use crate::high::X; const B: char = '\"';",
            "high (floor 3)",
        ),
        ("middle/part.rs", "let a = r#\"\"\"#; use crate::high::X; let b = \"\\\"\";", "high (floor 3)"),
        ("high.rs", "use crate::wide::X;", "wide (floor 3)"),
        ("low.rs", "use crate::middle::X;", "middle (floor 2)"),
        ("low.rs", "use crate::*;", "`*` of the root, which has no floor"),
        ("low.rs", "use crate::attic::X;", "`attic` of the root"),
        ("attic.rs", "", "attic has no floor"),
    ] {
        let wrong = violations(name, source);
        assert!(wrong.len() == 1 && wrong[0].contains(found), "{name}: {source}: {wrong:?}");
    }
    for (name, source) in [
        (
            "high.rs",
            "use crate::{low::A, middle}; use crate::Base; use crate::high::Own; pub(crate) struct S;",
        ),
        (
            "middle/part.rs",
            "use super::sibling::X; mod tests { use super::super::sibling::Y; use super::*; }",
        ),
        ("middle.rs", "mod tests { use super::*; }"),
        ("middle.rs", "//! [`crate::high`]\nconst A: &str = \"use crate::high::X;\"; /* crate::high::X */"),
        ("bin/run/main.rs", "use diffulex::{high, low}; use crate::args::X; use super::args::Y;"),
        ("lib.rs", "pub use high::Top;"),
    ] {
        assert_eq!(violations(name, source), Vec::<String>::new(), "{name}: {source}");
    }
}
