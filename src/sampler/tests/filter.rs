//! The filters against a sort of the whole row.

use super::*;
use proptest::prelude::*;

/// What stays, by the definition: everything sorted, every sum over everything.
fn naive(filters: &Filters, row: &[f32], inv_t: f32) -> Vec<Kept> {
    let mut ids: Vec<usize> = (0..row.len()).filter(|&id| row[id] != f32::NEG_INFINITY).collect();
    ids.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap().then(a.cmp(&b)));
    let probabilities = |ids: &[usize]| -> Vec<f64> {
        let weights: Vec<f64> =
            ids.iter().map(|&id| f64::from((row[id] - row[ids[0]]) * inv_t).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect()
    };
    let top_k = |ids: &mut Vec<usize>| {
        if filters.top_k > 0 && filters.top_k < ids.len() {
            let kth = row[ids[filters.top_k - 1]];
            ids.retain(|&id| row[id] >= kth);
        }
    };
    let top_p = |ids: &mut Vec<usize>| {
        let p = probabilities(ids);
        let stays = |i: usize| i == 0 || p[..i].iter().sum::<f64>() <= f64::from(filters.top_p);
        let stay = (0..ids.len()).take_while(|&i| filters.top_p >= 1.0 || stays(i)).count();
        ids.truncate(stay);
    };
    match filters.order {
        FilterOrder::TopKThenTopP => {
            top_k(&mut ids);
            top_p(&mut ids);
        }
        FilterOrder::TopPThenTopK => {
            top_p(&mut ids);
            top_k(&mut ids);
        }
    }
    let kept = |(&id, probability)| Kept { token: id as u32, probability };
    ids.iter().zip(probabilities(&ids)).map(kept).collect()
}

fn check(filters: &Filters, row: &[f32], inv_t: f32) {
    let (ours, expected) = (filters.apply(row, inv_t), naive(filters, row, inv_t));
    let tokens = |kept: &[Kept]| kept.iter().map(|k| k.token).collect::<Vec<_>>();
    assert_eq!(tokens(&ours), tokens(&expected), "{filters:?}, {} tokens, 1/T {inv_t}", row.len());
    for (a, b) in ours.iter().zip(&expected) {
        assert!((a.probability - b.probability).abs() < 1e-12, "{filters:?}: {a:?}, expected {b:?}");
    }
}

proptest! {
    #[test]
    fn filters_keep_what_the_definition_keeps(
        vocab in prop::sample::select(vec![1usize, 2, 3, 7, 37, 64, 65, 300]),
        kind in prop::sample::select(vec![Kind::Smooth, Kind::Tied, Kind::Flat]),
        banned in 0..8u32, seed: u64, top_k in prop_oneof![Just(0usize), 1..9usize, 30..400usize],
        top_p in prop_oneof![Just(1.0f32), 0.001f32..1.0], k_first: bool,
        inv_t in prop::sample::select(vec![1.0f32, 0.25, 3.0]),
    ) {
        let order = if k_first { FilterOrder::TopKThenTopP } else { FilterOrder::TopPThenTopK };
        check(&Filters { top_k, top_p, order }, &logits(vocab, kind, banned, seed), inv_t);
    }
}

#[test]
fn filters_keep_what_the_definition_keeps_of_a_large_vocabulary() {
    for kind in [Kind::Smooth, Kind::Tied, Kind::Flat] {
        for order in [FilterOrder::TopKThenTopP, FilterOrder::TopPThenTopK] {
            for (top_k, top_p) in [(0, 0.3), (50, 1.0), (50, 0.37), (4999, 0.993), (6000, 0.11)] {
                check(&Filters { top_k, top_p, order }, &logits(5000, kind, 1, 11), 0.5);
            }
        }
    }
}

/// A row of ties must not cost the square of its length: that would be minutes here.
#[test]
fn a_large_vocabulary_of_ties_is_kept_in_one_sweep() {
    let kept = Filters { top_k: 3, ..Filters::OFF }.apply(&vec![-1.0; 200_000], 1.0);
    assert!(kept.iter().enumerate().all(|(i, k)| k.token == i as u32 && k.probability == 1.0 / 200_000.0));
    assert_eq!(kept.len(), 200_000);
}

#[test]
fn banned_tokens_never_stay() {
    let row = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
    let kept = Filters { top_k: 3, ..Filters::OFF }.apply(&row, 1.0);
    assert_eq!(kept, [Kept { token: 1, probability: 1.0 }]);
    assert_eq!(Filters { top_p: 0.5, ..Filters::OFF }.apply(&[f32::NEG_INFINITY; 4], 1.0), []);
}
