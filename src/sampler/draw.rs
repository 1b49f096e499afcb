//! From a row of logits to a token and how sure the model is of it: [`Draw`] and [`Score`].

use super::filter::{Filters, Kept};
use super::rng::Stream;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, Scan};
use crate::tensor::TokenId;

/// How a token is taken from the distribution at a temperature above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawKind {
    /// By its probability.
    Multinomial,
    /// The largest of `exp(logit) / (-ln u)^T` with one uniform `u` per token. The filters do not apply. Source: LLaDA.
    Gumbel,
}

/// Which distribution the score is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The logits as the model gave them. Source: LLaDA.
    Raw,
    /// After the temperature, before the filters. Source: SDAR's evaluation sampler.
    Tempered,
    /// After the filters. Source: SDAR's main sampler, Fast-dLLM v2.
    Filtered,
    /// After the filters, which shape the distribution at temperature 0 too (as if it were 1). Source: Dream.
    AlwaysFiltered,
}

/// How sure the model is of a token. Higher is surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Probability of the token drawn.
    Probability,
    /// Probability of the most probable token minus that of the second.
    Margin,
    /// `sum p ln p`.
    NegEntropy,
    /// Uniform noise, whatever the model says.
    Random,
}

impl Score {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Probability, Self::Margin, Self::NegEntropy, Self::Random];

    /// The score with this name.
    ///
    /// # Errors
    /// [`Error::Option`] that lists the names.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|score| score.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::option("confidence", format!("`{name}` given, one of {names} expected"))
        })
    }

    /// The name used in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Margin => "margin",
            Self::NegEntropy => "entropy",
            Self::Random => "random",
        }
    }

    /// What it is, for the help of programs.
    pub fn help(self) -> &'static str {
        match self {
            Self::Probability => "The probability of the token",
            Self::Margin => "Its distance from the second",
            Self::NegEntropy => "The entropy of the distribution, negated",
            Self::Random => "Not at all: a random order",
        }
    }
}

/// How a logits row becomes a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// 0 takes the most probable token and draws no random number.
    pub temperature: f32,
    /// Top-k and top-p.
    pub filters: Filters,
    /// How a token is drawn at a temperature above 0.
    pub kind: DrawKind,
    /// What the score is taken from.
    pub basis: Basis,
    /// Logits of tokens that the canvas holds are divided by this if positive and multiplied if negative. 1 is off.
    pub repetition_penalty: f32,
}

/// A token with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: TokenId,
    /// See [`Score`].
    pub score: f64,
}

/// A distribution over tokens, as far as drawing and scoring need it.
enum Distribution<'a> {
    /// All tokens of the row at an inverse temperature.
    Dense { row: &'a [f32], scan: Scan, inv_t: f32 },
    /// What the filters kept.
    Sparse(Vec<Kept>),
}

impl Draw {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn validate(&self) -> Result<()> {
        let wrong = |name, value: f32, expected: &str| {
            Err(Error::option(name, format!("{value} given, a number {expected} expected")))
        };
        if !(0.0..=100.0).contains(&self.temperature) {
            return wrong("temperature", self.temperature, "from 0 to 100");
        }
        if !(0.0..=1.0).contains(&self.filters.top_p) {
            return wrong("top-p", self.filters.top_p, "from 0 to 1");
        }
        let penalty = self.repetition_penalty;
        if !(penalty > 0.0 && penalty <= 100.0) {
            return wrong("repetition-penalty", penalty, "above 0 and at most 100");
        }
        Ok(())
    }

    /// What logits are multiplied by before the filters; 1 at temperature 0, and always finite.
    pub fn inverse_temperature(&self) -> f32 {
        // The inverse of a subnormal temperature is infinite, and infinity times the best logit's distance of 0 is not a number.
        if self.temperature == 0.0 { 1.0 } else { (1.0 / self.temperature).min(f32::MAX) }
    }

    /// Draws a token from a row of logits and scores it. Banned tokens are negative infinity in `row`.
    ///
    /// `None` if the row holds a NaN, positive infinity, or nothing but banned tokens.
    ///
    /// # Panics
    /// If the row is empty.
    pub fn draw(&self, kernels: &Kernels, row: &[f32], score: Score, stream: &mut Stream) -> Option<Drawn> {
        self.draw_among(kernels, row, score, stream, 0).map(|(drawn, _)| drawn)
    }

