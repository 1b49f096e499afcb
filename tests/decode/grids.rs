//! Where blocks lie, and what becomes of them, in the families that came with the dLLM framework, Stable-DiffCoder and
//! Nemotron-Labs-Diffusion: blocks that begin with the answer, a last block that is short, passes that keep what they predict.

use super::*;
use diffulex::cache::{Attention, Visible};
use diffulex::model::Probe;
use diffulex::sampler::{Commit, Grid};

const NEMOTRON: &str = "nemotron-diffusion-f32";

fn strategy(name: &str, block: usize) -> Policy {
    let mut policy = policy(name);
    policy.schedule.block = Some(block);
    policy
}

#[test]
fn blocks_lie_where_the_grid_says_and_the_last_one_ends_with_the_text() {
    for (name, grid) in [
        ("a2d-qwen3-f32", Grid::Open),
        ("stable-diffcoder-f32", Grid::Cut),
        (NEMOTRON, Grid::Open),
        ("sdar-f32", Grid::Whole),
    ] {
        let (engine, policy) = (engine(name), policy_of(name));
        assert_eq!(policy.schedule.grid, grid, "{name}");
        for (len, new) in [(1, 1), (7, 9), (8, 16), (9, 3), (16, 21), (23, 8)] {
            let ids = prompt(&engine, len, 3);
            let run = fresh(&engine, &Request::new(&ids, new, &policy));
            let end = if grid == Grid::Whole { (len + new).next_multiple_of(8) } else { len + new };
            let mut bounds: Vec<usize> = match grid {
                Grid::Open => (len..end).step_by(8).collect(),
                Grid::Whole | Grid::Cut => (len / 8 * 8..end).step_by(8).collect(),
            };
            bounds.push(end);
            let blocks: Vec<_> = bounds.windows(2).map(|pair| pair[0]..pair[1]).collect();
            assert_eq!(run.blocks, blocks, "{name}: {new} after {len}");
            assert_eq!((run.generation.canvas.len(), run.generation.tokens.len()), (end, new), "{name}");
            assert!(run.passes.iter().all(|pass| pass.rows.end <= end), "{name}");
        }
    }
}

#[test]
fn a_longer_conversation_goes_on_where_its_keys_are_the_same() {
    for (name, block, reuses) in [
        ("bd3lm", 8, false),
        ("stable-diffcoder", 8, true),
        ("nemotron-diffusion", 8, true),
        ("nemotron-full", 8, false),
        ("nemotron-autoregressive", 1, true),
        ("nemotron-speculative", 8, true),
    ] {
        let model = GRIDS.into_iter().find(|model| model[..3] == name[..3]).unwrap_or("a2d-qwen3-f32");
        let (engine, policy) = (engine(model), strategy(name, block));
        let (mut session, mut ids) = (engine.session().unwrap(), prompt(&engine, 21, 2));
        for turn in 0..4 {
            let request = Request::new(&ids, 18, &policy);
            let (ours, alone) = (run(&mut session, &request), fresh(&engine, &request));
            assert_eq!(ours.decisions(), alone.decisions(), "{name}, turn {turn}");
            let reused = alone.prefilled() - ours.prefilled();
            assert_eq!(reused > 0, reuses && turn > 0, "{name}, turn {turn}: {reused}");
            ids.extend(ours.generation.tokens);
            ids.extend(prompt(&engine, 5, turn + 50));
        }
    }
}

#[test]
fn padding_alone_sees_padding() {
    let engine = engine(NEMOTRON);
    for name in ["nemotron-diffusion", "nemotron-full", "nemotron-speculative"] {
        let policy = strategy(name, 4);
        let ids = prompt(&engine, 6, 9);
        let texts: Vec<_> = [0, 3, 5, 6]
            .map(|padding| {
                fresh(&engine, &Request { padding, ..Request::new(&ids, 9, &policy) }).generation.tokens
            })
            .into();
        assert!(texts.iter().all(|text| text.len() == 9), "{name}");
        // What nobody sees may be anything.
        let mut other = ids.clone();
        other[..3].fill(200);
        let request = Request { padding: 3, ..Request::new(&other, 9, &policy) };
        assert_eq!(fresh(&engine, &request).generation.tokens, texts[1], "{name}");
    }
}

