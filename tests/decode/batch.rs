//! Sequences of one [`Scheduler`] are those that they would be alone, bit for bit, whatever else is there.

use super::*;
use diffulex::Error;
use diffulex::engine::{Choose, Limits, Scheduler, SequenceId};
use diffulex::exec::{Executor, Threads};
use diffulex::sampler::Want;
use proptest::prelude::*;
use std::collections::HashMap;

/// How a sequence ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Natural,
    /// The caller stops it at this revealing step.
    Stopped(usize),
    /// The caller's display fails at this revealing step.
    Broken(usize),
    /// A rule of the caller's own is invalid.
    Nonsense,
}

#[derive(Clone, Debug)]
struct Job {
    prompt: Vec<TokenId>,
    max_new: usize,
    policy: Policy,
    seed: u64,
    padding: usize,
    stop: Vec<TokenId>,
    end: End,
    /// Passes of the others before it joins.
    joins: usize,
}

/// The outcome of a job: the canvas and every decision, or an error.
#[derive(Debug, PartialEq)]
struct Outcome {
    result: std::result::Result<(Vec<TokenId>, Vec<TokenId>, usize), String>,
    revealed: Vec<(usize, TokenId, u64)>,
}

fn nonsense(_: &[Candidate], _: Want, chosen: &mut Vec<usize>) {
    chosen.push(usize::MAX);
}

type Rule = fn(&[Candidate], Want, &mut Vec<usize>);

static NONSENSE: Choose<Rule> = Choose(nonsense);

impl Job {
    fn request(&self) -> Request<'_> {
        let request = Request {
            seed: self.seed,
            padding: self.padding,
            stop: &self.stop,
            ..Request::new(&self.prompt, self.max_new, &self.policy)
        };
        if self.end == End::Nonsense { Request { rules: &NONSENSE, ..request } } else { request }
    }

    /// Notes an event, and says what the caller of this job wants.
    fn hear(&self, event: &Event<'_>, steps: &mut usize, outcome: &mut Outcome) -> Result<Control> {
        let Event::Revealed { tokens, .. } = event else { return Ok(Control::Continue) };
        outcome.revealed.extend(tokens.iter().map(|c| (c.pos, c.token, c.score.to_bits())));
        *steps += 1;
        match self.end {
            End::Stopped(at) if *steps > at => Ok(Control::Stop),
            End::Broken(at) if *steps > at => Err(Error::unsupported("a display that is gone")),
            _ => Ok(Control::Continue),
        }
    }
}

fn result_of(result: Result<Generation>) -> std::result::Result<(Vec<TokenId>, Vec<TokenId>, usize), String> {
    result.map(|g| (g.canvas.clone(), g.tokens.clone(), g.decode_passes())).map_err(|e| e.to_string())
}

fn alone(engine: &Engine, job: &Job) -> Outcome {
    let mut outcome = Outcome { result: Err(String::new()), revealed: Vec::new() };
    let mut steps = 0;
    let mut hear = |event: Event<'_>| job.hear(&event, &mut steps, &mut outcome);
    let result = engine.session().unwrap().generate(&job.request(), &mut hear);
    outcome.result = result_of(result);
    outcome
}

/// All jobs in one scheduler, in the order of the jobs.
fn together(engine: &Engine, jobs: &[Job], limits: Limits) -> Vec<Outcome> {
    let mut scheduler = Scheduler::new(engine, limits).unwrap();
    let mut outcomes: Vec<Outcome> =
        jobs.iter().map(|_| Outcome { result: Err("not finished".into()), revealed: Vec::new() }).collect();
    let (mut ids, mut steps) = (HashMap::<SequenceId, usize>::new(), vec![0; jobs.len()]);
    let mut passes = 0;
    while ids.len() < jobs.len() || !scheduler.is_idle() {
        for (i, job) in jobs.iter().enumerate() {
            if job.joins <= passes && !ids.values().any(|&other| other == i) {
                ids.insert(scheduler.add(&job.request()).unwrap(), i);
            }
        }
        let finished = scheduler.step(&mut |id, event| {
            let i = ids[&id];
            jobs[i].hear(&event, &mut steps[i], &mut outcomes[i])
        });
        for finished in finished {
            outcomes[ids[&finished.id]].result = result_of(finished.result);
        }
        passes += 1;
        assert!(passes < 20_000, "a scheduler that makes no progress");
    }
    assert_eq!(scheduler.cache().available(), scheduler.cache().capacity(), "pages were not given back");
    outcomes
}