    /// As [`Self::draw`], with the `count` most probable tokens of the distribution that the score is taken from, most probable
    /// first (ties: lowest id); fewer if no others are possible.
    ///
    /// # Panics
    /// As [`Self::draw`].
    pub fn draw_among(
        &self,
        kernels: &Kernels,
        row: &[f32],
        score: Score,
        stream: &mut Stream,
        count: usize,
    ) -> Option<(Drawn, Vec<Kept>)> {
        let scan = kernels.scan(row);
        if scan.bad || scan.max == f32::NEG_INFINITY {
            return None;
        }
        let (greedy, inv_t) = (self.temperature == 0.0, self.inverse_temperature());
        let filtered = !self.filters.is_off() && (!greedy || self.basis == Basis::AlwaysFiltered);
        let dense = |inv_t| Distribution::Dense { row, scan, inv_t };
        let drawn_from =
            if filtered { Distribution::Sparse(self.filters.apply(row, inv_t)) } else { dense(inv_t) };
        let token = match self.kind {
            _ if greedy => scan.argmax as TokenId,
            // The largest of logits with Gumbel noise is a draw from their softmax, so after filters it is that draw.
            DrawKind::Gumbel if filtered => drawn_from.sample(kernels, stream.uniform()),
            DrawKind::Multinomial => drawn_from.sample(kernels, stream.uniform()),
            DrawKind::Gumbel => gumbel_argmax(row, self.temperature, &mut || stream.uniform()),
        };
        let scored = match self.basis {
            Basis::Raw => dense(1.0),
            Basis::Tempered => dense(inv_t),
            Basis::Filtered | Basis::AlwaysFiltered => drawn_from,
        };
        let best = scored.most_probable(kernels, count);
        let score = match score {
            Score::Probability => scored.probability(kernels, token),
            Score::Margin => scored.margin(kernels),
            Score::NegEntropy => scored.neg_entropy(kernels),
            Score::Random => stream.uniform(),
        };
        Some((Drawn { token, score }, best))
    }
}

/// The token with the largest `exp(logit) / (-ln u)^T`, in log space; `uniform` is asked once per token, in order.
pub fn gumbel_argmax(row: &[f32], temperature: f32, uniform: &mut dyn FnMut() -> f64) -> TokenId {
    let mut best = (f64::NEG_INFINITY, 0);
    for (token, &logit) in row.iter().enumerate() {
        let noisy = f64::from(logit) - f64::from(temperature) * (-uniform().ln()).ln();
        if noisy > best.0 {
            best = (noisy, token as TokenId);
        }
    }
    best.1
}

/// The logarithms of the probabilities that a row of logits gives to `tokens`, at temperature 1. Banned tokens are negative infinity
/// in `row`, and in what is returned. `None` as [`Draw::draw`] says.
///
/// # Panics
/// If the row is empty, or has no such token.
pub fn log_probabilities(kernels: &Kernels, row: &[f32], tokens: &[TokenId]) -> Option<Vec<f64>> {
    let scan = kernels.scan(row);
    if scan.bad || scan.max == f32::NEG_INFINITY {
        return None;
    }
    let others = Distribution::others(kernels, row, scan, 1.0).ln_1p();
    Some(tokens.iter().map(|&token| f64::from(row[token as usize] - scan.max) - others).collect())
}

/// The ids of the `count` largest entries of a row, largest first (ties: lowest id), none of them negative infinity.
fn largest(row: &[f32], count: usize) -> Vec<TokenId> {
    // Few entries are larger than the last one that is kept, so insertion is fast.
    let mut best: Vec<TokenId> = Vec::with_capacity(count + 1);
    let mut least = f32::NEG_INFINITY;
    for (token, &logit) in (0..).zip(row) {
        if logit > least {
            let at = best.partition_point(|&other| row[other as usize] >= logit);
            best.insert(at, token);
            best.truncate(count);
            least = if best.len() < count { least } else { row[best[count - 1] as usize] };
        }
    }
    best
}

