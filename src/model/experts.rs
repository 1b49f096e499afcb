//! A feed-forward part that consists of experts: a router chooses some of them for every row.
//!
//! ```text
//! s = softmax(h·Wr);   E(row) = the per_token experts of the largest s, lowest index first among equals
//! w(e) = s(e), or s(e) / Σ s over E(row) where the family normalises
//!
//! s = sigmoid(h·Wr);   E(row) = those of the largest s + bias in the groups that are kept (Router::Sigmoid)
//! w(e) = scale · s(e) / Σ s over E(row), undivided if only one is chosen
//!
//! out = Σ w(e) expert_e(h) over E(row), by ascending e;   out += shared(h), if the family has that
//! ```
//!
//! Rows are gathered by expert, so that the matrices of an expert are read once for all rows that chose it; the GEMMs of all
//! experts run as one call. The sum has a fixed order, so the bits of a row depend neither on other rows nor on threads.

use super::Compute;
use super::arch::{Architecture, Mixture, Router};
use super::block::{At, Mlp};
use super::choice::{Pick, Scores, is_finite};
use super::linear::{Linear, Vector};
use super::probe::{Probe, Stage};
use super::scratch::{FFN_ROWS, Mat, Scratch};
use super::slots::{Make, Part, Role};
use crate::error::Result;
use crate::exec::split;
use crate::kernels::{Group, Kernels, Prepared};
use crate::quant::Matrix;
use crate::tensor::{Rows, RowsMut};
use std::ops::Range;

/// The weights of the router and of the experts.
pub(super) struct Experts<M, V> {
    /// `[experts, hidden]`, always f32: the choice is discrete, so no rounding may come before it.
    router: Linear<M, V>,
    /// `[experts]`, added to the scores for the choice, if the family has that.
    bias: Option<V>,
    experts: Vec<Mlp<M, V>>,
    /// The expert that every row goes through, if the family has one.
    shared: Option<Mlp<M, V>>,
}

impl<M, V> Experts<M, V> {
    pub(super) fn new(
        arch: &Architecture,
        mixture: &Mixture,
        part: &mut Part<'_, impl Make<Matrix = M, Vector = V>>,
    ) -> Result<Self> {
        let (hidden, names) = (arch.dims.hidden, arch.names);
        let outputs = [(names.router, mixture.experts)];
        let [router] = part.linears(Role::Router, outputs, hidden, false)?;
        let biased = matches!(mixture.router, Router::Sigmoid { bias: true, .. });
        let bias = biased.then(|| part.vector(names.router_bias, mixture.experts, Role::Bias)).transpose()?;
        let mut expert = |i| Mlp::new(arch, mixture.ffn, &mut part.expert(names.experts, i));
        let experts = (0..mixture.experts).map(&mut expert).collect::<Result<_>>()?;
        let shared =
            mixture.shared.map(|ffn| Mlp::new(arch, ffn, &mut part.part(names.shared))).transpose()?;
        Ok(Self { router, bias, experts, shared })
    }
}

/// Which rows go through which experts, and memory for that.
#[derive(Default)]
pub(super) struct Routes {
    /// Logits of the router, then their softmax or sigmoids, `[rows, experts]`.
    scores: Mat,
    /// The scores with their bias, `[rows, experts]`, where there is one.
    biased: Mat,
    /// What the expert that every row goes through makes of them, `[rows, hidden]`, where there is one.
    shared: Mat,
    /// What the rows chose, `[rows][per_token]`, by ascending expert in each row.
    picks: Vec<Pick>,
    /// Whether some row of the pass chose an expert, `[layers][experts]`, as far as the pass has come; empty without experts.
    touched: Vec<bool>,
    /// Where the gathered rows of every expert begin, and one more for the end.
    starts: Vec<usize>,
    /// The gathered row of every pick of the current piece.
    places: Vec<usize>,
    /// Rows by expert, then what the experts make of them, `[picks, hidden]`.
    gathered: Mat,
    /// x of every expert in the forms that kernels read.
    prepared: Vec<Prepared>,
}

