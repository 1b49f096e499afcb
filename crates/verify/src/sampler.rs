//! Recorded sampler vectors: filtered distributions, confidences, schedules, the factor rule, Gumbel draws.

use super::recording::{Recording, text, whole};
use super::{Options, Outcome};
use diffulex::json::Value;
use diffulex::kernels::Kernels;
use diffulex::sampler::{
    Basis, Candidate, Draw, DrawKind, FilterOrder, Filters, Pace, Quota, Rng, Score, Unmask, Want,
    gumbel_argmax, timesteps,
};

type Check<T> = Result<T, String>;

/// More steps than any schedule has.
const MAX_STEPS: usize = 1 << 16;
/// Probabilities pass within this.
const TOLERANCE: f64 = 2e-6;
/// A cutoff of the reference does not see what is below this: it adds up probabilities in f32, to a sum of about 1.
const LOST_IN_SUM: f64 = f32::EPSILON as f64;
/// Below this the softmax of the reference is 0.
const LOST_IN_SOFTMAX: f64 = f32::MIN_POSITIVE as f64;
/// Entropies are sums over the vocabulary of f32 terms in the reference.
const ENTROPY_TOLERANCE: f64 = 2e-5;

pub(super) fn run(recording: &Recording, options: &Options, outcomes: &mut Vec<Outcome>) {
    let kernels = Kernels::new(options.level);
    let mut push = |name: &str, kind, check| outcomes.push(Outcome::new(name, kind, check));
    let vectors = Vectors::open(recording);
    for case in recording.entries("cases") {
        let name = text(case, "case").unwrap_or("case without a name");
        let check = vectors.as_ref().map_err(Clone::clone).and_then(|v| v.case(recording, &kernels, case));
        push(name, "sampler", check);
    }
    for case in recording.entries("llada_gumbel") {
        let name = text(case, "name").unwrap_or("draw without a name");
        let check = vectors.as_ref().map_err(Clone::clone).and_then(|v| v.gumbel(recording, case));
        push(name, "sampler", check);
    }
    if recording.has_tensor("llada.softmax_f64") {
        let check = vectors.as_ref().map_err(Clone::clone).and_then(|v| v.softmax(recording, &kernels));
        push("llada.softmax_f64", "sampler", check);
    }
    if let Some(ties) = recording.value("topk_ties") {
        push("topk_ties", "sampler", topk_ties(ties));
    }
    for (i, rule) in recording.entries("factor_rule").iter().enumerate() {
        push(&format!("factor_rule.{i}"), "sampler", factor_rule(rule));
    }
    let none = Vec::new();
    let schedules = recording.value("schedules").and_then(Value::entries).unwrap_or(&none);
    for (kind, cases) in schedules {
        for (i, case) in cases.as_array().unwrap_or(&[]).iter().enumerate() {
            push(&format!("{kind}.{i}"), "schedule", schedule(recording, kind, case));
        }
    }
}

fn number(case: &Value, key: &str) -> Check<f64> {
    case.get(key).and_then(Value::as_f64).ok_or_else(|| format!("`{key}` is missing or not a number"))
}

/// How far a score of the reference may be off by its own rounding: logits divided by the temperature are f32, and their rounding
/// error is a relative error of every probability.
fn rounding(row: &[f32], inv_t: f32) -> f64 {
    let largest = row.iter().fold(0f32, |largest, logit| largest.max((logit * inv_t).abs()));
    f64::from(largest) * f64::from(f32::EPSILON)
}

fn close(what: &str, ours: f64, theirs: f64, tolerance: f64) -> Check<()> {
    let difference = (ours - theirs).abs();
    if difference <= tolerance { Ok(()) } else { Err(format!("{what} is {ours}, {theirs} recorded")) }
}

/// The logits that every case is about.
struct Vectors {
    logits: Vec<f32>,
    vocab: usize,
}

