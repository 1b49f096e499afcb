//! Tests of the parts of a policy against definitions that are written in the most straightforward way.

mod draw;
mod filter;
mod schedule;
mod unmask;

use super::*;
use crate::kernels::{Kernels, Level};

/// Kernels of every level of this CPU; says which ones it lacks.
fn all_kernels() -> Vec<Kernels> {
    for name in ["scalar", "avx2", "avx512", "amx", "neon"] {
        if Level::from_name(name).is_err() {
            println!("SKIPPED: level {name} is not on this machine");
        }
    }
    Level::available().into_iter().map(Kernels::new).collect()
}

/// How a row of logits is made.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Any numbers from -8 to 8.
    Smooth,
    /// Few different numbers, both zeros among them: many ties.
    Tied,
    /// One number everywhere.
    Flat,
}

/// A row of logits, the same for the same arguments. About `banned` in 8 of its entries are negative infinity.
fn logits(vocab: usize, kind: Kind, banned: u32, seed: u64) -> Vec<f32> {
    let mut stream = Rng::new(seed).stream(0, 0);
    let mut logit = || {
        let u = stream.uniform();
        if stream.uniform() * 8.0 < f64::from(banned) {
            return f32::NEG_INFINITY;
        }
        match kind {
            Kind::Smooth => (u * 16.0 - 8.0) as f32,
            Kind::Tied => [-1.5, -0.5, -0.0, 0.0, 0.75][(u * 5.0) as usize],
            Kind::Flat => 0.25,
        }
    };
    (0..vocab).map(|_| logit()).collect()
}

