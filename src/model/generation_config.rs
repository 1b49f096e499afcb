//! [`GenerationConfig`]: the decoding defaults that a checkpoint ships in `generation_config.json`.

use super::config::{Config, MAX_VOCAB};
use crate::Result;
use crate::json::Value;
use crate::tensor::TokenId;
use std::path::Path;

/// Values of `generation_config.json`. What the file does not say is `None`, and so is what it says about drawing (temperature,
/// top-k, top-p) where `do_sample` is false: nothing of that is used then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Ids that end a text. Those of config.json are not used where this is given, even if it is empty.
    pub eos: Option<Vec<TokenId>>,
    /// Whether tokens are drawn at random; if not, the likeliest is taken. Drawn at temperature 1 if there is none.
    pub do_sample: Option<bool>,
    /// Divides the logits; 0 means the likeliest token.
    pub temperature: Option<f32>,
    /// Only so many of the likeliest tokens are drawn from; 0 means all.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability are drawn from; 0 means the likeliest.
    pub top_p: Option<f32>,
    /// Divides the positive logits (and multiplies the negative ones) of tokens that already stand in the text.
    pub repetition_penalty: Option<f32>,
}

impl GenerationConfig {
    /// Reads a `generation_config.json`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Json`](crate::Error::Json), and those of [`Self::from_json`].
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&path.display().to_string(), &Value::read(path)?)
    }

    /// Checks and takes the values of a parsed file; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a value out of range, by key;
    /// [`Error::Format`](crate::Error::Format) if `json` is no object.
    pub fn from_json(file: &str, json: &Value) -> Result<Self> {
        let config = Config::new(file, json)?;
        let real = |key, range| Ok(config.optional_real(key, range)?.map(|x| x as f32));
        let given = Self {
            eos: config.stop_ids("eos_token_id", MAX_VOCAB)?,
            do_sample: config.optional_flag("do_sample")?,
            repetition_penalty: real("repetition_penalty", 0.01..=100.0)?,
            ..Self::default()
        };
        if given.do_sample == Some(false) {
            return Ok(given);
        }
        let top_k = match config.get("top_k") {
            // Two ways to say "off": that of transformers and that of vLLM.
            Some(value) if matches!(value.as_i64(), Some(0 | -1)) => Some(0),
            Some(value) => {
                let size = value.as_u64().and_then(|k| usize::try_from(k).ok()).filter(|&k| k <= MAX_VOCAB);
                let expected = format!("a whole number from 0 to {MAX_VOCAB}; 0 or -1 is off");
                Some(size.ok_or_else(|| config.bad("top_k", &expected))?)
            }
            None => None,
        };
        Ok(Self {
            temperature: real("temperature", 0.0..=100.0)?,
            top_k,
            top_p: real("top_p", 0.0..=1.0)?,
            ..given
        })
    }
}
