//! Every recorded entry of tests/golden, at every level that this machine has, with one thread and with several.

use diffulex::cache::KvDtype;
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::kernels::Level;
use diffulex_verify::{self as verify, OpenText, Options, Outcome, Verdict};
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "cli")]
#[path = "../crates/verify/src/words.rs"]
mod words;

/// What reads the strings of a recording, in a build that reads tokenizers.
const TEXT: Option<OpenText> = {
    #[cfg(feature = "cli")]
    {
        Some(words::open)
    }
    #[cfg(not(feature = "cli"))]
    {
        None
    }
};

fn directories() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(root).expect("tests/golden is part of the repository");
    let mut directories: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    // The only trained one: sure of many positions at once, as real models are.
    directories.push(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("demo/llada"));
    directories.sort();
    directories
}

fn check(exec: Arc<dyn Executor + Send + Sync>, level: Level) {
    let options = Options { tolerance: 1e-4, level, exec, kv: KvDtype::F32, text: TEXT };
    // Hidden states of the trained model are larger.
    let trained = Options { tolerance: 1e-3, ..options.clone() };
    let directories = directories();
    assert_eq!(directories.len(), 20, "eighteen models and two sets of sampler vectors");
    let mut failures = Vec::new();
    for dir in directories {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let outcomes = verify::run(&dir, if name == "llada" { &trained } else { &options })
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        report(&name, level, &outcomes);
        // All models but one come with forward passes, caches, strings and traces; that one has two traces.
        let least = match name.as_str() {
            "fastdllm2-stop" => 2,
            "sampler-f32-rounding" => 5,
            _ => 21,
        };
        assert!(outcomes.len() >= least, "{name}: only {} entries were found", outcomes.len());
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Failed(why) => failures.push(format!("{name} {}: {why}", outcome.entry)),
                // Random weights have no near ties.
                Verdict::Tied(which) if name != "llada" => {
                    failures.push(format!("{name} {}: {which}", outcome.entry));
                }
                // Strings need a build that reads tokenizers.
                Verdict::Skipped(_)
                    if cfg!(not(feature = "cli"))
                        && ["chat", "encode", "end_to_end"].contains(&outcome.kind) => {}
                // The one trace that the format allows to skip.
                Verdict::Skipped(why) if outcome.entry != "prompt_equals_block" => {
                    failures.push(format!("{name} {}: skipped, {why}", outcome.entry));
                }
                _ => {}
            }
        }
    }
    assert!(failures.is_empty(), "{} entries disagree:\n{}", failures.len(), failures.join("\n"));
}

fn report(name: &str, level: Level, outcomes: &[Outcome]) {
    let max_abs = outcomes.iter().filter_map(|o| o.max_abs).fold(0.0, f32::max);
    let traces = outcomes.iter().filter(|o| o.kind == "trace").count();
    println!("{name} at {}: {} entries, {traces} traces, max abs {max_abs:e}", level.name(), outcomes.len());
}

#[test]
fn every_entry_agrees_at_every_level_of_this_machine() {
    for level in Level::available() {
        check(Arc::new(Serial), level);
    }
}

#[test]
fn every_entry_agrees_with_several_threads() {
    check(Arc::new(Threads::new(3)), Level::detect());
}
