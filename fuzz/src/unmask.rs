//! From logits of any kind to revealed positions: filters, draws, unmasking rules and schedules keep what they promise.

use crate::policy::policy;
use arbitrary::{Result, Unstructured};
use diffulex::Policy;
use diffulex::kernels::{Kernels, Level};
use diffulex::sampler::{Candidate, Canvas, Floor, Quota, Rng, Score, Unmask, Want};
use std::sync::LazyLock;

/// The mask: one past the vocabulary, so that no draw can be it.
const MASK: u32 = 1000;

static KERNELS: LazyLock<Vec<Kernels>> =
    LazyLock::new(|| Level::available().into_iter().map(Kernels::new).collect());

/// See the module.
pub fn check(data: &[u8]) {
    crate::with(data, |u| {
        let (policy, kernels) = (policy(u)?, u.choose(&KERNELS)?);
        if policy.validate().is_err() {
            return Ok(());
        }
        let row = logits(u)?;
        check_draw(&policy, kernels, &row, u.arbitrary()?);
        check_filters(&policy, &row);
        check_choice(u, &policy)?;
        check_block(u, &policy, kernels)
    });
}

/// Few different numbers, all the same one, or any bits at all; some of them banned.
fn logits(u: &mut Unstructured<'_>) -> Result<Vec<f32>> {
    let len = u.int_in_range(1..=200)?;
    let kind = u.int_in_range(0..=3)?;
    let any: f32 = u.arbitrary()?;
    let mut row = vec![any; len];
    for (logit, byte) in row.iter_mut().zip(crate::bytes(u, len)?) {
        match (kind, byte) {
            (_, 0x80) => *logit = f32::NEG_INFINITY,
            (0, _) => *logit = f32::from(byte as i8) * 0.25,
            (1, _) => *logit = f32::from(byte % 3),
            (2, _) => *logit = f32::from_bits(logit.to_bits().wrapping_mul(u32::from(byte) | 1)),
            _ => {}
        }
    }
    Ok(row)
}

fn drawable(row: &[f32]) -> bool {
    let bad = row.iter().any(|&x| x.is_nan() || x == f32::INFINITY);
    !bad && row.iter().any(|x| x.is_finite())
}

fn check_draw(policy: &Policy, kernels: &Kernels, row: &[f32], seed: u64) {
    let draw = || policy.draw.draw(kernels, row, policy.score, &mut Rng::new(seed).stream(3, 5));
    let Some(drawn) = draw() else {
        assert!(!drawable(row), "nothing was drawn from {row:?}");
        return;
    };
    assert!(drawable(row), "{drawn:?} was drawn from {row:?}");
    assert_eq!(draw(), Some(drawn), "another draw of the same seed");
    assert!(row[drawn.token as usize].is_finite(), "a banned token was drawn: {drawn:?} from {row:?}");
    let in_range = match policy.score {
        // Two sums of at most 200 terms in different orders may differ in the last digits.
        Score::NegEntropy => (-6.0..=1e-6).contains(&drawn.score),
        _ => (0.0..=1.0 + 1e-9).contains(&drawn.score),
    };
    assert!(in_range, "{:?} is {}, {policy:?}, {row:?}", policy.score, drawn.score);
}

fn check_filters(policy: &Policy, row: &[f32]) {
    if !drawable(row) {
        return;
    }
    let kept = policy.draw.filters.apply(row, policy.draw.inverse_temperature());
    let first = kept.first().expect("filters keep one token at least");
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert_eq!(row[first.token as usize], max, "the most probable token is kept");
    let sum: f64 = kept.iter().map(|k| k.probability).sum();
    assert!((sum - 1.0).abs() < 1e-9, "probabilities add up to {sum}");
    for pair in kept.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|kept| (row[kept.token as usize], kept.token));
        assert!(a.0 > b.0 || (a.0 == b.0 && a.1 < b.1), "{a:?} comes before {b:?}");
    }
    assert!(kept.iter().all(|k| row[k.token as usize].is_finite()), "a banned token was kept: {kept:?}");
}

