//! [`Canvas`]: the sequence that is being denoised, with masks where nothing is known yet.

use super::{Candidate, Edit};
use crate::tensor::TokenId;
use std::ops::Range;

/// Prompt, revealed tokens and masks, as absolute positions from 0.
#[derive(Clone, Debug)]
pub struct Canvas {
    ids: Vec<TokenId>,
    mask: TokenId,
    prompt: usize,
    /// Masked positions of the prompt, in order.
    gaps: Box<[usize]>,
    /// Revealed tokens from here on may change.
    fixed: usize,
}

impl Canvas {
    /// `prompt` (which may itself hold masks to be filled in) followed by masks up to `len` positions.
    ///
    /// # Panics
    /// If `len` is shorter than the prompt.
    pub fn new(prompt: &[TokenId], len: usize, mask: TokenId) -> Self {
        assert!(len >= prompt.len(), "a canvas of {len} positions for a prompt of {}", prompt.len());
        let mut ids = prompt.to_vec();
        ids.resize(len, mask);
        let gaps = (0..prompt.len()).filter(|&pos| ids[pos] == mask).collect();
        Self { ids, mask, prompt: prompt.len(), gaps, fixed: len }
    }

    /// All positions.
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// The mask id.
    pub fn mask(&self) -> TokenId {
        self.mask
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Number of positions that the prompt takes.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// Whether nothing is known about a position.
    pub fn is_mask(&self, pos: usize) -> bool {
        self.ids[pos] == self.mask
    }

    /// Masked positions of a range, in order.
    pub fn masks(&self, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        range.filter(|&pos| self.is_mask(pos))
    }

    /// The first masked position of a range, or its end.
    pub fn first_mask(&self, range: Range<usize>) -> usize {
        let end = range.end;
        self.masks(range).next().unwrap_or(end)
    }

    /// Whether the prompt says what a position holds.
    pub fn is_given(&self, pos: usize) -> bool {
        pos < self.prompt && self.gaps.binary_search(&pos).is_err()
    }

    /// Where tokens begin that may change although they are revealed. The end, unless a policy edits.
    pub fn fixed(&self) -> usize {
        self.fixed
    }

    /// Says which tokens will not change any more: those before `until`.
    pub fn fix(&mut self, until: usize) {
        self.fixed = until.min(self.len());
    }

    /// Replaces a revealed token by another one.
    ///
    /// # Panics
    /// If the position holds a different token than the edit says, or one that never changes: it is given, or before
    /// [`Self::fixed`].
    pub fn edit(&mut self, edit: &Edit) {
        let Edit { pos, before, token, .. } = *edit;
        assert!(pos >= self.fixed && !self.is_given(pos), "the token at position {pos} never changes");
        assert!(self.ids[pos] == before && before != self.mask, "position {pos} holds another token");
        self.ids[pos] = token;
    }

    /// Turns a mask into a token.
    ///
    /// # Panics
    /// If the position is not masked.
    pub fn reveal(&mut self, candidate: &Candidate) {
        assert!(self.is_mask(candidate.pos), "position {} is known already", candidate.pos);
        self.ids[candidate.pos] = candidate.token;
    }

    /// The first stop id among the `max_new` positions after the prompt, whether masks come before it or not.
    pub fn text_stop(&self, max_new: usize, stop: &[TokenId]) -> Option<usize> {
        let end = self.len().min(self.prompt.saturating_add(max_new));
        (self.prompt..end).find(|&pos| stop.contains(&self.ids[pos]))
    }

    /// Where the text after the prompt ends: at [`Self::text_stop`], else after `max_new` positions or with the canvas. The end of
    /// the text is decided here alone; only a stop string, which ids know nothing of, ends it earlier.
    pub fn text_end(&self, max_new: usize, stop: &[TokenId]) -> usize {
        let end = self.len().min(self.prompt.saturating_add(max_new));
        self.text_stop(max_new, stop).unwrap_or(end)
    }

    /// The part of the text that is final: from the prompt to the first mask or unfixed token before [`Self::text_end`].
    pub fn settled_text(&self, max_new: usize, stop: &[TokenId]) -> Range<usize> {
        self.prompt..self.settled(self.prompt..self.text_end(max_new, stop))
    }

    /// Where the part of `range` ends that is final: at the first mask, at [`Self::fixed`], or with the range.
    pub fn settled(&self, range: Range<usize>) -> usize {
        let end = range.end.min(self.fixed).max(range.start);
        self.first_mask(range.start..end)
    }

    /// The first position of `range` that holds a stop id with nothing before it that is not final.
    pub fn settled_stop(&self, range: Range<usize>, stop: &[TokenId]) -> Option<usize> {
        let settled = self.settled(range.clone());
        (range.start..settled).find(|&pos| stop.contains(&self.ids[pos]))
    }
}
