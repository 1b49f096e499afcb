//! What the cache may change: nothing for block-causal models, and for the others only what the plan says.

use super::*;
use diffulex::cache::{Attention, Visible};
use diffulex::model::{Alignment, Probe};

/// The commit of a finished block and the first step of the next are one pass: the same bits, one pass less per block.
#[test]
fn a_merged_commit_changes_the_number_of_passes_and_no_bit() {
    for (name, kv) in
        [("sdar-f32", KvDtype::F32), ("sdar-f32", KvDtype::F16), ("sdar-hd128-sharded", KvDtype::F32)]
    {
        let engine = builder(name).kv(kv).open(fixture::golden(name)).unwrap();
        for strategy in ["sdar-dynamic", "sdar-static", "sdar-sequential", "sdar-entropy"] {
            for (block, prompt_len, temperature) in
                [(4, 0, 0.0), (4, 9, 0.0), (4, 12, 0.8), (8, 3, 0.8), (8, 16, 0.0), (8, 23, 0.0)]
            {
                let ids = prompt(&engine, prompt_len, 7);
                let mut policy = policy(strategy);
                (policy.schedule.block, policy.draw.temperature) = (Some(block), temperature);
                assert!(policy.merge_commit);
                let merged = fresh(&engine, &Request::new(&ids, 29, &policy));
                policy.merge_commit = false;
                let apart = fresh(&engine, &Request::new(&ids, 29, &policy));
                let case = format!("{name} {strategy}, blocks of {block}, {prompt_len} known");
                assert_eq!(merged.decisions(), apart.decisions(), "{case}");
                let commits = apart.passes_of(PassKind::Commit).count();
                assert_eq!(commits, apart.blocks.len() - 1, "{case}: the last block needs no commit");
                assert_eq!(merged.passes_of(PassKind::Commit).count(), 0, "{case}");
                assert_eq!(merged.generation.nfe, apart.generation.nfe - commits, "{case}");
            }
        }
    }
}

/// Bits of the logits of the last `rows` of `ids`, computed in passes that end at `cuts`; all but the last are committed.
fn logits(engine: &Engine, ids: &[TokenId], block: usize, cuts: &[usize], rows: usize) -> Vec<f32> {
    let mut session = engine.session().unwrap();
    let mut first = 0;
    for &end in cuts {
        session.commit(first - session.committed());
        let visible = Visible::by_rule(Attention::BlockCausal { block }, first..end, 0, end);
        session.forward(&ids[first..end], first, &visible, &mut Probe::none()).unwrap();
        first = end;
    }
    let last = cuts[cuts.len() - 1] - cuts.len().checked_sub(2).map_or(0, |i| cuts[i]);
    let rows: Vec<usize> = (last - rows..last).collect();
    session.logits(&rows, &mut Probe::none()).data().to_vec()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Blocks against the cache, and everything in one pass: the same bits, because rows of a GEMM do not see each other and
/// a query's sum runs over its keys in one order. 1e-4 would be enough for the promise.
#[test]
fn cached_logits_of_block_causal_models_are_those_of_one_pass() {
    for level in fixture::levels() {
        for name in ["sdar-f32", "sdar-hd128-sharded", "fastdllm2-f32", "fastdllm2-untied"] {
            for kv in [KvDtype::F32, KvDtype::F16] {
                let engine = builder(name).level(level).kv(kv).open(fixture::golden(name)).unwrap();
                for block in [4, 8] {
                    let ids = prompt(&engine, 72, 9);
                    let whole = logits(&engine, &ids, block, &[72], block);
                    let by_block: Vec<usize> = (1..=72 / block).map(|i| i * block).collect();
                    for cuts in [&by_block[..], &[64, 72], &[8, 56, 64, 72], &[16, 64, 72]] {
                        let cached = logits(&engine, &ids, block, cuts, block);
                        let difference = largest_difference(&cached, &whole);
                        assert!(
                            cached == whole,
                            "{name} {kv:?}, blocks of {block}, {cuts:?}: {difference:e}"
                        );
                    }
                }
            }
        }
    }
}

/// Halves round keys and values to 11 bits; on these models, whose logits reach about 10, that is less than 0.02.
#[test]
fn a_cache_of_halves_is_close() {
    for name in ["sdar-f32", "sdar-hd128-sharded", "fastdllm2-f32", "fastdllm2-untied"] {
        let of = |kv| {
            let engine = builder(name).kv(kv).open(fixture::golden(name)).unwrap();
            logits(&engine, &prompt(&engine, 72, 9), 8, &[32, 64, 72], 8)
        };
        let (exact, halves) = (of(KvDtype::F32), of(KvDtype::F16));
        let difference = largest_difference(&exact, &halves);
        let largest = exact.iter().fold(0f32, |max, x| max.max(x.abs()));
        println!("{name}: logits up to {largest}, f16 cache differs by {difference:e}");
        assert!(difference > 0.0 && difference < 0.02, "{name}: {difference:e}");
    }
}

#[test]
fn denoise_steps_leave_committed_rows_alone() {
    let engine = engine("sdar-f32");
    let mut session = engine.session().unwrap();
    let rule = Attention::BlockCausal { block: 8 };
    let pass = |session: &mut Session<'_>, rows: Range<usize>, seed| {
        let visible = Visible::by_rule(rule, rows.clone(), 0, rows.end);
        let ids = prompt(&engine, rows.len(), seed);
        session.forward(&ids, rows.start, &visible, &mut Probe::none()).unwrap();
    };
    let committed = |session: &Session<'_>| -> Vec<u32> {
        let mut bits = Vec::new();
        for layer in 0..engine.arch().dims.layers {
            for pos in 0..16 {
                let [key, value] = session.position(layer, pos);
                bits.extend(key.iter().chain(&value).map(|x| x.to_bits()));
            }
        }
        bits
    };
    pass(&mut session, 0..16, 1);
    session.commit(16);
    let before = committed(&session);
    assert!(before.iter().filter(|&&bits| bits != 0).count() > before.len() / 2, "rows were written");
    for seed in 2..6 {
        pass(&mut session, 16..24, seed);
        assert!(committed(&session) == before, "a denoise step wrote into committed rows");
    }
}

