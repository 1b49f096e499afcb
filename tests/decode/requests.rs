//! Requests: which are refused before any work, and what guidance, penalty and padding do.

use super::*;
use diffulex::Error;
use diffulex::cache::{Attention, Visible};
use diffulex::model::{Alignment, Probe};

/// The error of a request, which must come before any event.
fn refusal(engine: &Engine, request: &Request<'_>) -> Error {
    let result = engine.session().unwrap().generate(request, &mut |_| panic!("work before the error"));
    result.expect_err("the request is invalid")
}

#[test]
fn a_text_that_does_not_fit_is_refused_before_any_work() {
    for name in FAMILIES {
        let engine = builder(name).context(24).open(fixture::golden(name)).unwrap();
        let policy = policy_of(name);
        let blocks = BLOCK_CAUSAL.contains(&name);
        let ids = prompt(&engine, 17, 1);
        assert_eq!(fresh(&engine, &Request::new(&ids, 7, &policy)).generation.canvas.len(), 24);
        let whole = if blocks { usize::MAX } else { 0 };
        for (max_new, expected) in [(8, if blocks { 32 } else { 25 }), (usize::MAX, usize::MAX | whole)] {
            match refusal(&engine, &Request::new(&ids, max_new, &policy)) {
                Error::Capacity { limit: 24, asked, .. } => assert_eq!(asked, expected, "{name}"),
                other => panic!("{name}: {other}"),
            }
        }
        let ids = prompt(&engine, 25, 1);
        let error = refusal(&engine, &Request::new(&ids, 0, &policy));
        assert!(matches!(error, Error::Capacity { limit: 24, .. }), "{name}: {error}");
    }
}

#[test]
fn ids_outside_the_vocabulary_are_refused_before_any_work() {
    for name in FAMILIES {
        let engine = engine(name);
        let (policy, vocab) = (policy_of(name), engine.arch().dims.vocab);
        for (ids, stop) in [([3, vocab as TokenId], [1]), ([3, 4], [vocab as TokenId])] {
            let error = refusal(&engine, &Request { stop: &stop, ..Request::new(&ids, 8, &policy) });
            assert!(matches!(error, Error::TokenId { id, vocab: v } if id == vocab as i64 && v == vocab));
        }
    }
}

#[test]
fn plans_and_blocks_of_another_family_are_refused() {
    for name in FAMILIES {
        let engine = engine(name);
        let refused = |change: &dyn Fn(&mut Policy)| {
            let mut policy = policy_of(name);
            change(&mut policy);
            let message = refusal(&engine, &Request::new(&[1, 2, 3], 8, &policy)).to_string();
            assert_eq!(engine.check(&policy).unwrap_err().to_string(), message, "without a request");
            message
        };
        let (others, known) = match BLOCK_CAUSAL.contains(&name) {
            true => {
                (vec![CachePlan::None, CachePlan::Prefix, CachePlan::Dual], "support block and sub-block")
            }
            false => (vec![CachePlan::Block, CachePlan::SubBlock], "support none, prefix and dual"),
        };
        for plan in others {
            let message = refused(&|policy| policy.cache = plan);
            let expected =
                format!("option `cache`: `{}` given, {} models", plan.name(), engine.arch().family);
            assert!(message.starts_with(&expected) && message.ends_with(known), "{message}");
        }
        let message = refused(&|policy| policy.draw.temperature = -1.0);
        assert!(message.starts_with("option `temperature`: -1 given"), "{message}");
        if BLOCK_CAUSAL.contains(&name) {
            let message = refused(&|policy| policy.schedule.sub_block = Some(3));
            assert_eq!(message, "option `sub-block`: 3 given, a divisor of the block (8) expected");
        }
    }
}

#[test]
fn requests_without_anything_to_do_are_refused() {
    for name in FAMILIES {
        let engine = engine(name);
        let (policy, mask) = (policy_of(name), engine.mask().unwrap());
        let mut ids = prompt(&engine, 16, 1);
        for ids in [&[][..], &ids] {
            let message = refusal(&engine, &Request::new(ids, 0, &policy)).to_string();
            assert!(message.starts_with("option `max-tokens`: 0 given"), "{name}: {message}");
        }
        let message =
            refusal(&engine, &Request { padding: 17, ..Request::new(&ids, 4, &policy) }).to_string();
        assert_eq!(message, "option `padding`: 17 given, at most the prompt's 16 expected", "{name}");
        ids[2] = mask;
        let message = refusal(&engine, &Request { padding: 3, ..Request::new(&ids, 0, &policy) }).to_string();
        assert!(message.starts_with("option `padding`: the padding has a mask token"), "{name}: {message}");
    }
}

#[test]
fn a_model_without_a_mask_id_says_so() {
    let engine = Engine::builder().open(fixture::golden("fastdllm2-f32")).unwrap();
    let message = refusal(&engine, &Request::new(&[1], 4, &policy_of("fastdllm2-f32"))).to_string();
    assert!(message.starts_with("option `mask-id`:"), "{message}");
}

/// The logits of one full pass, as the engine should see them.
fn full_logits(engine: &Engine, canvas: &[TokenId], rows: &[usize]) -> Vec<Vec<f32>> {
    let mut session = engine.session().unwrap();
    let len = canvas.len();
    let rule = match engine.arch().attention {
        Attention::BlockCausal { .. } => Attention::BlockCausal { block: 8 },
        Attention::Bidirectional => Attention::Bidirectional,
    };
    let visible = Visible::by_rule(rule, 0..len, 0, len);
    session.forward(canvas, 0, &visible, &mut Probe::none()).unwrap();
    let logits = session.logits(rows, &mut Probe::none());
    (0..rows.len()).map(|i| logits.row(i).to_vec()).collect()
}

