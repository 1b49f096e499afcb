//! Recorded forward passes: plain, batched, with hidden states, through the cache; and RoPE tables.

use super::passes::pass;
use super::recording::{Difference, Recording, text, unpadded};
use super::scripts;
use super::{Options, Outcome};
use diffulex::cache::{Attention, Visible};
use diffulex::engine::{Engine, Session};
use diffulex::json::Value;
use diffulex::model::{Place, Probe, Stage};
use diffulex::tensor::{Rows, TokenId};

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
        scripts::run(recording, engine, script, options, outcomes);
    }
}

pub(super) fn judge(name: &str, kind: &'static str, options: &Options, result: Check<Difference>) -> Outcome {
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
    if words == "causal" {
        return Ok(Attention::CAUSAL);
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
        // What comes after the last id that any row sees changes nothing.
        let ids = &ids[..seen.end];
        let visible = Visible::by_rule(rule, 0..seen.end, seen.start, seen.end);
        let mut session = engine.session().map_err(|e| e.to_string())?;
        let theirs = &logits[(b * len + seen.start) * vocab..(b * len + seen.end) * vocab];
        compare(&mut session, ids, 0, &visible, seen.start, theirs, &mut difference)?;
    }
    Ok(difference)
}

/// Runs one pass and compares the logits of all rows from `skip` on.
pub(super) fn compare(
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
    let wanted = place(slot).ok_or("a hidden state of an unknown place")?;
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
        // Which ones, whatever their weights.
        ours.iter_mut().chain(&mut theirs).for_each(|weight| *weight = f32::from(*weight != 0.0));
    }
    if ours.len() != theirs.len() {
        return Err(format!("{} numbers recorded, {} expected", theirs.len(), ours.len()));
    }
    let width = ours.len() / ids.len();
    ours.chunks(width).zip(theirs.chunks(width)).for_each(|(ours, theirs)| difference.add(ours, theirs));
    Ok(difference)
}

/// Positions of a RoPE table that a recording may have: a hundred megabytes.
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
