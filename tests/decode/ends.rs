//! Where the text ends: stop ids inside a block, at its beginning, in the prompt; infilling.

use super::*;
use diffulex::Error;
use diffulex::engine::StopReason;

/// Every id of the text as the stop id.
#[test]
fn the_first_stop_id_cuts_the_text_wherever_it_stands() {
    for name in FAMILIES {
        let engine = engine(name);
        let (policy, mask) = (policy_of(name), engine.mask().unwrap());
        let (mut first_of_block, mut early) = (0, 0);
        for seed in 8..14 {
            let ids = prompt(&engine, 13, seed);
            let whole = fresh(&engine, &Request::new(&ids, 27, &policy));
            let text = &whole.generation.tokens;
            assert_eq!((text.len(), whole.generation.stop), (27, StopReason::Length), "{name}");
            for id in text {
                let stop = [*id];
                let run = fresh(&engine, &Request { stop: &stop, ..Request::new(&ids, 27, &policy) });
                let cut = text.iter().position(|other| other == id).unwrap();
                let case = format!("{name}, stop id {id} at {cut}");
                assert_eq!(run.generation.tokens, &text[..cut], "{case}");
                assert_eq!(run.generation.stop, StopReason::Stop(*id), "{case}");
                // Passes after the block of the stop id would be wasted: what comes later was not even begun.
                let block = whole.blocks.iter().find(|block| block.contains(&(13 + cut))).unwrap();
                let begun = run.passes.iter().flat_map(|pass| &pass.revealed).all(|c| c.pos < block.end);
                assert!(begun && run.generation.nfe <= whole.generation.nfe, "{case}");
                first_of_block += usize::from(13 + cut == block.start);
                early += usize::from(run.generation.canvas[block.clone()].contains(&mask));
            }
        }
        assert!(first_of_block > 0, "{name}: no stop id was the first of its block");
        assert_eq!(early > 0, name == "fastdllm2-f32", "{name}: ends inside a block");
    }
}

#[test]
fn a_stop_id_in_the_prompt_ends_nothing() {
    for name in FAMILIES {
        let engine = engine(name);
        let policy = policy_of(name);
        for len in [9, 13, 16] {
            let mut ids = prompt(&engine, len, 8);
            (ids[1], ids[len - 1]) = (7, 7);
            let whole = fresh(&engine, &Request::new(&ids, 18, &policy));
            assert!(!whole.generation.tokens.contains(&7), "{name}: the test needs another id");
            let stopped = fresh(&engine, &Request { stop: &[7], ..Request::new(&ids, 18, &policy) });
            assert_eq!(stopped.decisions(), whole.decisions(), "{name}, {len} known");
            assert_eq!(stopped.generation.stop, StopReason::Length, "{name}");
        }
    }
}

#[test]
fn bidirectional_models_fill_in_masks_anywhere() {
    for name in BIDIRECTIONAL {
        let engine = engine(name);
        let mask = engine.mask().unwrap();
        for plan in [CachePlan::None, CachePlan::Prefix, CachePlan::Dual] {
            let mut policy = policy_of(name);
            policy.cache = plan;
            let known = prompt(&engine, 30, 8);
            let mut ids = known.clone();
            ids[3..6].fill(mask);
            // The second block (11..19) begins with a known id.
            ids[14..21].fill(mask);
            for max_new in [0, 5] {
                let run = fresh(&engine, &Request::new(&ids, max_new, &policy));
                let case = format!("{name}, cache {}, {max_new} new", plan.name());
                let generation = &run.generation;
                assert_eq!(generation.filled, [3..6, 14..21], "{case}");
                assert_eq!(
                    (generation.tokens.len(), generation.new_tokens()),
                    (max_new, max_new + 10),
                    "{case}"
                );
                assert!(!generation.canvas.contains(&mask), "{case}");
                for (pos, id) in known.iter().enumerate().filter(|(pos, _)| ids[*pos] != mask) {
                    assert_eq!(generation.canvas[pos], *id, "{case}: position {pos} was known");
                }
                let idle = run.passes.iter().filter(|pass| pass.revealed.is_empty()).count();
                assert_eq!(idle, 0, "{case}: passes that revealed nothing");
                assert_eq!(generation.stop, StopReason::Length, "{case}");
            }
        }
    }
}

