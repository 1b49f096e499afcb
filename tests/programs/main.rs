//! The programs from the outside: arguments and files in, text and exit codes out.
#![cfg(feature = "cli")]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../fixture/program.rs"]
mod program;

mod batch;
mod bench;
mod broken;
mod canvas;
mod chat;
mod doctor;
mod documents;
#[cfg(unix)]
mod faults;
mod hub;
mod infill;
mod options;
mod quality;
mod quantize;
mod recorded;
mod run;
mod shell;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod terminal;
mod trace;
mod verify;

use serde_json::Value;

/// Every program of the package.
const PROGRAMS: [&str; 5] = [
    env!("CARGO_BIN_EXE_diffulex-run"),
    env!("CARGO_BIN_EXE_diffulex-quantize"),
    env!("CARGO_BIN_EXE_diffulex-verify"),
    env!("CARGO_BIN_EXE_diffulex-synth"),
    env!("CARGO_BIN_EXE_diffulex-bench"),
];

/// The recorded models.
const MODELS: [&str; 8] = [
    "dream-bf16",
    "dream-f32",
    "fastdllm2-f32",
    "fastdllm2-untied",
    "llada-f16",
    "llada-f32",
    "sdar-f32",
    "sdar-hd128-sharded",
];

/// A golden directory as an argument.
fn model(name: &str) -> String {
    fixture::golden(name).display().to_string()
}

/// The manifest of a golden directory.
fn manifest(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture::golden(name).join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Token ids in JSON.
fn ids(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Token ids as `--ids` takes and prints them.
fn list(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}
