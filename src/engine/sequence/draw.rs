//! From a row of logits to a token: [`Drawer`].

use super::Sequence;
use super::binding::Binding;
use crate::engine::Engine;
use crate::engine::generation::Request;
use crate::engine::plan::Lead;
use crate::error::Result;
use crate::exec::Serial;
use crate::sampler::{Draw, Drawn, Kept, Rng, Score};
use crate::tensor::{Rows, RowsMut, TokenId};

/// A token that a sequence needs from a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Wanted {
    /// Row of the segment whose logits predict it.
    pub(in crate::engine) row: usize,
    /// Its position.
    pos: usize,
    /// The token that is there, if it is not masked.
    own: Option<TokenId>,
    /// Whether it is the most probable one, whatever the policy draws ([`Lead::Argmax`]).
    carries_on: bool,
}

/// What a row of logits became.
#[derive(Clone)]
pub(in crate::engine) struct Picked {
    pub(in crate::engine) drawn: Drawn,
    /// The most probable tokens, if they are wanted.
    alternatives: Vec<Kept>,
}

/// The parts of a sequence that decide how a token is drawn. The rows of a pass are drawn from in parallel.
pub(in crate::engine) struct Drawer {
    draw: Draw,
    score: Score,
    guidance: f32,
    alternatives: usize,
    bans: bool,
    rng: Rng,
    /// Denoise steps begun.
    pub(super) step: usize,
    /// Tokens that the repetition penalty applies to: everything known, once.
    pub(super) seen: Vec<TokenId>,
    /// The grammar that binds the answer.
    pub(super) binding: Option<Binding>,
}

impl Drawer {
    /// # Errors
    /// As [`Binding::new`].
    pub(super) fn new(request: &Request<'_>, bans: bool, first_mask: usize) -> Result<Self> {
        let binding =
            request.grammar.map(|grammar| Binding::new(grammar, request, first_mask)).transpose()?;
        Ok(Self {
            draw: request.policy.draw,
            score: request.policy.score,
            guidance: request.policy.guidance,
            alternatives: request.alternatives,
            bans,
            rng: Rng::new(request.seed),
            step: 0,
            seen: Vec::new(),
            binding,
        })
    }

    pub(super) fn rng(&self) -> Rng {
        self.rng
    }

    pub(super) fn has_penalty(&self) -> bool {
        self.draw.repetition_penalty != 1.0
    }

    /// Draws one token. `row` are its logits, which are changed; `unconditional` those without a prompt, with guidance.
    /// `None` if there is nothing finite to draw from.
    pub(in crate::engine) fn draw(
        &self,
        engine: &Engine,
        wanted: Wanted,
        row: &mut [f32],
        unconditional: Option<&[f32]>,
    ) -> Option<Picked> {
        if let Some(other) = unconditional {
            let (vocab, scale) = (row.len(), self.guidance + 1.0);
            engine.kernels.guide(&Serial, RowsMut::new(row, vocab), Rows::new(other, vocab), scale);
        }
        if !wanted.carries_on {
            let penalty = self.draw.repetition_penalty;
            // A token that may change is not penalised for being there.
            for &id in self.seen.iter().filter(|&&id| Some(id) != wanted.own) {
                let logit = &mut row[id as usize];
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        if self.bans {
            engine.ban(row);
        }
        if let Some(binding) = &self.binding {
            binding.restrict(wanted.pos, row);
        }
        if wanted.carries_on {
            let scan = engine.kernels.scan(row);
            let fit = !scan.bad && scan.max > f32::NEG_INFINITY;
            let drawn = Drawn { token: scan.argmax as TokenId, score: 1.0 };
            return fit.then_some(Picked { drawn, alternatives: Vec::new() });
        }
        let mut stream = self.rng.stream(self.step, wanted.pos);
        let among = self.draw.draw_among(&engine.kernels, row, self.score, &mut stream, self.alternatives);
        among.map(|(drawn, alternatives)| Picked { drawn, alternatives })
    }
}

impl Sequence<'_> {
    /// Notes which other tokens were probable where one was drawn.
    pub(in crate::engine) fn note_alternatives(&mut self, wanted: Wanted, picked: &mut Picked) {
        if self.drawer.alternatives > 0 {
            self.alternatives.insert(wanted.pos, std::mem::take(&mut picked.alternatives));
        }
    }

    /// The tokens that the sequence needs from the requested pass; [`Self::take`] expects them in this order.
    pub(in crate::engine) fn wanted(&self) -> impl Iterator<Item = Wanted> {
        let rows = self.ask.as_ref().expect("a pass is asked for").rows.clone();
        // A draft is verified by the rows before its tokens.
        let shift = usize::from(self.shifted || !self.draft.is_empty());
        let (first, last, end) = (rows.start, rows.len() - 1, rows.end);
        let masks = self.positions.iter().map(move |&pos| Wanted {
            row: (pos - first).saturating_sub(shift),
            pos,
            own: (pos < self.canvas.len() && !self.canvas.is_mask(pos)).then(|| self.canvas.ids()[pos]),
            carries_on: false,
        });
        let carries_on = self.lead == Lead::Argmax;
        masks.chain(self.carries_on.then_some(Wanted { row: last, pos: end, own: None, carries_on }))
    }
}