/// Tokens whose exponentials are added up at a time when a multinomial draw searches for its token.
const CHUNK: usize = 1024;

impl Distribution<'_> {
    /// Sum of the exponentials of all tokens but the most probable one, relative to that one.
    ///
    /// Leaving it out keeps the digits of probabilities near 1, which is where confident positions are ranked.
    fn others(kernels: &Kernels, row: &[f32], scan: Scan, inv_t: f32) -> f64 {
        let (before, after) = (&row[..scan.argmax], &row[scan.argmax + 1..]);
        kernels.exp_sums(before, scan.max, inv_t).sum + kernels.exp_sums(after, scan.max, inv_t).sum
    }

    fn probability(&self, kernels: &Kernels, token: TokenId) -> f64 {
        match self {
            Self::Dense { row, scan, inv_t } => {
                let weight = f64::from((row[token as usize] - scan.max) * inv_t).exp();
                weight / (1.0 + Self::others(kernels, row, *scan, *inv_t))
            }
            Self::Sparse(kept) => kept.iter().find(|k| k.token == token).map_or(0.0, |k| k.probability),
        }
    }

    /// The most probable tokens, in order.
    fn most_probable(&self, kernels: &Kernels, count: usize) -> Vec<Kept> {
        match self {
            _ if count == 0 => Vec::new(),
            Self::Dense { row, scan, inv_t } => {
                let sum = 1.0 + Self::others(kernels, row, *scan, *inv_t);
                let kept = |token: TokenId| {
                    let weight = f64::from((row[token as usize] - scan.max) * inv_t).exp();
                    Kept { token, probability: weight / sum }
                };
                largest(row, count).into_iter().map(kept).collect()
            }
            Self::Sparse(kept) => kept.iter().take(count).copied().collect(),
        }
    }

    fn margin(&self, kernels: &Kernels) -> f64 {
        match self {
            Self::Dense { row, scan, inv_t } => {
                let second = f64::from((scan.second - scan.max) * inv_t);
                -second.exp_m1() / (1.0 + Self::others(kernels, row, *scan, *inv_t))
            }
            Self::Sparse(kept) => kept[0].probability - kept.get(1).map_or(0.0, |k| k.probability),
        }
    }

    /// `sum p ln p = W / Z - ln Z` with Z the sum of the exponentials and W that of exponentials times exponents.
    fn neg_entropy(&self, kernels: &Kernels) -> f64 {
        match self {
            Self::Dense { row, scan, inv_t } => {
                let others = Self::others(kernels, row, *scan, *inv_t);
                let weighted = kernels.exp_sums(row, scan.max, *inv_t).weighted;
                weighted / (1.0 + others) - others.ln_1p()
            }
            Self::Sparse(kept) => {
                let term =
                    |k: &Kept| if k.probability > 0.0 { k.probability * k.probability.ln() } else { 0.0 };
                kept.iter().map(term).sum()
            }
        }
    }

    /// The token at the fraction `u` of the cumulative distribution.
    fn sample(&self, kernels: &Kernels, u: f64) -> TokenId {
        match self {
            Self::Dense { row, scan, inv_t } => {
                let sums: Vec<f64> =
                    row.chunks(CHUNK).map(|part| kernels.exp_sums(part, scan.max, *inv_t).sum).collect();
                let mut left = u * sums.iter().sum::<f64>();
                let chunk = sums.iter().position(|&sum| {
                    let here = left < sum;
                    left -= if here { 0.0 } else { sum };
                    here
                });
                let Some(chunk) = chunk else { return scan.argmax as TokenId };
                let start = chunk * CHUNK;
                let mut fallback = scan.argmax;
                for (i, &logit) in row[start..].iter().take(CHUNK).enumerate() {
                    let weight = f64::from((logit - scan.max) * inv_t).exp();
                    if weight > 0.0 {
                        fallback = start + i;
                        left -= weight;
                    }
                    if left < 0.0 {
                        break;
                    }
                }
                fallback as TokenId
            }
            Self::Sparse(kept) => {
                let mut left = u;
                let found = kept.iter().find(|k| {
                    left -= k.probability;
                    left < 0.0
                });
                found.or(kept.last()).map_or(0, |k| k.token)
            }
        }
    }
}
