//! Recorded decoding loops: the state before every forward pass, the shape of every pass, their number, the result.

use super::recorded::{self, Passes, Recorded, Returns, Stores};
use super::recording::{Recording, ids, padding, text, whole};
use super::ties::Tape;
use super::{Outcome, Verdict};
use diffulex::Error;
use diffulex::engine::{BlockEnd, Control, Engine, Event, Generation, PassKind, Request, Rules, Step};
use diffulex::json::Value;
use diffulex::sampler::Canvas;
use diffulex::tensor::TokenId;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

type Check<T> = Result<T, String>;

/// What one pass looked like.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shape {
    rows: usize,
    cached: usize,
}

/// A repeated generation with everything that is recorded of one.
pub(super) struct Replayed {
    pub(super) generation: Generation,
    states: Vec<Vec<TokenId>>,
    shapes: Vec<Shape>,
    /// Positions that denoising passes revealed, and changed.
    revealed: Vec<Vec<usize>>,
    edited: Vec<Vec<usize>>,
    /// Forward passes, as the reference counts them, and those of the prompt.
    pub(super) passes: usize,
    prefill_passes: usize,
    /// The sequence as the reference returns it.
    pub(super) returned: Vec<TokenId>,
}

pub(super) fn run(recording: &Recording, engine: &Engine, outcomes: &mut Vec<Outcome>) {
    for entry in recording.entries("traces") {
        let name = text(entry, "name").unwrap_or("trace without a name");
        let mut agreement = (0, 0);
        let mut outcome = match check(recording, engine, entry, &mut agreement) {
            Err(error) => Outcome::new(name, "trace", Err(error)),
            Ok(verdict) => Outcome { verdict, ..Outcome::new(name, "trace", Ok(())) },
        };
        if !matches!(outcome.verdict, Verdict::Skipped(_)) && agreement.1 > 0 {
            outcome.top1 = Some(f64::from(agreement.0) / f64::from(agreement.1));
        }
        outcomes.push(outcome);
    }
}

/// The rules of recorded loops, where they are not those of this engine: any id may be produced, a step may reveal nothing, and
/// every block that the reference stores is stored by a pass of its own.
struct Replay<'a, 't> {
    every_step: bool,
    stores: Stores,
    /// Recorded uniform numbers for rules that draw, in the order of use.
    uniforms: &'a [f32],
    used: AtomicUsize,
    steps: AtomicUsize,
    /// More steps than any recorded loop takes.
    limit: usize,
    /// What decides near ties.
    tape: Option<&'a Tape<'t>>,
}

impl<'a, 't> Replay<'a, 't> {
    fn new(
        recorded: &Recorded,
        uniforms: Option<&'a [f32]>,
        limit: usize,
        tape: Option<&'a Tape<'t>>,
    ) -> Self {
        Self {
            every_step: recorded.every_step,
            stores: recorded.stores,
            uniforms: uniforms.unwrap_or(&[]),
            used: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            limit,
            tape,
        }
    }
}

impl Rules for Replay<'_, '_> {
    fn choose(&self, step: &mut Step<'_>, chosen: &mut Vec<usize>) -> Result<(), Error> {
        let mut uniform = || {
            let used = self.used.fetch_add(1, Ordering::Relaxed);
            self.uniforms.get(used).map_or(f64::NAN, |&u| f64::from(u))
        };
        step.policy.unmask.choose(step.candidates, step.want, &mut uniform, chosen);
        if let Some(tape) = self.tape {
            tape.settle(step, chosen);
        }
        match self.steps.fetch_add(1, Ordering::Relaxed) {
            made if made > self.limit => Err(Error::unsupported("a recorded loop that makes no progress")),
            _ => Ok(()),
        }
    }

    fn bans(&self) -> bool {
        false
    }

    fn commits(&self, end: BlockEnd) -> bool {
        match self.stores {
            Stores::All => true,
            Stores::UnlessStopped => !end.stopped,
            Stores::IfOneFollows => !(end.stopped || end.last),
        }
    }

    fn every_step(&self) -> bool {
        self.every_step
    }
}

