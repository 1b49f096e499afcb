//! [`Session`]: one sequence at a time, with its own cache. Keys and values of finished blocks stay between calls, so a prompt
//! that begins as the previous one did (a chat) is not computed again.

use super::decode::{Decoder, LOGIT_ROWS};
use super::{Control, Engine, Event, Generation, Request};
use crate::cache::{Attention, KvPool, SlotId, Visible};
use crate::error::{Error, Result};
use crate::model::{LogitBuffers, Probe, Scratch, Segment};
use crate::tensor::{Rows, TokenId};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The engine of a session: borrowed, or owned together with others.
#[derive(Clone)]
pub(super) enum Held<'e> {
    Borrowed(&'e Engine),
    Shared(Arc<Engine>),
}

impl Deref for Held<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Self::Borrowed(engine) => engine,
            Self::Shared(engine) => engine,
        }
    }
}

/// The state of one sequence.
pub struct Session<'e> {
    pub(super) engine: Held<'e>,
    pub(super) cache: KvPool,
    pub(super) slot: SlotId,
    /// The second one serves the unconditional pass of guidance.
    pub(super) scratch: [Scratch; 2],
    pub(super) buffers: [LogitBuffers; 2],
    /// Tokens of the committed positions, and the attention rule and first visible key under which they were computed.
    pub(super) committed: Vec<TokenId>,
    pub(super) rule: Option<(Attention, usize)>,
}

impl<'e> Session<'e> {
    pub(super) fn new(engine: Held<'e>) -> Result<Self> {
        let mut buffers: [LogitBuffers; 2] = Default::default();
        buffers[0].reserve(&engine.arch().dims, LOGIT_ROWS.min(engine.context))?;
        let mut cache = KvPool::new(engine.model.kv_shape(), engine.kv, engine.context)?;
        let slot = cache.open(engine.context).expect("the pool has as many pages");
        Ok(Self {
            cache,
            slot,
            engine,
            scratch: Default::default(),
            buffers,
            committed: Vec::new(),
            rule: None,
        })
    }

    /// The engine that this session decodes with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Positions `0..committed` are final: [`Self::commit`].
    pub fn committed(&self) -> usize {
        self.cache.committed(self.slot)
    }

    /// Positions `0..filled` hold keys and values, final or staged by [`Self::forward`].
    pub fn filled(&self) -> usize {
        self.cache.filled(self.slot)
    }

    /// Key and value of one position in one layer, for a look: `[n_kv_heads * head_dim]` each.
    ///
    /// # Panics
    /// If the position holds nothing, or there is no such layer.
    pub fn position(&self, layer: usize, pos: usize) -> [Vec<f32>; 2] {
        self.cache.position(self.slot, layer, pos)
    }

    /// Generates. `on_event` is told of every pass and every revealed token and may end the generation.
    ///
    /// # Errors
    /// [`Error::Option`] or [`Error::Unsupported`] for a request that makes no sense for this model, [`Error::TokenId`],
    /// [`Error::Capacity`] if prompt and new tokens do not fit the context; all of these before any work.
    /// [`Error::Memory`] if there is not enough for a pass. [`Error::NotFinite`] if the model computes a NaN.
    pub fn generate(
        &mut self,
        request: &Request<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> Control,
    ) -> Result<Generation> {
        Decoder::new(self, request, on_event)?.run()
    }

    /// One forward pass for callers with a loop of their own: computes `ids` at the positions from `first` on and stages their
    /// keys and values. Follow with [`Self::logits`].
    ///
    /// # Errors
    /// [`Error::TokenId`], [`Error::Capacity`], [`Error::Memory`].
    ///
    /// # Panics
    /// If the pass has no row, touches committed rows, leaves a hole, or sees rows that are not there.
    pub fn forward(
        &mut self,
        ids: &[TokenId],
        first: usize,
        visible: &Visible,
        probe: &mut Probe<'_>,
    ) -> Result<()> {
        let batch = [Segment { slot: self.slot, first, ids, visible }];
        let ctx = self.engine.context_of();
        self.engine.model.forward(
            &ctx,
            &mut self.scratch[0],
            &self.engine.rope,
            &mut self.cache,
            &batch,
            probe,
        )
    }

    /// Logits of some rows of the latest pass, `[rows.len(), vocab]`, as the model computes them: row `i` belongs to the
    /// `i`-th id of the pass and predicts what [`crate::model::Alignment`] says.
    ///
    /// # Panics
    /// If a row does not exist.
    pub fn logits(&mut self, rows: &[usize], probe: &mut Probe<'_>) -> Rows<'_> {
        let model = &self.engine.model;
        let hidden = model.hidden(&self.scratch[0]);
        model.logits(&self.engine.context_of(), hidden, rows, &mut self.buffers[0], probe);
        Rows::new(&self.buffers[0].logits, model.arch().dims.vocab)
    }

    /// Declares the next `rows` staged positions final.
    ///
    /// # Panics
    /// If they were not staged.
    pub fn commit(&mut self, rows: usize) {
        self.cache.commit(self.slot, rows);
        self.rule = None;
    }

    /// Forgets everything after the first `length` committed positions.
    ///
    /// # Panics
    /// If they are not all committed.
    pub fn rewind(&mut self, length: usize) {
        self.cache.rewind(self.slot, length);
        self.committed.truncate(length);
    }

    /// Keeps what an earlier generation committed under the same rule, as far as `prompt` begins alike; whole blocks only.
    pub(super) fn reuse(&mut self, prompt: &[TokenId], rule: Attention, first_visible: usize, until: usize) {
        let common = match (self.rule == Some((rule, first_visible)), rule) {
            (true, Attention::BlockCausal { block }) => {
                let alike = self.committed.iter().zip(prompt).take_while(|(a, b)| a == b).count();
                alike.min(until) / block * block
            }
            _ => 0,
        };
        self.rewind(common);
        self.rule = Some((rule, first_visible));
    }

    /// Finds the first place where a pass over `rows` computes something that is not finite. Called after it did.
    pub(super) fn locate_not_finite(
        &mut self,
        ids: &[TokenId],
        rows: Range<usize>,
        visible: &Visible,
    ) -> Error {
        let mut found = None;
        let mut watch = |place: crate::model::Place, rows: Rows<'_>| {
            if found.is_none() && rows.data().iter().any(|x| !x.is_finite()) {
                found = Some(place);
            }
        };
        let outcome = self.forward(&ids[rows.clone()], rows.start, visible, &mut Probe::new(&mut watch));
        match (outcome, found) {
            (Err(error), _) => error,
            (_, Some(place)) => Error::NotFinite { place: place.to_string() },
            (_, None) => Error::NotFinite { place: "logits (output matrix or final norm)".to_string() },
        }
    }
}