#[test]
fn a_larger_block_than_the_text_is_the_text() {
    for name in GRIDS {
        let (engine, mut policy) = (engine(name), policy_of(name));
        let ids = prompt(&engine, 11, 5);
        let mut texts = [30, 500, usize::MAX].map(|block| {
            policy.schedule.block = Some(block);
            fresh(&engine, &Request::new(&ids, 9, &policy)).decisions()
        });
        texts[0].0.truncate(20);
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
    }
}

/// Greedy decoding of one token after the other, without the decoding loop.
fn plain_autoregression(engine: &Engine, prompt: &[TokenId], new: usize) -> Vec<TokenId> {
    let (mask, mut ids) = (engine.mask().unwrap(), prompt.to_vec());
    let mut session = engine.session().unwrap();
    for _ in 0..new {
        let visible = Visible::by_rule(Attention::CAUSAL, 0..ids.len(), 0, ids.len());
        session.forward(&ids, 0, &visible, &mut Probe::none()).unwrap();
        let logits = session.logits(&[ids.len() - 1], &mut Probe::none());
        let row = logits.row(0);
        let best = (0..row.len()).filter(|&id| id != mask as usize);
        ids.push(best.fold(0, |best, id| if row[id] > row[best] { id } else { best }) as TokenId);
    }
    ids.split_off(prompt.len())
}

#[test]
fn self_speculation_is_greedy_autoregression_token_for_token() {
    let engine = engine(NEMOTRON);
    let autoregressive = Policy::named("nemotron-autoregressive").unwrap();
    let (mut kept, mut drafts) = (0, 0);
    for seed in 0..12 {
        let ids = prompt(&engine, 1 + 5 * seed as usize % 23, seed);
        let new = 17 + seed as usize;
        let expected = plain_autoregression(&engine, &ids, new);
        let one_by_one = fresh(&engine, &Request::new(&ids, new, &autoregressive));
        assert_eq!(one_by_one.generation.tokens, expected, "seed {seed}");
        for block in [1, 2, 3, 8, 32, 500] {
            let policy = strategy("nemotron-speculative", block);
            let run = fresh(&engine, &Request::new(&ids, new, &policy));
            assert_eq!(run.generation.tokens, expected, "seed {seed}, block {block}");
            // With a stop id in the text, as well.
            let stop = [expected[new / 2]];
            let request = |policy| Request { stop: &stop, ..Request::new(&ids, new, policy) };
            let (ours, theirs) =
                (fresh(&engine, &request(&policy)), fresh(&engine, &request(&autoregressive)));
            assert_eq!(ours.generation.tokens, theirs.generation.tokens, "seed {seed}, block {block}");
            assert_eq!(ours.generation.stop, theirs.generation.stop, "seed {seed}, block {block}");
            if block == 8 {
                drafts += run.passes_of(PassKind::Denoise).count();
                kept += run.blocks.iter().map(|block| block.len() - 1).sum::<usize>();
            }
        }
    }
    assert!(kept > 0 && kept < 7 * drafts, "{kept} tokens of {drafts} drafts: both outcomes are tested");
    // Without a prompt there is nothing to predict the first token from but its own mask.
    let texts = ["nemotron-autoregressive", "nemotron-speculative"].map(|name| {
        let policy = Policy::named(name).unwrap();
        fresh(&engine, &Request::new(&[], 12, &policy)).generation.tokens
    });
    assert!(texts[0] == texts[1] && texts[0].len() == 12, "{texts:?}");
}

