//! [`Choice`]: which experts the rows of a segment may choose, and how they do.

use super::Segment;
use super::arch::{Mixture, Router};
use std::ops::Range;

/// Who chooses the experts of the rows of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub enum Choice<'a> {
    /// The router, for each row.
    #[default]
    Router,
    /// The router, which has fewer experts to choose from for some rows.
    Budget(&'a Budget),
    /// Not the router: the rows take turns through this many experts, which are spread evenly over all of a block, and weigh them as the router does.
    /// What comes out means nothing. For measurements: how long a pass takes depends on how many experts it reads.
    ///
    /// The number is at least that of a row, and at most that of a block.
    Among(usize),
}

/// An expert budget: the rows of a block that are unsure choose among the experts that its other rows have chosen, so that a pass reads
/// fewer. Groups of experts do not matter for their choice. Where all rows of a block are unsure, they choose as usual.
///
/// Rows see nothing of other blocks and other segments in this, so a segment has the same bits in every batch.
///
/// Source: TEAM, temporal-spatial consistency guided expert activation, for SDAR-30B-A3B.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Rows of the segment that belong together: blocks.
    pub blocks: Vec<Range<usize>>,
    /// Whether each row of the segment is unsure; a row outside of all blocks chooses as usual.
    pub unsure: Vec<bool>,
}

impl Choice<'_> {
    /// # Panics
    /// If a model with these experts cannot choose this way for `rows` rows.
    pub(super) fn check(self, mixture: Option<&Mixture>, rows: usize) {
        match (self, mixture) {
            (Self::Among(count), Some(mixture)) => {
                let known = mixture.per_token..=mixture.experts;
                assert!(known.contains(&count), "{count} experts for a choice of {known:?}");
            }
            (Self::Budget(Budget { blocks, unsure }), _) => {
                assert!(unsure.len() == rows, "a budget of {} rows for a pass over {rows}", unsure.len());
                assert!(blocks.iter().all(|block| block.end <= rows), "a budget for rows that are not there");
            }
            _ => {}
        }
    }
}

/// An expert that a row chose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pick {
    pub(super) expert: usize,
    pub(super) weight: f32,
}

/// What the experts of a block are chosen by: a number for each row and expert.
pub(super) struct Scores<'a> {
    pub(super) mixture: &'a Mixture,
    /// `[rows][experts]`: what the weights are made of.
    pub(super) scores: &'a [f32],
    /// `[rows][experts]`: what the choice goes by, if that is something else.
    pub(super) biased: Option<&'a [f32]>,
}

