//! Recorded forward passes: plain, batched, with hidden states, through the cache; and RoPE tables.

use super::passes::{commit, pass};
use super::recording::{Difference, Recording, text, unpadded, whole};
use super::{Options, Outcome};
use diffulex::cache::{Attention, Visible};
use diffulex::engine::{Engine, Session};
use diffulex::json::Value;
use diffulex::model::{Place, Probe, Stage};
use diffulex::tensor::{Rows, TokenId};
use std::collections::BTreeMap;
use std::ops::Range;

type Check<T> = Result<T, String>;

pub(super) fn run(recording: &Recording, engine: &Engine, options: &Options, outcomes: &mut Vec<Outcome>) {
    for entry in recording.entries("forward") {
        let name = text(entry, "name").unwrap_or("forward entry without a name");
        let kind = if entry.get("batch").is_some() { "batch" } else { "forward" };
        outcomes.push(judge(name, kind, options, forward(recording, engine, entry)));
    }
    if let Some(recorded) = recording.value("hidden").and_then(|hidden| hidden.get("moe_layers")) {
        outcomes.push(Outcome::new("hidden.moe_layers", "hidden", sparse_layers(recorded, engine)));
    }
    for name in recording.tensor_names("hidden.") {
        if name != "hidden.ids" {
            outcomes.push(judge(&name, "hidden", options, hidden(recording, engine, &name)));
        }
    }
    if recording.has_tensor("rope.positions") {
        outcomes.push(Outcome::new("rope", "rope", rope(recording, engine)));
    }
    for script in recording.entries("cache_scripts") {
        cache_script(recording, engine, script, options, outcomes);
    }
}

fn judge(name: &str, kind: &'static str, options: &Options, result: Check<Difference>) -> Outcome {
    match result {
        Err(error) => Outcome::new(name, kind, Err(error)),
        Ok(difference) => {
            let within = difference.max_abs <= options.tolerance;
            let message = || format!("differs by {:e}, {:e} allowed", difference.max_abs, options.tolerance);
            let mut outcome = Outcome::new(name, kind, within.then_some(()).ok_or_else(message));
            outcome.max_abs = Some(difference.max_abs);
            outcome.top1 = Some(difference.top1());
            outcome
        }
    }
}

/// Whether the recorded layers with experts are those of the model.
fn sparse_layers(recorded: &Value, engine: &Engine) -> Check<()> {
    let layers = recorded.as_array().ok_or("`moe_layers` is not a list")?;
    let recorded: Vec<_> = layers.iter().map(Value::as_u64).collect();
    let arch = engine.arch();
    let sparse = (0..arch.dims.layers).filter(|&layer| arch.mixture_of(layer).is_some());
    let ours: Vec<_> = sparse.map(|layer| Some(layer as u64)).collect();
    (ours == recorded).then_some(()).ok_or_else(|| format!("experts in {ours:?}, recorded in {recorded:?}"))
}

/// The attention rule that an entry was recorded with.
fn attention(recording: &Recording, engine: &Engine, entry: &Value) -> Check<Attention> {
    let recorded_block = recording.manifest().get("forward_block").and_then(Value::as_u64);
    if recorded_block == Some(0) {
        return Err("`forward_block` is 0, a block has at least one position".into());
    }
    let Some(words) = entry.get("attention").and_then(Value::as_str) else {
        return Ok(match (engine.arch().attention, recorded_block) {
            (Attention::BlockCausal { .. }, Some(block)) => Attention::BlockCausal { block: block as usize },
            (rule, _) => rule,
        });
    };
    if words.starts_with("full bidirectional") {
        return Ok(Attention::Bidirectional);
    }
    let digits =
        words.strip_prefix("block-causal, block ").map(|rest| rest.split(' ').next().unwrap_or(rest));
    let block = digits.and_then(|digits| digits.parse().ok()).filter(|&block| block > 0);
    block
        .map(|block| Attention::BlockCausal { block })
        .ok_or_else(|| format!("attention `{words}` is not understood"))
}

fn forward(recording: &Recording, engine: &Engine, entry: &Value) -> Check<Difference> {
    let name = text(entry, "name")?;
    let rule = attention(recording, engine, entry)?;
    let rows = recording.id_rows(&format!("{name}.ids"))?;
    let (shape, logits) = recording.f32s(&format!("{name}.logits"))?;
    let mask_name = format!("{name}.attention_mask");
    let mask = if recording.has_tensor(&mask_name) { Some(recording.i64s(&mask_name)?.1) } else { None };
    let vocab = engine.arch().dims.vocab;
    if shape != [rows.len(), rows[0].len(), vocab] {
        return Err(format!(
            "logits have shape {shape:?}, {} rows of {} ids were given",
            rows.len(),
            rows[0].len()
        ));
    }
    if mask.as_ref().is_some_and(|mask| mask.len() != rows.len() * rows[0].len()) {
        return Err(format!("tensor `{mask_name}` has another shape than the ids"));
    }
    let mut difference = Difference::NONE;
    for (b, ids) in rows.iter().enumerate() {
        let len = ids.len();
        let seen = mask.as_ref().map_or(Ok(0..len), |mask| unpadded(&mask[b * len..][..len]))?;
        // What stands after the last id that anybody sees changes nothing.
        let ids = &ids[..seen.end];
        let visible = Visible::by_rule(rule, 0..seen.end, seen.start, seen.end);
        let mut session = engine.session().map_err(|e| e.to_string())?;
        let theirs = &logits[(b * len + seen.start) * vocab..(b * len + seen.end) * vocab];
        compare(&mut session, ids, 0, &visible, seen.start, theirs, &mut difference)?;
    }
    Ok(difference)
}

