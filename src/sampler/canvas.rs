//! [`Canvas`]: the sequence that is being denoised, with masks where nothing is known yet.

use super::Candidate;
use crate::tensor::TokenId;
use std::ops::Range;

/// Prompt, revealed tokens and masks, as absolute positions from 0.
#[derive(Clone, Debug)]
pub struct Canvas {
    ids: Vec<TokenId>,
    mask: TokenId,
    prompt: usize,
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
        Self { ids, mask, prompt: prompt.len() }
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

    /// Turns a mask into a token.
    ///
    /// # Panics
    /// If the position is not masked: revealed and prompt tokens never change.
    pub fn reveal(&mut self, candidate: &Candidate) {
        assert!(self.is_mask(candidate.pos), "position {} is known already", candidate.pos);
        self.ids[candidate.pos] = candidate.token;
    }

    /// The first stop id among the `max_new` positions after the prompt, whether masks come before it or not.
    pub fn text_stop(&self, max_new: usize, stop: &[TokenId]) -> Option<usize> {
        let end = self.len().min(self.prompt.saturating_add(max_new));
        (self.prompt..end).find(|&pos| stop.contains(&self.ids[pos]))
    }

    /// Where the text after the prompt ends: at [`Self::text_stop`], else after `max_new` positions or with the canvas. Whoever asks
    /// where a text ends asks here; only a stop string, which ids know nothing of, ends it earlier.
    pub fn text_end(&self, max_new: usize, stop: &[TokenId]) -> usize {
        let end = self.len().min(self.prompt.saturating_add(max_new));
        self.text_stop(max_new, stop).unwrap_or(end)
    }

    /// The part of the text that is final: from the prompt to the first mask before [`Self::text_end`].
    pub fn settled_text(&self, max_new: usize, stop: &[TokenId]) -> Range<usize> {
        self.prompt..self.first_mask(self.prompt..self.text_end(max_new, stop))
    }

    /// The first position of `range` that holds a stop id with no mask before it.
    pub fn settled_stop(&self, range: Range<usize>, stop: &[TokenId]) -> Option<usize> {
        let settled = self.first_mask(range.clone());
        (range.start..settled).find(|&pos| stop.contains(&self.ids[pos]))
    }
}