impl Routes {
    /// Floats that a pass over `rows` rows of `hidden` numbers needs.
    pub(super) fn floats(mixture: &Mixture, rows: usize, hidden: usize) -> usize {
        let picks = rows.min(FFN_ROWS) * mixture.per_token;
        let shared = mixture.shared.map_or(0, |ffn| rows * hidden + 2 * rows.min(FFN_ROWS) * ffn);
        // The gathered rows and their prepared forms, twice where a matrix unit needs a form of its own.
        2 * rows * mixture.experts + shared + picks * (3 * hidden + 2 * mixture.ffn)
    }
}

impl Experts<Matrix, Vector> {
    /// Replaces the rows of `scratch.h` by those of the branch, some at a time.
    pub(super) fn forward(
        &self,
        compute: &Compute<'_>,
        mixture: &Mixture,
        at: &At<'_>,
        scratch: &mut Scratch,
        probe: &mut Probe<'_>,
    ) {
        let layer = at.layer;
        let Scratch { h, gate, up, routes, prepared, .. } = scratch;
        let rows = h.rows().len();
        routes.scores.resize(rows, mixture.experts);
        compute.project(h.rows(), prepared, [self.router.to(&mut routes.scores)]);
        probe.see(layer, Stage::RouterLogits, &routes.scores);
        routes.score(compute.kernels, mixture);
        probe.see(layer, Stage::RouterScores, &routes.scores);
        let biased = routes.add_bias(self.bias.as_deref());
        if biased {
            probe.see(layer, Stage::RouterBiased, &routes.biased);
        }
        let scores = Scores {
            mixture,
            scores: routes.scores.rows().data(),
            biased: biased.then(|| routes.biased.rows().data()),
        };
        scores.choose(at.batch, &mut routes.picks);
        routes.note(mixture, layer);
        probe.see_made(layer, Stage::ExpertWeights, mixture.experts, || routes.weights(mixture));
        if let Some(shared) = &self.shared {
            routes.shared.copy_from(h);
            shared.forward(compute, &mut routes.shared, gate, up, prepared);
        }
        for start in (0..rows).step_by(FFN_ROWS) {
            let piece = start..(start + FFN_ROWS).min(rows);
            let picks = piece.start * mixture.per_token..piece.end * mixture.per_token;
            routes.gather(compute, mixture, h.part(&piece), &picks);
            for mat in [&mut *gate, &mut *up] {
                mat.resize(picks.len(), mixture.ffn);
            }
            self.run(compute, routes, gate, up);
            routes.combine(compute, mixture, &picks, h.part_mut(&piece));
        }
        probe.see(layer, Stage::Routed, h);
        if self.shared.is_some() {
            probe.see(layer, Stage::Shared, &routes.shared);
            compute.add(h, &routes.shared);
        }
    }

    /// Every expert on its gathered rows, in place.
    fn run(&self, compute: &Compute<'_>, routes: &mut Routes, gate: &mut Mat, up: &mut Mat) {
        let Routes { starts, gathered, prepared, .. } = routes;
        prepared.resize_with(self.experts.len(), Prepared::default);
        let inputs = starts.windows(2).map(|range| gathered.part(&(range[0]..range[1])));
        let outputs = gate.cut_mut(starts).zip(up.cut_mut(starts));
        let mut both: Vec<_> = self
            .experts
            .iter()
            .zip(outputs)
            .map(|(expert, (gate, up))| [expert.gate.onto(gate), expert.up.onto(up)])
            .collect();
        let groups = inputs.zip(prepared.iter_mut()).zip(&mut both);
        let mut groups: Vec<_> =
            groups.map(|((x, prepared), both)| Group { x, prepared, projections: both }).collect();
        compute.kernels.project_groups(compute.exec, &mut groups);
        drop(groups);
        drop(both);

        compute.swiglu(gate, up);
        let inputs = starts.windows(2).map(|range| gate.part(&(range[0]..range[1])));
        let mut down: Vec<_> =
            self.experts.iter().zip(gathered.cut_mut(starts)).map(|(e, out)| [e.down.onto(out)]).collect();
        let groups = inputs.zip(prepared.iter_mut()).zip(&mut down);
        let mut groups: Vec<_> =
            groups.map(|((x, prepared), down)| Group { x, prepared, projections: down }).collect();
        compute.kernels.project_groups(compute.exec, &mut groups);
    }
}

impl Routes {
    /// Forgets the previous pass.
    pub(super) fn begin(&mut self, arch: &Architecture) {
        self.touched.clear();
        let experts = arch.mixture.as_ref().map_or(0, |mixture| mixture.experts);
        self.touched.resize(arch.dims.layers * experts, false);
    }

