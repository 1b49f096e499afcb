//! [`GenerationConfig`]: the decoding defaults that a checkpoint ships in `generation_config.json`.

use super::config::{Config, MAX_VOCAB};
use super::refused::is_off;
use crate::Result;
use crate::json::Value;
use crate::tensor::TokenId;
use std::path::Path;

/// Keys that change what transformers generates and have no effect here, with the number that means "off", as do null, 0 and
/// an absent key. Those of drawing come first.
///
/// Source: transformers, `GenerationConfig`; Dream, `DreamGenerationConfig`.
const UNUSED: [(&str, f64); 24] = [
    ("min_p", 0.0),
    ("typical_p", 1.0),
    ("top_h", 0.0),
    ("epsilon_cutoff", 0.0),
    ("eta_cutoff", 0.0),
    ("num_beams", 1.0),
    ("num_beam_groups", 1.0),
    ("penalty_alpha", 0.0),
    ("guidance_scale", 1.0),
    ("no_repeat_ngram_size", 0.0),
    ("encoder_repetition_penalty", 1.0),
    ("min_length", 0.0),
    ("min_new_tokens", 0.0),
    ("stop_strings", 0.0),
    ("suppress_tokens", 0.0),
    ("begin_suppress_tokens", 0.0),
    ("bad_words_ids", 0.0),
    ("sequence_bias", 0.0),
    ("forced_bos_token_id", -1.0),
    ("forced_eos_token_id", -1.0),
    ("steps", 0.0),
    ("eps", 0.0),
    ("alg", 0.0),
    ("alg_temp", 0.0),
];
/// How many of these keys matter only where tokens are drawn.
const OF_DRAWING: usize = 5;

/// Values of `generation_config.json`. Whatever is not in the file is `None`, and so is what it says about drawing (temperature,
/// top-k, top-p) where `do_sample` is false: nothing of that is used then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Ids that end the text. Those of config.json are not used where this is given, even if it is empty.
    pub eos: Option<Vec<TokenId>>,
    /// Whether tokens are drawn at random; if not, the likeliest is taken. Drawn at temperature 1 if there is none.
    pub do_sample: Option<bool>,
    /// Divides the logits; 0 means the likeliest token.
    pub temperature: Option<f32>,
    /// Only this many of the likeliest tokens are drawn from; 0 means all.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability are drawn from; 0 means the likeliest.
    pub top_p: Option<f32>,
    /// Divides the positive logits (and multiplies the negative ones) of tokens that the text already has.
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
    /// [`Error::Format`](crate::Error::Format) if `json` is not an object.
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

    /// The keys of a parsed file that change what transformers generates and have no effect here; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if `json` is not an object.
    pub fn without_effect(file: &str, json: &Value) -> Result<Vec<&'static str>> {
        let config = Config::new(file, json)?;
        let draws = config.get("do_sample").and_then(Value::as_bool) == Some(true);
        let keys = &UNUSED[if draws { 0 } else { OF_DRAWING }..];
        let says = |&&(key, off): &&(&str, f64)| {
            config.get(key).is_some_and(|value| !is_off(value) && value.as_f64() != Some(off))
        };
        Ok(keys.iter().filter(says).map(|(key, _)| *key).collect())
    }
}