/// Repeats a recorded call for one row of its batch.
pub(super) fn replay(
    engine: &Engine,
    recorded: &Recorded,
    prompt: &[TokenId],
    padding: usize,
    uniforms: Option<&[f32]>,
    tape: Option<&Tape<'_>>,
) -> Check<Replayed> {
    let (mut states, mut shapes) = (Vec::new(), Vec::new());
    let (mut revealed, mut edited) = (Vec::new(), Vec::new());
    let mut finished = prompt.len();
    let limit = prompt.len().saturating_add(recorded.max_new).saturating_mul(16).saturating_add(1024);
    let request = Request {
        stop: &recorded.stop,
        padding,
        rules: &Replay::new(recorded, uniforms, limit, tape),
        ..Request::new(prompt, recorded.max_new, &recorded.policy)
    };
    let mut watch = |event: Event<'_>| {
        match event {
            Event::Pass { kind, rows, cached, canvas, .. } => {
                for shape in recorded_as(recorded.passes, kind, rows, cached) {
                    if let Some(tape) = tape {
                        tape.pass();
                    }
                    states.push(canvas.ids().to_vec());
                    shapes.push(shape);
                }
            }
            Event::Revealed { tokens, edits, .. } => {
                revealed.push(tokens.iter().map(|token| token.pos).collect());
                edited.push(edits.iter().map(|edit| edit.pos).collect());
            }
            Event::Block { range, .. } => finished = range.end,
        }
        Ok(Control::Continue)
    };
    let mut session = engine.session().map_err(|e| e.to_string())?;
    let generation = session.generate(&request, &mut watch).map_err(|e| e.to_string())?;
    let mask = engine.mask().map_err(|e| e.to_string())?;
    let returned = returned(recorded, &generation, prompt.len(), finished, mask);
    let passes = states.len();
    let prefill_passes = generation.prefill_passes;
    Ok(Replayed { generation, states, shapes, revealed, edited, passes, prefill_passes, returned })
}

/// The passes that a reference makes for one of this engine.
fn recorded_as(passes: Passes, kind: PassKind, rows: &Range<usize>, cached: usize) -> Vec<Shape> {
    match (passes, kind) {
        (Passes::Same, _) => vec![Shape { rows: rows.len(), cached }],
        (Passes::Uncached, PassKind::Denoise) => vec![Shape { rows: rows.end, cached: 0 }],
        (Passes::Uncached, _) => Vec::new(),
        (Passes::Prefixes { padding, guided }, kind) => {
            let shape = match kind {
                PassKind::Denoise => Shape { rows: rows.len(), cached: padding.saturating_add(cached) },
                _ => Shape { rows: padding.saturating_add(rows.end), cached: 0 },
            };
            vec![shape; 1 + usize::from(guided)]
        }
    }
}

/// What a reference returns of a canvas whose last finished block ends at `finished`.
fn returned(
    recorded: &Recorded,
    generation: &Generation,
    prompt: usize,
    finished: usize,
    mask: TokenId,
) -> Vec<TokenId> {
    let mut returned = generation.canvas.clone();
    let first = |ids: &[TokenId], id: TokenId| (prompt..ids.len()).find(|&pos| ids[pos] == id);
    match recorded.returns {
        Returns::Canvas => {}
        Returns::UpTo(id) => {
            returned.truncate(prompt + recorded.max_new);
            let cut = first(&returned, id);
            returned.truncate(cut.map_or(returned.len(), |pos| pos + 1));
        }
        Returns::Blocks => returned.truncate(finished),
        Returns::FilledBlocks(id) => {
            returned.truncate(finished);
            let cut = first(&returned, id).unwrap_or(returned.len());
            returned[cut..].fill(id);
        }
        Returns::Carried => {
            let canvas = Canvas::new(&returned, returned.len(), mask);
            match canvas.settled_stop(prompt..returned.len(), &recorded.stop) {
                Some(pos) => returned.truncate(pos + 1),
                None => returned.extend(generation.carried),
            }
        }
    }
    returned
}

/// The reference does not read a prompt of exactly one block; this engine does, and the format allows such an entry to be skipped.
fn deviates(function: &str, recorded: &Recorded, prompt: usize) -> Option<&'static str> {
    let quirk = function == "fast_dllm_v2.generate" && recorded.policy.schedule.block == Some(prompt);
    quirk.then_some("a prompt of exactly one block, which the reference does not read (documented quirk)")
}

