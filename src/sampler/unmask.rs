//! Which masks become tokens after a denoise step: candidates and a quota in, positions out.

use super::rng::Stream;
use super::schedule::Want;
use crate::tensor::TokenId;

/// A masked position with the token that it would become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Absolute position.
    pub pos: usize,
    /// The token drawn for it.
    pub token: TokenId,
    /// How sure the model is; higher is surer. What it measures is the policy's [`super::Score`].
    pub score: f64,
}

/// A token that is replaced by another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edit {
    /// Absolute position.
    pub pos: usize,
    /// The token that was there.
    pub before: TokenId,
    /// The token that is there now.
    pub token: TokenId,
    /// How sure the model is of it, as in a [`Candidate`].
    pub score: f64,
}

/// What a threshold reveals when too few candidates pass it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// This many, the best ones.
    Count(usize),
    /// As many as the schedule wants, the best ones, unless at least as many pass.
    Quota,
}

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unmask {
    /// The surest candidates, as many as the schedule wants.
    TopK {
        /// 0: the surest ones. Above 0: drawn without replacement, with probabilities softmax(score / alg_temp). Source: Dream.
        alg_temp: f64,
    },
    /// Every candidate that reaches `tau`, and at least the floor.
    Threshold {
        /// The threshold on the score.
        tau: f64,
        /// Whether a score equal to `tau` fails.
        strict: bool,
        /// What is revealed when too few pass.
        floor: Floor,
        /// Whether only as many candidates as the schedule wants are looked at, the surest ones. Source: Dream.
        capped: bool,
    },
    /// The r surest candidates for the largest r such that each of the ranks 2..=r has a score of at least
    /// `1 - factor / (rank + 1)`; at least one. If only the last rank fails, all. Source: Fast-dLLM.
    Factor {
        /// The larger, the more is revealed.
        factor: f64,
    },
    /// The leftmost masks, as many as the schedule wants.
    LeftToRight,
    /// The candidates of lowest entropy whose entropies add up to less than `bound`; at least one.
    /// The score must be the negative entropy. Source: SDAR's paper.
    EntropyBudget {
        /// In nats.
        bound: f64,
    },
    /// Every candidate for itself, with the probability that the schedule gives. Source: Dream, `origin`.
    Independent,
}

impl Unmask {
    /// Chooses among `candidates` (in order of position) and leaves their indices in `chosen`, in order of choice.
    ///
    /// `chosen` may be empty where the rule allows it (a quota of 0, [`Self::Independent`]); the decoding loop then takes the
    /// surest candidate unless it replays a recording. Ties go to the lowest position. `uniform` is asked for one number per
    /// candidate, in order, by the rules that draw.
    pub fn choose(
        &self,
        candidates: &[Candidate],
        want: Want,
        uniform: &mut dyn FnMut() -> f64,
        chosen: &mut Vec<usize>,
    ) {
        chosen.clear();
        match *self {
            Self::TopK { alg_temp } if alg_temp > 0.0 => {
                // Adding Gumbel noise and taking the largest is drawing without replacement.
                let noisy: Vec<f64> =
                    candidates.iter().map(|c| c.score / alg_temp - (-uniform().ln()).ln()).collect();
                by_score(|i| noisy[i], candidates.len(), chosen);
                chosen.truncate(want.count);
            }
            Self::TopK { .. } => {
                surest(candidates, chosen);
                chosen.truncate(want.count);
            }
            Self::Threshold { tau, strict, floor, capped } => {
                surest(candidates, chosen);
                if capped {
                    chosen.truncate(want.count);
                }
                let passing =
                    chosen.iter().take_while(|&&i| reaches(candidates[i].score, tau, strict)).count();
                let floor = match floor {
                    Floor::Count(count) => count,
                    Floor::Quota => want.count,
                };
                chosen.truncate(passing.max(floor));
            }
            Self::Factor { factor } => {
                surest(candidates, chosen);
                let fails =
                    |rank: &usize| candidates[chosen[rank - 1]].score < 1.0 - factor / (*rank as f64 + 1.0);
                let n = chosen.len();
                let first_failing = (2..=n).find(fails).filter(|&rank| rank < n);
                chosen.truncate(first_failing.map_or(n, |rank| rank - 1));
            }
            Self::LeftToRight => chosen.extend(0..want.count.min(candidates.len())),
            Self::EntropyBudget { bound } => {
                surest(candidates, chosen);
                let mut sum = 0.0;
                let within = chosen.iter().take_while(|&&i| {
                    sum -= candidates[i].score;
                    sum < bound
                });
                let within = within.count();
                chosen.truncate(within.max(1));
            }
            Self::Independent => {
                chosen.extend((0..candidates.len()).filter(|_| uniform() < f64::from(want.fraction)));
            }
        }
    }
}

impl Unmask {
    /// Whether a score passes the threshold, if the rule is one.
    pub fn passes(&self, score: f64) -> bool {
        matches!(*self, Self::Threshold { tau, strict, .. } if reaches(score, tau, strict))
    }
}

fn reaches(score: f64, tau: f64, strict: bool) -> bool {
    if strict { score > tau } else { score >= tau }
}

/// Uniform numbers of a stream, in the form that [`Unmask::choose`] takes.
pub(crate) fn from_stream(mut stream: Stream) -> impl FnMut() -> f64 {
    move || stream.uniform()
}

/// Indices by descending score, ties by position.
fn surest(candidates: &[Candidate], order: &mut Vec<usize>) {
    by_score(|i| candidates[i].score, candidates.len(), order);
}

fn by_score(score: impl Fn(usize) -> f64, len: usize, order: &mut Vec<usize>) {
    order.extend(0..len);
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
}
