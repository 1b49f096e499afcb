//! The rules of every decoding mode, over policies, prompt lengths, budgets, temperatures and seeds.

use super::*;
use diffulex::cache::Attention;
use diffulex::engine::StopReason;
use diffulex::sampler::Pace;
use proptest::prelude::{ProptestConfig, Strategy, any, prop};
use proptest::proptest;
use std::sync::LazyLock;

/// Ids that the models produce most when nothing forbids them.
const COMMON: [[TokenId; 4]; 4] =
    [[237, 258, 157, 151], [94, 248, 74, 75], [104, 172, 171, 26], [34, 138, 187, 225]];

/// A model with its restrictions: the mask, banned ids, and ids from `limit` on are never produced.
struct Restricted {
    engine: Engine,
    limit: usize,
    banned: Vec<TokenId>,
}

/// Every family; the mask lies below the limit, so that it needs its own ban.
static MODELS: LazyLock<Vec<Restricted>> = LazyLock::new(|| {
    let restrict = |(i, name): (usize, &&str)| {
        let (limit, banned) = ([300, 340, 310, 320][i], COMMON[i][..2].to_vec());
        let engine = builder(name).tokens(limit, banned.clone()).open(fixture::golden(name)).unwrap();
        let (mask, vocab) = (engine.mask().unwrap() as usize, engine.arch().dims.vocab);
        assert!(mask < limit && limit < vocab, "{name}: the limit must lie between mask and vocabulary");
        Restricted { engine, limit, banned }
    };
    FAMILIES.iter().enumerate().map(restrict).collect()
});

const POLICIES: [&[&str]; 4] = [
    &["sdar-dynamic", "sdar-static", "sdar-sequential", "sdar-entropy"],
    &["fast-dllm-v2", "fast-dllm-v2", "sdar-dynamic", "sdar-entropy"],
    &["llada-low-confidence", "llada-random", "llada-threshold", "llada-factor"],
    &[
        "dream-maskgit",
        "dream-margin",
        "dream-entropy",
        "dream-origin",
        "dream-threshold",
        "dream-block-threshold",
    ],
];

