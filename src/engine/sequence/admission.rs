//! [`Admission`]: what a request means for a model, checked before any work.

use crate::engine::generation::Request;
use crate::engine::{Engine, plan};
use crate::error::{Error, Result};
use crate::model::Alignment;
use crate::sampler::Canvas;

/// A request that was checked.
pub(super) struct Admission {
    pub(super) canvas: Canvas,
    /// The block of a block-causal model.
    pub(super) block: Option<usize>,
    /// Positions of the whole blocks at the beginning that need no pass if somebody has computed them.
    pub(super) reusable: usize,
}

impl Admission {
    /// Checks a request against the model.
    ///
    /// # Errors
    /// As [`crate::engine::Session::generate`], before any work.
    pub(super) fn new(engine: &Engine, request: &Request<'_>) -> Result<Self> {
        let (arch, policy, mask) = (engine.arch(), request.policy, engine.mask()?);
        policy.validate()?;
        if let Some(&id) =
            request.prompt.iter().chain(request.stop).find(|&&id| id as usize >= arch.dims.vocab)
        {
            return Err(Error::TokenId { id: i64::from(id), vocab: arch.dims.vocab });
        }
        let wanted = request.prompt.len().saturating_add(request.max_new);
        let block = plan::block_of(arch, policy)?;
        let len = match block {
            Some(block) => wanted.div_ceil(block).saturating_mul(block),
            None => wanted,
        };
        // Only a block that is not the model's own can be too large for the room that the last one has.
        if wanted > engine.context || len > engine.room() {
            let what = match block {
                Some(_) => "positions of prompt and new tokens, in whole blocks (option `context`)",
                None => "positions of prompt and new tokens (option `context`)",
            };
            return Err(Error::Capacity { what, limit: engine.context, asked: len });
        }
        let canvas = Canvas::new(request.prompt, len, mask);
        plan::check(arch, request, &canvas)?;
        let reusable = block.map_or(0, |block| {
            let until = canvas.first_mask(0..len) / block * block;
            // A carried token needs the last row of the prompt, so that row has to be computed.
            let carries =
                arch.alignment == Alignment::Shifted && until > 0 && until < len && canvas.is_mask(until);
            let reusable = if carries { until - 1 } else { until };
            reusable.min(request.prompt.len()) / block * block
        });
        // Without its prompt a sequence has other keys and values, which nobody keeps.
        let reusable = if policy.guidance > 0.0 { 0 } else { reusable };
        Ok(Self { canvas, block, reusable })
    }
}