fn argmax(row: &[f32]) -> TokenId {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    best.unwrap() as TokenId
}

#[test]
fn guidance_pushes_away_from_the_logits_without_a_prompt() {
    // With the cache of finished blocks, both sides have one of their own.
    for name in BIDIRECTIONAL.into_iter().chain(["sdar-f32"]) {
        let engine = builder(name).kv(KvDtype::F32).open(fixture::golden(name)).unwrap();
        let (mask, ids) = (engine.mask().unwrap(), prompt(&engine, 9, 1));
        let shift = usize::from(engine.arch().alignment == Alignment::Shifted);
        let with = |guidance| {
            let mut policy = policy_of(name);
            if name == "sdar-f32" {
                // As many steps with guidance as without.
                policy.unmask = Policy::named("sdar-static").unwrap().unmask;
            }
            policy.guidance = guidance;
            fresh(&engine, &Request::new(&ids, 15, &policy))
        };
        let (plain, guided) = (with(0.0), with(1.5));
        assert_ne!(plain.generation.tokens, guided.generation.tokens, "{name}");
        assert_eq!(plain.generation.nfe, guided.generation.nfe, "{name}: a pass with guidance counts once");
        // Too little to change anything but rounding.
        assert_eq!(with(1e-8).generation.tokens, plain.generation.tokens, "{name}");
        for pass in &guided.passes {
            let rows: Vec<usize> = pass.revealed.iter().map(|c| c.pos - shift).collect();
            let mut without = pass.canvas.clone();
            without[..9].fill(mask);
            let (x, u) = (full_logits(&engine, &pass.canvas, &rows), full_logits(&engine, &without, &rows));
            for (i, revealed) in pass.revealed.iter().enumerate() {
                let mut row: Vec<f32> = x[i].iter().zip(&u[i]).map(|(x, u)| u + 2.5 * (x - u)).collect();
                row[mask as usize] = f32::NEG_INFINITY;
                assert_eq!(argmax(&row), revealed.token, "{name}, position {}", revealed.pos);
            }
        }
    }
}

#[test]
fn a_repetition_penalty_lowers_what_was_said_and_forbids_nothing_else() {
    for name in BIDIRECTIONAL {
        let engine = builder(name).tokens(310, vec![5, 6]).open(fixture::golden(name)).unwrap();
        let mask = engine.mask().unwrap();
        let shift = usize::from(engine.arch().alignment == Alignment::Shifted);
        // Forbidden ids are in the prompt: a penalty below 1 prefers them.
        let ids: Vec<TokenId> = [5, 6, 311].into_iter().chain(prompt(&engine, 6, 1)).collect();
        let with = |penalty| {
            let mut policy = policy_of(name);
            policy.draw.repetition_penalty = penalty;
            fresh(&engine, &Request::new(&ids, 16, &policy))
        };
        let plain = with(1.0);
        for penalty in [1.5f32, 100.0, 0.2] {
            let run = with(penalty);
            assert_ne!(run.generation.tokens, plain.generation.tokens, "{name}, penalty {penalty}");
            for pass in &run.passes {
                let rows: Vec<usize> = pass.revealed.iter().map(|c| c.pos - shift).collect();
                for (row, revealed) in
                    full_logits(&engine, &pass.canvas, &rows).iter_mut().zip(&pass.revealed)
                {
                    for (id, logit) in row.iter_mut().enumerate() {
                        let seen = pass.canvas.contains(&(id as TokenId));
                        let scaled = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                        *logit = if seen { scaled } else { *logit };
                        if id as TokenId == mask || id >= 310 || id == 5 || id == 6 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                    assert_eq!(argmax(row), revealed.token, "{name}, penalty {penalty}");
                }
            }
        }
    }
}

/// Padding is never attended to, and a shift of all positions turns all rotations alike.
#[test]
fn padding_changes_nothing() {
    for name in FAMILIES {
        let engine = engine(name);
        let ids = prompt(&engine, 11, 1);
        let mut policy = policy_of(name);
        for (padding, plan) in [(8, 0), (16, 1), (24, 2)] {
            if BIDIRECTIONAL.contains(&name) {
                policy.cache = [CachePlan::None, CachePlan::Prefix, CachePlan::Dual][plan];
            }
            let padded = |fill: u64| {
                let mut all = prompt(&engine, padding, fill);
                all.extend(&ids);
                fresh(&engine, &Request { padding, ..Request::new(&all, 20, &policy) })
            };
            let (run, other) = (padded(100), padded(200));
            let alone = fresh(&engine, &Request::new(&ids, 20, &policy));
            assert_eq!(run.generation.tokens, alone.generation.tokens, "{name}, {padding} padded");
            assert_eq!(run.decisions().1, other.decisions().1, "{name}: what the padding holds matters");
        }
        for padding in 0..=11 {
            let run = fresh(&engine, &Request { padding, ..Request::new(&ids, 20, &policy) });
            assert_eq!(run.generation.tokens.len(), 20, "{name}: all of {padding} positions padded");
        }
    }
}

#[test]
fn a_block_larger_than_the_text_is_the_text() {
    for name in BIDIRECTIONAL {
        let engine = engine(name);
        let ids = prompt(&engine, 5, 1);
        let blocks_of = |block| {
            let mut policy = policy_of(name);
            policy.schedule.block = block;
            let run = fresh(&engine, &Request::new(&ids, 12, &policy));
            assert_eq!(run.generation.tokens.len(), 12, "{name}: {block:?}");
            (run.blocks.clone(), run.decisions())
        };
        assert_eq!(blocks_of(Some(usize::MAX)), blocks_of(None), "{name}");
    }
}