/// Runs one pass and compares the logits of all rows from `skip` on.
fn compare(
    session: &mut Session<'_>,
    ids: &[TokenId],
    first: usize,
    visible: &Visible,
    skip: usize,
    theirs: &[f32],
    difference: &mut Difference,
) -> Check<()> {
    pass(session, ids, first, visible)?;
    let rows: Vec<usize> = (skip..ids.len()).collect();
    let ours = session.logits(&rows, &mut Probe::none());
    if ours.data().len() != theirs.len() {
        return Err(format!("{} logits recorded, {} expected", theirs.len(), ours.data().len()));
    }
    let theirs = Rows::new(theirs, ours.width());
    (0..ours.len()).for_each(|i| difference.add(ours.row(i), theirs.row(i)));
    Ok(())
}

/// The place in the network that a recorded tensor belongs to.
fn place(name: &str) -> Option<Place> {
    match name {
        "embed" => return Some(Place { layer: None, stage: Stage::Embed }),
        "final_norm" => return Some(Place { layer: None, stage: Stage::FinalNorm }),
        _ => {}
    }
    if let Some(layer) = name.strip_prefix("layer") {
        return Some(Place { layer: Some(layer.parse().ok()?), stage: Stage::Block });
    }
    let (layer, inside) = name.strip_prefix('l')?.split_once('.')?;
    let stage = match inside {
        "input_norm" => Stage::AttnNorm,
        "q_proj" => Stage::Q,
        "k_proj" => Stage::K,
        "v_proj" => Stage::V,
        "q_norm" => Stage::QNorm,
        "k_norm" => Stage::KNorm,
        "o_proj" => Stage::Out,
        "post_norm" => Stage::MlpNorm,
        "router_logits" => Stage::RouterLogits,
        "router_scores" => Stage::RouterScores,
        "expert_ids" | "expert_weights" => Stage::ExpertWeights,
        "router_biased" => Stage::RouterBiased,
        "routed" => Stage::Routed,
        "shared" => Stage::Shared,
        "mlp" => Stage::Mlp,
        _ => return None,
    };
    Some(Place { layer: Some(layer.parse().ok()?), stage })
}

/// The recorded choice of experts as the engine shows it: `[rows, experts]`, 0 for those that were not chosen, else their
/// weights.
fn expert_weights(recording: &Recording, engine: &Engine, layer: &str) -> Check<Vec<f32>> {
    let experts = engine.arch().mixture.as_ref().ok_or("the model has no experts")?.experts;
    let (shape, ids) = recording.i64s(&format!("hidden.{layer}.expert_ids"))?;
    let (_, weights) = recording.f32s(&format!("hidden.{layer}.expert_weights"))?;
    let &[1, rows, chosen] = &shape[..] else { return Err("expert ids without rows".into()) };
    if chosen == 0 || ids.len() != weights.len() || ids.iter().any(|&id| id < 0 || id as usize >= experts) {
        return Err(format!("ids and weights of {experts} experts disagree"));
    }
    let mut dense = vec![0.0; rows * experts];
    for (i, (&id, weight)) in ids.iter().zip(weights).enumerate() {
        dense[i / chosen * experts + id as usize] = weight;
    }
    Ok(dense)
}

