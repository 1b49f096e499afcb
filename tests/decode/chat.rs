//! Sessions that live on: a prompt that begins as the last conversation did is not computed again, and nothing else changes.

use super::*;
use diffulex::Error;
use diffulex::cache::Visible;
use diffulex::engine::{Standard, StopReason};
use diffulex::model::Probe;

/// The same decisions as in a session of its own; returns how many prompt positions were taken from the cache.
fn same_as_fresh(engine: &Engine, session: &mut Session<'_>, request: &Request<'_>, case: &str) -> usize {
    let (ours, alone) = (run(session, request), fresh(engine, request));
    assert_eq!(ours.decisions(), alone.decisions(), "{case}");
    assert_eq!(ours.generation.tokens, alone.generation.tokens, "{case}");
    alone.prefilled() - ours.prefilled()
}

#[test]
fn a_conversation_goes_on_without_computing_it_again() {
    for name in BLOCK_CAUSAL {
        for temperature in [0.0, 0.8] {
            for kv in [KvDtype::F32, KvDtype::F16] {
                let engine = builder(name).kv(kv).open(fixture::golden(name)).unwrap();
                let mut policy = policy_of(name);
                policy.draw.temperature = temperature;
                let mut session = engine.session().unwrap();
                let mut ids = prompt(&engine, 21, 2);
                for turn in 0..4 {
                    let request = Request { seed: turn, ..Request::new(&ids, 19, &policy) };
                    let case = format!("{name}, temperature {temperature}, turn {turn}");
                    let reused = same_as_fresh(&engine, &mut session, &request, &case);
                    // All but the last block of the turn before is committed: 21 + 19 positions end with a block, and 5
                    // more (the question) leave a rest. What was said is in the cache except for that block.
                    let said = if turn == 0 { 0 } else { ids.len() - 5 };
                    let least = (said / 8 * 8).saturating_sub(8);
                    assert!(reused >= least && (turn == 0) == (reused == 0), "{case}: {reused} of {said}");
                    ids.extend(run(&mut session, &request).generation.tokens);
                    ids.extend(prompt(&engine, 5, turn + 50));
                }
            }
        }
    }
}

#[test]
fn a_prompt_that_diverges_keeps_the_blocks_before_that() {
    for name in BLOCK_CAUSAL {
        let engine = engine(name);
        let policy = policy_of(name);
        let first = prompt(&engine, 42, 2);
        for at in [0, 5, 7, 8, 20, 39, 40, 41] {
            let mut session = engine.session().unwrap();
            run(&mut session, &Request::new(&first, 10, &policy));
            let mut second = first.clone();
            second[at] = (second[at] + 1) % 200;
            let reused = same_as_fresh(&engine, &mut session, &Request::new(&second, 10, &policy), name);
            assert_eq!(reused, at / 8 * 8, "{name}: differs at {at}");
            // Back to the first prompt, which is only in the cache as far as the two agree.
            let reused = same_as_fresh(&engine, &mut session, &Request::new(&first, 10, &policy), name);
            assert_eq!(reused, at / 8 * 8, "{name}: differs at {at}, and back");
            // A prompt that fills its blocks: where its last row predicts the next token, that row is computed again.
            let reused = same_as_fresh(&engine, &mut session, &Request::new(&first[..32], 10, &policy), name);
            assert_eq!(reused, if name == "fastdllm2-f32" { 24 } else { 32 }, "{name}: shorter");
        }
    }
}

#[test]
fn what_changes_the_keys_is_not_taken_from_the_cache() {
    for name in BLOCK_CAUSAL {
        let engine = engine(name);
        let ids = prompt(&engine, 34, 8);
        let mut session = engine.session().unwrap();
        for (block, padding) in [(8, 0), (4, 0), (8, 0), (16, 0), (8, 8), (8, 0), (8, 3)] {
            let mut policy = policy_of(name);
            policy.schedule.block = Some(block);
            let request = Request { padding, ..Request::new(&ids, 12, &policy) };
            let case = format!("{name}, blocks of {block}, padding {padding}");
            assert_eq!(same_as_fresh(&engine, &mut session, &request, &case), 0, "{case}");
        }
        let mut other = policy_of(name);
        other.unmask = Unmask::LeftToRight;
        run(&mut session, &Request::new(&ids, 12, &policy_of(name)));
        let reused = same_as_fresh(&engine, &mut session, &Request::new(&ids, 12, &other), name);
        assert_eq!(reused, 32, "{name}: another way to choose positions does not change the keys");
        session.rewind(16);
        let reused = same_as_fresh(&engine, &mut session, &Request::new(&ids, 12, &other), name);
        assert_eq!(reused, 16, "{name}: rewound by hand");
        // Rows that the caller committed are not known to belong to any token.
        let first = session.committed();
        let visible = Visible::all(first..first + 3, 0..first + 3);
        session.forward(&[1, 2, 3], first, &visible, &mut Probe::none()).unwrap();
        session.commit(3);
        let reused = same_as_fresh(&engine, &mut session, &Request::new(&ids, 12, &other), name);
        assert_eq!(reused, 0, "{name}: committed by hand");
    }
}

