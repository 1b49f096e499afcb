//! The parts of the command line that all programs share, shell completions and man pages included, made from each program's own options.

use super::{BAD_INPUT, Idle, idle, note, print, shell};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error, Parser};
use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write};
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::process::exit;

/// Options whose value has one of these names take any word as it is, even one that begins with a dash.
const FREE_TEXT: [&str; 3] = ["TEXT", "PATTERN", "IDS"];

/// What other programs of this kind call an option: its name here, a letter, other names.
const ALIASES: [(&str, Option<char>, &[&str]); 6] = [
    ("weights", Some('m'), &["model"]),
    ("max_tokens", Some('n'), &["max-new-tokens", "n-predict"]),
    ("temperature", None, &["temp"]),
    ("threads", Some('t'), &[]),
    ("context", Some('c'), &["ctx-size"]),
    ("parallel", None, &["batch-size"]),
];

/// Letters, dashes included, that a name must share with what was typed to be suggested.
const LIKELY: usize = 3;

/// Reads the command line of a program, and refuses options that `idle` calls without effect. Every program has two more options than
/// it declares, `--completions SHELL` and `--man`; they need no other argument, print to stdout and end the program.
pub fn parse<P: Parser>(idle: &[Idle]) -> P {
    parse_from(idle, std::env::args_os()).unwrap_or_else(|error| end(&error))
}

/// As [`parse`], from other words. To clap, what `--help` and `--version` print is an error.
///
/// # Errors
/// As the command line words it.
pub fn parse_from<P: Parser>(
    idle: &[Idle],
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, Error> {
    let mut command = with_options(P::command());
    let matches = command.try_get_matches_from_mut(words);
    let matches = matches.map_err(|error| explained(&mut command, error))?;
    if let Some(text) = shell::wanted(&mut command, &matches) {
        exit(match print(&text) {
            Ok(_) => 0,
            Err(error) => {
                note(&format!("error: {error}"));
                i32::from(BAD_INPUT)
            }
        });
    }
    idle::refuse(&command, &matches, idle)?;
    P::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Prints clap's message and ends the program. A reader that went away is not an error; a full disk is.
fn end(error: &Error) -> ! {
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        Err(failed) if !error.use_stderr() && failed.kind() != io::ErrorKind::BrokenPipe => {
            note(&format!("error: standard output: {failed}"));
            exit(i32::from(BAD_INPUT))
        }
        _ => exit(error.exit_code()),
    }
}

/// What a number has to be, for people; clap says it in the programming language's terms.
fn expected(source: &(dyn std::error::Error + 'static)) -> Option<String> {
    if source.is::<ParseFloatError>() {
        return Some("a number".to_owned());
    }
    if let Some(error) = source.downcast_ref::<ParseIntError>() {
        return Some(match error.kind() {
            IntErrorKind::PosOverflow => format!("number too large, at most {}", u64::MAX),
            IntErrorKind::Zero => "a whole number from 1 on".to_owned(),
            _ => "a whole number from 0 on".to_owned(),
        });
    }
    let words = source.to_string();
    let (first, last) = words.split_once(" is not in ")?.1.split_once("..=")?;
    Some(format!("a whole number from {first} to {last}"))
}

/// For an impossible value, what was expected; for a word that belongs to no option, what was probably meant.
fn explained(command: &mut Command, mut error: Error) -> Error {
    let text = |error: &Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    if error.kind() == ErrorKind::ValueValidation
        && let Some(expected) = error.source().and_then(expected)
        && let (Some(value), Some(option)) =
            (text(&error, ContextKind::InvalidValue), text(&error, ContextKind::InvalidArg))
    {
        let message = format!("invalid value '{value}' for '{option}': {expected} expected");
        return command.error(ErrorKind::ValueValidation, message);
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(word) = text(&error, ContextKind::InvalidArg) else { return error };
    // Names that merely share letters are something else altogether.
    let likely = |tip: &String| tip.chars().zip(word.chars()).take_while(|(a, b)| a == b).count() > LIKELY;
    if text(&error, ContextKind::SuggestedArg).is_some_and(|tip| !likely(&tip)) {
        error.remove(ContextKind::SuggestedArg);
    }
    let is_option = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    if !word.starts_with('-') && is_option("prompt") && is_option("weights") {
        let advice = "a question goes after '--prompt', a model after '--weights'";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    error
}

fn with_options(command: Command) -> Command {
    let command = shell::with_options(command);
    let taken: Vec<char> = command.get_arguments().filter_map(Arg::get_short).collect();
    command.mut_args(|arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let arg = match names.iter().any(|name| FREE_TEXT.contains(&name.as_str())) {
            true => arg.allow_hyphen_values(true),
            false => arg,
        };
        match ALIASES.iter().find(|(id, ..)| arg.get_id() == id) {
            Some((_, letter, names)) => {
                let letter = letter.filter(|letter| !taken.contains(letter));
                arg.visible_aliases(*names).visible_short_aliases(letter)
            }
            None => arg,
        }
    })
}
