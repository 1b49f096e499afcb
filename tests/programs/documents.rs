//! The documents: commands in them run, and the guide knows every option of the programs of a package.

use crate::fixture::root;
use crate::program::{finish, program};
use crate::{COMMANDS, PROGRAMS};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The programs of all packages. Each package tests the commands of its own.
const ALL: [&str; 7] = [
    "diffulex-run",
    "diffulex-quantize",
    "diffulex-bench",
    "diffulex-synth",
    "diffulex-verify",
    "diffulex-server",
    "diffulex-pull",
];

/// The name of a program.
fn name(path: &str) -> String {
    Path::new(path).file_stem().unwrap().to_string_lossy().into_owned()
}

fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    documents.extend(["README.md", "demo/README.md"].map(|name| root().join(name)));
    documents.sort();
    documents
}

/// Lines of shell blocks, without comments.
fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            commands.push(line.split(" #").next().unwrap_or_default().trim().to_string());
        }
    }
    commands
}

/// Runs a line with our programs on the path, in the root of the repository.
fn shell(line: &str) -> (Option<i32>, String) {
    let bin = Path::new(PROGRAMS[0]).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", path)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[cfg(unix)]
fn commands_in_the_documents_run() {
    let (mut parsed, mut ran) = (0, 0);
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for line in commands(&text) {
            let place = format!("{}: {line}", document.display());
            // Each command of a line is asked for its help alone: what comes before a `;` would run.
            for part in line.replace("&&", ";").split(['|', ';']).map(str::trim) {
                let program = part.split(' ').next().unwrap_or_default();
                assert!(
                    !program.starts_with("diffulex-") || ALL.contains(&program),
                    "{place}: no such program"
                );
                if !PROGRAMS.iter().any(|path| name(path) == program) {
                    continue;
                }
                // Options that do not exist are refused before help is printed.
                let command = part.split(" > ").next().unwrap_or(part);
                let (code, error) = shell(&format!("{command} --help"));
                assert_eq!(code, Some(0), "{place}: {error}");
                parsed += 1;
            }
            // What needs no file of the reader's own, and writes none.
            let own = ["demo/sdar", "demo/llada"].iter().any(|model| line.contains(model));
            let writes = ["-o ", "--output", "--trace", "--save"].iter().any(|option| line.contains(option));
            let runs = name(PROGRAMS[0]) == "diffulex-run" && line.starts_with("diffulex-run");
            if runs && own && !writes {
                let (code, error) = shell(&line);
                assert_eq!(code, Some(0), "{place}: {error}");
                ran += 1;
            }
        }
    }
    assert!(parsed >= COMMANDS, "{parsed} commands parsed, the documents have more");
    assert!(ran > 2 || name(PROGRAMS[0]) != "diffulex-run", "{ran} commands ran, the documents have more");
}

#[test]
fn the_guide_names_every_option() {
    let guide = std::fs::read_to_string(root().join("docs/guide.md")).unwrap();
    for path in PROGRAMS {
        let help = finish(program(path, &["--help"])).stdout;
        let name = name(path);
        assert!(guide.contains(&format!("\n## `{name}`\n")), "the guide has no chapter `{name}`");
        let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        let missing: Vec<_> = options
            .map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()))
            .filter(|option| !guide.contains(&format!("`{option}`")))
            .collect();
        assert!(missing.is_empty(), "{name}: the guide does not name {missing:?}");
    }
}
