//! [`Settings`]: what commands change. They are options of the command line, and become a policy in the same way.

use crate::answer;
use crate::args::LengthArgs;
use crate::cli::decoding::DecodingArgs;
use diffulex::engine::options::{DecodeOption, OPTIONS};
use diffulex::text_model::Setup;
use diffulex::{Error, Model, Result};
use serde::{Deserialize, Serialize};

/// Everything that a session can change about its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) decoding: DecodingArgs,
    pub(crate) length: LengthArgs,
}

/// A new value for a setting; `None` resets it to its default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Of the decode option with this name, as [`DecodeOption::set`] reads it.
    Decoding(&'static str, Option<String>),
    MaxTokens(Option<usize>),
    Seed(Option<u64>),
}

impl Settings {
    /// These settings with one of them changed. Options that exclude each other replace each other.
    ///
    /// # Errors
    /// A value that the option does not have.
    pub(crate) fn with(&self, change: Change) -> Result<Self> {
        let mut new = self.clone();
        match change {
            Change::Decoding(name, value) => {
                let option = DecodeOption::named(name).expect("commands set options of the table");
                let overrides = &mut new.decoding.overrides;
                for other in
                    OPTIONS.iter().filter(|other| !other.group.is_empty() && other.group == option.group)
                {
                    other.set(overrides, None)?;
                }
                option.set(overrides, value.as_deref())?;
            }
            Change::MaxTokens(value) => new.length.max_tokens = value,
            Change::Seed(value) => new.length.seed = value.unwrap_or_default(),
        }
        Ok(new)
    }

    /// How answers are decoded with these settings.
    ///
    /// # Errors
    /// As the command line would complain about the options, and for answers that are longer than the context.
    pub(crate) fn resolve(&self, model: &Model) -> Result<Setup> {
        let policy = self.decoding.overrides.policy(&model.engine)?;
        let context = model.engine.context();
        if let Some(n) = self.length.max_tokens.filter(|n| !(1..=context).contains(n)) {
            let reason = format!("{n} given, a number from 1 to {context} (the context) expected");
            return Err(Error::option("max-tokens", reason));
        }
        answer::setup(&self.length, policy, model)
    }
}
