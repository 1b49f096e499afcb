//! [`Settings`]: what commands change. They are options of the command line, and become a policy in the same way.

use crate::answer::Setup;
use crate::args::LengthArgs;
use crate::cli::Opened;
use crate::cli::decoding::{self, Cache, DecodingArgs};
use diffulex::{Error, Result};
use serde::{Deserialize, Serialize};

/// Everything that a session can change about its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) decoding: DecodingArgs,
    pub(crate) length: LengthArgs,
}

/// A new value for a setting; `None` takes it back to its default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Temperature(Option<f32>),
    TopK(Option<usize>),
    TopP(Option<f32>),
    MaxTokens(Option<usize>),
    StepsPerBlock(Option<usize>),
    Steps(Option<usize>),
    Threshold(Option<f64>),
    Block(Option<usize>),
    Strategy(Option<String>),
    Cache(Option<Cache>),
    Seed(Option<u64>),
}

impl Settings {
    /// These settings with one of them changed. Options that exclude each other replace each other.
    pub(crate) fn with(&self, change: Change) -> Self {
        let mut new = self.clone();
        let decoding = &mut new.decoding;
        match change {
            Change::Temperature(value) => decoding.temperature = value,
            Change::TopK(value) => decoding.top_k = value,
            Change::TopP(value) => decoding.top_p = value,
            Change::StepsPerBlock(value) => (decoding.steps_per_block, decoding.steps) = (value, None),
            Change::Steps(value) => (decoding.steps, decoding.steps_per_block) = (value, None),
            Change::Threshold(value) => {
                decoding.threshold = value;
                (decoding.factor, decoding.entropy_bound) = (None, None);
            }
            Change::Block(value) => decoding.block = value,
            Change::Strategy(value) => decoding.strategy = value,
            Change::Cache(value) => decoding.cache = value,
            Change::MaxTokens(value) => new.length.max_tokens = value,
            Change::Seed(value) => new.length.seed = value.unwrap_or_default(),
        }
        new
    }

    /// How answers are decoded with these settings.
    ///
    /// # Errors
    /// As the command line would complain about the options, and for answers that are longer than the context.
    pub(crate) fn resolve(&self, opened: &Opened) -> Result<Setup> {
        let policy = decoding::policy(&self.decoding, &opened.generation, &opened.engine)?;
        let context = opened.engine.context();
        if let Some(n) = self.length.max_tokens.filter(|n| !(1..=context).contains(n)) {
            let reason = format!("{n} given, a number from 1 to {context} (the context) expected");
            return Err(Error::option("max-tokens", reason));
        }
        Setup::new(&self.length, policy, &opened.engine)
    }
}