impl Vectors {
    fn open(recording: &Recording) -> Check<Self> {
        let (shape, logits) = recording.f32s("logits")?;
        match shape[..] {
            [rows, vocab] if rows > 0 && vocab > 0 => Ok(Self { logits, vocab }),
            _ => Err(format!("logits have shape {shape:?}, at least one row of one number expected")),
        }
    }

    /// A tensor with this many numbers for each row of the logits.
    fn sized<T>(&self, name: &str, numbers: Vec<T>, each: usize) -> Check<Vec<T>> {
        let expected = self.logits.len() / self.vocab * each;
        match numbers.len() {
            found if found == expected => Ok(numbers),
            found => Err(format!("tensor `{name}` holds {found} numbers, {expected} expected")),
        }
    }

    fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.logits.chunks(self.vocab).enumerate()
    }

    fn case(&self, recording: &Recording, kernels: &Kernels, case: &Value) -> Check<()> {
        let name = text(case, "case")?;
        let temperature = number(case, "temperature")? as f32;
        let (top_k, top_p) = (whole(case, "top_k")?, number(case, "top_p")? as f32);
        let families = case.get("families").and_then(Value::as_array).unwrap_or(&[]);
        for family in families {
            let family = family.as_str().unwrap_or("?");
            let (order, basis) = match family {
                "dream" => (FilterOrder::TopPThenTopK, Basis::AlwaysFiltered),
                "sdar" | "fastdllm2" => (FilterOrder::TopKThenTopP, Basis::Filtered),
                "sdar_eval" => (FilterOrder::TopKThenTopP, Basis::Tempered),
                other => return Err(format!("family `{other}` is not understood")),
            };
            let draw = Draw {
                temperature,
                filters: Filters { top_k, top_p, order },
                kind: DrawKind::Multinomial,
                basis,
                repetition_penalty: 1.0,
            };
            self.family(recording, kernels, name, family, &draw).map_err(|e| format!("{family}: {e}"))?;
        }
        if families.is_empty() { Err("a case without a family".into()) } else { Ok(()) }
    }

    fn family(
        &self,
        recording: &Recording,
        kernels: &Kernels,
        name: &str,
        family: &str,
        draw: &Draw,
    ) -> Check<()> {
        if family == "sdar_eval" {
            return self.confidences(
                recording,
                kernels,
                &format!("{name}.sdar_eval.argmax_confidence"),
                draw,
                Score::Probability,
            );
        }
        let tensor = format!("{name}.{family}.probs");
        let probs = self.sized(&tensor, recording.f32s(&tensor)?.1, self.vocab)?;
        // Fast-dLLM v2 cuts where the sum exceeds top_p, even a top_p of 1, which may happen by rounding.
        let lost = if family == "fastdllm2" { LOST_IN_SUM } else { LOST_IN_SOFTMAX };
        for (i, row) in self.rows() {
            // What the filters keep, or every token where they are not used.
            let greedy = draw.temperature == 0.0;
            let off = greedy && draw.basis != Basis::AlwaysFiltered;
            let filters = if off { Filters::OFF } else { draw.filters };
            let inv_t = if greedy { 1.0 } else { 1.0 / draw.temperature };
            let mut ours = vec![0.0; self.vocab];
            filters.apply(row, inv_t).iter().for_each(|kept| ours[kept.token as usize] = kept.probability);
            for (token, &p) in ours.iter().enumerate() {
                let theirs = f64::from(probs[i * self.vocab + token]);
                let allowed = TOLERANCE + rounding(row, inv_t) * p;
                close(&format!("row {i}: probability of token {token}"), p, theirs, allowed)?;
                let lost = theirs == 0.0 && p < lost;
                if (p == 0.0) != (theirs == 0.0) && !lost {
                    return Err(format!("row {i}: token {token} has probability {p}, {theirs} recorded"));
                }
            }
        }
        let argmax =
            if family == "dream" { format!("{name}.dream.argmax") } else { format!("{name}.argmax") };
        if recording.has_tensor(&argmax) && family != "fastdllm2" {
            let theirs = self.sized(&argmax, recording.i64s(&argmax)?.1, 1)?;
            for (i, row) in self.rows() {
                let ours = draw.filters.apply(row, 1.0).first().ok_or("a row that keeps no token")?.token;
                if i64::from(ours) != theirs[i] {
                    return Err(format!("row {i}: most probable token is {ours}, {} recorded", theirs[i]));
                }
            }
        }
        if family == "dream" {
            for (score, what) in [
                (Score::Probability, "maskgit_plus"),
                (Score::Margin, "topk_margin"),
                (Score::NegEntropy, "entropy"),
            ] {
                self.confidences(recording, kernels, &format!("{name}.dream.conf_{what}"), draw, score)?;
            }
        }
        Ok(())
    }

    /// Scores of the most probable token. A temperature shapes the distribution; the draw itself is greedy.
    fn confidences(
        &self,
        recording: &Recording,
        kernels: &Kernels,
        tensor: &str,
        draw: &Draw,
        score: Score,
    ) -> Check<()> {
        let theirs = self.sized(tensor, recording.f32s(tensor)?.1, 1)?;
        let inv_t = if draw.temperature == 0.0 { 1.0 } else { 1.0 / draw.temperature };
        let filters = if draw.basis == Basis::AlwaysFiltered { draw.filters } else { Filters::OFF };
        let greedy = Draw { temperature: 0.0, filters, basis: Basis::AlwaysFiltered, ..*draw };
        for (i, row) in self.rows() {
            let scaled: Vec<f32> = row.iter().map(|x| x * inv_t).collect();
            let drawn = greedy.draw(kernels, &scaled, score, &mut Rng::new(0).stream(0, 0));
            let ours = drawn.ok_or("a row that is not finite")?.score;
            // A margin is the difference between two probabilities.
            let tolerance = match score {
                Score::NegEntropy => ENTROPY_TOLERANCE,
                _ => TOLERANCE + rounding(row, inv_t),
            };
            close(&format!("{tensor}, row {i}"), ours, f64::from(theirs[i]), tolerance)?;
        }
        Ok(())
    }

    fn gumbel(&self, recording: &Recording, case: &Value) -> Check<()> {
        let name = text(case, "name")?;
        let [uniform, argmax] = ["uniform", "argmax"].map(|what| format!("{name}.{what}"));
        let uniforms = self.sized(&uniform, recording.f64s(&uniform)?, self.vocab)?;
        let theirs = self.sized(&argmax, recording.i64s(&argmax)?.1, 1)?;
        let temperature = number(case, "temperature")? as f32;
        for (i, row) in self.rows() {
            let mut uniforms = uniforms[i * self.vocab..].iter().copied();
            let ours = gumbel_argmax(row, temperature, &mut || uniforms.next().unwrap_or(f64::NAN));
            if i64::from(ours) != theirs[i] {
                return Err(format!("row {i}: token {ours} drawn, {} recorded", theirs[i]));
            }
        }
        Ok(())
    }

    fn softmax(&self, recording: &Recording, kernels: &Kernels) -> Check<()> {
        let theirs = self.sized("llada.softmax_f64", recording.f64s("llada.softmax_f64")?, self.vocab)?;
        for (i, row) in self.rows() {
            let scan = kernels.scan(row);
            let sum = kernels.exp_sums(row, scan.max, 1.0).sum;
            for (token, &logit) in row.iter().enumerate() {
                let ours = f64::from(logit - scan.max).exp() / sum;
                close(&format!("row {i}, token {token}"), ours, theirs[i * self.vocab + token], TOLERANCE)?;
            }
        }
        Ok(())
    }
}

