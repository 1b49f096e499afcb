//! [`Live`]: the answer as it is denoised. What is settled scrolls by as ordinary text; the masks and tokens after it are in a
//! live region that is redrawn in place.

mod cells;
mod region;
mod screen;
#[cfg(test)]
mod tests;

pub(crate) use region::{Region, Span};

use crate::cli;
use crate::display::Display;
use diffulex::sampler::Canvas;
use diffulex::{Control, Event, Result};
use screen::{Screen, Size};
use std::time::{Duration, Instant};

/// Frames are not drawn more often than a screen shows them.
const FRAME: Duration = Duration::from_millis(16);

/// Draws every step.
pub(crate) struct Live<'a> {
    region: Region<'a>,
    screen: Screen,
    /// Whether gaps in known text are filled in: what has no mask before it is final. Else the transcript says what is.
    infills: bool,
    /// Decoded text that is not final: a stop string could begin in it.
    ahead: String,
    /// Final text that no frame has printed.
    waiting: String,
    /// All final text.
    settled: String,
    last_frame: Option<Instant>,
    /// How long a step stays visible.
    delay: Duration,
}

impl<'a> Live<'a> {
    /// A canvas at the start of a line.
    pub(crate) fn new(region: Region<'a>, infills: bool, colours: bool, delay: Duration) -> Self {
        let (ahead, waiting, settled) = (String::new(), String::new(), String::new());
        Self {
            region,
            screen: Screen::new(colours),
            infills,
            ahead,
            waiting,
            settled,
            last_frame: None,
            delay,
        }
    }

    fn settle(&mut self, text: &str) {
        self.waiting += text;
        self.settled += text;
    }

    fn draw(&mut self, canvas: &Canvas) -> Result<Control> {
        if self.last_frame.is_some_and(|last| last.elapsed() < FRAME) {
            return Ok(Control::Continue);
        }
        self.last_frame = Some(Instant::now());
        let size = size();
        let (mut live, positions) = self.region.pieces(canvas, size.width * size.height)?;
        live.insert(0, screen::Piece { text: self.ahead.clone(), style: screen::Style::Dim, positions: 0 });
        let frame = self.screen.frame(&std::mem::take(&mut self.waiting), &live, positions, size);
        cli::parting(screen::PARTING);
        Ok(if cli::print(&frame)? { Control::Continue } else { Control::Stop })
    }
}

impl Display for Live<'_> {
    fn show(&mut self, event: &Event<'_>, settled: &str) -> Result<Control> {
        let canvas = match event {
            Event::Pass { canvas, .. } | Event::Block { canvas, .. } => canvas,
            Event::Revealed { tokens, edits, canvas, .. } => {
                let scores = tokens.iter().map(|token| (token.pos, token.score));
                let changed = edits.iter().map(|edit| (edit.pos, edit.score));
                self.region.reveal(scores.chain(changed), canvas);
                canvas
            }
        };
        if !matches!(event, Event::Pass { .. }) {
            self.ahead += &self.region.advance(canvas)?;
            let own = if self.infills { self.ahead.len() } else { 0 };
            let own: String = self.ahead.drain(..own).collect();
            self.settle(&own);
        }
        if !self.infills {
            self.ahead = self.ahead.strip_prefix(settled).unwrap_or_default().to_string();
            self.settle(settled);
        }
        let control = self.draw(canvas)?;
        if matches!(event, Event::Revealed { .. }) {
            std::thread::sleep(self.delay);
        }
        Ok(control)
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        // Text with its gaps filled in comes as a whole.
        let rest = if self.infills { rest.strip_prefix(&self.settled).unwrap_or(rest) } else { rest };
        let last = std::mem::take(&mut self.waiting) + rest;
        let printed = cli::print(&self.screen.finish(&last, size()));
        cli::parting("");
        printed.map(drop)
    }
}

impl Drop for Live<'_> {
    /// After an error the screen is left clean, too.
    fn drop(&mut self) {
        if self.screen.is_drawn() {
            // The error that ended the generation is the one to report.
            let _ = cli::print(&self.screen.finish(&self.waiting, size()));
            cli::parting("");
        }
    }
}

/// Columns and rows of the terminal, or of what COLUMNS and LINES say where there is none.
fn size() -> Size {
    if let Some((width, height)) = terminal_size::terminal_size() {
        return Size { width: width.0.into(), height: height.0.into() };
    }
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    Size { width: number("COLUMNS").unwrap_or(80), height: number("LINES").unwrap_or(24) }
}