/// Softmax of `row / T` in f64; banned tokens get exactly 0.
fn softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    let max = row.iter().fold(f64::NEG_INFINITY, |max, &x| max.max(f64::from(x)));
    let weights: Vec<f64> = row.iter().map(|&x| ((f64::from(x) - max) / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// Asserts that `counts` look like draws from `probabilities`, to 5 standard deviations each, and that what is impossible
/// never happened.
fn assert_frequencies(what: &str, counts: &[usize], probabilities: &[f64]) {
    let draws = counts.iter().sum::<usize>() as f64;
    for (i, (&count, &p)) in counts.iter().zip(probabilities).enumerate() {
        let (expected, sigma) = (draws * p, (draws * p * (1.0 - p)).sqrt());
        assert!(
            (count as f64 - expected).abs() <= 5.0 * sigma + 1e-6 * draws,
            "{what}: {i} came {count} times, {expected} expected, standard deviation {sigma}"
        );
        assert!(p > 0.0 || count == 0, "{what}: the impossible {i} came {count} times");
    }
}

#[test]
fn every_named_policy_is_valid_and_has_the_parts_of_its_paper() {
    use CachePlan::{Block, None as Nothing, SubBlock};
    let top_k = Unmask::TopK { alg_temp: 0.0 };
    let at_least = |tau, floor, strict| Unmask::Threshold { tau, strict, floor, capped: false };
    let reaches = at_least(0.9, Floor::Count(1), false);
    let carried = Unmask::Threshold { tau: 0.9, strict: false, floor: Floor::Count(1), capped: true };
    let expected = [
        ("sdar-dynamic", Score::Probability, at_least(0.85, Floor::Quota, true), Block),
        ("sdar-static", Score::Probability, top_k, Block),
        ("sdar-sequential", Score::Probability, Unmask::LeftToRight, Block),
        ("sdar-entropy", Score::NegEntropy, Unmask::EntropyBudget { bound: 0.35 }, Block),
        ("fast-dllm-v2", Score::Probability, at_least(0.9, Floor::Count(1), true), Block),
        ("llada2-threshold", Score::Probability, at_least(0.95, Floor::Quota, true), Block),
        ("llada2-editing", Score::Probability, at_least(0.95, Floor::Count(1), true), Block),
        ("mdlm", Score::Probability, top_k, Nothing),
        ("bd3lm", Score::Probability, top_k, Block),
        ("stable-diffcoder", Score::Probability, top_k, Block),
        ("nemotron-diffusion", Score::Probability, reaches, Block),
        ("nemotron-full", Score::Probability, reaches, Block),
        ("nemotron-autoregressive", Score::Probability, reaches, Block),
        ("nemotron-speculative", Score::Probability, top_k, Block),
        ("llada-low-confidence", Score::Probability, top_k, Nothing),
        ("llada-random", Score::Random, top_k, Nothing),
        ("llada-threshold", Score::Probability, reaches, Nothing),
        ("llada-factor", Score::Probability, Unmask::Factor { factor: 1.0 }, Nothing),
        ("dream-maskgit", Score::Probability, top_k, Nothing),
        ("dream-margin", Score::Margin, top_k, Nothing),
        ("dream-entropy", Score::NegEntropy, top_k, Nothing),
        ("dream-origin", Score::Probability, Unmask::Independent, Nothing),
        ("dream-threshold", Score::Probability, carried, Nothing),
        ("dream-block-threshold", Score::Probability, reaches, Nothing),
    ];
    let names: Vec<_> = Policy::names().map(|(name, _)| name).collect();
    assert_eq!(names, expected.map(|row| row.0));
    for (name, score, unmask, cache) in expected {
        let policy = Policy::named(name).unwrap();
        policy.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((policy.score, policy.unmask, policy.cache), (score, unmask, cache), "{name}");
        assert_eq!(policy.draw.temperature, 0.0, "{name} is not greedy");
        assert!(policy.draw.filters.is_off() && policy.guidance == 0.0, "{name}");
        let merges = ["sdar", "llada2", "bd3lm", "stable"].iter().any(|family| name.starts_with(family));
        assert_eq!(policy.merge_commit, merges, "{name}");
        let early_stop = match name {
            "fast-dllm-v2" => EarlyStop::Settled,
            "llada2-threshold" => EarlyStop::Revealed,
            _ if name.starts_with("nemotron") => EarlyStop::Settled,
            _ => EarlyStop::Never,
        };
        assert_eq!(policy.early_stop, early_stop, "{name}");
        let editing = (name == "llada2-editing").then_some(Editing { tau: 0.9, passes: 16 });
        assert_eq!(policy.editing, editing, "{name}");
        let commit = match name {
            "nemotron-full" => Commit::Full,
            "nemotron-speculative" => Commit::Verified,
            _ => Commit::Model,
        };
        assert_eq!((policy.commit, policy.right_shift), (commit, false), "{name}");
    }
    let plans = [Nothing, CachePlan::Prefix, CachePlan::Dual, Block, SubBlock];
    assert_eq!(plans.map(CachePlan::is_approximate), [false, true, true, false, true]);
    assert_eq!(plans.map(CachePlan::name), ["none", "prefix", "dual", "block", "sub-block"]);
}

#[test]
fn a_policy_is_random_if_any_of_its_parts_is() {
    for (name, _) in Policy::names() {
        let policy = Policy::named(name).unwrap();
        let by_itself = ["llada-random", "dream-origin"].contains(&name);
        assert_eq!(policy.is_random(), by_itself, "{name}");
        let draw = Draw { temperature: 0.5, ..policy.draw };
        assert!(Policy { draw, ..policy.clone() }.is_random(), "{name}: tokens are drawn");
        assert!(Policy { score: Score::Random, ..policy.clone() }.is_random(), "{name}: a random order");
        let unmask = Unmask::TopK { alg_temp: 0.1 };
        assert!(Policy { unmask, ..policy }.is_random(), "{name}: positions are drawn");
    }
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
    let message = Policy::named("low_confidence").unwrap_err().to_string();
    assert!(message.starts_with("option `strategy`: `low_confidence` is not known"), "{message}");
    for (name, help) in Policy::names() {
        assert!(message.contains(name), "{name} is not in: {message}");
        assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
    }
}

/// A change of a valid policy, the option that it concerns, and whether the result is still valid.
type Change = (fn(&mut Policy), &'static str, bool);

const CHANGES: [Change; 41] = [
    (|p| p.schedule.block = Some(0), "block", false),
    (|p| p.schedule.block = Some(1), "block", true),
    (|p| p.schedule.sub_block = Some(0), "sub-block", false),
    (|p| p.schedule.steps = Steps::PerBlock(0), "steps", false),
    (|p| p.schedule.steps = Steps::Total(0), "steps", false),
    (|p| p.schedule.steps = Steps::PerBlock(1), "steps", true),
    (|p| p.schedule.pace = Pace::Timesteps { eps: 0.0 }, "eps", false),
    (|p| p.schedule.pace = Pace::Timesteps { eps: 1.0 }, "eps", false),
    (|p| p.schedule.pace = Pace::Timesteps { eps: f32::NAN }, "eps", false),
    (|p| p.schedule.pace = Pace::Timesteps { eps: 0.5 }, "eps", true),
    (|p| p.guidance = -0.1, "cfg", false),
    (|p| p.guidance = f32::INFINITY, "cfg", false),
    (|p| p.guidance = f32::NAN, "cfg", false),
    (|p| p.guidance = 7.5, "cfg", true),
    (|p| p.unmask = Unmask::TopK { alg_temp: -1.0 }, "alg-temp", false),
    (|p| p.unmask = Unmask::TopK { alg_temp: f64::INFINITY }, "alg-temp", false),
    (|p| p.unmask = Unmask::TopK { alg_temp: 0.4 }, "alg-temp", true),
    (|p| p.unmask = threshold(-0.01), "threshold", false),
    (|p| p.unmask = threshold(1.01), "threshold", false),
    (|p| p.unmask = threshold(f64::NAN), "threshold", false),
    (|p| p.unmask = threshold(0.0), "threshold", true),
    (|p| p.unmask = threshold(1.0), "threshold", true),
    (|p| p.unmask = Unmask::Factor { factor: 0.0 }, "factor", false),
    (|p| p.unmask = Unmask::Factor { factor: f64::INFINITY }, "factor", false),
    (|p| p.unmask = Unmask::EntropyBudget { bound: 1.0 }, "confidence", false),
    (|p| entropy_budget(p, -0.5), "entropy-bound", false),
    (|p| entropy_budget(p, f64::NAN), "entropy-bound", false),
    (|p| entropy_budget(p, 0.0), "entropy-bound", true),
    (|p| p.draw.temperature = -0.5, "temperature", false),
    (|p| p.draw.temperature = -1e-4, "temperature", false),
    (|p| p.draw.temperature = 101.0, "temperature", false),
    (|p| p.draw.temperature = f32::NAN, "temperature", false),
    (|p| p.draw.temperature = 1e-45, "temperature", true),
    (|p| p.draw.filters.top_p = 0.0, "top-p", true),
    (|p| p.draw.filters.top_p = -0.1, "top-p", false),
    (|p| p.draw.filters.top_p = 1.5, "top-p", false),
    (|p| p.draw.filters.top_p = f32::NAN, "top-p", false),
    (|p| p.draw.filters.top_k = usize::MAX, "top-k", true),
    (|p| p.draw.repetition_penalty = 0.0, "repetition-penalty", false),
    (|p| p.draw.repetition_penalty = f32::INFINITY, "repetition-penalty", false),
    (|p| p.draw.repetition_penalty = 0.5, "repetition-penalty", true),
];

fn threshold(tau: f64) -> Unmask {
    Unmask::Threshold { tau, strict: false, floor: Floor::Count(1), capped: false }
}

fn entropy_budget(policy: &mut Policy, bound: f64) {
    policy.score = Score::NegEntropy;
    policy.unmask = Unmask::EntropyBudget { bound };
}

#[test]
fn values_out_of_range_are_errors_that_name_the_option() {
    for (i, (change, name, valid)) in CHANGES.into_iter().enumerate() {
        let mut policy = Policy::named("sdar-static").unwrap();
        change(&mut policy);
        match policy.validate() {
            Ok(()) => assert!(valid, "change {i} of {name} was accepted: {policy:?}"),
            Err(Error::Option { name: found, reason }) => {
                assert!(!valid, "change {i} of {name} was refused: {reason}");
                assert_eq!(found, name, "change {i}: {reason}");
            }
            Err(other) => panic!("change {i} of {name}: {other:?}"),
        }
    }
}

#[test]
fn a_canvas_knows_its_masks_and_its_settled_stops() {
    let mut canvas = Canvas::new(&[5, 9, 7], 6, 9);
    assert_eq!((canvas.len(), canvas.prompt(), canvas.mask()), (6, 3, 9));
    assert_eq!(canvas.masks(0..6).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!((canvas.first_mask(2..6), canvas.first_mask(2..3), canvas.first_mask(0..0)), (3, 3, 0));
    canvas.reveal(&Candidate { pos: 4, token: 8, score: 0.0 });
    assert_eq!(canvas.settled_stop(3..6, &[8]), None, "a mask comes before the stop id");
    canvas.reveal(&Candidate { pos: 3, token: 1, score: 0.0 });
    assert_eq!(canvas.settled_stop(3..6, &[8, 1]), Some(3));
    assert_eq!(canvas.settled_stop(3..6, &[8]), Some(4));
    assert_eq!(canvas.settled_stop(0..6, &[8]), None, "position 1 is masked");
    assert_eq!(canvas.ids(), [5, 9, 7, 1, 8, 9]);
}

#[test]
#[should_panic(expected = "position 0 is known already")]
fn a_known_position_cannot_be_revealed() {
    Canvas::new(&[5], 2, 9).reveal(&Candidate { pos: 0, token: 1, score: 0.0 });
}

#[test]
fn a_text_ends_at_its_first_stop_id_or_after_so_many_positions() {
    let mut canvas = Canvas::new(&[8, 1], 8, 0);
    let reveal = |canvas: &mut Canvas, pos, token| canvas.reveal(&Candidate { pos, token, score: 1.0 });
    assert_eq!((canvas.text_stop(6, &[8]), canvas.text_end(6, &[8])), (None, 8), "the prompt ends nothing");
    assert_eq!((canvas.text_end(3, &[8]), canvas.text_end(usize::MAX, &[8])), (5, 8));
    reveal(&mut canvas, 4, 8);
    reveal(&mut canvas, 2, 7);
    assert_eq!(
        (canvas.text_stop(6, &[8]), canvas.settled_text(6, &[8])),
        (Some(4), 2..3),
        "a mask before it"
    );
    assert_eq!(canvas.text_stop(2, &[8]), None, "a stop id past the end is none");
    reveal(&mut canvas, 3, 9);
    assert_eq!((canvas.text_end(6, &[8]), canvas.settled_text(6, &[8])), (4, 2..4));
    assert_eq!(canvas.settled_text(1, &[8]), 2..3);
}