#[derive(Clone, Debug)]
struct Case {
    family: usize,
    policy: Policy,
    prompt: usize,
    max_new: usize,
    seed: u64,
    stops: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let parts = (0..4usize, any::<prop::sample::Index>(), 0..3usize, 0..3usize, 0..5usize, 1..6usize);
    let sampling = (0..4usize, 0..3usize, 0..3usize, any::<u64>());
    let lengths = (0..9usize, 1..26usize, 0..3usize);
    (parts, sampling, lengths).prop_map(|((family, name, plan, block, steps, n), sampling, lengths)| {
        let mut policy = policy(POLICIES[family][name.index(POLICIES[family].len())]);
        let block = [4, 8, 16][block];
        let (draw, schedule) = (&mut policy.draw, &mut policy.schedule);
        schedule.block = Some(block);
        if family < 2 {
            schedule.sub_block = [None, Some(4), Some(2)][plan];
            policy.cache = [CachePlan::Block, CachePlan::SubBlock, CachePlan::SubBlock][plan];
        } else {
            policy.cache = [CachePlan::None, CachePlan::Prefix, CachePlan::Dual][plan];
            // The whole canvas as one block is what the original samplers do.
            schedule.block = schedule.block.filter(|_| n != 5);
        }
        schedule.steps = match steps {
            0 => schedule.steps,
            1 => Steps::PerPosition,
            2 => Steps::PerBlock(n),
            3 => Steps::Total(n),
            _ => Steps::Unlimited,
        };
        let (temperature, filters, alg_temp, seed) = sampling;
        // At 100 every id is about as probable as the others: forbidden ones would soon be drawn.
        draw.temperature = [0.0, 0.0, 1.0, 100.0][temperature];
        (draw.filters.top_k, draw.filters.top_p) = [(0, 1.0), (0, 0.9), (60, 0.95)][filters];
        if let (Unmask::TopK { alg_temp: set }, 1) = (&mut policy.unmask, alg_temp) {
            *set = 0.5;
        }
        let (length, max_new, stops) = lengths;
        let prompt = [0, 1, block - 1, block, block + 1, 2 * block - 1, 2 * block, 2 * block + 1, 13][length];
        Case { family, policy, prompt, max_new, seed, stops: [0, 4, 40][stops] }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn every_mode_keeps_the_rules(case in cases()) {
        check(&case);
    }
}

fn check(case: &Case) {
    let model = &MODELS[case.family];
    let ids = prompt(&model.engine, case.prompt, case.seed ^ 1);
    let stop: Vec<TokenId> =
        COMMON[case.family][2..].iter().copied().chain(0..100).take(case.stops).collect();
    let request = Request { stop: &stop, seed: case.seed, ..Request::new(&ids, case.max_new, &case.policy) };
    let run = fresh(&model.engine, &request);
    check_steps(model, case, &run);
    check_budget(model, case, &run);
    check_text(model, &request, &run);
}

/// Every pass sees the canvas as the reveals before it left it; every denoise step reveals masks only, and at least one.
fn check_steps(model: &Restricted, case: &Case, run: &Run) {
    let mask = model.engine.mask().unwrap();
    let prompt = prompt(&model.engine, case.prompt, case.seed ^ 1);
    let mut canvas = run.passes[0].canvas.clone();
    assert_eq!(&canvas[..case.prompt], prompt, "the prompt");
    assert!(canvas[case.prompt..].iter().all(|&id| id == mask), "everything after the prompt is masked");
    for pass in &run.passes {
        assert_eq!(pass.canvas, canvas, "a pass sees another canvas than the reveals left");
        assert!(pass.kind != PassKind::Denoise || !pass.revealed.is_empty(), "a step revealed nothing");
        for &Candidate { pos, token, .. } in &pass.revealed {
            assert_eq!(canvas[pos], mask, "position {pos} was known and changed");
            let forbidden = token == mask || token as usize >= model.limit || model.banned.contains(&token);
            assert!(!forbidden, "{token} was produced");
            canvas[pos] = token;
        }
    }
    assert_eq!(run.generation.canvas, canvas, "the result is what was revealed");
}

/// Passes are bounded by what they reveal, and denoise passes of a block by its step budget.
fn check_budget(model: &Restricted, case: &Case, run: &Run) {
    let Policy { schedule, cache, .. } = &case.policy;
    let len = run.generation.canvas.len();
    let block = schedule.block.unwrap_or(len);
    let (causal, steps) = match model.engine.arch().attention {
        Attention::BlockCausal { .. } => (true, schedule.sub_block.unwrap_or(block)),
        Attention::Bidirectional => (false, block),
    };
    let full = if causal { case.prompt / block * block } else { 0 };
    assert_eq!(run.prefilled(), full, "the complete blocks of the prompt are prefilled");
    assert_eq!(run.generation.prefill_passes, usize::from(full > 0), "prefill passes");
    let denoise = run.passes_of(PassKind::Denoise).count();
    let blocks = (len - full).div_ceil(block);
    assert!(denoise <= len - case.prompt, "{denoise} steps for {} masks", len - case.prompt);
    let nfe = run.generation.nfe;
    assert!(nfe <= usize::from(full > 0) + (len - case.prompt) + blocks, "{nfe} passes");
    assert!(run.passes_of(PassKind::Commit).count() < blocks.max(1), "the last block needs no commit");
    let parts = blocks * block.div_ceil(steps);
    let budget = match schedule.steps {
        // A carrying pace adds steps as it needs them.
        _ if schedule.pace == Pace::Carry => usize::MAX,
        Steps::PerPosition | Steps::Unlimited => usize::MAX,
        Steps::PerBlock(n) => n * parts,
        Steps::Total(n) => n.max(parts),
    };
    // Dream's block sampler begins every block with a pass that reveals its first position alone.
    let leads = if case.family == 3 && *cache != CachePlan::None { blocks } else { 0 };
    assert!(denoise <= budget.saturating_add(leads), "{denoise} steps, budget {budget} of {parts} parts");
}

/// The text is what was requested, or what precedes the first stop id; nothing is generated after its block.
fn check_text(model: &Restricted, request: &Request<'_>, run: &Run) {
    let Generation { tokens, canvas, stop, cache, .. } = &run.generation;
    let mask = model.engine.mask().unwrap();
    let text = &canvas[request.prompt.len()..request.prompt.len() + request.max_new];
    let end = text.iter().position(|id| request.stop.contains(id) || *id == mask);
    assert_eq!(tokens, &text[..end.unwrap_or(text.len())], "the text is cut at the first stop id");
    match (end.map(|end| text[end]), *stop) {
        (None, StopReason::Length) => {}
        (Some(id), StopReason::Stop(found)) => assert_eq!(id, found, "another stop id"),
        (end, stop) => panic!("the text ends with {end:?}, but the reason is {stop:?}"),
    }
    assert_eq!(run.generation.new_tokens(), tokens.len(), "new tokens");
    assert_eq!(*cache, request.policy.cache, "the plan is reported");
    if let Some(end) = end {
        // Blocks are counted from position 0, or from the end of the prompt where positions do not bind them.
        let first = match model.engine.arch().attention {
            Attention::BlockCausal { .. } => 0,
            Attention::Bidirectional => request.prompt.len(),
        };
        let block = request.policy.schedule.block.unwrap_or(canvas.len());
        let after = first + ((request.prompt.len() + end - first) / block + 1) * block;
        assert!(canvas.iter().skip(after).all(|&id| id == mask), "generated after the stop id's block");
    }
}

#[test]
fn one_step_reveals_a_whole_block() {
    for name in FAMILIES {
        let engine = engine(name);
        let mut policy = policy_of(name);
        policy.schedule.steps = Steps::PerBlock(1);
        policy.schedule.sub_block = None;
        let ids = prompt(&engine, 16, 5);
        let run = fresh(&engine, &Request::new(&ids, 24, &policy));
        let denoise: Vec<_> = run.passes_of(PassKind::Denoise).map(|pass| pass.revealed.len()).collect();
        // The first token of a Fast-dLLM v2 block was carried over from the pass before.
        let expected = if name == "fastdllm2-f32" { [7; 3] } else { [8; 3] };
        assert_eq!(denoise, expected, "{name}");
    }
}

#[test]
fn a_total_of_steps_is_shared_by_the_blocks() {
    for (name, sub_block, per_block) in [
        ("sdar-f32", None, 3),
        ("sdar-f32", Some(4), 2),
        ("fastdllm2-f32", Some(4), 2),
        ("llada-f32", None, 3),
        ("dream-f32", None, 3),
    ] {
        let engine = engine(name);
        let mut policy = policy_of(name);
        policy.schedule.steps = Steps::Total(12);
        policy.schedule.sub_block = sub_block;
        policy.unmask = Unmask::TopK { alg_temp: 0.0 };
        let run = fresh(&engine, &Request::new(&prompt(&engine, 8, 5), 32, &policy));
        let parts = sub_block.map_or(1, |sub| 8 / sub);
        // 12 steps over 4 blocks of 1 or 2 parts: 3 or 1 each.
        let expected = if parts == 1 { 3 } else { per_block };
        for block in &run.blocks {
            let inside = |pass: &&SeenPass| pass.revealed.iter().any(|c| block.contains(&c.pos));
            let steps = run.passes_of(PassKind::Denoise).filter(inside).count();
            assert_eq!(steps, expected, "{name}, sub-block {sub_block:?}, block {block:?}");
        }
    }
}