#[test]
fn plans_of_bidirectional_models_follow_each_other_in_one_session() {
    for name in BIDIRECTIONAL {
        let engine = engine(name);
        let mut session = engine.session().unwrap();
        use CachePlan::{Dual, None as Nothing, Prefix};
        for (turn, plan) in [Dual, Nothing, Prefix, Dual, Prefix, Nothing, Nothing].into_iter().enumerate() {
            let mut policy = policy_of(name);
            policy.cache = plan;
            policy.draw.temperature = [0.0, 0.7][turn % 2];
            let ids = prompt(&engine, 5 + 3 * turn, 8);
            same_as_fresh(&engine, &mut session, &Request::new(&ids, 20, &policy), name);
        }
    }
}

/// A stop at any event leaves a part of what the whole run decides, and a session that continues as if it were new.
#[test]
fn a_cancelled_generation_is_the_beginning_of_the_whole_one() {
    for name in FAMILIES {
        let engine = engine(name);
        let policy = policy_of(name);
        let ids = prompt(&engine, 19, 8);
        let request = Request::new(&ids, 22, &policy);
        let mut events = 0;
        let whole = watch(&mut engine.session().unwrap(), &request, &mut |_| {
            events += 1;
            Ok(Control::Continue)
        });
        let (whole, mask) = (whole.unwrap(), engine.mask().unwrap());
        assert_eq!(whole.generation.stop, StopReason::Length);
        let mut session = engine.session().unwrap();
        for last in 0..events {
            // What the last round left must not shorten this one.
            session.rewind(0);
            let mut seen = 0;
            let part = watch(&mut session, &request, &mut |_| {
                seen += 1;
                Ok(if seen > last { Control::Stop } else { Control::Continue })
            });
            let part = part.unwrap();
            let case = format!("{name}, stopped at event {last} of {events}");
            assert_eq!(part.generation.stop, StopReason::Cancelled, "{case}");
            let agree = |(a, b): (&TokenId, &TokenId)| a == b || *a == mask;
            let pairs = part.generation.canvas.iter().zip(&whole.generation.canvas);
            assert!(pairs.clone().all(agree), "{case}: decided otherwise");
            assert!(whole.generation.tokens.starts_with(&part.generation.tokens), "{case}");
            assert!(seen <= last + 2, "{case}: {} events after the stop", seen - last - 1);
            same_as_fresh(&engine, &mut session, &request, &case);
        }
    }
}

/// A generation that is left, or cancelled, between two passes leaves a session that continues as if it were new.
#[test]
fn a_generation_may_be_taken_a_pass_at_a_time() {
    for name in FAMILIES {
        let engine = engine(name);
        let policy = policy_of(name);
        let ids = prompt(&engine, 19, 8);
        let request = Request::new(&ids, 22, &policy);
        let whole = engine.session().unwrap().generate(&request, &mut |_| Ok(Control::Continue)).unwrap();
        let mut session = engine.session().unwrap();
        for passes in [whole.nfe, 0, 1, 2, 3, 4, whole.nfe] {
            session.rewind(0);
            let case = format!("{name}, left after {passes} passes");
            let mut generating = session.begin(&request, &Standard).unwrap();
            for _ in 0..passes {
                let done = session.step(&mut generating, &mut |_| Ok(Control::Continue)).unwrap();
                assert!(done.is_none(), "{case}");
            }
            if passes == whole.nfe {
                let done = session.step(&mut generating, &mut |_| Ok(Control::Continue)).unwrap().unwrap();
                assert_eq!((done.canvas, done.nfe), (whole.canvas.clone(), whole.nfe), "{case}");
            } else if passes % 2 == 0 {
                generating.cancel();
                let done = session.step(&mut generating, &mut |_| panic!("{case}: an event")).unwrap();
                assert_eq!(done.unwrap().stop, StopReason::Cancelled, "{case}");
            }
            same_as_fresh(&engine, &mut session, &request, &case);
        }
    }
}

#[test]
fn a_stop_during_the_prompt_makes_no_other_pass() {
    for name in BLOCK_CAUSAL {
        let engine = engine(name);
        let policy = policy_of(name);
        let ids = prompt(&engine, 1200, 8);
        let mut session = engine.session().unwrap();
        let stopped =
            watch(&mut session, &Request::new(&ids, 16, &policy), &mut |_| Ok(Control::Stop)).unwrap();
        assert_eq!((stopped.generation.nfe, stopped.generation.stop), (1, StopReason::Cancelled), "{name}");
        assert!(stopped.generation.tokens.is_empty(), "{name}");
        let reused = same_as_fresh(&engine, &mut session, &Request::new(&ids, 16, &policy), name);
        assert_eq!(reused, stopped.prefilled(), "{name}: the piece that was computed is kept");
    }
}

#[test]
fn an_error_leaves_the_session_as_it_was() {
    for name in FAMILIES {
        let engine = engine(name);
        let policy = policy_of(name);
        let ids = prompt(&engine, 20, 8);
        let mut session = engine.session().unwrap();
        run(&mut session, &Request::new(&ids, 12, &policy));
        let error = session.generate(&Request::new(&[1, 9999], 12, &policy), &mut |_| Ok(Control::Continue));
        assert!(matches!(error, Err(Error::TokenId { id: 9999, .. })), "{name}: {error:?}");
        let reused = same_as_fresh(&engine, &mut session, &Request::new(&ids, 12, &policy), name);
        assert_eq!(reused > 0, BLOCK_CAUSAL.contains(&name), "{name}");
    }
}
