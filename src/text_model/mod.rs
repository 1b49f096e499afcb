//! From text to text: [`Model`], an engine with the words, the chat template and the defaults of its checkpoint.
//!
//! ```text
//! messages -> chat template -+
//! text with gaps ------------+-> tokenizer -> Prompt -> Session -> TextStream -> text
//! ```
//!
//! [`TextStream`] is a value that is fed with the state of a canvas, so that it serves one session and many sequences of a
//! scheduler alike. Together with [`Canvas::text_end`](crate::sampler::Canvas::text_end) it decides where the text ends.
#![forbid(unsafe_code)]

mod answer;
mod batch;
pub mod decide;
mod gaps;
mod messages;
#[cfg(all(feature = "tokenizers", feature = "chat"))]
pub mod open;
mod prompt;
mod stream;

pub use answer::{Answer, Answering, Bound, DEFAULT_MAX_TOKENS, Setup};
pub use batch::{Answered, Batch};
pub use prompt::Prompt;
pub use stream::TextStream;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::tensor::TokenId;
use crate::text::{Template, Tokenizer};
use crate::weights::InUse;
use std::sync::Arc;

/// A model that reads and writes text.
pub struct Model {
    /// The engine, which sessions may share.
    pub engine: Arc<Engine>,
    /// Absent if the checkpoint has none: ids in, ids out.
    pub tokenizer: Option<Arc<dyn Tokenizer>>,
    /// Absent if the checkpoint has none: prompts are taken as they are.
    pub template: Option<Box<dyn Template>>,
    /// Where the model came from, for messages.
    pub origin: String,
    /// The files that the weights are mapped from.
    pub in_use: InUse,
}

impl Model {
    /// A model made of the caller's own parts. The engine has to know what the tokenizer knows: see
    /// [`EngineBuilder::tokens`](crate::engine::EngineBuilder::tokens) and
    /// [`EngineBuilder::tokenizer_mask`](crate::engine::EngineBuilder::tokenizer_mask).
    pub fn new(
        engine: impl Into<Arc<Engine>>,
        tokenizer: Option<Box<dyn Tokenizer>>,
        template: Option<Box<dyn Template>>,
        origin: impl Into<String>,
    ) -> Self {
        Self {
            engine: engine.into(),
            tokenizer: tokenizer.map(Arc::from),
            template,
            origin: origin.into(),
            in_use: InUse::default(),
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::Format`] if the checkpoint has none.
    pub fn tokenizer(&self) -> Result<&Arc<dyn Tokenizer>> {
        self.tokenizer.as_ref().ok_or_else(|| {
            let what =
                "no tokenizer.json next to the weights, and none was given; ids work without: --ids 1,2,3";
            Error::format(&self.origin, what)
        })
    }

    /// Refuses ids that the model has no row for, under the name of the option that they came from.
    ///
    /// # Errors
    /// [`Error::Option`] for the first such id.
    pub fn check_ids(&self, option: &'static str, ids: &[TokenId]) -> Result<()> {
        let vocab = self.engine.arch().dims.vocab;
        let outside = ids.iter().find(|&&id| id as usize >= vocab);
        outside.map_or(Ok(()), |id| {
            Err(Error::option(option, format!("{id} given, a token id from 0 to {} expected", vocab - 1)))
        })
    }
}