    /// Whether the pass read each of the `experts` of a layer.
    pub(super) fn touched(&self, layer: usize, experts: usize) -> &[bool] {
        &self.touched[layer * experts..][..experts]
    }

    /// Notes which experts the rows of a layer chose.
    fn note(&mut self, mixture: &Mixture, layer: usize) {
        let touched = &mut self.touched[layer * mixture.experts..][..mixture.experts];
        self.picks.iter().for_each(|pick| touched[pick.expert] = true);
    }

    /// Turns the logits of the router into scores.
    fn score(&mut self, kernels: &Kernels, mixture: &Mixture) {
        let mut scores = self.scores.rows_mut();
        for i in 0..scores.len() {
            match mixture.router {
                Router::Softmax { .. } => softmax(kernels, scores.row_mut(i)),
                Router::Sigmoid { .. } => sigmoid(scores.row_mut(i)),
            }
        }
    }

    /// Adds the bias of the choice, if there is one; returns whether.
    fn add_bias(&mut self, bias: Option<&[f32]>) -> bool {
        let Some(bias) = bias else { return false };
        self.biased.copy_from(&self.scores);
        let mut biased = self.biased.rows_mut();
        for i in 0..biased.len() {
            biased.row_mut(i).iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
        }
        true
    }

    /// The weights of the choice, `[rows, experts]`, 0 where an expert was not chosen.
    fn weights(&self, mixture: &Mixture) -> Vec<f32> {
        let mut weights = vec![0.0; self.scores.rows().data().len()];
        let rows = weights.chunks_mut(mixture.experts).zip(self.picks.chunks(mixture.per_token));
        rows.for_each(|(row, picks)| picks.iter().for_each(|pick| row[pick.expert] = pick.weight));
        weights
    }

    /// Copies the rows of a piece to their experts.
    fn gather(&mut self, compute: &Compute<'_>, mixture: &Mixture, h: Rows<'_>, picks: &Range<usize>) {
        let picks = &self.picks[picks.clone()];
        self.starts.clear();
        self.starts.resize(mixture.experts + 1, 0);
        picks.iter().for_each(|pick| self.starts[pick.expert + 1] += 1);
        (0..mixture.experts).for_each(|e| self.starts[e + 1] += self.starts[e]);
        let mut next = self.starts.clone();
        let mut sources = vec![0; picks.len()];
        self.places.clear();
        for (i, pick) in picks.iter().enumerate() {
            let place = next[pick.expert];
            next[pick.expert] += 1;
            sources[place] = i / mixture.per_token;
            self.places.push(place);
        }
        self.gathered.resize(picks.len(), h.width());
        split(compute.exec, self.gathered.rows_mut().data_mut(), h.width(), |place, row| {
            row.copy_from_slice(h.row(sources[place]));
        });
    }

    /// The weighted sum of what the experts made of every row of a piece.
    fn combine(&self, compute: &Compute<'_>, mixture: &Mixture, picks: &Range<usize>, mut h: RowsMut<'_>) {
        let (picks, gathered, k) = (&self.picks[picks.clone()], self.gathered.rows(), mixture.per_token);
        split(compute.exec, h.data_mut(), gathered.width(), |i, out| {
            out.fill(0.0);
            for (pick, &place) in picks[i * k..][..k].iter().zip(&self.places[i * k..]) {
                let row = out.iter_mut().zip(gathered.row(place));
                row.for_each(|(out, x)| *out += pick.weight * x);
            }
        });
    }
}

/// Probabilities in place; NaN if an entry is NaN or infinite.
fn softmax(kernels: &Kernels, row: &mut [f32]) {
    if !is_finite(row) {
        return row.fill(f32::NAN);
    }
    let scan = kernels.scan(row);
    let sum = kernels.exp_sums(row, scan.max, 1.0).sum;
    kernels.softmax(row, scan.max, 1.0, sum as f32);
}

/// Sigmoids in place; NaN if an entry is NaN or infinite. In f64, so that the exponential functions of all machines round to the same f32.
fn sigmoid(row: &mut [f32]) {
    if !is_finite(row) {
        return row.fill(f32::NAN);
    }
    row.iter_mut().for_each(|x| *x = (1.0 / (1.0 + (-f64::from(*x)).exp())) as f32);
}
