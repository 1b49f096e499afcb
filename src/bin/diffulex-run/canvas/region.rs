//! [`Region`]: which part of a sequence is live, and its text so far.

use super::cells::cells;
use super::screen::{Piece, Style};
use diffulex::cache::Blocks;
use diffulex::sampler::{Canvas, Score};
use diffulex::tensor::TokenId;
use diffulex::text::{StreamDecoder, Tokenizer};
use diffulex::{Model, Policy, Result};
use std::ops::Range;

const MASK: &str = "░";

/// The positions that an answer is made of.
pub(crate) struct Span {
    /// The first one: that after the prompt, or 0 if gaps of the prompt are filled in.
    pub(crate) start: usize,
    /// New tokens at most.
    pub(crate) max_new: usize,
}

/// The live part of a sequence: from its first mask to the end of the block, or of the canvas if blocks see each other.
pub(crate) struct Region<'a> {
    tokenizer: Option<&'a dyn Tokenizer>,
    /// Decodes the positions before the first mask.
    decoder: Option<StreamDecoder<'a>>,
    stop_ids: &'a [TokenId],
    span: Span,
    /// The blocks, if the region ends with one.
    blocks: Option<Blocks>,
    score: Score,
    /// How sure the model was of a token when it was revealed, by position.
    sure: Vec<Option<f64>>,
    /// First position that is not decoded.
    taken: usize,
}

impl<'a> Region<'a> {
    /// For an answer decoded by `policy`. `as_ids` shows numbers instead of words.
    pub(crate) fn new(
        model: &'a Model,
        policy: &Policy,
        stop_ids: &'a [TokenId],
        as_ids: bool,
        span: Span,
    ) -> Self {
        let tokenizer = model.tokenizer.as_deref().filter(|_| !as_ids);
        let block = policy.schedule.block.or(model.engine.arch().block());
        // Gaps are shown with all of the text around them.
        let block = block.filter(|_| policy.cache.keeps_blocks() && span.start > 0);
        let len = span.start.saturating_add(span.max_new);
        let blocks = block.map(|block| policy.schedule.blocks(block, span.start, len));
        Self {
            tokenizer,
            decoder: tokenizer.map(|tokenizer| StreamDecoder::new(tokenizer, true)),
            stop_ids,
            blocks,
            score: policy.score,
            sure: Vec::new(),
            taken: span.start,
            span,
        }
    }

    /// Takes note of tokens that were revealed or changed: positions and scores.
    pub(crate) fn reveal(&mut self, tokens: impl Iterator<Item = (usize, f64)>, canvas: &Canvas) {
        self.sure.resize(canvas.len(), None);
        for (pos, score) in tokens {
            self.sure[pos] = Some(sureness(self.score, score));
        }
    }

    /// The text that no longer has anything before it that is masked or may change, as far as it was not returned before.
    ///
    /// # Errors
    /// If the tokenizer refuses the tokens.
    pub(crate) fn advance(&mut self, canvas: &Canvas) -> Result<String> {
        let until = canvas.settled(self.taken..self.end(canvas).max(self.taken));
        let new = self.taken..until;
        self.taken = until;
        match &mut self.decoder {
            Some(decoder) => decoder.push(&canvas.ids()[new]),
            None => Ok(new.map(|pos| self.number(canvas.ids()[pos], pos)).collect()),
        }
    }

    /// What follows the decoded text: at least as much as fills `room` cells, and how many positions all of it represents.
    ///
    /// # Errors
    /// If the tokenizer refuses the tokens.
    pub(crate) fn pieces(&self, canvas: &Canvas, room: usize) -> Result<(Vec<Piece>, usize)> {
        let (mut pieces, mut filled) = (Vec::new(), 0);
        if let Some(decoder) = &self.decoder {
            // Bytes of a character whose last token is still masked.
            pieces.push(Piece { text: decoder.clone().finish()?, style: Style::Dim, positions: 0 });
        }
        let end = self.live_end(canvas).max(self.taken);
        let mut pos = self.taken;
        while pos < end && filled < room {
            let run = self.run(canvas, pos..end.min(pos + room - filled));
            pos = run.end;
            let first = pieces.len();
            if canvas.is_mask(run.start) {
                pieces.push(Piece { text: MASK.repeat(run.len()), style: Style::Dim, positions: run.len() });
            } else {
                self.words(canvas, run, &mut pieces)?;
            }
            let widths = |piece: &Piece| cells(&piece.text).map(|(_, width)| width).sum::<usize>();
            filled += pieces[first..].iter().map(widths).sum::<usize>();
        }
        Ok((pieces, end - self.taken))
    }

    /// The longest run of masks, or of tokens, at the start of a range.
    fn run(&self, canvas: &Canvas, range: Range<usize>) -> Range<usize> {
        let masked = canvas.is_mask(range.start);
        let end = range.clone().find(|&pos| canvas.is_mask(pos) != masked).unwrap_or(range.end);
        range.start..end
    }

    /// A run of tokens, decoded together: one piece for each token that completes a string.
    fn words(&self, canvas: &Canvas, run: Range<usize>, pieces: &mut Vec<Piece>) -> Result<()> {
        let mut decoder = self.tokenizer.map(|tokenizer| StreamDecoder::new(tokenizer, true));
        for pos in run {
            let id = canvas.ids()[pos];
            let text = match &mut decoder {
                Some(decoder) => decoder.push(&[id])?,
                None => self.number(id, pos),
            };
            let sure = self.sure.get(pos).copied().flatten();
            pieces.push(Piece { text, style: sure.map_or(Style::Plain, Style::Sure), positions: 1 });
        }
        if let Some(mut decoder) = decoder {
            pieces.push(Piece { text: decoder.finish()?, style: Style::Dim, positions: 0 });
        }
        Ok(())
    }

    fn number(&self, id: TokenId, pos: usize) -> String {
        format!("{}{id}", if pos > self.span.start { "," } else { "" })
    }

    fn end(&self, canvas: &Canvas) -> usize {
        canvas.text_end(self.span.max_new, self.stop_ids)
    }

    fn live_end(&self, canvas: &Canvas) -> usize {
        let end = self.end(canvas);
        self.blocks.map_or(end, |blocks| end.min(blocks.end(self.taken, 1)))
    }
}

/// A score as a number from 0 to 1.
fn sureness(score: Score, value: f64) -> f64 {
    match score {
        // The probability that all tokens would have in a uniform distribution of this entropy.
        Score::NegEntropy => value.exp(),
        _ => value,
    }
}
