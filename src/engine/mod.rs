//! The engine: a loaded model with kernels and threads, and [`Session`]s that decode with it.
//!
//! ```
//! use diffulex::engine::{Limits, Scheduler};
//! use diffulex::{Control, Engine, Request};
//!
//! let engine = Engine::open("demo/sdar")?;
//! # let question = [685, 574, 198, 302, 281, 220, 17, 22, 292, 220, 19, 20, 30, 686, 198, 685, 620, 198];
//! let policy = engine.default_policy();
//! let request = Request { stop: engine.stop(), ..Request::new(&question, 32, &policy) };
//! // One sequence.
//! let alone = engine.session()?.generate(&request, &mut |_event| Ok(Control::Continue))?;
//! // Many in the same forward passes: each has the bits that it has alone.
//! let mut scheduler = Scheduler::new(&engine, Limits::for_engine(&engine, 2))?;
//! let ids = [scheduler.add(&request)?, scheduler.add(&request)?];
//! let mut finished = Vec::new();
//! while finished.len() < ids.len() {
//!     finished.extend(scheduler.step(&mut |_id, _event| Ok(Control::Continue)));
//! }
//! for sequence in finished {
//!     assert_eq!(sequence.result?.tokens, alone.tokens);
//! }
//! # Ok::<(), diffulex::Error>(())
//! ```
#![forbid(unsafe_code)]

mod builder;
mod driver;
mod event;
mod generation;
pub mod options;
mod overrides;
mod plan;
mod reading;
mod rules;
mod scheduler;
mod sequence;
mod session;

pub use builder::{EngineBuilder, ModelFiles};
pub use driver::LOGIT_ROWS;
pub use event::{Alternatives, Control, Event, PassKind};
pub use generation::{Generation, Request, StopReason, Timings};
pub use overrides::Overrides;
pub use reading::{OPEN, Place, Probabilities, Reader};
pub use rules::{BlockEnd, Choose, Rules, Standard, Step};
pub use scheduler::{Finished, Limits, Read, Scheduler, SequenceId};
pub use session::{Generating, Session};

use self::session::Held;
use crate::cache::{Attention, KvDtype};
use crate::error::{Error, Result};
use crate::exec::{Executor, OwnTurns};
use crate::kernels::{Kernels, RopeTable};
use crate::model::{Architecture, Compute, GenerationConfig, Transformer};
use crate::sampler::Policy;
use crate::tensor::TokenId;
use std::path::Path;
use std::sync::Arc;

/// A model, ready to run. Cheap to share between threads; every [`Session`] has its own cache. Sessions on several threads take
/// turns, a forward pass each; a [`Scheduler`] makes one pass for many sequences.
pub struct Engine {
    model: Transformer,
    rope: RopeTable,
    kernels: Kernels,
    exec: Arc<dyn Executor + Send + Sync>,
    kv: KvDtype,
    context: usize,
    mask: Option<TokenId>,
    stop: Vec<TokenId>,
    stop_origin: &'static str,
    /// What generation_config.json says.
    defaults: GenerationConfig,
    /// Ids from here on are not tokens of the tokenizer.
    token_limit: usize,
    /// Ids below the limit that are not tokens either, sorted.
    banned: Vec<TokenId>,
    /// Held during a forward pass: those of callers on several threads are made one after the other, each with all threads of the engine.
    /// Two passes at a time would share caches and memory bandwidth, and one of them would be done on one thread.
    turns: OwnTurns,
}

/// Sessions on several threads share one engine.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Engine>();
    moved::<Session<'_>>();
};

impl Engine {
    /// Opens a checkpoint with default settings: a directory, a `.safetensors` file or an index file.
    ///
    /// # Errors
    /// Whatever is wrong with the files; see [`EngineBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// Settings for opening a model.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The weights.
    pub fn model(&self) -> &Transformer {
        &self.model
    }

    /// The model as data.
    pub fn arch(&self) -> &Architecture {
        self.model.arch()
    }

    /// The kernels that run.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// How many threads take part at most.
    pub fn threads(&self) -> usize {
        self.exec.width()
    }

    /// Positions that a session holds, prompt and generated text together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Positions that a cache has room for: the context in whole blocks of the model, so that its last position can be used.
    fn room(&self) -> usize {
        in_whole_blocks(self.arch(), self.context)
    }

    /// Element type of cached keys and values.
    pub fn kv(&self) -> KvDtype {
        self.kv
    }

    /// The mask id.
    ///
    /// # Errors
    /// [`Error::Option`] if neither the caller nor the config nor the tokenizer named one.
    pub fn mask(&self) -> Result<TokenId> {
        self.mask.ok_or_else(|| {
            Error::option(
                "mask-id",
                "neither config.json nor the tokenizer names the mask token, so it must be given",
            )
        })
    }

    /// Ids that end the text.
    pub fn stop(&self) -> &[TokenId] {
        &self.stop
    }

    /// Who named [`Self::stop`]: `given` (the caller), `generation_config.json`, `config.json` or `none`.
    pub fn stop_origin(&self) -> &'static str {
        self.stop_origin
    }

    /// Decoding defaults of the checkpoint.
    pub fn defaults(&self) -> &GenerationConfig {
        &self.defaults
    }

    /// The policy that a checkpoint is decoded with unless the caller says otherwise: the one that its family was published with, as
    /// generation_config.json changes it. The same as that of [`Overrides::default`].
    ///
    /// # Panics
    /// Never: presets name policies that exist, and a test opens each.
    pub fn default_policy(&self) -> Policy {
        let mut policy = Policy::named(self.arch().policy).expect("presets name policies that exist");
        overrides::drawing(&Overrides::default(), self, &mut policy);
        policy
    }

    /// Checks that a policy is in range and one that this model can decode with, which [`Session::generate`] does, too.
    ///
    /// # Errors
    /// [`Error::Option`] or [`Error::Unsupported`] with what was found and what was expected.
    pub fn check(&self, policy: &Policy) -> Result<()> {
        policy.validate()?;
        plan::block_of(self.arch(), policy).map(drop)
    }

    /// A new session: its own cache of [`Self::context`] positions (up to the end of the last block), and its own buffers.
    ///
    /// # Errors
    /// [`Error::Capacity`] if the cache is larger than the address space, [`Error::Memory`] if there is not enough memory.
    pub fn session(&self) -> Result<Session<'_>> {
        Session::new(Held::Borrowed(self))
    }

    /// As [`Self::session`], for a session that has to outlive the scope of the engine: it keeps the engine alive.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn shared_session(self: &Arc<Self>) -> Result<Session<'static>> {
        Session::new(Held::Shared(Arc::clone(self)))
    }

    fn context_of(&self) -> Compute<'_> {
        Compute { kernels: &self.kernels, exec: &*self.exec }
    }

    /// Makes ids that must never be produced impossible: the mask, and whatever the tokenizer does not know.
    fn ban(&self, row: &mut [f32]) {
        let limit = self.token_limit.min(row.len());
        row[limit..].fill(f32::NEG_INFINITY);
        for &id in self.banned.iter().chain(&self.mask) {
            if let Some(logit) = row.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// `positions`, up to the end of the last block of a block-causal model.
fn in_whole_blocks(arch: &Architecture, positions: usize) -> usize {
    match arch.attention {
        Attention::BlockCausal { block } => positions.next_multiple_of(block),
        Attention::Bidirectional => positions,
    }
}
