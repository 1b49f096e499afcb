//! How an answer is shown while it is decoded. [`Plain`] prints text as it becomes final, [`Live`] the masks after it, too.

use crate::args::OutputArgs;
use crate::canvas::{Live, Region, Span};
use crate::cli;
use crate::cli::demo;
use crate::progress::WithProgress;
use clap::ValueEnum;
use diffulex::text_model::{Prompt, Setup};
use diffulex::{Control, Event, Model, Result};
use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

/// Something that shows an answer.
pub(crate) trait Display {
    /// Shows what happened; `settled` is the text that became final with it. Returns stop when nobody reads any more.
    ///
    /// # Errors
    /// If it cannot be written.
    fn show(&mut self, event: &Event<'_>, settled: &str) -> Result<Control>;

    /// Shows the end: `rest` is the text that no event settled.
    ///
    /// # Errors
    /// If it cannot be written.
    fn finish(&mut self, rest: &str) -> Result<()>;
}

/// When the canvas is shown live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CanvasChoice {
    /// On a terminal that supports it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: text is printed as it becomes final.
    Off,
}

/// The display that suits the options and the terminal.
///
/// # Errors
/// If the model has no mask.
pub(crate) fn choose<'a>(
    args: &OutputArgs,
    model: &'a Model,
    setup: &'a Setup,
    prompt: &Prompt,
) -> Result<Box<dyn Display + 'a>> {
    let infills = model.fills_gaps(prompt)?;
    let terminal = std::io::stdout().is_terminal();
    // The console of Windows interprets escape sequences only when it is told to, and returns to the left with every line feed.
    let capable = terminal && anstyle_query::term_supports_ansi_color() && !cfg!(windows);
    let live = args.canvas == CanvasChoice::On || (args.canvas == CanvasChoice::Auto && capable);
    // Before a suffix only what fills the gap is printed, and that is known at the end.
    if live && !args.json && prompt.gap.is_none() {
        let span = Span {
            start: if infills { 0 } else { prompt.ids.len() },
            max_new: setup.new_tokens(prompt, infills),
        };
        let region = Region::new(model, &setup.policy, &setup.stop_ids, prompt.as_ids, span);
        let delay = args.canvas_delay.unwrap_or(if demo::is(model) { demo::DELAY_MS } else { 0 });
        let delay = Duration::from_millis(delay);
        return Ok(Box::new(Live::new(region, infills, !anstyle_query::no_color(), delay)));
    }
    let plain = Plain { terminal };
    let (inner, streams): (Box<dyn Display>, _) = match (args.json, infills) {
        (true, _) => (Box::new(Silent), false),
        (false, true) => (Box::new(AtEnd(plain)), false),
        (false, false) => (Box::new(plain), true),
    };
    Ok(Box::new(WithProgress::new(inner, streams, args.quiet)))
}

/// Text on stdout, as it becomes final.
pub(crate) struct Plain {
    /// Whether it goes to a terminal, which must not interpret what the model writes.
    terminal: bool,
}

impl Plain {
    fn print(&self, text: &str) -> Result<bool> {
        let text = if self.terminal { cli::safe(text) } else { Cow::Borrowed(text) };
        cli::print(&text)
    }
}

impl Display for Plain {
    fn show(&mut self, _event: &Event<'_>, settled: &str) -> Result<Control> {
        let read = settled.is_empty() || self.print(settled)?;
        Ok(if read { Control::Continue } else { Control::Stop })
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        self.print(&format!("{rest}\n")).map(drop)
    }
}

/// Only the text at the end: for gaps that are filled in, whose text is known as a whole.
pub(crate) struct AtEnd(Plain);

impl Display for AtEnd {
    fn show(&mut self, _event: &Event<'_>, _settled: &str) -> Result<Control> {
        Ok(Control::Continue)
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        self.0.finish(rest)
    }
}

/// Nothing: the caller prints the answer in a form of its own.
pub(crate) struct Silent;

impl Display for Silent {
    fn show(&mut self, _event: &Event<'_>, _settled: &str) -> Result<Control> {
        Ok(Control::Continue)
    }

    fn finish(&mut self, _rest: &str) -> Result<()> {
        Ok(())
    }
}
