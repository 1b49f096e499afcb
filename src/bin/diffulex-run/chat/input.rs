//! Where turns come from: a line editor on a terminal, lines of a pipe anywhere else.

use super::assist::Assist;
use crate::cli::{self, input};
use diffulex::{Error, Result};
use etcetera::BaseStrategy;
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Editor};
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

const PROMPT: &str = "> ";
/// Begins and ends an entry of several lines.
const QUOTES: &str = "\"\"\"";
/// Entries that the history keeps.
const HISTORY: usize = 1000;

/// A source of turns and commands.
pub(crate) enum Input {
    Terminal(Box<Terminal>),
    /// Whether its first line is still to come.
    Pipe(bool),
}

impl Input {
    /// Standard input, whatever it is.
    ///
    /// # Errors
    /// [`Error::Io`] for a terminal that cannot be used.
    pub(crate) fn open() -> Result<Self> {
        Ok(if std::io::stdin().is_terminal() {
            Self::Terminal(Box::new(Terminal::open()?))
        } else {
            Self::Pipe(true)
        })
    }

    /// What was typed or piped, with all its lines. `None`: the session ends.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] for bytes that are not text.
    pub(crate) fn next(&mut self) -> Result<Option<String>> {
        match self {
            Self::Terminal(terminal) => terminal.next(),
            Self::Pipe(first) => piped(first),
        }
    }
}

/// The next line of the pipe, and those that belong to it. `first`: nothing was read yet.
fn piped(first: &mut bool) -> Result<Option<String>> {
    let mut text = String::new();
    loop {
        let mut line = Vec::new();
        std::io::stdin().lock().read_until(b'\n', &mut line).map_err(|e| Error::io(input::STDIN, e))?;
        let is_end = line.is_empty();
        let line = match std::mem::take(first) {
            true => input::utf8(input::STDIN, line)?,
            // Only the first line may begin with a byte order mark that is not part of its text.
            false => input::utf8_as_is(input::STDIN, line)?,
        };
        if is_end {
            return Ok(Some(text).filter(|text| !text.is_empty()));
        }
        text += input::without_line_end(&line);
        if !is_open(&text) {
            return Ok(Some(text));
        }
        text.push('\n');
    }
}

/// A terminal with a line editor and its history.
pub(crate) struct Terminal {
    editor: Editor<Assist, FileHistory>,
    /// Absent if it cannot be written.
    history: Option<PathBuf>,
}

impl Terminal {
    fn open() -> Result<Self> {
        let config = Config::builder()
            // What is typed does not go to stdout, which may be a file.
            .behavior(Behavior::PreferTerm)
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY)
            .map_err(failed)?
            .build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assist::default()));
        let history = history_file();
        if let Some(path) = history.as_ref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            cli::note(&format!("note: the history {} cannot be read: {error}", path.display()));
        }
        Ok(Self { editor, history })
    }

    fn next(&mut self) -> Result<Option<String>> {
        let mut interrupted = false;
        loop {
            match self.editor.readline(PROMPT) {
                Ok(text) => {
                    self.remember(&text);
                    return Ok(Some(text));
                }
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Interrupted) if interrupted => return Ok(None),
                Err(ReadlineError::Interrupted) => {
                    interrupted = true;
                    cli::note("(Ctrl-C again, or Ctrl-D, ends the session)");
                }
                // The window has been resized.
                Err(ReadlineError::Signal(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() || !self.editor.add_history_entry(text).unwrap_or(false) {
            return;
        }
        let Some(path) = &self.history else { return };
        let dir = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = dir.map_err(ReadlineError::from).and_then(|()| self.editor.append_history(path));
        if let Err(error) = written {
            cli::note(&format!("note: the history {} cannot be written: {error}", path.display()));
            self.history = None;
        }
    }
}

fn failed(error: ReadlineError) -> Error {
    Error::io("terminal", std::io::Error::other(error))
}

/// The history among the user's state files; where there is no place for state, among the data.
fn history_file() -> Option<PathBuf> {
    let dirs = etcetera::choose_base_strategy().ok()?;
    let dir = dirs.state_dir().unwrap_or_else(|| dirs.data_dir());
    Some(dir.join("diffulex").join("history"))
}

/// Whether an entry is a command: a slash and letters, with what may follow on the same line. A path or a comment is not one, nor is a
/// pasted text of several lines.
pub(crate) fn is_command(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else { return false };
    let word = rest.split(char::is_whitespace).next().unwrap_or_default();
    let one_line = !text.trim_end().contains('\n');
    one_line && word.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '?')
}

/// Whether more lines belong to an entry: it ends with a backslash, or quotes are still open.
pub(crate) fn is_open(text: &str) -> bool {
    match text.trim_start().strip_prefix(QUOTES) {
        _ if is_command(text) => false,
        Some(rest) => !rest.trim_end().ends_with(QUOTES),
        None => text.ends_with('\\'),
    }
}

/// The text of an entry, without the signs that hold its lines together.
pub(crate) fn message(text: &str) -> String {
    match text.trim().strip_prefix(QUOTES) {
        Some(rest) => rest.strip_suffix(QUOTES).unwrap_or(rest).trim_matches('\n').to_string(),
        // At the end of a pipe the last line may be missing.
        None => text.strip_suffix('\\').unwrap_or(text).replace("\\\n", "\n").trim().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_together_as_long_as_a_text_is_open() {
        for (text, open) in [
            ("one line", false),
            ("one \\", true),
            ("one \\\ntwo", false),
            ("one \\\ntwo\\", true),
            ("\"\"\"", true),
            ("\"\"\"\nfirst\n\nlast", true),
            ("\"\"\"\nfirst\n\"\"\" ", false),
            ("\"\"\"all on one line\"\"\"", false),
            ("say \"\"\"", false),
            ("/save a\\", false),
            ("", false),
        ] {
            assert_eq!(is_open(text), open, "{text:?}");
        }
    }

    #[test]
    fn paths_comments_and_pasted_texts_are_no_commands() {
        for text in ["/help", "/", "/?", "/what is this", "/save a/b.json", "/quit\n"] {
            assert!(is_command(text), "{text:?}");
        }
        for text in
            ["/usr/bin/env", "// a comment", "/* a comment */", "/help\nme", "/1", "help", " /help", ""]
        {
            assert!(!is_command(text), "{text:?}");
        }
    }

    #[test]
    fn a_message_is_what_was_meant() {
        for (text, meant) in [
            ("  plain ", "plain"),
            (" /not a command", "/not a command"),
            ("one \\\ntwo\\\nthree", "one \ntwo\nthree"),
            ("cut off \\", "cut off"),
            ("\"\"\"\nfirst\\\n\n last\n\"\"\"", "first\\\n\n last"),
            ("\"\"\"first\nlast\"\"\" ", "first\nlast"),
            ("\"\"\"never closed\n", "never closed"),
            ("\"\"\"\"\"\"", ""),
        ] {
            assert_eq!(message(text), meant, "{text:?}");
        }
    }
}
