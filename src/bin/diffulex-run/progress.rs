//! Progress on stderr while an answer cannot be seen yet: around any other [`Display`].

use crate::cli::Progress;
use crate::display::Display;
use diffulex::engine::PassKind;
use diffulex::{Control, Event, Result};

/// A display with a line of progress until it shows something itself.
pub(crate) struct WithProgress {
    inner: Box<dyn Display>,
    /// Whether settled text is shown at once, so that no progress may be shown after it.
    streams: bool,
    line: Option<Progress>,
    revealed: usize,
    passes: usize,
}

impl WithProgress {
    /// Around `inner`; `streams` if it shows settled text at once.
    pub(crate) fn new(inner: Box<dyn Display>, streams: bool, quiet: bool) -> Self {
        let line = Some(Progress::start("reading the prompt", quiet));
        Self { inner, streams, line, revealed: 0, passes: 0 }
    }

    /// The line of progress after `event`.
    fn words(&mut self, event: &Event<'_>) -> String {
        match event {
            Event::Pass { kind: PassKind::Prefill, rows, canvas, .. } => {
                return format!("reading the prompt: {} of {} positions", rows.start, canvas.prompt());
            }
            Event::Pass { index, .. } => self.passes = *index,
            Event::Revealed { tokens, .. } => self.revealed += tokens.len(),
            Event::Block { .. } => {}
        }
        format!("{} tokens in {} forward passes", self.revealed, self.passes)
    }
}

impl Display for WithProgress {
    fn show(&mut self, event: &Event<'_>, settled: &str) -> Result<Control> {
        if self.streams && !settled.is_empty() {
            self.line = None;
        }
        if self.line.is_some() {
            let words = self.words(event);
            self.line.iter().for_each(|line| line.message(words.as_str()));
        }
        self.inner.show(event, settled)
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        self.line = None;
        self.inner.finish(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::Silent;
    use diffulex::sampler::{Candidate, Canvas};

    #[test]
    fn the_line_counts_positions_then_tokens_and_passes() {
        let mut display = WithProgress::new(Box::new(Silent), false, true);
        let canvas = Canvas::new(&[1; 300], 310, 9);
        let mut pass = |kind, index, rows: std::ops::Range<usize>| {
            display.words(&Event::Pass { kind, index, rows: &rows, cached: 0, canvas: &canvas })
        };
        assert_eq!(pass(PassKind::Prefill, 1, 128..256), "reading the prompt: 128 of 300 positions");
        assert_eq!(pass(PassKind::Denoise, 3, 300..304), "0 tokens in 3 forward passes");
        let tokens = [300, 301].map(|pos| Candidate { pos, token: 5, score: 1.0 });
        let (edits, candidates, alternatives) = (&[][..], &[][..], &Default::default());
        let revealed = Event::Revealed { tokens: &tokens, edits, candidates, alternatives, canvas: &canvas };
        assert_eq!(display.words(&revealed), "2 tokens in 3 forward passes");
        assert_eq!(
            display.words(&Event::Block { range: &(300..304), canvas: &canvas }),
            "2 tokens in 3 forward passes"
        );
    }

    #[test]
    fn streamed_text_ends_the_line() {
        let canvas = Canvas::new(&[1], 2, 9);
        let event = Event::Block { range: &(0..1), canvas: &canvas };
        let mut display = WithProgress::new(Box::new(Silent), true, true);
        display.show(&event, "").unwrap();
        assert!(display.line.is_some());
        display.show(&event, "text").unwrap();
        assert!(display.line.is_none());
        let mut silent = WithProgress::new(Box::new(Silent), false, true);
        silent.show(&event, "text").unwrap();
        assert!(silent.line.is_some());
        silent.finish("").unwrap();
        assert!(silent.line.is_none());
    }
}