/// Policies of a family that differ in everything that is private to a sequence.
fn policies(name: &str) -> Vec<Policy> {
    let plain = policy_of(name);
    let random = Policy { draw: diffulex::sampler::Draw { temperature: 0.8, ..plain.draw }, ..plain.clone() };
    let guided = Policy { guidance: 1.5, ..plain.clone() };
    let penalized =
        Policy { draw: diffulex::sampler::Draw { repetition_penalty: 1.4, ..plain.draw }, ..plain.clone() };
    let mut other = plain.clone();
    let causal =
        BLOCK_CAUSAL.contains(&name) || ["stable-diffcoder-f32", "nemotron-diffusion-f32"].contains(&name);
    other.cache = if causal { CachePlan::SubBlock } else { CachePlan::Dual };
    let apart = Policy { merge_commit: false, ..plain.clone() };
    vec![plain, random, guided, penalized, other, apart]
}

prop_compose! {
    fn shapes()(
        shapes in prop::collection::vec((0usize..70, 1usize..30, 0usize..6, 0u64..4, 0usize..12, 0usize..14), 2..9),
    ) -> Vec<(usize, usize, usize, u64, usize, usize)> {
        shapes
    }
}

/// A job from some numbers. Few seeds, so that many prompts begin alike.
fn job(engine: &Engine, policies: &[Policy], shape: (usize, usize, usize, u64, usize, usize)) -> Job {
    let (len, max_new, which, seed, end, joins) = shape;
    let mut ids = prompt(engine, len.max(1), seed % 2);
    let masked = end == 7 && len > 4;
    if masked {
        // Infilling: the last positions of the prompt, which every family can fill in.
        let mask = engine.mask().unwrap();
        ids.truncate(len / 8 * 8 + 3);
        ids.truncate(len);
        let from = ids.len() - 2;
        ids[from..].fill(mask);
    }
    Job {
        max_new,
        policy: policies[which % policies.len()].clone(),
        seed,
        padding: if end == 8 && !masked { len / 3 } else { 0 },
        stop: if end == 9 { (0..40).collect() } else { Vec::new() },
        end: match end {
            0 => End::Stopped(joins),
            1 => End::Broken(joins),
            2 => End::Nonsense,
            _ => End::Natural,
        },
        joins: 2 * joins,
        prompt: ids,
    }
}