#[test]
fn what_follows_a_mask_changes_what_is_filled_in() {
    let engine = engine("llada-f32");
    let (mask, policy) = (engine.mask().unwrap(), policy_of("llada-f32"));
    let fill = |suffix: TokenId| {
        let ids = [20, 30, mask, mask, mask, suffix, suffix + 1];
        fresh(&engine, &Request::new(&ids, 0, &policy)).generation.canvas[2..5].to_vec()
    };
    assert!((40..60).any(|suffix| fill(suffix) != fill(100)));
}

#[test]
fn block_causal_models_fill_in_masks_of_the_last_known_block() {
    for name in BLOCK_CAUSAL {
        let engine = engine(name);
        let (mask, policy) = (engine.mask().unwrap(), policy_of(name));
        let known = prompt(&engine, 23, 8);
        for masked in [17..19, 16..17, 16..22, 20..23] {
            for max_new in [0, 12] {
                let mut ids = known.clone();
                ids[masked.clone()].fill(mask);
                // The known end of the block is a stop id: it was not generated, so it ends nothing.
                let stop = if masked.end < 23 { vec![known[22]] } else { Vec::new() };
                let run = fresh(&engine, &Request { stop: &stop, ..Request::new(&ids, max_new, &policy) });
                let case = format!("{name}, masks {masked:?}, {max_new} new");
                let generation = &run.generation;
                let end = generation.tokens.len();
                assert!(end == max_new || generation.stop == StopReason::Stop(stop[0]), "{case}");
                assert_eq!(generation.filled, std::slice::from_ref(&masked), "{case}");
                assert_eq!(generation.new_tokens(), end + masked.len(), "{case}");
                assert_eq!(generation.canvas[..masked.start], known[..masked.start], "{case}");
                assert_eq!(generation.canvas[masked.end..23], known[masked.end..], "{case}");
            }
        }
    }
}

#[test]
fn block_causal_models_refuse_what_they_cannot_see() {
    for name in BLOCK_CAUSAL {
        let engine = engine(name);
        let (mask, policy) = (engine.mask().unwrap(), policy_of(name));
        // Prompts in blocks of 8, `m` for a mask; whether there is known text in a later block than the first mask.
        for (picture, refused) in [
            ("..mm....", false),
            ("..mm.... .", true),
            ("..mm.... ........ .m..", true),
            ("..mmmmmm mmmmmmmm mmmm", false),
            ("..mmmmmm mmmmmmmm mmmm..", true),
            ("........ .mmm....", false),
        ] {
            let positions: Vec<char> = picture.chars().filter(|c| *c != ' ').collect();
            let mut ids = prompt(&engine, positions.len(), 8);
            for (id, _) in ids.iter_mut().zip(&positions).filter(|(_, c)| **c == 'm') {
                *id = mask;
            }
            let mut passes = 0;
            let result = engine.session().unwrap().generate(&Request::new(&ids, 6, &policy), &mut |_| {
                passes += 1;
                Ok(Control::Continue)
            });
            let case = format!("{name}, {picture}");
            match result {
                Ok(generation) => {
                    let masks = positions.iter().filter(|c| **c == 'm').count();
                    let filled: usize = generation.filled.iter().map(Range::len).sum();
                    assert!(!refused && filled == masks, "{case}: {filled} positions filled");
                }
                Err(Error::Unsupported { what }) => {
                    assert!(refused && passes == 0 && what.starts_with("infilling"), "{case}: {what}");
                }
                Err(other) => panic!("{case}: {other}"),
            }
        }
    }
}