fn check(
    recording: &Recording,
    engine: &Engine,
    entry: &Value,
    agreement: &mut (u32, u32),
) -> Check<Verdict> {
    let function = text(entry, "function")?;
    let params = entry.get("params").ok_or("`params` is missing")?;
    let prompts = rows(entry, "prompt_ids")?;
    let finals = rows(entry, "final_ids")?;
    let (shape, states) = recording.i64s(text(entry, "states_tensor")?)?;
    let uniforms = match entry.get("uniform_tensor").and_then(Value::as_str) {
        Some(name) => Some(recording.f32s(name)?.1),
        None => None,
    };
    let masks = entry.get("attention_mask").and_then(Value::as_array);
    let &[entries, batch, len] = shape.as_slice() else { return Err(format!("states have shape {shape:?}")) };
    if batch != prompts.len() || batch != finals.len() {
        return Err(format!("states of {batch} rows for {} prompts", prompts.len()));
    }
    let filler = recording.manifest().get("eos_token_id").and_then(Value::as_i64);
    let mut ties = Vec::new();
    for (b, prompt) in prompts.iter().enumerate() {
        let recorded = recorded::policy(function, params, prompt.len())?;
        if let Some(why) = deviates(function, &recorded, prompt.len()) {
            return Ok(Verdict::Skipped(why.to_owned()));
        }
        let padding = masks.map_or(Ok(0), |masks| mask_padding(masks.get(b)))?;
        let mask = engine.mask().map_err(|e| e.to_string())?;
        let state = |k: usize| &states[(k * batch + b) * len..][..len];
        let known = |k: usize| (k < entries).then(|| state(k));
        let tape = Tape::new(&known, mask);
        let replayed = replay(engine, &recorded, prompt, padding, uniforms.as_deref(), Some(&tape))?;
        ties.extend(tape.ties());
        check_offset(&recorded, entry)?;
        // Shorter prompts of a batch are followed by fillers after their masks.
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let fill = if masks.is_none() { longest - prompt.len() } else { 0 };
        let filler = filler.filter(|_| fill > 0);
        compare_states(&replayed, entries, state, (mask, filler), agreement)?;
        compare_passes(&replayed, fill, entry)?;
        if b == 0 {
            compare_results(&replayed, &recorded, entry)?;
        }
        let mut returned = replayed.returned.clone();
        if let Some(filler) = filler.and_then(|id| TokenId::try_from(id).ok()) {
            returned.resize(finals[b].len().max(returned.len()), filler);
        }
        if returned != finals[b] {
            return Err(format!("returned {:?}, {:?} recorded", replayed.returned, finals[b]));
        }
    }
    if ties.is_empty() {
        return Ok(Verdict::Passed);
    }
    Ok(Verdict::Tied(format!("near ties, position (score): {}", ties.join("; "))))
}

/// How much of the first block is before the prompt.
fn check_offset(recorded: &Recorded, entry: &Value) -> Check<()> {
    let offset = match recorded.passes {
        Passes::Prefixes { padding, .. } => padding,
        Passes::Same | Passes::Uncached => 0,
    };
    if entry.get("grid_offset").is_some() && whole(entry, "grid_offset")? != offset {
        return Err(format!("`grid_offset` is {}, {offset} expected", whole(entry, "grid_offset")?));
    }
    Ok(())
}

fn rows(entry: &Value, key: &str) -> Check<Vec<Vec<TokenId>>> {
    let rows = entry.get(key).and_then(Value::as_array).ok_or_else(|| format!("`{key}` is missing"))?;
    rows.iter().map(|row| ids(Some(row), key)).collect()
}

fn mask_padding(row: Option<&Value>) -> Check<usize> {
    let bits = row.and_then(Value::as_array).ok_or("`attention_mask` has no such row")?;
    padding(&bits.iter().map(|bit| bit.as_i64().unwrap_or(-1)).collect::<Vec<_>>())
}