/// The rule alone, with scores that no model gives.
fn check_choice(u: &mut Unstructured<'_>, policy: &Policy) -> Result<()> {
    let n = u.int_in_range(0..=20)?;
    let candidate = |pos| Ok(Candidate { pos: 2 * pos, token: 0, score: u.arbitrary()? });
    let candidates: Vec<_> = (0..n).map(candidate).collect::<Result<_>>()?;
    let want = Want { count: u.int_in_range(0..=24)?, fraction: u.arbitrary()?, last: false };
    let seed = u.arbitrary()?;
    let chosen = choose(policy, &candidates, want, seed);
    assert_eq!(chosen, choose(policy, &candidates, want, seed), "another choice of the same seed");
    let mut sorted = chosen.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), chosen.len(), "a candidate was chosen twice: {chosen:?}");
    assert!(sorted.last().is_none_or(|&last| last < n), "{chosen:?} of {n} candidates");
    let promised = match policy.unmask {
        Unmask::TopK { .. } | Unmask::LeftToRight => want.count.min(n)..=want.count.min(n),
        Unmask::Threshold { floor: Floor::Count(count), capped: false, .. } => count.min(n)..=n,
        Unmask::Factor { .. } | Unmask::EntropyBudget { .. } => 1.min(n)..=n,
        Unmask::Threshold { floor: Floor::Quota, .. } => want.count.min(n)..=n,
        Unmask::Threshold { capped: true, .. } => 1.min(n).min(want.count)..=want.count.min(n),
        Unmask::Independent => 0..=n,
    };
    assert!(
        promised.contains(&chosen.len()),
        "{} of {n} chosen by {:?} with {want:?}",
        chosen.len(),
        policy.unmask
    );
    Ok(())
}

fn choose(policy: &Policy, candidates: &[Candidate], want: Want, seed: u64) -> Vec<usize> {
    let mut stream = Rng::new(seed).stream(0, 0);
    let mut chosen = Vec::new();
    policy.unmask.choose(candidates, want, &mut || stream.uniform(), &mut chosen);
    chosen
}

/// A block from all masks to none: the schedule ends it, whatever the rule does.
fn check_block(u: &mut Unstructured<'_>, policy: &Policy, kernels: &Kernels) -> Result<()> {
    let (prompt, len) = (u.int_in_range(0..=4usize)?, u.int_in_range(0..=12usize)?);
    let mut canvas = Canvas::new(&vec![0; prompt], prompt + len, MASK);
    let steps = policy.schedule.steps.for_block(len, 1);
    let mut quota = Quota::new(policy.schedule.pace, steps, len, len);
    let mut step = 0;
    loop {
        let masks: Vec<usize> = canvas.masks(0..canvas.len()).collect();
        if masks.is_empty() {
            return Ok(());
        }
        assert!(step <= 2 * len, "a block of {len} is not done after {step} steps");
        let row: Vec<f32> = crate::bytes(u, 8)?.into_iter().map(|byte| f32::from(byte) * 0.1).collect();
        let rng = Rng::new(1);
        let draw = |&pos: &usize| {
            let drawn = policy.draw.draw(kernels, &row, policy.score, &mut rng.stream(step, pos));
            let drawn = drawn.expect("finite logits");
            Candidate { pos, token: drawn.token, score: drawn.score }
        };
        let candidates: Vec<_> = masks.iter().map(draw).collect();
        let want = quota.next(masks.len());
        let mut chosen = choose(policy, &candidates, want, step as u64);
        if want.last {
            chosen = (0..candidates.len()).collect();
        } else if chosen.is_empty() {
            // As the engine does, so that every step makes progress.
            chosen.push(0);
        }
        quota.rejected(want.count.min(candidates.len()) - chosen.len().min(want.count));
        // Panics where a position is known already.
        chosen.iter().for_each(|&i| canvas.reveal(&candidates[i]));
        step += 1;
    }
}
