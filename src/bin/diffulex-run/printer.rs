//! Prints text as it becomes final, and finds where it ends.
//!
//! Tokens are final from the left up to the first mask. Each goes through the decoder and the stop strings once, so the
//! number of tokens before a stop is known exactly.

use crate::prompt::Prompt;
use diffulex::cli::{self, Opened};
use diffulex::sampler::Canvas;
use diffulex::tensor::TokenId;
use diffulex::text::{StopStrings, StreamDecoder, Tokenizer};
use diffulex::{Control, Generation, Result};

/// The end of the pipeline from tokens to the terminal.
pub(crate) struct Printer<'a> {
    tokenizer: Option<&'a dyn Tokenizer>,
    decoder: Option<StreamDecoder<'a>>,
    stops: StopStrings,
    stop_ids: &'a [TokenId],
    prompt: usize,
    max_new: usize,
    /// Whether text goes to stdout as it comes.
    streams: bool,
    /// Tokens taken in.
    taken: usize,
    text: String,
    stopped: bool,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(
        opened: &'a Opened,
        prompt: &Prompt,
        stops: &[String],
        stop_ids: &'a [TokenId],
        max_new: usize,
        streams: bool,
    ) -> Self {
        let tokenizer =
            opened.tokenizer.as_ref().filter(|_| !prompt.as_ids).map(|tokenizer| tokenizer as &dyn Tokenizer);
        Self {
            tokenizer,
            decoder: tokenizer.map(|tokenizer| StreamDecoder::new(tokenizer, true)),
            stops: StopStrings::new(stops.iter().cloned()),
            stop_ids,
            prompt: prompt.ids.len(),
            max_new,
            streams,
            taken: 0,
            text: String::new(),
            stopped: false,
        }
    }

    /// Takes what became final. Says stop after a stop string, or when nobody reads any more.
    pub(crate) fn advance(&mut self, canvas: &Canvas) -> Result<Control> {
        let end = canvas.len().min(self.prompt + self.max_new);
        let settled = canvas.first_mask(self.prompt.min(end)..end);
        let new = &canvas.ids()[self.prompt.min(settled)..settled];
        let until = new.iter().position(|id| self.stop_ids.contains(id)).unwrap_or(new.len());
        self.take(&new[..until])
    }

    fn take(&mut self, tokens: &[TokenId]) -> Result<Control> {
        while self.taken < tokens.len() && !self.stopped {
            let id = tokens[self.taken];
            self.taken += 1;
            let piece = match &mut self.decoder {
                Some(decoder) => self.stops.push(&decoder.push(&[id])?),
                None => format!("{}{id}", if self.taken > 1 { "," } else { "" }),
            };
            self.stopped = self.stops.stopped();
            if !self.show(&piece)? {
                return Ok(Control::Stop);
            }
        }
        Ok(if self.stopped { Control::Stop } else { Control::Continue })
    }

    /// Returns whether somebody still reads.
    fn show(&mut self, piece: &str) -> Result<bool> {
        self.text.push_str(piece);
        if self.streams && !piece.is_empty() { cli::print(piece) } else { Ok(true) }
    }

    /// The text of a finished generation; prints what was held back.
    pub(crate) fn finish(&mut self, generation: &Generation) -> Result<String> {
        self.take(&generation.tokens)?;
        if !self.stopped
            && let Some(decoder) = &mut self.decoder
        {
            let rest = decoder.finish()?;
            let mut piece = self.stops.push(&rest);
            self.stopped = self.stops.stopped();
            if !self.stopped {
                piece += &self.stops.finish();
            }
            self.show(&piece)?;
        }
        if self.streams {
            cli::print("\n")?;
        }
        if self.stopped {
            self.taken = self.tokens_of_text(&generation.tokens)?;
        }
        Ok(std::mem::take(&mut self.text))
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

    /// The whole sequence with its gaps filled in.
    pub(crate) fn whole(&mut self, generation: &Generation) -> Result<String> {
        let end = self.prompt + generation.tokens.len();
        let ids = &generation.canvas[..end.min(generation.canvas.len())];
        let text = match self.tokenizer {
            Some(tokenizer) => tokenizer.decode(ids, true)?,
            None => ids.iter().map(TokenId::to_string).collect::<Vec<_>>().join(","),
        };
        self.taken = generation.new_tokens();
        Ok(text)
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