fn hidden(recording: &Recording, engine: &Engine, name: &str) -> Check<Difference> {
    let slot = name.trim_start_matches("hidden.");
    let (layer, inside) = slot.split_once('.').unwrap_or((slot, ""));
    let mut theirs = match inside {
        "expert_ids" | "expert_weights" => expert_weights(recording, engine, layer)?,
        _ => recording.f32s(name)?.1,
    };
    let ids = recording.id_rows("hidden.ids")?.remove(0);
    let entry = recording.value("hidden").unwrap_or(&Value::Null);
    let rule = attention(recording, engine, entry)?;
    let visible = Visible::by_rule(rule, 0..ids.len(), 0, ids.len());
    let mut session = engine.session().map_err(|e| e.to_string())?;
    let mut difference = Difference::NONE;
    if slot == "logits" {
        compare(&mut session, &ids, 0, &visible, 0, &theirs, &mut difference)?;
        return Ok(difference);
    }
    let wanted = place(slot).ok_or("a hidden state of a place that is not understood")?;
    let mut seen: Option<Vec<f32>> = None;
    let mut watch = |place: Place, rows: Rows<'_>| {
        if place == wanted {
            seen = Some(rows.data().to_vec());
        }
    };
    session.forward(&ids, 0, &visible, &mut Probe::new(&mut watch)).map_err(|e| e.to_string())?;
    if wanted.stage == Stage::FinalNorm {
        let mut watch = |_: Place, rows: Rows<'_>| seen = Some(rows.data().to_vec());
        let rows: Vec<usize> = (0..ids.len()).collect();
        session.logits(&rows, &mut Probe::new(&mut watch));
    }
    let mut ours = seen.ok_or("the model has no such place")?;
    if inside == "expert_ids" {
        // Which ones, whatever they weigh.
        ours.iter_mut().chain(&mut theirs).for_each(|weight| *weight = f32::from(*weight != 0.0));
    }
    if ours.len() != theirs.len() {
        return Err(format!("{} numbers recorded, {} expected", theirs.len(), ours.len()));
    }
    let width = ours.len() / ids.len();
    ours.chunks(width).zip(theirs.chunks(width)).for_each(|(ours, theirs)| difference.add(ours, theirs));
    Ok(difference)
}

/// Positions of a RoPE table that a recording may ask for: a hundred megabytes.
const MAX_TABLE: usize = 1 << 18;

/// A different power function moves a frequency by one rounding, and the table by that times the position.
fn rope(recording: &Recording, engine: &Engine) -> Check<()> {
    let (_, positions) = recording.i64s("rope.positions")?;
    let (_, cos) = recording.f32s("rope.cos")?;
    let (_, sin) = recording.f32s("rope.sin")?;
    let half = engine.arch().rope.rotated / 2;
    let wrong = |position: &&i64| usize::try_from(**position).map_or(true, |at| at >= MAX_TABLE);
    if let Some(position) = positions.iter().find(wrong) {
        return Err(format!("position {position}, 0 to {} expected", MAX_TABLE - 1));
    }
    if cos.len() != positions.len() * 2 * half || sin.len() != cos.len() {
        let (cos, sin) = (cos.len(), sin.len());
        return Err(format!(
            "{cos} cosines and {sin} sines for {} positions of {}",
            positions.len(),
            2 * half
        ));
    }
    let capacity = positions.iter().max().map_or(0, |&max| max as usize + 1);
    let table = engine.model().rope_table(capacity);
    for (i, &pos) in positions.iter().enumerate() {
        let allowed = (1.2e-7 * pos as f32).max(1e-6);
        for (ours, theirs, what) in
            [(table.cos(pos as usize), &cos, "cos"), (table.sin(pos as usize), &sin, "sin")]
        {
            for e in 0..2 * half {
                let difference = (ours[e % half] - theirs[i * 2 * half + e]).abs();
                if difference.is_nan() || difference > allowed {
                    return Err(format!("{what} of position {pos}, element {e} differs by {difference:e}"));
                }
            }
        }
    }
    Ok(())
}

/// Positions that a recording may have: the engine's context while it is compared.
const MAX_POSITIONS: usize = super::MAX_CONTEXT;

/// One step of a cache script.
struct Step {
    name: String,
    rows: Range<usize>,
    /// Whether the finished rows stay.
    commits: bool,
}

fn steps(script: &Value) -> Check<Vec<Step>> {
    let step = |step: &Value| {
        let name = text(step, "name")?.to_string();
        let q = step.get("q").and_then(Value::as_array).unwrap_or(&[]);
        let bound = |i: usize| q.get(i).and_then(Value::as_u64).map(|n| n as usize);
        let (Some(start), Some(end)) = (bound(0), bound(1)) else {
            return Err("`q` is no pair of positions".into());
        };
        if start >= end || end > MAX_POSITIONS {
            return Err(format!("`q` is [{start}, {end}], an ascending pair up to {MAX_POSITIONS} expected"));
        }
        let stores = name.ends_with("store") || name.ends_with("prefill");
        let commits = step.get("store_kv").and_then(Value::as_bool).unwrap_or(stores);
        Ok(Step { name, rows: start..end, commits })
    };
    script.get("steps").and_then(Value::as_array).unwrap_or(&[]).iter().map(step).collect()
}

fn cache_script(
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
    let results = match (engine.arch().attention, block_causal) {
        (Attention::Bidirectional, _) => bidirectional_script(recording, engine, &steps),
        (Attention::BlockCausal { .. }, Some(0)) => Err("a block of 0 positions".into()),
        (Attention::BlockCausal { .. }, Some(block)) => block_causal_script(recording, engine, &steps, block),
        _ => Err("a script without a block size".into()),
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
        let visible = if sub_block {
            Visible::all(step.rows.clone(), 0..block_end)
        } else {
            Visible::by_rule(Attention::BlockCausal { block }, step.rows.clone(), 0, step.rows.end)
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
