//! Recorded passes through the cache, step by step.

use super::forward::{compare, judge};
use super::passes::{commit, pass};
use super::recording::{Difference, Recording, text, whole};
use super::{Options, Outcome};
use diffulex::cache::{Attention, Visible};
use diffulex::engine::Engine;
use diffulex::json::Value;
use diffulex::tensor::TokenId;
use std::collections::BTreeMap;
use std::ops::Range;

type Check<T> = Result<T, String>;

/// Positions that a recording may have: the engine's context while it is compared.
const MAX_POSITIONS: usize = super::MAX_CONTEXT;

/// One step of a cache script.
struct Step {
    name: String,
    rows: Range<usize>,
    /// Whether the finished rows are committed.
    commits: bool,
    /// What the rows see, if the step says so.
    visible: Option<Visible>,
}

fn steps(script: &Value) -> Check<Vec<Step>> {
    let step = |step: &Value| {
        let name = text(step, "name")?.to_string();
        let q = step.get("q").and_then(Value::as_array).unwrap_or(&[]);
        let bound = |i: usize| q.get(i).and_then(Value::as_u64).map(|n| n as usize);
        let (Some(start), Some(end)) = (bound(0), bound(1)) else {
            return Err("`q` is not a pair of positions".into());
        };
        if start >= end || end > MAX_POSITIONS {
            return Err(format!("`q` is [{start}, {end}], an ascending pair up to {MAX_POSITIONS} expected"));
        }
        let stores = name.ends_with("store") || name.ends_with("prefill");
        let commits = step.get("store_kv").and_then(Value::as_bool).unwrap_or(stores);
        let visible = match step.get("attention").map(|words| words.as_str().unwrap_or("?")) {
            None => None,
            Some("causal") => Some(Visible::by_rule(Attention::CAUSAL, start..end, 0, end)),
            Some("full bidirectional") => Some(Visible::all(start..end, 0..end)),
            Some(words) => return Err(format!("attention `{words}` is not understood")),
        };
        Ok(Step { name, rows: start..end, commits, visible })
    };
    script.get("steps").and_then(Value::as_array).unwrap_or(&[]).iter().map(step).collect()
}

pub(super) fn run(
    recording: &Recording,
    engine: &Engine,
    script: &Value,
    options: &Options,
    outcomes: &mut Vec<Outcome>,
) {
    let name = text(script, "name").unwrap_or("cache script without a name");
    let block_causal = ["block_len", "block_size"].iter().find_map(|key| whole(script, key).ok());
    let steps = match steps(script) {
        Ok(steps) if !steps.is_empty() => steps,
        Ok(_) => return outcomes.push(Outcome::new(name, "cache", Err("a script without steps".into()))),
        Err(error) => return outcomes.push(Outcome::new(name, "cache", Err(error))),
    };
    // Some bidirectional families have models that are block-causal.
    let bidirectional = engine.arch().attention == Attention::Bidirectional && name != "cache.block";
    let results = match block_causal {
        _ if bidirectional => bidirectional_script(recording, engine, &steps),
        Some(0) => Err("a block of 0 positions".into()),
        Some(block) => block_causal_script(recording, engine, &steps, block),
        None => Err("a script without a block size".into()),
    };
    match results {
        Ok(results) => {
            outcomes.extend(results.into_iter().map(|(step, result)| judge(&step, "cache", options, result)));
        }
        Err(error) => outcomes.push(Outcome::new(name, "cache", Err(error))),
    }
}

type StepResults = Check<Vec<(String, Check<Difference>)>>;

fn step_ids(recording: &Recording, step: &Step) -> Check<(Vec<TokenId>, Vec<f32>)> {
    let ids = recording.id_rows(&format!("{}.ids", step.name))?.remove(0);
    if ids.len() != step.rows.len() {
        return Err(format!("{} ids for the positions {:?}", ids.len(), step.rows));
    }
    Ok((ids, recording.f32s(&format!("{}.logits", step.name))?.1))
}

/// Prefix and dual caches. The prefix call leaves the cache as it was, so it has a session of its own.
fn bidirectional_script(recording: &Recording, engine: &Engine, steps: &[Step]) -> StepResults {
    let total = steps.iter().map(|step| step.rows.end).max().unwrap_or(0);
    let (mut full, mut dual) = (None, engine.session().map_err(|e| e.to_string())?);
    let mut results = BTreeMap::new();
    for (i, step) in steps.iter().enumerate() {
        let words: Vec<&str> = step.name.split(['.', '_']).collect();
        let visible = Visible::all(step.rows.clone(), 0..total);
        let mut difference = Difference::NONE;
        let mut check = || {
            let (ids, logits) = step_ids(recording, step)?;
            if words.contains(&"full") {
                compare(&mut dual, &ids, 0, &visible, 0, &logits, &mut difference)?;
                full = Some(ids);
            } else if words.contains(&"prefix") {
                let ids_of_full = full.as_ref().ok_or("a prefix pass before any full pass")?;
                let mut session = engine.session().map_err(|e| e.to_string())?;
                pass(&mut session, ids_of_full, 0, &Visible::all(0..ids_of_full.len(), 0..total))?;
                commit(&mut session, step.rows.start)?;
                compare(&mut session, &ids, step.rows.start, &visible, 0, &logits, &mut difference)?;
            } else if words.contains(&"dual") && full.is_some() {
                compare(&mut dual, &ids, step.rows.start, &visible, 0, &logits, &mut difference)?;
            } else {
                return Err("a step of a kind that is not understood".to_string());
            }
            Ok(())
        };
        let checked = check();
        results.insert(i, (step.name.clone(), checked.map(|()| difference)));
    }
    Ok(results.into_values().collect())
}

/// Prefill, blocks and sub-blocks against finished blocks.
fn block_causal_script(recording: &Recording, engine: &Engine, steps: &[Step], block: usize) -> StepResults {
    let mut session = engine.session().map_err(|e| e.to_string())?;
    let mut results = Vec::new();
    for step in steps {
        let sub_block = step.rows.len() < block;
        let block_end = (step.rows.start / block + 1) * block;
        let visible = match &step.visible {
            Some(visible) => visible.clone(),
            None if sub_block => Visible::all(step.rows.clone(), 0..block_end),
            None => Visible::by_rule(Attention::BlockCausal { block }, step.rows.clone(), 0, step.rows.end),
        };
        let mut difference = Difference::NONE;
        let checked = step_ids(recording, step).and_then(|(ids, logits)| {
            compare(&mut session, &ids, step.rows.start, &visible, 0, &logits, &mut difference)?;
            if step.commits { commit(&mut session, step.rows.len()) } else { Ok(()) }
        });
        results.push((step.name.clone(), checked.map(|()| difference)));
    }
    Ok(results)
}
