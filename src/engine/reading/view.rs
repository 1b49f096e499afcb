//! [`View`]: what is computed to know the next token of a place.
//!
//! What a position sees is what it would see if an answer were decoded from the left: the text before it and masks after it. A
//! model whose blocks begin with a token that a causal pass predicts is read causally throughout, which is how it stores text.

use super::OPEN;
use super::Place;
use crate::cache::{Blocks, Visible};
use crate::engine::Engine;
use crate::engine::plan::{self, Lead};
use crate::error::{Error, Result};
use crate::model::{Alignment, CommitRule};
use crate::sampler::Policy;
use crate::tensor::TokenId;
use std::ops::Range;

/// What is computed for a place: which rows, and what they see.
pub(super) struct View {
    /// The blocks of a block-causal model.
    pub(super) blocks: Option<Blocks>,
    /// The text and the masks after it.
    pub(super) ids: Vec<TokenId>,
    /// Positions before this one depend on nothing after it.
    pub(super) until: usize,
    /// The position whose row predicts the next token.
    pub(super) row: usize,
    /// The tokens whose probabilities are wanted.
    pub(super) tokens: Vec<TokenId>,
}

impl View {
    /// # Errors
    /// Invalid ids, no room in the context, and a policy that the model cannot decode with.
    pub(super) fn new(engine: &Engine, policy: &Policy, place: &Place<'_>) -> Result<Self> {
        let arch = engine.arch();
        policy.validate()?;
        let block = plan::block_of(arch, policy)?;
        let (vocab, mask) = (arch.dims.vocab, engine.mask()?);
        let ids = [place.prompt, place.rest].concat();
        if let Some(&id) = ids.iter().chain(place.tokens).find(|&&id| id as usize >= vocab) {
            return Err(Error::TokenId { id: i64::from(id), vocab });
        }
        if ids.is_empty() {
            return Err(Error::option("prompt", "it is empty, at least one token expected"));
        }
        let what = "positions of the text and the next token (option `context`)";
        let (len, context) = (ids.len(), engine.context);
        let no_room = |asked| Err(Error::Capacity { what, limit: context, asked });
        if len >= context {
            return no_room(len + 1);
        }
        let tokens = place.tokens.to_vec();
        let Some(block) = block else {
            let row = if policy.right_shift || arch.alignment == Alignment::Shifted { len - 1 } else { len };
            let mut ids = ids;
            ids.resize((len + OPEN).min(context), mask);
            return Ok(Self { blocks: None, ids, until: 0, row, tokens });
        };
        let (blocks, row) = match Lead::of(arch, policy) {
            Lead::Drawn => (Blocks::CAUSAL, len - 1),
            _ if arch.commit == CommitRule::Causal => (Blocks::CAUSAL, len - 1),
            Lead::None => (policy.schedule.blocks(block, len, usize::MAX), len),
            Lead::Argmax | Lead::Competing => (policy.schedule.blocks(block, len, usize::MAX), len - 1),
        };
        let end = blocks.end(row, 1);
        if end > engine.room() {
            return no_room(end);
        }
        let mut ids = ids;
        ids.resize(end, mask);
        Ok(Self { blocks: Some(blocks), until: blocks.floor(row), ids, row, tokens })
    }

    /// What `rows` of it see.
    pub(super) fn visible(&self, rows: Range<usize>) -> Visible {
        let (len, mut visible) = (self.ids.len(), Visible::default());
        match self.blocks {
            Some(blocks) => visible.set_by_blocks(blocks, rows, 0, len),
            None => visible.set_all(rows, 0..len),
        }
        visible
    }

    /// Positions at the beginning whose keys and values are those of another view, too.
    pub(super) fn shared(&self, other: &Self) -> usize {
        let Some(blocks) = self.blocks.filter(|_| self.blocks == other.blocks) else { return 0 };
        let until = self.until.min(other.until);
        let alike = self.ids[..until].iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
        blocks.floor(alike)
    }
}
