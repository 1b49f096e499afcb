//! [`TextStream`]: the text of an answer as it becomes final, and where it ends.
//!
//! Tokens are final from the left up to the first mask. Each goes through the decoder and the stop strings once, so the
//! number of tokens before a stop is known exactly.

use super::{Prompt, Setup};
use crate::engine::Generation;
use crate::error::Result;
use crate::sampler::Canvas;
use crate::tensor::TokenId;
use crate::text::{StopStrings, StreamDecoder, Tokenizer};

/// The text of an answer so far. Fed with the canvas after every step, it returns the text that became final; pieces together are
/// the text.
pub struct TextStream<'a> {
    tokenizer: Option<&'a dyn Tokenizer>,
    decoder: Option<StreamDecoder<'a>>,
    stops: StopStrings,
    stop_ids: Vec<TokenId>,
    max_new: usize,
    /// Tokens taken in.
    taken: usize,
    text: String,
    stopped: bool,
}

impl<'a> TextStream<'a> {
    /// For an answer of at most `max_new` tokens; without a tokenizer, ids are written as numbers with commas between them.
    pub fn new(tokenizer: Option<&'a dyn Tokenizer>, setup: &Setup, max_new: usize) -> Self {
        Self {
            tokenizer,
            decoder: tokenizer.map(|tokenizer| StreamDecoder::new(tokenizer, true)),
            stops: StopStrings::new(setup.stop.iter().cloned()),
            stop_ids: setup.stop_ids.clone(),
            max_new,
            taken: 0,
            text: String::new(),
            stopped: false,
        }
    }

    /// Takes what became final and returns its text, as far as no stop string could begin in it.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, canvas: &Canvas) -> Result<String> {
        self.take(&canvas.ids()[canvas.settled_text(self.max_new, &self.stop_ids)])
    }

    fn take(&mut self, tokens: &[TokenId]) -> Result<String> {
        let mut settled = String::new();
        while self.taken < tokens.len() && !self.stopped {
            let id = tokens[self.taken];
            self.taken += 1;
            settled += &match &mut self.decoder {
                Some(decoder) => self.stops.push(&decoder.push(&[id])?),
                None => format!("{}{id}", if self.taken > 1 { "," } else { "" }),
            };
            self.stopped = self.stops.stopped();
        }
        self.text += &settled;
        Ok(settled)
    }

    /// Takes the rest of a finished generation and returns its text.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self, generation: &Generation) -> Result<String> {
        let mut settled = self.take(&generation.tokens)?;
        if let Some(decoder) = self.decoder.as_mut().filter(|_| !self.stopped) {
            let rest = decoder.finish()?;
            let mut held_back = self.stops.push(&rest);
            self.stopped = self.stops.stopped();
            if !self.stopped {
                held_back += &self.stops.finish();
            }
            self.text += &held_back;
            settled += &held_back;
        }
        if self.stopped {
            self.taken = self.tokens_of_text(&generation.tokens)?;
        }
        Ok(settled)
    }

    /// The text of `ids`, without special tokens.
    fn decode(&self, ids: &[TokenId]) -> Result<String> {
        match self.tokenizer {
            Some(tokenizer) => tokenizer.decode(ids, true),
            None => Ok(ids.iter().map(TokenId::to_string).collect::<Vec<_>>().join(",")),
        }
    }

    /// How many tokens the text needs. A stop string may begin in the middle of one, which then counts, and may have held back
    /// any number of them.
    fn tokens_of_text(&self, tokens: &[TokenId]) -> Result<usize> {
        let Some(tokenizer) = self.tokenizer else { return Ok(self.taken) };
        let mut needed = self.taken;
        while needed > 0 && tokenizer.decode(&tokens[..needed - 1], true)?.starts_with(&self.text) {
            needed -= 1;
        }
        Ok(needed)
    }

    /// Takes the whole sequence with its gaps filled in, prompt included, or only the gap before a suffix, and returns its text. A stop
    /// string ends it as it does without gaps: among the tokens after the prompt.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn filled(&mut self, generation: &Generation, prompt: &Prompt) -> Result<String> {
        self.finish(generation)?;
        let (new, known) = (&generation.tokens, prompt.ids.len());
        let kept = if self.stopped { self.taken } else { new.len() };
        let end = (known + kept).min(generation.canvas.len());
        let mut text = self.decode(&generation.canvas[prompt.gap.clone().unwrap_or(0..end)])?;
        if self.stopped {
            // The part of the last token after the start of the stop string.
            let beyond = self.decode(&new[..kept])?.len().saturating_sub(self.text.len());
            text.truncate(text.floor_char_boundary(text.len().saturating_sub(beyond)));
        }
        self.taken = generation.new_tokens() - (new.len() - kept);
        self.text.clone_from(&text);
        Ok(text)
    }

    /// All text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// New tokens up to the end of the text.
    pub fn counted(&self) -> usize {
        self.taken
    }

    /// Whether a stop string ended the text.
    pub fn stopped(&self) -> bool {
        self.stopped
    }
}
