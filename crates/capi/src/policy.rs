//! A policy as text: `sdar-dynamic threshold=0.9 steps=2`. Text, because a struct of twenty numbers would need a value that means
//! "not given" for each, and a new version of the struct for every new option.

use diffulex::engine::Overrides;
use diffulex::error::{Error, Result};
use diffulex::sampler::{CachePlan, Score};
use std::str::FromStr;

/// Reads a name and changes, separated by white space.
///
/// # Errors
/// [`Error::Option`] for an unknown key, a value that is no value of its key, and a key that is given twice.
pub(super) fn parse(text: &str) -> Result<Overrides> {
    let mut overrides = Overrides::default();
    for word in text.split_ascii_whitespace() {
        match word.split_once('=') {
            Some((key, value)) => set(&mut overrides, key, value)?,
            None => once("strategy", &mut overrides.strategy, word.to_string())?,
        }
    }
    Ok(overrides)
}

fn set(overrides: &mut Overrides, key: &str, value: &str) -> Result<()> {
    const REAL: &str = "a number";
    const WHOLE: &str = "a whole number";
    match key {
        "temperature" => number("temperature", REAL, value, &mut overrides.temperature),
        "top-k" => number("top-k", WHOLE, value, &mut overrides.top_k),
        "top-p" => number("top-p", REAL, value, &mut overrides.top_p),
        "repetition-penalty" => number("repetition-penalty", REAL, value, &mut overrides.repetition_penalty),
        "steps" => number("steps", WHOLE, value, &mut overrides.steps),
        "steps-per-block" => number("steps-per-block", WHOLE, value, &mut overrides.steps_per_block),
        "block" => number("block", WHOLE, value, &mut overrides.block),
        "sub-block" => number("sub-block", WHOLE, value, &mut overrides.sub_block),
        "threshold" => number("threshold", REAL, value, &mut overrides.threshold),
        "factor" => number("factor", REAL, value, &mut overrides.factor),
        "entropy-bound" => number("entropy-bound", REAL, value, &mut overrides.entropy_bound),
        "confidence" => once("confidence", &mut overrides.confidence, Score::from_name(value)?),
        "alg-temp" => number("alg-temp", REAL, value, &mut overrides.alg_temp),
        "eps" => number("eps", REAL, value, &mut overrides.eps),
        "cfg" => number("cfg", REAL, value, &mut overrides.cfg),
        "cache" => once("cache", &mut overrides.cache, CachePlan::from_name(value)?),
        "no-merge" => number("no-merge", "true or false", value, &mut overrides.no_merge),
        _ => Err(Error::option(
            "policy",
            format!("`{key}` is no key of a policy; docs/decoding.md lists them"),
        )),
    }
}

/// Whatever is written as Rust writes it: numbers and truth values.
fn number<T: FromStr>(name: &'static str, expected: &str, value: &str, to: &mut Option<T>) -> Result<()> {
    let wrong = |_| Error::option(name, format!("`{value}` given, {expected} expected"));
    once(name, to, value.parse().map_err(wrong)?)
}

fn once<T>(name: &'static str, to: &mut Option<T>, value: T) -> Result<()> {
    match to.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::option(name, "given twice")),
    }
}
