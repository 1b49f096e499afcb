//! [`Recorder`]: what the decoding loop did, pass by pass.

use diffulex::Event;
use diffulex::engine::PassKind;
use diffulex::sampler::{Candidate, Edit};
use std::ops::Range;
use std::time::{Duration, Instant};

/// How many candidates of a pass are kept, the surest ones: a long canvas draws one for every mask in every step.
pub(super) const CANDIDATES: usize = 256;

/// One forward pass and its outcome.
pub(super) struct Pass {
    pub(super) kind: PassKind,
    pub(super) index: usize,
    pub(super) rows: Range<usize>,
    pub(super) cached: usize,
    /// From its start to the next event: the pass and the choice among its candidates.
    pub(super) time: Duration,
    pub(super) revealed: Vec<Candidate>,
    /// Tokens that changed.
    pub(super) edits: Vec<Edit>,
    /// What was drawn for masks that stayed, by position.
    pub(super) candidates: Vec<Candidate>,
    /// Candidates that were not kept.
    pub(super) left_out: usize,
    /// The block that was finished with it.
    pub(super) block: Option<Range<usize>>,
}

/// Takes note of events.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) passes: Vec<Pass>,
    /// When the last pass began, unless its time is known.
    begun: Option<Instant>,
}

impl Recorder {
    /// The time of an event is `now`: what others do with the event does not count as the model's time.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) {
        self.stop_clock(now);
        match *event {
            Event::Pass { kind, index, rows, cached, .. } => {
                self.passes.push(Pass {
                    kind,
                    index,
                    rows: rows.clone(),
                    cached,
                    time: Duration::ZERO,
                    revealed: Vec::new(),
                    edits: Vec::new(),
                    candidates: Vec::new(),
                    left_out: 0,
                    block: None,
                });
            }
            Event::Revealed { tokens, edits, candidates, .. } => {
                if let Some(pass) = self.passes.last_mut() {
                    pass.edits.extend_from_slice(edits);
                    pass.reveal(tokens, candidates);
                }
            }
            Event::Block { range, .. } => {
                if let Some(pass) = self.passes.last_mut() {
                    pass.block = Some(range.clone());
                }
            }
        }
    }

    /// The pass that an event began starts after everybody has seen the event.
    pub(super) fn start_clock(&mut self, event: &Event<'_>) {
        if matches!(event, Event::Pass { .. }) {
            self.begun = Some(Instant::now());
        }
    }

    /// Ends the time of the last pass.
    pub(super) fn stop_clock(&mut self, now: Instant) {
        if let (Some(begun), Some(pass)) = (self.begun.take(), self.passes.last_mut()) {
            pass.time = now - begun;
        }
    }
}

impl Pass {
    fn reveal(&mut self, tokens: &[Candidate], candidates: &[Candidate]) {
        self.revealed.extend_from_slice(tokens);
        let revealed = |candidate: &Candidate| tokens.iter().any(|token| token.pos == candidate.pos);
        let mut stayed: Vec<_> = candidates.iter().filter(|c| !revealed(c)).copied().collect();
        self.left_out = stayed.len().saturating_sub(CANDIDATES);
        if self.left_out > 0 {
            stayed.sort_by(|a, b| b.score.total_cmp(&a.score));
            stayed.truncate(CANDIDATES);
            stayed.sort_by_key(|candidate| candidate.pos);
        }
        self.candidates = stayed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffulex::sampler::Canvas;

    fn candidates(n: usize) -> Vec<Candidate> {
        (0..n).map(|pos| Candidate { pos, token: 7, score: (pos * 37 % 1000) as f64 / 1000.0 }).collect()
    }

    #[test]
    fn a_pass_keeps_what_came_of_it() {
        let canvas = Canvas::new(&[1, 2], 1000, 0);
        let (mut recorder, all) = (Recorder::default(), candidates(1000));
        let pass =
            Event::Pass { kind: PassKind::Denoise, index: 3, rows: &(2..9), cached: 2, canvas: &canvas };
        recorder.note(&pass, Instant::now());
        recorder.start_clock(&pass);
        let begun = recorder.begun.expect("the clock runs");
        let (edits, alternatives) = (&[][..], &Default::default());
        let revealed =
            Event::Revealed { tokens: &all[..2], edits, candidates: &all, alternatives, canvas: &canvas };
        recorder.note(&revealed, begun + Duration::from_millis(5));
        recorder.note(&Event::Block { range: &(0..8), canvas: &canvas }, begun + Duration::from_millis(9));
        assert_eq!(recorder.passes.len(), 1);
        let pass = &recorder.passes[0];
        assert_eq!((pass.index, &pass.rows, pass.cached, &pass.block), (3, &(2..9), 2, &Some(0..8)));
        assert_eq!((pass.time, &pass.revealed[..]), (Duration::from_millis(5), &all[..2]));
        // The surest of the 998 that stayed, in order.
        assert_eq!((pass.candidates.len(), pass.left_out), (CANDIDATES, 998 - CANDIDATES));
        assert!(pass.candidates.is_sorted_by_key(|c| c.pos), "by position");
        let kept = pass.candidates.iter().map(|c| c.score).fold(1.0, f64::min);
        let better = all[2..].iter().filter(|c| c.score > kept).count();
        assert!(better < CANDIDATES, "{better} are surer than {kept}");
    }
}