fn check(name: &str, engine: &Engine, shapes: &[(usize, usize, usize, u64, usize, usize)], limits: Limits) {
    let policies = policies(name);
    let jobs: Vec<Job> = shapes.iter().map(|&shape| job(engine, &policies, shape)).collect();
    let outcomes = together(engine, &jobs, limits);
    for (job, outcome) in jobs.iter().zip(&outcomes) {
        assert_eq!(*outcome, alone(engine, job), "{name}, {limits:?}, {job:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_mix_of_sequences_is_each_alone(
        shapes in shapes(),
        sequences in 1usize..6,
        rows in 1usize..120,
        prefill_rows in 1usize..80,
        pages in 4usize..9,
        threads in 1usize..4,
    ) {
        let positions = pages * diffulex::cache::PAGE;
        let limits = Limits { sequences, positions, rows, prefill_rows };
        for name in FAMILIES.into_iter().chain(GRIDS) {
            let exec: Arc<dyn Executor + Send + Sync> = Arc::new(Threads::new(threads));
            let engine = builder(name).executor(exec).open(fixture::golden(name)).unwrap();
            check(name, &engine, &shapes, limits);
        }
    }
}

#[test]
fn a_mix_is_each_alone_at_every_level_and_with_halves() {
    let shapes = [
        (50, 20, 0, 0, 5, 0),
        (50, 12, 1, 0, 5, 1),
        (9, 25, 2, 1, 5, 0),
        (41, 16, 4, 0, 7, 2),
        (30, 9, 3, 0, 0, 3),
        (66, 8, 5, 2, 2, 1),
    ];
    let limits = Limits { sequences: 4, positions: 768, rows: 64, prefill_rows: 24 };
    for level in fixture::levels() {
        for name in FAMILIES.into_iter().chain(GRIDS) {
            let engine = builder(name).level(level).kv(KvDtype::F16).open(fixture::golden(name)).unwrap();
            check(name, &engine, &shapes, limits);
        }
    }
}

#[test]
fn a_shared_beginning_is_computed_once() {
    let engine = engine("sdar-f32");
    let policy = policy_of("sdar-f32");
    let ids = prompt(&engine, 200, 3);
    let limits = Limits { sequences: 1, positions: 960, rows: 512, prefill_rows: 512 };
    let mut scheduler = Scheduler::new(&engine, limits).unwrap();
    let mut computed = Vec::new();
    for _ in 0..2 {
        scheduler.add(&Request::new(&ids, 8, &policy)).unwrap();
        let mut rows_of_prompt = 0;
        while !scheduler.is_idle() {
            scheduler.step(&mut |_, event| {
                if let Event::Pass { kind: PassKind::Prefill, rows, .. } = event {
                    rows_of_prompt += rows.len();
                }
                Ok(Control::Continue)
            });
        }
        computed.push(rows_of_prompt);
    }
    assert_eq!(computed, [200, 0], "positions of the prompt that were computed");
}

#[test]
fn a_long_prompt_does_not_keep_others_waiting() {
    let engine = engine("sdar-f32");
    let policy = policy_of("sdar-f32");
    let (long, short) = (prompt(&engine, 1600, 3), prompt(&engine, 5, 4));
    let limits = Limits { sequences: 4, positions: 4 * 2016, rows: 64, prefill_rows: 32 };
    let mut scheduler = Scheduler::new(&engine, limits).unwrap();
    let first = scheduler.add(&Request::new(&long, 8, &policy)).unwrap();
    let second = scheduler.add(&Request::new(&short, 24, &policy)).unwrap();
    let (mut order, mut largest) = (Vec::new(), 0);
    while !scheduler.is_idle() {
        let mut rows_of_pass = HashMap::new();
        let finished = scheduler.step(&mut |id, event| {
            if let Event::Pass { rows, .. } = event {
                rows_of_pass.insert(id, rows.len());
            }
            Ok(Control::Continue)
        });
        order.extend(finished.iter().map(|finished| finished.id));
        largest = largest.max(rows_of_pass.values().sum());
    }
    assert_eq!(order, [second, first], "the short one ends first");
    assert!(largest <= 64, "{largest} rows in a pass");
}

#[test]
fn a_cancelled_sequence_ends_before_its_next_pass_and_what_does_not_fit_is_refused() {
    let engine = engine("llada-f32");
    let policy = policy_of("llada-f32");
    let ids = prompt(&engine, 20, 3);
    let limits = Limits { sequences: 1, positions: 96, rows: 64, prefill_rows: 32 };
    let mut scheduler = Scheduler::new(&engine, limits).unwrap();
    let running = scheduler.add(&Request::new(&ids, 30, &policy)).unwrap();
    let waiting = scheduler.add(&Request::new(&ids, 30, &policy)).unwrap();
    assert!(scheduler.step(&mut |_, _| Ok(Control::Continue)).is_empty());
    assert_eq!(scheduler.load(), (1, 1));
    let known = scheduler.canvas(running).unwrap().first_mask(0..50);
    scheduler.cancel(running);
    scheduler.cancel(waiting);
    let finished =
        scheduler.step(&mut |_, event| panic!("a pass without a sequence: {:?}", event_name(&event)));
    for finished in &finished {
        let generation = finished.result.as_ref().unwrap();
        assert_eq!(generation.stop, diffulex::engine::StopReason::Cancelled);
        let passes = usize::from(finished.id == running);
        assert_eq!(generation.nfe, passes, "{:?}, {known} known", finished.id);
    }
    assert!(finished.len() == 2 && scheduler.is_idle());
    let error = scheduler.add(&Request::new(&ids, 100, &policy)).unwrap_err();
    assert!(matches!(error, Error::Capacity { limit: 96, asked: 192, .. }), "{error}");
}

fn event_name(event: &Event<'_>) -> &'static str {
    match event {
        Event::Pass { .. } => "pass",
        Event::Revealed { .. } => "revealed",
        Event::Block { .. } => "block",
    }
}