fn topk_ties(ties: &Value) -> Check<()> {
    let list =
        |value: Option<&Value>| value.and_then(Value::as_array).map(<[Value]>::to_vec).unwrap_or_default();
    let logits: Vec<f32> =
        list(ties.get("logits")).iter().map(|x| x.as_f64().unwrap_or(f64::NAN) as f32).collect();
    let cases = list(ties.get("cases"));
    for case in &cases {
        let top_k = whole(case, "top_k")?;
        let kept: Vec<bool> = list(case.get("kept")).iter().map(|bit| bit.as_bool() == Some(true)).collect();
        let mut ours = vec![false; logits.len()];
        let filters = Filters { top_k, ..Filters::OFF };
        filters.apply(&logits, 1.0).iter().for_each(|kept| ours[kept.token as usize] = true);
        if ours != kept {
            return Err(format!("top_k {top_k} keeps {ours:?}, {kept:?} recorded"));
        }
    }
    if cases.is_empty() { Err("no case".into()) } else { Ok(()) }
}

fn factor_rule(rule: &Value) -> Check<()> {
    let confidences = rule.get("confidence").and_then(Value::as_array).ok_or("`confidence` is missing")?;
    let selected = rule.get("selected").and_then(Value::as_array).ok_or("`selected` is missing")?;
    let candidate = |(pos, score): (usize, &Value)| Candidate {
        pos,
        token: 0,
        score: score.as_f64().unwrap_or(f64::NAN),
    };
    let candidates: Vec<Candidate> = confidences.iter().enumerate().map(candidate).collect();
    let mut chosen = Vec::new();
    let want = Want { count: 0, fraction: 0.0, last: false };
    let unmask = Unmask::Factor { factor: number(rule, "factor")? };
    unmask.choose(&candidates, want, &mut || f64::NAN, &mut chosen);
    let ours: Vec<u64> = (0..candidates.len()).map(|i| u64::from(chosen.contains(&i))).collect();
    let theirs: Vec<u64> = selected.iter().map(|bit| bit.as_u64().unwrap_or(2)).collect();
    if ours == theirs { Ok(()) } else { Err(format!("selects {ours:?}, {theirs:?} recorded")) }
}