/// Recorded states are padded with -1 where the reference has not extended the sequence yet; here these positions are masks.
fn compare_states<'a>(
    replayed: &Replayed,
    entries: usize,
    recorded: impl Fn(usize) -> &'a [i64],
    (mask, filler): (TokenId, Option<i64>),
    agreement: &mut (u32, u32),
) -> Check<()> {
    let ours: Vec<&[TokenId]> =
        replayed.states.iter().map(Vec::as_slice).chain([replayed.returned.as_slice()]).collect();
    let mut first_wrong = None;
    for (k, ours) in ours.iter().enumerate().take(entries) {
        let agrees = |pos: usize, theirs: i64| match (ours.get(pos), theirs) {
            (ours, -1) => ours.is_none_or(|&id| id == mask),
            (Some(&id), theirs) => i64::from(id) == theirs,
            (None, theirs) => Some(theirs) == filler,
        };
        let same = recorded(k).iter().enumerate().all(|(pos, &theirs)| agrees(pos, theirs));
        let extends = ours.iter().skip(recorded(k).len()).any(|&id| id != mask);
        agreement.1 += 1;
        agreement.0 += u32::from(same && !extends);
        if !same || extends {
            first_wrong = first_wrong.or(Some(k));
        }
    }
    match first_wrong {
        Some(k) => Err(format!("the state before pass {k} is {:?}, {:?} recorded", ours[k], recorded(k))),
        None if ours.len() != entries => Err(format!("{} states, {entries} recorded", ours.len())),
        None => Ok(()),
    }
}

/// What an entry says of its first row.
fn compare_results(replayed: &Replayed, recorded: &Recorded, entry: &Value) -> Check<()> {
    if let Some(canvas) = entry.get("final_canvas") {
        let (ours, theirs) = (&replayed.generation.canvas, ids(Some(canvas), "final_canvas")?);
        if *ours != theirs {
            return Err(format!("the canvas is {ours:?} at the end, {theirs:?} recorded"));
        }
    }
    let counted =
        [("tokens_revealed_per_step", &replayed.revealed), ("tokens_edited_per_step", &replayed.edited)];
    // The last state is what is returned, so only that is counted for the last step. Other families also reveal tokens that no
    // step drew.
    let end = |step: usize| if step + 1 < replayed.passes { usize::MAX } else { replayed.returned.len() };
    let count = |(step, all): (usize, &Vec<usize>)| all.iter().filter(|&&pos| pos < end(step)).count() as u64;
    for (key, ours) in counted.into_iter().filter(|_| recorded.passes == Passes::Uncached) {
        let Some(theirs) = entry.get(key) else { continue };
        let theirs: Option<Vec<_>> =
            theirs.as_array().and_then(|all| all.iter().map(Value::as_u64).collect());
        let theirs = theirs.ok_or_else(|| format!("`{key}` is not a list of counts"))?;
        let ours: Vec<u64> = ours.iter().enumerate().map(count).collect();
        if ours != theirs {
            return Err(format!("{key}: {ours:?}, {theirs:?} recorded"));
        }
    }
    Ok(())
}

/// A recorded pass has `fill` rows more than one of this sequence.
fn compare_passes(replayed: &Replayed, fill: usize, entry: &Value) -> Check<()> {
    let nfe = replayed.passes;
    for (key, nfe) in [
        ("num_forwards", nfe),
        ("returned_nfe", nfe),
        ("returned_nfe_without_prefill", nfe.saturating_sub(replayed.prefill_passes)),
    ] {
        if entry.get(key).is_some() && whole(entry, key)? != nfe {
            return Err(format!("{nfe} forward passes, `{key}` says {}", whole(entry, key)?));
        }
    }
    let Some(passes) = entry.get("forwards").and_then(Value::as_array) else { return Ok(()) };
    for (k, pass) in passes.iter().enumerate() {
        let rows = whole(pass, "q_len")?;
        let theirs = Shape { rows: rows.saturating_sub(fill), cached: whole(pass, "past_len")? };
        if replayed.shapes.get(k) != Some(&theirs) {
            return Err(format!("pass {k} is {:?}, {theirs:?} recorded", replayed.shapes.get(k)));
        }
    }
    Ok(())
}
