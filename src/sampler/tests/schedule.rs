//! Quotas: how many positions the steps of a block want, and that blocks end.

use super::{Rng, *};
use proptest::prelude::*;

/// The counts of a quota that always gets what it requests.
fn counts(pace: Pace, steps: usize, masks: usize, block: usize) -> Vec<usize> {
    let mut quota = Quota::new(pace, steps, masks, block);
    let mut left = masks;
    let mut counts = Vec::new();
    while !quota.is_over() {
        let want = quota.next(left);
        assert_eq!(want.last, quota.is_over() && pace != Pace::Carry, "the last step says so");
        counts.push(want.count);
        left -= want.count.min(left);
    }
    counts
}

proptest! {
    #[test]
    fn even_paces_spread_what_there_is(steps in 1..40usize, masks in 0..70usize, more in 0..70usize) {
        let block = masks + more;
        for (pace, total) in [(Pace::EvenMasks, masks), (Pace::EvenBlock, block)] {
            let counts = counts(pace, steps, masks, block);
            prop_assert_eq!(counts.len(), steps);
            prop_assert_eq!(counts.iter().sum::<usize>(), total);
            prop_assert!(counts.windows(2).all(|w| w[0] == w[1] || w[0] == w[1] + 1), "{:?}", counts);
            prop_assert!(counts[0] - counts[steps - 1] <= 1, "{:?}", counts);
        }
    }

    #[test]
    fn time_steps_free_everything_in_the_end(steps in 1..40usize, masks in 0..200usize, eps in 1e-4f32..0.9) {
        let counts = counts(Pace::Timesteps { eps }, steps, masks, masks);
        prop_assert_eq!(counts.len(), steps);
        prop_assert_eq!(counts.iter().sum::<usize>(), masks);
        let points = timesteps(steps, eps);
        let mut left = masks;
        for (i, &count) in counts[..steps - 1].iter().enumerate() {
            // A position more or less is the rounding of the product in f32.
            let exact = left as f64 * (1.0 - f64::from(points[i + 1]) / f64::from(points[i]));
            prop_assert!((count as f64) > exact - 1.001 && (count as f64) < exact + 0.001, "{count}, {exact}");
            left -= count;
        }
    }

    #[test]
    fn time_steps_are_a_line(steps in 1..300usize, eps in 1e-4f32..0.9) {
        let points = timesteps(steps, eps);
        prop_assert_eq!((points.len(), points[0], points[steps]), (steps + 1, 1.0, eps));
        for (i, &point) in points.iter().enumerate() {
            let exact = 1.0 + (f64::from(eps) - 1.0) * i as f64 / steps as f64;
            prop_assert!((f64::from(point) - exact).abs() < 1e-6, "point {i}: {point}, {exact}");
        }
        prop_assert!(points.windows(2).all(|w| w[0] > w[1]));
    }

    /// Whatever a threshold keeps back (never everything), a carrying pace requests again until nothing is masked.
    #[test]
    fn a_carrying_pace_ends_with_nothing_masked(steps in 1..40usize, masks in 1..60usize, seed: u64) {
        let mut stream = Rng::new(seed).stream(0, 0);
        let mut quota = Quota::new(Pace::Carry, steps, masks, masks);
        let (mut left, mut taken) = (masks, 0);
        while left > 0 {
            let want = quota.next(left);
            prop_assert!(want.count >= 1 && want.count <= left && !want.last, "{:?} of {}", want, left);
            let revealed = 1 + (stream.uniform() * want.count as f64) as usize;
            let revealed = revealed.min(want.count);
            quota.rejected(want.count - revealed);
            left -= revealed;
            taken += 1;
            prop_assert!(taken <= masks, "{taken} steps for {masks} masks");
        }
        prop_assert!(taken >= steps.min(masks) && quota.is_over());
    }

    #[test]
    fn a_step_after_the_budget_wants_everything(steps in 1..9usize, masks in 1..40usize) {
        for pace in [Pace::EvenMasks, Pace::EvenBlock, Pace::Timesteps { eps: 1e-3 }] {
            let mut quota = Quota::new(pace, steps, masks, masks);
            (0..steps).for_each(|_| { quota.next(masks); });
            let want = quota.next(masks);
            prop_assert!(want.last && want.count == masks, "{:?}: {:?}", pace, want);
            let mut skipped = Quota::new(pace, steps, masks, masks).skip();
            (1..steps).for_each(|_| { skipped.next(masks); });
            prop_assert!(skipped.is_over());
        }
    }
}

#[test]
fn an_unlimited_budget_never_ends_and_wants_as_little_as_it_can() {
    for pace in [Pace::EvenMasks, Pace::EvenBlock, Pace::Timesteps { eps: 1e-3 }] {
        let mut quota = Quota::new(pace, Steps::Unlimited.for_block(32, 4), 20, 32);
        for left in (1..=20).rev() {
            let want = quota.next(left);
            assert!(want.count <= 1 && !want.last && !quota.is_over(), "{pace:?}: {want:?}");
        }
    }
}

#[test]
fn a_rounded_pace_leaves_out_steps_that_free_nothing() {
    // Recorded counts; 5 masks have at most 5 steps.
    assert_eq!(counts_left(Pace::Rounded, 3, 8), [3, 2, 3]);
    assert_eq!(counts_left(Pace::Rounded, 4, 6), [2, 1, 2, 1]);
    assert_eq!(counts_left(Pace::Rounded, 9, 5), [1; 5]);
    for steps in [1, 2, 7, 100, 4096, 1 << 16, 1 << 20, usize::MAX] {
        for masks in [0, 1, 2, 31, 500] {
            let counts = counts_left(Pace::Rounded, steps, masks);
            assert_eq!(counts.iter().sum::<usize>(), masks, "{steps} steps");
            assert!(counts.iter().all(|&count| count > 0) && counts.len() <= steps, "{counts:?}");
        }
    }
}

/// The counts of a quota until nothing is left.
fn counts_left(pace: Pace, steps: usize, masks: usize) -> Vec<usize> {
    let (mut quota, mut left, mut counts) = (Quota::new(pace, steps, masks, masks), masks, Vec::new());
    while left > 0 {
        let want = quota.next(left);
        left -= want.count;
        assert_eq!(want.last, left == 0);
        counts.push(want.count);
    }
    counts
}

#[test]
fn budgets_of_a_block() {
    assert_eq!(Steps::PerPosition.for_block(8, 3), 8);
    assert_eq!(Steps::PerPosition.for_block(0, 3), 1);
    assert_eq!(Steps::PerBlock(5).for_block(8, 3), 5);
    assert_eq!(Steps::Total(13).for_block(8, 3), 4);
    assert_eq!(Steps::Total(2).for_block(8, 3), 1);
    assert_eq!(Steps::Total(7).for_block(8, 0), 7);
    let schedule =
        |pace| Schedule { steps: Steps::Total(13), pace, ..Policy::named("mdlm").unwrap().schedule };
    assert_eq!(schedule(Pace::EvenMasks).steps_for(8, 3), 4);
    assert_eq!(schedule(Pace::Rounded).steps_for(8, 3), 5, "rounded up there");
}
