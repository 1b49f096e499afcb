//! How an answer is shown while it is decoded. [`Plain`] prints text as it becomes final.

use crate::answer::{self, Setup};
use crate::args::OutputArgs;
use crate::prompt::Prompt;
use clap::ValueEnum;
use diffulex::cli::{self, Opened};
use diffulex::{Control, Event, Result};

/// Something that shows an answer.
pub(crate) trait Display {
    /// Shows what happened; `settled` is the text that became final with it. Says stop when nobody reads any more.
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
    /// On a terminal that can do it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: text is printed as it becomes final.
    Off,
}

/// The display that the options ask for.
///
/// # Errors
/// If the model has no mask.
pub(crate) fn choose<'a>(
    args: &OutputArgs,
    opened: &'a Opened,
    _setup: &'a Setup,
    prompt: &Prompt,
) -> Result<Box<dyn Display + 'a>> {
    if args.json {
        return Ok(Box::new(Silent));
    }
    Ok(if answer::infills(opened, prompt)? { Box::new(AtEnd) } else { Box::new(Plain) })
}

/// Text on stdout, as it becomes final.
pub(crate) struct Plain;

impl Display for Plain {
    fn show(&mut self, _event: &Event<'_>, settled: &str) -> Result<Control> {
        let read = settled.is_empty() || cli::print(settled)?;
        Ok(if read { Control::Continue } else { Control::Stop })
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        cli::print(&format!("{rest}\n")).map(drop)
    }
}

/// Only the text at the end: for gaps that are filled in, whose text is known as a whole.
pub(crate) struct AtEnd;

impl Display for AtEnd {
    fn show(&mut self, _event: &Event<'_>, _settled: &str) -> Result<Control> {
        Ok(Control::Continue)
    }

    fn finish(&mut self, rest: &str) -> Result<()> {
        Plain.finish(rest)
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
