//! Bad input through `diffulex-run`, row by row: exit code 2, nothing on stdout, and one message that
//! names the file, tensor, key or option, what was found and what was expected. Nothing panics.
#![cfg(feature = "cli")]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../fixture/program.rs"]
mod program;

mod files;
mod requests;

use fixture::{TempDir, parts, safetensors};
use program::Refusals;

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

/// A copy with a key of a JSON file set to `value`, as JSON, or removed if that is empty.
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