#[test]
fn what_a_draft_cannot_do_is_refused_by_name() {
    let engine = engine(NEMOTRON);
    let refused = |prompt: &[TokenId], change: &dyn Fn(&mut Policy)| {
        let mut policy = strategy("nemotron-speculative", 8);
        change(&mut policy);
        let mut session = engine.session().unwrap();
        let result = session.generate(&Request::new(prompt, 8, &policy), &mut |_| Ok(Control::Continue));
        result.unwrap_err().to_string()
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Policy));
    let changes: [Change<'_>; 7] = [
        ("steps", &|p| p.schedule.steps = Steps::PerBlock(2)),
        ("threshold", &|p| p.unmask = Unmask::LeftToRight),
        ("temperature", &|p| p.draw.temperature = 0.5),
        ("repetition-penalty", &|p| p.draw.repetition_penalty = 1.1),
        ("cfg", &|p| p.guidance = 1.0),
        ("strategy", &|p| p.schedule.grid = Grid::Whole),
        ("strategy", &|p| p.right_shift = true),
    ];
    for (option, change) in changes {
        let message = refused(&[9, 8, 11], change);
        assert!(message.contains(&format!("`{option}`")), "{option}: {message}");
    }
    let mask = engine.mask().unwrap();
    let message = refused(&[9, mask, 11], &|_| {});
    assert!(message.contains("known text follows a mask"), "{message}");
    // Other models make no block final causally.
    for (model, commit) in [("sdar-f32", Commit::Full), ("stable-diffcoder-f32", Commit::Full)] {
        let policy = Policy { commit, ..policy_of(model) };
        let message = super::engine(model).check(&policy).unwrap_err().to_string();
        assert!(message.contains("`strategy`") && message.contains("causally"), "{message}");
    }
    // Blocks that begin with a token from elsewhere cannot be edited alone.
    let editing = Some(Editing { tau: 0.9, passes: 4 });
    let message = engine.check(&Policy { editing, ..policy_of(NEMOTRON) }).unwrap_err().to_string();
    assert!(message.contains("`edit-threshold`"), "{message}");
}

#[test]
fn a_bidirectional_family_is_block_causal_if_the_policy_keeps_blocks() {
    let engine = engine("a2d-qwen3-f32");
    assert_eq!((engine.arch().attention, engine.arch().trained_block), (Attention::Bidirectional, Some(32)));
    for plan in CachePlan::ALL {
        let policy = Policy { cache: plan, ..policy_of("a2d-qwen3-f32") };
        engine.check(&policy).unwrap_or_else(|error| panic!("{}: {error}", plan.name()));
    }
    // Which of the two a model is, its name says.
    let policies =
        ["a/b", "mdlm/Qwen3-0.6B-diffusion-bd3lm-v0.1", "bd3lm/Qwen-MDLM/snapshots/0"].map(|path| {
            let path = std::path::Path::new(path);
            (
                engine.arch().clone().named_by(path).policy,
                super::engine("dream-f32").arch().clone().named_by(path).policy,
            )
        });
    assert_eq!(policies, ["mdlm", "bd3lm", "mdlm"].map(|policy| (policy, "dream-entropy")));
    // Others are what they are.
    let policy = Policy { cache: CachePlan::Block, ..policy_of("llada-f32") };
    assert!(super::engine("llada-f32").check(&policy).unwrap_err().to_string().contains("`cache`"));
}

#[test]
fn a_shifted_sampler_has_a_candidate_for_the_first_position_of_a_block() {
    let engine = engine("a2d-qwen3-f32");
    let mut policy = strategy("bd3lm", 4);
    policy.right_shift = true;
    let mut later = 0;
    for (run, block) in (0..8).flat_map(|seed| {
        let run = fresh(&engine, &Request::new(&prompt(&engine, 10, seed), 12, &policy));
        run.blocks.clone().into_iter().map(move |block| (run.clone(), block))
    }) {
        let of_block =
            |pass: &&SeenPass| pass.kind == PassKind::Denoise && block.contains(&(pass.rows.end - 1));
        let passes: Vec<_> = run.passes.iter().filter(of_block).collect();
        assert_eq!(passes.len(), 4, "one token in each pass");
        later += passes.iter().skip(1).filter(|pass| pass.revealed[0].pos == block.start).count();
    }
    assert!(later > 0, "the first position of a block need not be the first that is revealed");
}