impl Scores<'_> {
    /// Chooses for all rows of a batch; leaves `[rows][per_token]` in `picks`, by ascending expert in each row.
    pub(super) fn choose(&self, batch: &[Segment<'_>], picks: &mut Vec<Pick>) {
        let k = self.mixture.per_token;
        picks.clear();
        picks.resize(self.scores.len() / self.mixture.experts * k, Pick::default());
        let (mut order, mut groups) = (Vec::with_capacity(self.mixture.experts), Vec::new());
        let mut first = 0;
        for segment in batch {
            let rows = first..first + segment.ids.len();
            first = rows.end;
            let own = &mut picks[rows.start * k..rows.end * k];
            if let Choice::Among(count) = segment.experts {
                own.chunks_mut(k).enumerate().for_each(|(i, out)| {
                    order.clear();
                    order.extend((0..k).map(|j| (i * k + j) % count * self.mixture.experts / count));
                    self.weigh(rows.start + i, &mut order, out);
                });
                continue;
            }
            own.chunks_mut(k).enumerate().for_each(|(i, out)| {
                self.candidates(rows.start + i, &mut order, &mut groups);
                self.take(rows.start + i, &mut order, out);
            });
            if let Choice::Budget(budget) = segment.experts {
                self.limit(budget, rows.start, own, &mut order);
            }
        }
    }

    /// The experts that a row may choose: all, or those of the groups that it keeps.
    fn candidates(&self, row: usize, order: &mut Vec<usize>, groups: &mut Vec<(f32, usize)>) {
        order.clear();
        match self.mixture.router {
            Router::Sigmoid { groups: n, kept, .. } if kept < n => {
                let size = self.mixture.experts / n;
                best_groups(self.keys(row), size, kept, groups);
                order.extend(groups.iter().flat_map(|&(_, group)| group * size..(group + 1) * size));
            }
            _ => order.extend(0..self.mixture.experts),
        }
    }

    /// Chooses again for the unsure rows of every block, among what its other rows have chosen.
    fn limit(&self, budget: &Budget, first: usize, picks: &mut [Pick], order: &mut Vec<usize>) {
        let k = self.mixture.per_token;
        for block in &budget.blocks {
            let mut chosen = vec![false; self.mixture.experts];
            let sure = block.clone().filter(|&i| !budget.unsure[i]);
            sure.for_each(|i| picks[i * k..][..k].iter().for_each(|pick| chosen[pick.expert] = true));
            if !chosen.contains(&true) {
                continue;
            }
            for i in block.clone().filter(|&i| budget.unsure[i]) {
                order.clear();
                order.extend((0..chosen.len()).filter(|&e| chosen[e]));
                self.take(first + i, order, &mut picks[i * k..][..k]);
            }
        }
    }

    fn keys(&self, row: usize) -> &[f32] {
        &self.biased.unwrap_or(self.scores)[row * self.mixture.experts..][..self.mixture.experts]
    }

    /// Takes the best of `order` for a row.
    fn take(&self, row: usize, order: &mut Vec<usize>, out: &mut [Pick]) {
        let keys = self.keys(row);
        largest(order, out.len(), |e| keys[e]);
        order.truncate(out.len());
        self.weigh(row, order, out);
    }

    /// Weighs what a row has chosen, the best first.
    fn weigh(&self, row: usize, chosen: &mut [usize], out: &mut [Pick]) {
        let scores = &self.scores[row * self.mixture.experts..][..self.mixture.experts];
        let sum: f32 = chosen.iter().map(|&e| scores[e]).sum();
        let (divisor, scale) = match self.mixture.router {
            Router::Softmax { normalized: true } => (sum, 1.0),
            Router::Softmax { normalized: false } => (1.0, 1.0),
            Router::Sigmoid { scale, .. } => (if chosen.len() > 1 { sum + 1e-20 } else { 1.0 }, scale),
        };
        // A bias that is not finite decides without showing in any weight.
        let scale = if self.biased.is_some() && !is_finite(self.keys(row)) { f32::NAN } else { scale };
        chosen.sort_unstable();
        for (out, &expert) in out.iter_mut().zip(&*chosen) {
            *out = Pick { expert, weight: scores[expert] / divisor * scale };
        }
    }
}

pub(super) fn is_finite(row: &[f32]) -> bool {
    row.iter().all(|x| x.is_finite())
}

/// Moves the `count` entries of the largest keys to the front of `order`, in that order; equals by ascending entry.
fn largest(order: &mut [usize], count: usize, key: impl Fn(usize) -> f32) {
    let compare = |&a: &usize, &b: &usize| key(b).total_cmp(&key(a)).then(a.cmp(&b));
    if count < order.len() {
        order.select_nth_unstable_by(count, compare);
    }
    order[..count].sort_unstable_by(compare);
}

/// The `kept` groups of `size` entries whose two largest have the largest sums; equals by their number.
fn best_groups(keys: &[f32], size: usize, kept: usize, groups: &mut Vec<(f32, usize)>) {
    groups.clear();
    let two_largest = |group: &[f32]| {
        let mut best = [f32::NEG_INFINITY; 2];
        for &key in group {
            if key > best[0] {
                best = [key, best[0]];
            } else if key > best[1] {
                best[1] = key;
            }
        }
        best[0] + best[1]
    };
    groups.extend(keys.chunks_exact(size).map(two_largest).zip(0..));
    groups.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    groups.truncate(kept);
}
