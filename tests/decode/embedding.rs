//! What callers bring (a rule of their own) and share (one engine, several sessions on several threads, several engines).

use super::*;
use diffulex::engine::Choose;
use diffulex::sampler::Want;
use std::sync::Mutex;

#[test]
fn a_rule_of_the_callers_own_decides() {
    for name in FAMILIES {
        let engine = engine(name);
        let (ids, mut policy) = (prompt(&engine, 11, 4), policy_of(name));
        policy.unmask = Unmask::LeftToRight;
        // The rule of the policy, written as a caller would.
        let asked = Mutex::new(Vec::new());
        let leftmost = |candidates: &[Candidate], want: Want, chosen: &mut Vec<usize>| {
            asked.lock().unwrap().push((candidates.to_vec(), want));
            chosen.extend(0..want.count.min(candidates.len()));
        };
        let own = fresh(&engine, &Request { rules: &Choose(&leftmost), ..Request::new(&ids, 20, &policy) });
        let same = fresh(&engine, &Request::new(&ids, 20, &policy));
        assert_eq!(own.decisions(), same.decisions(), "{name}");
        let asked = asked.into_inner().unwrap();
        assert!(!asked.is_empty(), "{name}: the rule was never asked");
        for (candidates, want) in asked {
            assert!(!want.last, "{name}: the last step of a block reveals everything without asking");
            assert!(candidates.is_sorted_by_key(|c| c.pos), "{name}: {candidates:?}");
        }

        // Everything at once: a block is one step.
        policy.schedule.sub_block = None;
        let all =
            |candidates: &[Candidate], _: Want, chosen: &mut Vec<usize>| chosen.extend(0..candidates.len());
        let run = fresh(&engine, &Request { rules: &Choose(&all), ..Request::new(&ids, 20, &policy) });
        let steps = run.passes_of(PassKind::Denoise).filter(|pass| !pass.revealed.is_empty()).count();
        assert!(steps <= run.blocks.len() + 1, "{name}: {steps} steps for {} blocks", run.blocks.len());

        // A rule that chooses nothing gets the surest one, so the loop ends.
        let none = |_: &[Candidate], _: Want, _: &mut Vec<usize>| {};
        let run = fresh(&engine, &Request { rules: &Choose(&none), ..Request::new(&ids, 20, &policy) });
        assert_eq!(run.generation.tokens.len(), 20, "{name}");
    }
}

#[test]
fn a_rule_that_chooses_what_is_not_there_is_refused() {
    let engine = engine("sdar-f32");
    let (ids, policy) = (prompt(&engine, 11, 4), policy_of("sdar-f32"));
    let refusal = |choice: &'static [usize]| {
        let rule = move |_: &[Candidate], _: Want, chosen: &mut Vec<usize>| chosen.extend(choice);
        let request = Request { rules: &Choose(rule), ..Request::new(&ids, 20, &policy) };
        watch(&mut engine.session().unwrap(), &request, &mut |_| Ok(Control::Continue))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refusal(&[0, 0]), "option `choose`: candidate 0 was chosen twice");
    let message = refusal(&[5000]);
    assert!(message.starts_with("option `choose`: candidate 5000 was chosen, there are "), "{message}");
}

#[test]
fn sessions_outlive_the_scope_of_their_engine_and_share_it_between_threads() {
    let alone: Vec<_> = FAMILIES
        .map(|name| {
            let engine = engine(name);
            let (ids, policy) = (prompt(&engine, 11, 4), policy_of(name));
            fresh(&engine, &Request::new(&ids, 20, &policy)).decisions()
        })
        .into();
    // All families at once, two sessions each, and the engines are gone except for what the sessions hold.
    let sessions: Vec<_> = FAMILIES
        .iter()
        .enumerate()
        .flat_map(|(family, name)| {
            let engine = Arc::new(engine(name));
            [(); 2].map(|()| (family, engine.shared_session().unwrap()))
        })
        .collect();
    std::thread::scope(|scope| {
        for (family, mut session) in sessions {
            let alone = &alone[family];
            scope.spawn(move || {
                let (ids, policy) = (prompt(session.engine(), 11, 4), policy_of(FAMILIES[family]));
                for _ in 0..3 {
                    let together = run(&mut session, &Request::new(&ids, 20, &policy)).decisions();
                    assert_eq!(&together, alone, "{}", FAMILIES[family]);
                }
            });
        }
    });
}