/// The caches of bidirectional models are approximate after the first step of a block, and exact in it.
#[test]
fn the_first_step_of_every_block_is_a_full_pass() {
    for name in BIDIRECTIONAL {
        let engine = engine(name);
        let ids = prompt(&engine, 10, 3);
        for plan in [CachePlan::None, CachePlan::Prefix, CachePlan::Dual] {
            let mut policy = policy_of(name);
            policy.cache = plan;
            let run = fresh(&engine, &Request::new(&ids, 24, &policy));
            let mut full = 0;
            for pass in run.passes.iter().filter(|pass| pass.rows == (0..34)) {
                check_exact(&engine, &policy, pass);
                full += 1;
            }
            let expected = if plan == CachePlan::None { run.passes.len() } else { 3 };
            assert_eq!(full, expected, "{name} {}", plan.name());
            let begin = |range: &Range<usize>| {
                let pass =
                    run.passes.iter().find(|pass| pass.revealed.iter().any(|c| range.contains(&c.pos)));
                pass.unwrap().rows.clone()
            };
            assert!(run.blocks.iter().all(|block| begin(block) == (0..34)), "{name} {}", plan.name());
            let later = |pass: &&SeenPass| pass.rows != (0..34);
            let block_of = |pass: &SeenPass| {
                let holds = |block: &&Range<usize>| block.contains(&pass.revealed[0].pos);
                run.blocks.iter().find(holds).unwrap().clone()
            };
            for pass in run.passes.iter().filter(later) {
                let block = block_of(pass);
                let expected = if plan == CachePlan::Dual { block } else { block.start..34 };
                assert_eq!(pass.rows, expected, "{name} {}", plan.name());
            }
        }
    }
}

/// What a pass revealed are the draws from the logits of a full pass over the same canvas, to the bit.
fn check_exact(engine: &Engine, policy: &Policy, pass: &SeenPass) {
    let mut session = engine.session().unwrap();
    let len = pass.canvas.len();
    session.forward(&pass.canvas, 0, &Visible::all(0..len, 0..len), &mut Probe::none()).unwrap();
    let shift = usize::from(engine.arch().alignment == Alignment::Shifted);
    let rows: Vec<usize> = pass.revealed.iter().map(|c| c.pos - shift).collect();
    let logits = session.logits(&rows, &mut Probe::none());
    for (i, revealed) in pass.revealed.iter().enumerate() {
        let mut row = logits.row(i).to_vec();
        row[engine.mask().unwrap() as usize] = f32::NEG_INFINITY;
        let mut stream = Rng::new(0).stream(0, 0);
        let drawn = policy.draw.draw(engine.kernels(), &row, policy.score, &mut stream).unwrap();
        let found = (revealed.token, revealed.score.to_bits());
        assert_eq!((drawn.token, drawn.score.to_bits()), found, "position {}", revealed.pos);
    }
}