fn counts(case: &Value) -> Check<Vec<usize>> {
    let counts = case.get("counts").and_then(Value::as_array).ok_or("`counts` is missing")?;
    counts
        .iter()
        .map(|n| n.as_u64().map(|n| n as usize).ok_or_else(|| "a count that is not a number".into()))
        .collect()
}

fn schedule(recording: &Recording, kind: &str, case: &Value) -> Check<()> {
    let steps = whole(case, "steps")?;
    if steps > MAX_STEPS {
        return Err(format!("`steps` is {steps}, at most {MAX_STEPS} expected"));
    }
    let (pace, masks) = match kind {
        "llada_num_transfer" => (Pace::EvenMasks, whole(case, "masks")?),
        "sdar_num_transfer" => (Pace::EvenBlock, whole(case, "block_length")?),
        "dream_transfer_counts" => {
            (Pace::Timesteps { eps: number(case, "eps")? as f32 }, whole(case, "masks")?)
        }
        "dllm_num_transfer" => (Pace::Rounded, whole(case, "masks")?),
        "dream_timesteps" => {
            let (_, theirs) = recording.f32s(text(case, "tensor")?)?;
            let ours = timesteps(steps, number(case, "eps")? as f32);
            if ours.len() != theirs.len() {
                return Err(format!("{} points, {} recorded", ours.len(), theirs.len()));
            }
            let mut pairs = ours.iter().zip(&theirs);
            return pairs.try_for_each(|(&a, &b)| close("a point", f64::from(a), f64::from(b), 1e-6));
        }
        other => return Err(format!("schedule `{other}` is not understood")),
    };
    let theirs = counts(case)?;
    let mut quota = Quota::new(pace, steps, masks, masks);
    let mut left = masks;
    for (step, &count) in theirs.iter().enumerate() {
        let ours = quota.next(left).count;
        if ours != count {
            return Err(format!("step {step} frees {ours}, {count} recorded"));
        }
        left -= count.min(left);
    }
    // This pace leaves out steps that free nothing.
    let steps = if pace == Pace::Rounded && left == 0 { theirs.len() } else { steps };
    if theirs.len() == steps { Ok(()) } else { Err(format!("{} counts for {steps} steps", theirs.len())) }
}
