//! Every rule against its definition, on scores with many ties.

use super::{Rng, *};
use proptest::prelude::*;

/// Candidates at increasing positions; scores are sixteenths from 0 to 1, so that sums are exact and ties are common.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec((1..4usize, 0..=16u32), 1..14).prop_map(|parts| {
        let mut pos = 0;
        let candidate = |(gap, sixteenths): (usize, u32)| {
            pos += gap;
            Candidate { pos, token: 0, score: f64::from(sixteenths) / 16.0 }
        };
        parts.into_iter().map(candidate).collect()
    })
}

fn want(count: usize) -> Want {
    Want { count, fraction: 0.0, last: false }
}

/// What a rule chooses that draws no random number.
fn chosen(unmask: Unmask, candidates: &[Candidate], count: usize) -> Vec<usize> {
    // What an earlier call left must not matter.
    let mut chosen = vec![99; 3];
    unmask.choose(candidates, want(count), &mut || panic!("this rule draws nothing"), &mut chosen);
    chosen
}

/// How many candidates are surer, or as sure and further left.
fn rank(candidates: &[Candidate], i: usize) -> usize {
    let before = |j: &usize| {
        let (a, b) = (candidates[*j].score, candidates[i].score);
        a > b || a == b && candidates[*j].pos < candidates[i].pos
    };
    (0..candidates.len()).filter(before).count()
}

/// Indices that pass, surest first.
fn surest(candidates: &[Candidate], keep: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..candidates.len()).filter(|&i| keep(i)).collect();
    indices.sort_by_key(|&i| rank(candidates, i));
    indices
}

proptest! {
    #[test]
    fn top_k_takes_the_lowest_ranks(c in candidates(), count in 0..16usize) {
        let expected = surest(&c, |i| rank(&c, i) < count);
        prop_assert_eq!(chosen(Unmask::TopK { alg_temp: 0.0 }, &c, count), expected);
    }

    #[test]
    fn left_to_right_takes_the_first(c in candidates(), count in 0..16usize) {
        let expected: Vec<usize> = (0..c.len()).filter(|&i| i < count).collect();
        prop_assert_eq!(chosen(Unmask::LeftToRight, &c, count), expected);
    }

    #[test]
    fn thresholds_take_what_passes_or_the_floor(
        c in candidates(), count in 0..16usize, sixteenths in 0..=16u32,
        strict: bool, quota: bool, capped: bool,
    ) {
        let tau = f64::from(sixteenths) / 16.0;
        let floor = if quota { Floor::Quota } else { Floor::Count(1) };
        let looked_at = |i: usize| !capped || rank(&c, i) < count;
        let passes = |i: usize| if strict { c[i].score > tau } else { c[i].score >= tau };
        let passing = surest(&c, |i| looked_at(i) && passes(i));
        let least = if quota { count } else { 1 };
        let expected =
            if passing.len() >= least { passing } else { surest(&c, |i| looked_at(i) && rank(&c, i) < least) };
        prop_assert_eq!(chosen(Unmask::Threshold { tau, strict, floor, capped }, &c, count), expected);
    }

    #[test]
    fn the_factor_rule_follows_its_definition(c in candidates(), eighths in 1..24u32) {
        let factor = f64::from(eighths) / 8.0;
        let order = surest(&c, |_| true);
        let reaches = |rank: usize| c[order[rank - 1]].score >= 1.0 - factor / (rank as f64 + 1.0);
        let n = c.len();
        let r = (1..=n).rev().find(|&r| (2..=r).all(reaches)).unwrap();
        let expected = if r == n - 1 { n } else { r };
        prop_assert_eq!(chosen(Unmask::Factor { factor }, &c, 0), &order[..expected]);
    }

    #[test]
    fn an_entropy_budget_counts_the_prefixes_below_it(c in candidates(), sixteenths in 0..64u32) {
        let c: Vec<_> = c.iter().map(|c| Candidate { score: -c.score, ..*c }).collect();
        let bound = f64::from(sixteenths) / 16.0;
        let order = surest(&c, |_| true);
        let sum = |n: usize| order[..n].iter().map(|&i| -c[i].score).sum::<f64>();
        let below = (1..=c.len()).filter(|&n| sum(n) < bound).count();
        prop_assert_eq!(chosen(Unmask::EntropyBudget { bound }, &c, 0), &order[..below.max(1)]);
    }

    #[test]
    fn independent_positions_ask_one_number_each(c in candidates(), fraction in 0.0f32..1.0, seed: u64) {
        let mut stream = Rng::new(seed).stream(0, 0);
        let uniforms: Vec<f64> = c.iter().map(|_| stream.uniform()).collect();
        let mut asked = uniforms.iter().copied();
        let mut chosen = vec![7];
        let want = Want { count: 0, fraction, last: false };
        Unmask::Independent.choose(&c, want, &mut || asked.next().unwrap(), &mut chosen);
        let expected: Vec<usize> = (0..c.len()).filter(|&i| uniforms[i] < f64::from(fraction)).collect();
        prop_assert_eq!(chosen, expected);
        prop_assert_eq!(asked.next(), None);
    }

    #[test]
    fn alg_temp_draws_without_replacement_and_only_from_its_stream(
        c in candidates(), count in 0..16usize, alg_temp in 0.01f64..10.0, seed: u64,
    ) {
        let draw = || {
            let mut chosen = Vec::new();
            let mut uniform = from_stream(Rng::new(seed).stream(1, 2));
            Unmask::TopK { alg_temp }.choose(&c, want(count), &mut uniform, &mut chosen);
            chosen
        };
        let first = draw();
        prop_assert_eq!(first.len(), count.min(c.len()));
        let distinct: std::collections::HashSet<_> = first.iter().copied().collect();
        prop_assert_eq!(distinct.len(), first.len());
        prop_assert!(first.iter().all(|&i| i < c.len()));
        prop_assert_eq!(draw(), first);
    }
}

#[test]
fn alg_temp_draws_pairs_with_the_probabilities_of_drawing_without_replacement() {
    let scores = [0.9, 0.5, 0.6, 0.1];
    let c: Vec<_> = (0..4).map(|pos| Candidate { pos, token: 0, score: scores[pos] }).collect();
    let alg_temp = 0.4;
    let p = softmax(&scores.map(|s| s as f32), alg_temp);
    let (mut counts, mut expected) = (vec![0; 16], vec![0.0; 16]);
    for seed in 0..40_000 {
        let mut chosen = Vec::new();
        let mut uniform = from_stream(Rng::new(seed).stream(3, 4));
        Unmask::TopK { alg_temp }.choose(&c, want(2), &mut uniform, &mut chosen);
        counts[chosen[0] * 4 + chosen[1]] += 1;
    }
    for (i, j) in (0..16).map(|pair| (pair / 4, pair % 4)).filter(|(i, j)| i != j) {
        expected[i * 4 + j] = p[i] * p[j] / (1.0 - p[i]);
    }
    assert_frequencies("pairs", &counts, &expected);
}
