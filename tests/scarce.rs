//! Passes on a system without enough memory for them: a sequence that does not fit fails alone, and no other notices.

#[path = "fixture/counting.rs"]
mod counting;

use counting::granting;
use diffulex::engine::{Finished, Limits, Scheduler, SequenceId};
use diffulex::{Control, Engine, Error, Policy, Request};
use std::path::Path;

const LIMITS: Limits = Limits { sequences: 4, positions: 1024, rows: 1024, prefill_rows: 1024 };

/// A bidirectional model, whose passes compute the whole sequence.
fn engine() -> Engine {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llada-f32");
    Engine::builder().threads(1).context(512).open(dir).unwrap()
}

/// Runs prompts of these lengths together, with single requests of at most `granted` bytes while they run. Returns the largest
/// request, too.
fn run(engine: &Engine, policy: &Policy, lengths: &[usize], granted: usize) -> (usize, Vec<Finished>) {
    let prompts: Vec<Vec<u32>> =
        lengths.iter().map(|&length| (0..length as u32).map(|i| 3 + (i * 7) % 90).collect()).collect();
    let mut scheduler = Scheduler::new(engine, LIMITS).unwrap();
    for prompt in &prompts {
        scheduler.add(&Request { stop: &[], ..Request::new(prompt, 8, policy) }).unwrap();
    }
    let (largest, mut all) = granting(granted, || {
        let mut all = Vec::new();
        while !scheduler.is_idle() {
            all.extend(scheduler.step(&mut |_, _| Ok(Control::Continue)));
        }
        all
    });
    all.sort_by_key(|finished| finished.id);
    assert_eq!(scheduler.cache().available(), scheduler.cache().capacity(), "pages were not given back");
    (largest, all)
}

fn canvas(finished: &Finished) -> &[u32] {
    &finished.result.as_ref().unwrap().canvas
}

/// One test, because the allocator is the whole process's.
#[test]
fn a_pass_that_finds_no_memory_fails_only_those_that_do_not_fit() {
    let engine = engine();
    let policy = engine.default_policy();
    let lengths = [20, 24, 300];
    // What each requests alone, the long one much more than both others together.
    let alone: Vec<(usize, Vec<Finished>)> =
        lengths.iter().map(|&length| run(&engine, &policy, &[length], usize::MAX)).collect();
    let (short, long) = (alone[0].0.max(alone[1].0), alone[2].0);
    let (both, together) = run(&engine, &policy, &lengths[..2], usize::MAX);
    assert!(short < both && both < long, "{short}, {both} and {long} bytes");

    // The common pass of both fails, the passes of each do not.
    let (_, apart) = run(&engine, &policy, &lengths[..2], both - 1);
    for ((apart, together), (_, alone)) in apart.iter().zip(&together).zip(&alone) {
        assert_eq!(canvas(apart), canvas(together));
        assert_eq!(canvas(apart), canvas(&alone[0]));
    }
    // The long one does not fit at all.
    let (_, scarce) = run(&engine, &policy, &lengths, long - 1);
    assert_eq!(canvas(&scarce[0]), canvas(&together[0]));
    assert_eq!(canvas(&scarce[1]), canvas(&together[1]));
    let Err(error @ Error::Memory { bytes, .. }) = &scarce[2].result else {
        panic!("a pass of {long} bytes where {} are granted", long - 1)
    };
    assert_eq!(*bytes, long);
    assert!(error.to_string().contains("a pass over 308 positions"), "{error}");
    let ids: Vec<SequenceId> = scarce.iter().map(|finished| finished.id).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
}
