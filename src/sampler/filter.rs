//! Top-k and top-p: which tokens of a logits row stay in the distribution.

use crate::tensor::TokenId;

/// Which filter comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOrder {
    /// Source: SDAR.
    TopKThenTopP,
    /// Source: Dream.
    TopPThenTopK,
}

/// The filters of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filters {
    /// Keeps every logit that is at least the k-th largest, ties included. 0 is off.
    pub top_k: usize,
    /// Keeps tokens, most probable first, until the sum of those before exceeds p; the first always stays, and is the only one at
    /// 0. 1 is off.
    pub top_p: f32,
    /// Which comes first.
    pub order: FilterOrder,
}

/// A token that the filters kept, with its share of the filtered distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// The token.
    pub token: TokenId,
    /// Its probability; those of all kept tokens add up to 1.
    pub probability: f64,
}

impl Filters {
    /// Keeps everything.
    pub const OFF: Self = Self { top_k: 0, top_p: 1.0, order: FilterOrder::TopKThenTopP };

    /// Whether nothing is filtered.
    pub fn is_off(&self) -> bool {
        self.top_k == 0 && self.top_p >= 1.0
    }

    /// The tokens of a row of logits that stay, most probable first (ties: lowest id), with their probabilities at the inverse
    /// temperature `inv_t`, a finite number ([`super::Draw::inverse_temperature`]). Banned tokens (negative infinity) never stay.
    ///
    /// The row is sorted only as far as the filters reach.
    pub fn apply(&self, row: &[f32], inv_t: f32) -> Vec<Kept> {
        let mut sorted = Descending::new(row);
        let mut len = sorted.ids.len();
        let top_k = |sorted: &mut Descending<'_>, len: usize| {
            if self.top_k == 0 { len } else { sorted.at_least_kth(self.top_k, len) }
        };
        if self.order == FilterOrder::TopKThenTopP {
            len = top_k(&mut sorted, len);
        }
        if self.top_p < 1.0 {
            len = sorted.within(f64::from(self.top_p), len, inv_t);
        }
        if self.order == FilterOrder::TopPThenTopK {
            len = top_k(&mut sorted, len);
        }
        sorted.sort(len);
        let ids = &sorted.ids[..len];
        let max = ids.first().map_or(0.0, |&id| row[id as usize]);
        let weights: Vec<f64> = ids.iter().map(|&id| weight(row[id as usize], max, inv_t)).collect();
        let sum: f64 = weights.iter().sum();
        ids.iter().zip(weights).map(|(&token, w)| Kept { token, probability: w / sum }).collect()
    }
}

/// `exp((logit - max) / T)`, with the scaling in f32 as the reference does it.
fn weight(logit: f32, max: f32, inv_t: f32) -> f64 {
    f64::from((logit - max) * inv_t).exp()
}

/// Token ids of a row in descending order of logit, sorted from the front as far as needed.
struct Descending<'a> {
    row: &'a [f32],
    ids: Vec<TokenId>,
    sorted: usize,
}

impl<'a> Descending<'a> {
    fn new(row: &'a [f32]) -> Self {
        let ids = (0..row.len() as TokenId).filter(|&id| row[id as usize] > f32::NEG_INFINITY).collect();
        Self { row, ids, sorted: 0 }
    }

    /// Puts the `len` largest in front, in order.
    fn sort(&mut self, len: usize) {
        let len = len.min(self.ids.len());
        if len <= self.sorted {
            return;
        }
        let row = self.row;
        // Adding 0 turns both zeros into the same one: they are a tie.
        let key = |id: &TokenId| row[*id as usize] + 0.0;
        let order = |a: &TokenId, b: &TokenId| key(b).total_cmp(&key(a)).then(a.cmp(b));
        let rest = &mut self.ids[self.sorted..];
        let wanted = len - self.sorted;
        if wanted < rest.len() {
            rest.select_nth_unstable_by(wanted, order);
        }
        rest[..wanted].sort_unstable_by(order);
        self.sorted = len;
    }

    /// How many of the first `len` tokens have a logit of at least the k-th largest.
    fn at_least_kth(&mut self, k: usize, len: usize) -> usize {
        if k >= len {
            return len;
        }
        self.sort(k);
        let kth = self.row[self.ids[k - 1] as usize];
        // One sweep gathers the ties after the k-th. In the sorted part they already follow it in order, so nothing moves there.
        let mut end = k;
        for i in k..len {
            if self.row[self.ids[i] as usize] == kth {
                self.ids.swap(i, end);
                end += 1;
            }
        }
        self.ids[k..end].sort_unstable();
        self.sorted = self.sorted.max(end);
        end
    }

    /// How many of the first `len` tokens stay under top-p.
    fn within(&mut self, p: f64, len: usize, inv_t: f32) -> usize {
        self.sort(1);
        let Some(&first) = self.ids.first() else { return 0 };
        let (row, max) = (self.row, self.row[first as usize]);
        if len < self.ids.len() {
            // Only the first `len` take part in the sum.
            self.sort(len);
        }
        let sum: f64 = self.ids[..len].iter().map(|&id| weight(row[id as usize], max, inv_t)).sum();
        let (mut before, mut stays, mut window) = (0.0, 0, 64);
        while stays < len {
            self.sort(window.min(len));
            while stays < window.min(len) {
                if stays > 0 && before / sum > p {
                    return stays;
                }
                before += weight(row[self.ids[stays] as usize], max, inv_t);
                stays += 1;
            }
            window *= 8;
        }
        len
    }
}
