//! [`Admission`]: what a request means for a model, checked before any work.

use crate::cache::Blocks;
use crate::engine::Engine;
use crate::engine::generation::Request;
use crate::engine::plan::{self, Lead};
use crate::error::{Error, Result};
use crate::model::CommitRule;
use crate::sampler::{Canvas, Commit, Grid};

/// A request that was checked.
pub(super) struct Admission {
    pub(super) canvas: Canvas,
    /// The blocks of a block-causal model.
    pub(super) blocks: Option<Blocks>,
    /// What keys and values depend on, if others can use them: ids up to the end of such a block.
    pub(super) final_blocks: Option<Blocks>,
    /// What is known of the first position of a block before its steps.
    pub(super) lead: Lead,
    /// Positions of the whole blocks at the beginning that need no pass if another sequence has computed them.
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
            Some(block) if policy.schedule.grid == Grid::Whole => {
                wanted.div_ceil(block).saturating_mul(block)
            }
            _ => wanted,
        };
        // Only a block that is not the model's own can be too large for the room that the last one has.
        if wanted > engine.context || len > engine.room() {
            let what = match block {
                Some(_) if len > wanted => {
                    "positions of prompt and new tokens, in whole blocks (option `context`)"
                }
                _ => "positions of prompt and new tokens (option `context`)",
            };
            return Err(Error::Capacity { what, limit: engine.context, asked: len });
        }
        let canvas = Canvas::new(request.prompt, len, mask);
        plan::check(arch, request, &canvas)?;
        let open = canvas.first_mask(0..len);
        let blocks = block.map(|block| policy.schedule.blocks(block, open, len));
        let lead = if block.is_some() { Lead::of(arch, policy) } else { Lead::None };
        let final_blocks = match (policy.commit, arch.commit) {
            // Without its prompt a sequence has different keys and values, which are not kept.
            _ if policy.guidance > 0.0 => None,
            (Commit::Full, _) => None,
            (_, CommitRule::Causal) => blocks.map(|_| Blocks::CAUSAL),
            (_, CommitRule::AsDenoised) => blocks,
        };
        let reusable = final_blocks.zip(blocks).map_or(0, |(finals, blocks)| {
            let until = blocks.floor(open);
            // A carried token needs the last row of the prompt, so that row has to be computed.
            let carries = lead != Lead::None && until > 0 && until < len && canvas.is_mask(until);
            let reusable = if carries { until - 1 } else { until };
            finals.floor(reusable.min(request.prompt.len()))
        });
        Ok(Self { canvas, blocks, final_blocks, lead, reusable })
    }
}
