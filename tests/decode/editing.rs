//! Policies whose revealed tokens may change (LLaDA2.1): what may, when it is final, and what callers are told.

use super::*;
use diffulex::sampler::{Edit, Floor, Score};

const MODEL: &str = "llada2-f32";

fn policy_with(tau: f64, passes: usize) -> Policy {
    let mut policy = editing(tau, passes);
    policy.schedule.block = Some(8);
    policy.unmask = Unmask::Threshold { tau: 0.2, strict: true, floor: Floor::Count(1), capped: false };
    policy
}

/// The prompt of the recorded trace `v21_edit`, whose tokens change many times.
const PROMPT: [TokenId; 9] = [43, 154, 39, 271, 199, 160, 19, 58, 240];

/// The same engine without a tokenizer: every id may be produced, as in the recording.
fn model() -> Engine {
    engine(MODEL)
}

/// Every edit of a run, and the canvas after each of its events that reveals.
fn edits_of(engine: &Engine, request: &Request<'_>) -> (Run, Vec<Edit>) {
    let mut all = Vec::new();
    let mut canvas: Option<Vec<TokenId>> = None;
    let mut session = engine.session().unwrap();
    let run = watch(&mut session, request, &mut |event| {
        match event {
            Event::Revealed { tokens, edits, canvas: now, .. } => {
                let mut replayed = canvas.take().unwrap_or_else(|| now.ids().to_vec());
                tokens.iter().for_each(|token| replayed[token.pos] = token.token);
                for edit in *edits {
                    assert_eq!(replayed[edit.pos], edit.before, "{edit:?} of another token");
                    assert!(edit.token != edit.before && edit.score > 0.6, "{edit:?}");
                    replayed[edit.pos] = edit.token;
                }
                assert_eq!(replayed, now.ids(), "what was told is what happened");
                all.extend_from_slice(edits);
            }
            Event::Pass { canvas: now, .. } => canvas = Some(now.ids().to_vec()),
            Event::Block { range, canvas } => assert!(canvas.fixed() >= range.end, "a block that may change"),
        }
        Ok(Control::Continue)
    });
    (run.unwrap(), all)
}

#[test]
fn only_tokens_of_the_block_in_work_change() {
    let (engine, policy) = (model(), policy_with(0.6, 16));
    let (run, edits) = edits_of(&engine, &Request::new(&PROMPT, 16, &policy));
    assert!(edits.len() > 5, "{edits:?}");
    assert_eq!(run.generation.edited, edits.len());
    assert_eq!(run.generation.canvas[..PROMPT.len()], PROMPT);
    // A block as it was left is a block as it is at the end.
    let mut last = 0;
    for range in &run.blocks {
        let later = run.passes.iter().filter(|pass| pass.rows.start >= range.end);
        assert!(
            later.into_iter().all(|pass| pass.canvas[range.clone()] == run.generation.canvas[range.clone()])
        );
        assert!(range.start >= last);
        last = range.end;
    }
    // Gaps of the prompt are generated, so they may change; what surrounds them may not.
    let mut gaps = PROMPT[..8].to_vec();
    let mask = engine.mask().unwrap();
    gaps[4..7].fill(mask);
    let (run, edits) = edits_of(&engine, &Request::new(&gaps, 7, &policy));
    assert!(edits.iter().all(|edit| (4..7).contains(&edit.pos) || edit.pos >= gaps.len()), "{edits:?}");
    assert_eq!((&run.generation.canvas[..4], run.generation.canvas[7]), (&gaps[..4], gaps[7]));
}

#[test]
fn a_block_is_left_after_so_many_passes_or_one_that_changes_nothing() {
    let engine = model();
    for passes in [0, 1, 3, 16] {
        let policy = policy_with(0.6, passes);
        let run = fresh(&engine, &Request::new(&PROMPT, 23, &policy));
        for range in &run.blocks {
            let mine = run.passes_of(PassKind::Denoise).filter(|pass| pass.rows.end == range.end);
            let unmasked = mine.filter(|pass| !pass.canvas[range.clone()].contains(&engine.mask().unwrap()));
            let count = unmasked.count();
            assert!(count <= passes && (passes == 0 || count > 0), "{passes}: {count} of {range:?}");
        }
    }
    // Nothing is that sure: one pass that changes nothing, whose keys and values need no commit.
    let run = fresh(&engine, &Request::new(&PROMPT, 23, &policy_with(1.0, 16)));
    assert_eq!((run.generation.edited, run.passes_of(PassKind::Commit).count()), (0, 0));
    let starts =
        run.passes_of(PassKind::Denoise).all(|pass| pass.rows.start % 8 == 0 && pass.rows.len() == 8);
    assert!(starts, "no pass takes a commit along");
}

#[test]
fn text_that_may_change_is_not_shown_and_a_stop_waits_for_its_block() {
    let (engine, policy) = (model(), policy_with(0.6, 16));
    let plain = fresh(&engine, &Request::new(&PROMPT, 16, &policy)).generation;
    for stop in [vec![], vec![298], vec![314]] {
        let generation = streamed(&engine, &PROMPT, 16, &policy, &stop);
        let cut = plain.tokens.iter().position(|id| stop.contains(id)).unwrap_or(plain.tokens.len());
        assert_eq!(generation.tokens, plain.tokens[..cut], "{stop:?}");
    }
}

#[test]
fn a_generation_that_is_stopped_has_the_tokens_that_it_showed() {
    let (engine, policy) = (model(), policy_with(0.6, 16));
    for steps in 1..8 {
        let mut made = 0;
        let mut session = engine.session().unwrap();
        let run = watch(&mut session, &Request::new(&PROMPT, 16, &policy), &mut |event| {
            made += usize::from(matches!(event, Event::Revealed { .. }));
            Ok(if made >= steps { Control::Stop } else { Control::Continue })
        });
        let generation = run.unwrap().generation;
        let mask = engine.mask().unwrap();
        let known = generation.canvas[PROMPT.len()..].iter().take(16).take_while(|&&id| id != mask);
        assert!(known.eq(&generation.tokens), "{steps}: {generation:?}");
    }
}

#[test]
fn where_editing_makes_no_sense_it_is_refused() {
    let refused = |name: &str, policy: &Policy, option: &str| {
        let engine = engine(name);
        let request = Request::new(&[1, 2, 3], 4, policy);
        let error = engine.session().unwrap().generate(&request, &mut |_| Ok(Control::Continue)).unwrap_err();
        assert!(error.to_string().contains(option), "{name}: {error}");
    };
    refused("fastdllm2-f32", &policy_with(0.6, 1), "edit-threshold");
    let bidirectional = Policy { cache: CachePlan::None, ..policy_with(0.6, 1) };
    refused("llada-f32", &bidirectional, "edit-threshold");
    for tau in [-0.1, 1.1, f64::NAN] {
        refused(MODEL, &policy_with(tau, 1), "edit-threshold");
    }
    let mut parts = policy_with(0.6, 1);
    parts.schedule.sub_block = Some(4);
    refused(MODEL, &parts, "sub-block");
    refused(
        MODEL,
        &Policy { score: Score::NegEntropy, unmask: Unmask::LeftToRight, ..policy_with(0.6, 1) },
        "confidence",
    );
}
