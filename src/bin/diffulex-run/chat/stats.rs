//! The line about an answer, and the display that counts for it.

use crate::display::Display;
use diffulex::text_model::Answer;
use diffulex::{Control, Event, Result};

/// Another display, with a note of how much of the prompt the session had already.
pub(crate) struct Counting<'a> {
    pub(crate) inner: Box<dyn Display + 'a>,
    /// Positions whose keys and values were there before the first pass.
    pub(crate) kept: Option<usize>,
}

impl Display for Counting<'_> {
    fn show(&mut self, event: &Event<'_>, settled: &str) -> Result<Control> {
        if let Event::Pass { cached, .. } = event {
            self.kept.get_or_insert(*cached);
        }
        self.inner.show(event, settled)
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        self.inner.finish(rest)
    }
}

/// The line: `kept` of the `prompt` tokens did not have to be computed.
pub(crate) fn line(answer: &Answer, prompt: usize, kept: usize) -> String {
    let generation = &answer.generation;
    format!(
        "[prompt {prompt} tokens, {kept} of them kept; {} new in {} passes, {:.2} per forward, {:.2} tokens/s; \
         ended by {}]",
        answer.counted,
        generation.decode_passes(),
        answer.per_forward(),
        answer.per_second(),
        answer.reason(),
    )
}
