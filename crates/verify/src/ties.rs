//! Near ties: a trained model is as sure of one position as of another, often of all padding at once, and which of them comes first
//! is decided by how the reference rounds its f32 softmax.

use diffulex::engine::Step;
use diffulex::tensor::TokenId;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Scores that differ by less are a tie: the softmax of the reference is f32, over logits that are accurate to about 1e-5.
const TIE: f64 = 2e-6;

/// The recorded states of one generation, which a repeated one keeps to where only a near tie says otherwise.
pub(super) struct Tape<'a> {
    /// The state before a pass.
    state: &'a (dyn Fn(usize) -> Option<&'a [i64]> + Sync),
    mask: TokenId,
    /// Passes so far.
    passes: AtomicUsize,
    ties: Mutex<Vec<String>>,
}

impl<'a> Tape<'a> {
    pub(super) fn new(state: &'a (dyn Fn(usize) -> Option<&'a [i64]> + Sync), mask: TokenId) -> Self {
        Self { state, mask, passes: AtomicUsize::new(0), ties: Mutex::default() }
    }

    /// A pass begins.
    pub(super) fn pass(&self) {
        self.passes.fetch_add(1, Ordering::Relaxed);
    }

    /// Replaces a choice by the recorded one, if they differ by a near tie.
    pub(super) fn settle(&self, step: &Step<'_>, chosen: &mut Vec<usize>) {
        let pass = self.passes.load(Ordering::Relaxed);
        let Some(next) = (self.state)(pass) else { return };
        let mut theirs = Vec::new();
        for (i, candidate) in step.candidates.iter().enumerate() {
            match next.get(candidate.pos) {
                Some(&id) if id == i64::from(candidate.token) => theirs.push(i),
                // Still a mask, or not yet there.
                Some(&id) if id == i64::from(self.mask) || id == -1 => {}
                // A different token is not a tie of positions.
                _ => return,
            }
        }
        let only = |these: &[usize], those: &[usize]| -> Vec<usize> {
            these.iter().copied().filter(|i| !those.contains(i)).collect()
        };
        let (ours_only, theirs_only) = (only(chosen, &theirs), only(&theirs, chosen));
        if ours_only.is_empty() || ours_only.len() != theirs_only.len() {
            return;
        }
        let score = |&i: &usize| step.candidates[i].score;
        let scores = || ours_only.iter().chain(&theirs_only).map(score);
        let (low, high) =
            (scores().fold(f64::INFINITY, f64::min), scores().fold(f64::NEG_INFINITY, f64::max));
        // A NaN is not a tie.
        let distance = high - low;
        if distance.is_nan() || distance > TIE {
            return;
        }
        let said = |all: &[usize]| {
            let one = |&i: &usize| format!("{} ({:e})", step.candidates[i].pos, step.candidates[i].score);
            all.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let (ours, recorded) = (said(&ours_only), said(&theirs_only));
        let tie = format!("pass {}: position {ours}, recorded {recorded}", pass - 1);
        self.ties.lock().unwrap_or_else(PoisonError::into_inner).push(tie);
        *chosen = theirs;
    }

    /// The near ties that occurred.
    pub(super) fn ties(&self) -> Vec<String> {
        std::mem::take(&mut *self.ties.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
