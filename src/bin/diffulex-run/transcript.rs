//! [`Transcript`]: the text of an answer as it becomes final, and where it ends.
//!
//! Tokens are final from the left up to the first mask. Each goes through the decoder and the stop strings once, so the
//! number of tokens before a stop is known exactly.

use crate::cli::Opened;
use diffulex::sampler::Canvas;
use diffulex::tensor::TokenId;
use diffulex::text::{StopStrings, StreamDecoder, Tokenizer};
use diffulex::{Generation, Result};
use std::ops::Range;

/// What the answer says so far.
pub(crate) struct Transcript<'a> {
    tokenizer: Option<&'a dyn Tokenizer>,
    decoder: Option<StreamDecoder<'a>>,
    stops: StopStrings,
    stop_ids: &'a [TokenId],
    prompt: usize,
    max_new: usize,
    /// Tokens taken in.
    taken: usize,
    text: String,
    stopped: bool,
}

impl<'a> Transcript<'a> {
    /// Of an answer of at most `max_new` tokens to a prompt of `prompt` tokens; `as_ids` writes numbers instead of words.
    pub(crate) fn new(
        opened: &'a Opened,
        as_ids: bool,
        prompt: usize,
        ending: &'a Ending,
        max_new: usize,
    ) -> Self {
        let tokenizer =
            opened.tokenizer.as_ref().filter(|_| !as_ids).map(|tokenizer| tokenizer as &dyn Tokenizer);
        Self {
            tokenizer,
            decoder: tokenizer.map(|tokenizer| StreamDecoder::new(tokenizer, true)),
            stops: StopStrings::new(ending.strings.iter().cloned()),
            stop_ids: &ending.ids,
            prompt,
            max_new,
            taken: 0,
            text: String::new(),
            stopped: false,
        }
    }

    /// Takes what became final and returns its text.
    pub(crate) fn advance(&mut self, canvas: &Canvas) -> Result<String> {
        let end = canvas.len().min(self.prompt + self.max_new);
        let settled = canvas.first_mask(self.prompt.min(end)..end);
        let new = &canvas.ids()[self.prompt.min(settled)..settled];
        let until = new.iter().position(|id| self.stop_ids.contains(id)).unwrap_or(new.len());
        self.take(&new[..until])
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
    pub(crate) fn finish(&mut self, generation: &Generation) -> Result<String> {
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

    /// Takes the whole sequence with its gaps filled in, prompt included, or only the positions `part` of it, and returns its
    /// text.
    pub(crate) fn whole(&mut self, generation: &Generation, part: Option<Range<usize>>) -> Result<String> {
        let end = (self.prompt + generation.tokens.len()).min(generation.canvas.len());
        let ids = &generation.canvas[part.unwrap_or(0..end)];
        let text = match self.tokenizer {
            Some(tokenizer) => tokenizer.decode(ids, true)?,
            None => ids.iter().map(TokenId::to_string).collect::<Vec<_>>().join(","),
        };
        self.taken = generation.new_tokens();
        self.text.clone_from(&text);
        Ok(text)
    }

    /// All text so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// New tokens up to the end of the text.
    pub(crate) fn counted(&self) -> usize {
        self.taken
    }

    /// Whether a stop string ended the text.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }
}

/// What ends a text, beside its length.
#[derive(Clone, PartialEq)]
pub(crate) struct Ending {
    /// Ids that are not part of the text.
    pub(crate) ids: Vec<TokenId>,
    /// Strings that are not part of the text.
    pub(crate) strings: Vec<String>,
}
