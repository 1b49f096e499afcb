//! Bad input through `diffulex-run` and `diffulex-bench`, row by row: exit code 2, nothing on stdout, and one message that
//! names the file, tensor, key or option, what was found and what was expected. Nothing panics.
#![cfg(feature = "cli")]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../fixture/program.rs"]
mod program;

mod bench;
mod files;
mod requests;

use fixture::{TempDir, parts, safetensors};
use program::{Output, run};

/// Collects what is wrong with the rows of a table, so that one run shows all of it.
#[derive(Default)]
struct Refusals {
    rows: usize,
    wrong: Vec<String>,
}

impl Refusals {
    /// The program must refuse these arguments with a message that holds all fragments.
    fn row(&mut self, input: &str, arguments: &[&str], fragments: &[&str]) {
        self.check(input, &run(arguments), fragments);
    }

    /// The program must refuse this copy of a checkpoint after the damage.
    fn damaged(&mut self, input: &str, dir: &TempDir, more: &[&str], fragments: &[&str]) {
        let weights = dir.argument();
        self.row(input, &[&["-w", &weights, "--max-tokens", "4"], more].concat(), fragments);
    }

    fn check(&mut self, input: &str, output: &Output, fragments: &[&str]) {
        self.rows += 1;
        let message = output.stderr.trim_end();
        let missing: Vec<_> = fragments.iter().filter(|fragment| !message.contains(**fragment)).collect();
        let one_error = message.starts_with("error: ") && message.matches("error:").count() == 1;
        if output.code != Some(2) || !output.stdout.is_empty() || !one_error || !missing.is_empty() {
            self.wrong.push(format!("{input}: missing {missing:?} in {output:?}"));
        }
        if message.contains("panicked") || message.ends_with("..") {
            self.wrong.push(format!("{input}: {message}"));
        }
    }

    fn finish(self, rows: usize) {
        assert!(self.wrong.is_empty(), "{} wrong rows:\n{}", self.wrong.len(), self.wrong.join("\n"));
        assert_eq!(self.rows, rows, "rows of the table");
    }
}

const IDS: &[&str] = &["--ids", "1,2,3"];
const TEXT: &[&str] = &["--prompt", "Hello"];
const WEIGHTS: &str = "model.safetensors";

/// A copy of a golden checkpoint with one file replaced by the edit of its text.
fn edited(family: &str, file: &str, edit: impl Fn(String) -> String) -> TempDir {
    let dir = TempDir::with_golden(family);
    let text = std::fs::read_to_string(dir.file(file)).unwrap();
    dir.write(file, edit(text));
    dir
}

/// A copy with a key of a JSON file set to `value`, a JSON text, or removed if that is empty.
fn with_key(family: &str, file: &str, key: &str, value: &str) -> TempDir {
    edited(family, file, |text| {
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        if value.is_empty() {
            json.as_object_mut().unwrap().remove(key).expect("the key was there");
        } else {
            json[key] = serde_json::from_str(value).unwrap();
        }
        json.to_string()
    })
}

/// A copy with the header of its weights edited.
fn with_header(family: &str, from: &str, to: &str) -> TempDir {
    let dir = TempDir::with_golden(family);
    let (header, data) = parts(&std::fs::read(dir.file(WEIGHTS)).unwrap());
    assert!(header.contains(from), "{from} is not in the header");
    dir.write(WEIGHTS, safetensors(&header.replacen(from, to, 1), &data));
    dir
}
