//! Options that would do nothing: a program refuses them by name, by one table of its own.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, Error};

/// A row of the table. Options are named by their ids (`max_tokens`), several together by the struct that declares
/// them (`ModelArgs`), unless that includes another struct, for which clap makes no group.
#[derive(Clone, Copy, Debug)]
pub enum Idle {
    /// With the first option, nothing but these has an effect.
    AllBut(&'static str, &'static [&'static str]),
    /// With the first option, these have none.
    With(&'static str, &'static [&'static str]),
    /// With this value of the first option, these have none.
    Value(&'static str, &'static str, &'static [&'static str]),
    /// Without any of the first options, the others have none.
    Without(&'static [&'static str], &'static [&'static str]),
}

/// Refuses an option that was given and has no effect.
///
/// # Errors
/// As the command line words it, for the first row that applies.
pub(super) fn refuse(command: &Command, matches: &ArgMatches, rows: &[Idle]) -> Result<(), Error> {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    for row in rows {
        let (options, list, rest) = row.parts();
        let decides = match row {
            Idle::Without(..) => (!options.iter().any(|option| given(option))).then_some(options[0]),
            Idle::Value(option, value, _) if !has_value(matches, option, value) => None,
            _ => options.iter().copied().find(|option| given(option)),
        };
        let Some(decides) = decides else { continue };
        let listed = |id: &str| {
            list.contains(&id) || list.iter().any(|name| members(command, name).any(|member| member == id))
        };
        let mut ids = command.get_arguments().map(|arg| arg.get_id().as_str());
        if let Some(idle) = ids.find(|id| !options.contains(id) && given(id) && listed(id) != rest) {
            return Err(match row {
                Idle::Without(..) => missing(command, idle, options),
                _ => conflict(command, idle, decides),
            });
        }
    }
    Ok(())
}

fn has_value(matches: &ArgMatches, option: &str, value: &str) -> bool {
    matches.get_raw(option).is_some_and(|mut values| values.any(|found| found == value))
}

impl Idle {
    /// The options that decide, those in the list, and whether the others are the ones without effect.
    fn parts(&self) -> (&[&'static str], &'static [&'static str], bool) {
        match self {
            Self::AllBut(option, list) => (std::slice::from_ref(option), list, true),
            Self::With(option, list) | Self::Value(option, _, list) => {
                (std::slice::from_ref(option), list, false)
            }
            Self::Without(options, list) => (options, list, false),
        }
    }
}

/// The options that a struct of the command line declares.
fn members<'a>(command: &'a Command, name: &'a str) -> impl Iterator<Item = &'a str> {
    let groups = command.get_groups().filter(move |group| group.get_id() == name);
    groups.flat_map(|group| group.get_args().map(|id| id.as_str()))
}

/// An option as the help shows it.
fn usage(command: &Command, id: &str) -> String {
    let arg = command.get_arguments().find(|arg| arg.get_id() == id);
    arg.map_or_else(|| id.to_owned(), ToString::to_string)
}

fn missing(command: &Command, idle: &str, options: &[&str]) -> Error {
    let options: Vec<_> = options.iter().map(|option| format!("'{}'", usage(command, option))).collect();
    let words =
        format!("the argument '{}' has no effect without {}", usage(command, idle), options.join(" or "));
    Error::raw(ErrorKind::MissingRequiredArgument, words).format(&mut command.clone())
}

fn conflict(command: &Command, idle: &str, option: &str) -> Error {
    let mut error = Error::new(ErrorKind::ArgumentConflict).with_cmd(command);
    error.insert(ContextKind::InvalidArg, ContextValue::String(usage(command, idle)));
    error.insert(ContextKind::PriorArg, ContextValue::String(usage(command, option)));
    error
}

/// Names in a table that the command does not have.
pub fn unknown<P: CommandFactory>(rows: &[Idle]) -> Vec<&'static str> {
    let command = P::command();
    let known = |name: &str| {
        command.get_arguments().any(|arg| arg.get_id() == name) || members(&command, name).next().is_some()
    };
    let names = rows.iter().flat_map(|row| {
        let (options, list, _) = row.parts();
        options.iter().chain(list).copied().collect::<Vec<_>>()
    });
    names.filter(|name| !known(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        shared: Shared,
        #[arg(long)]
        alone: bool,
        #[arg(long, value_name = "N", default_value_t = 0)]
        number: u8,
    }

    #[derive(Args)]
    struct Shared {
        #[arg(long)]
        first: bool,
        #[arg(long)]
        second: bool,
    }

    const ROWS: &[Idle] = &[
        Idle::AllBut("alone", &["number"]),
        Idle::With("first", &["number"]),
        Idle::Without(&["second"], &["first"]),
    ];

    #[test]
    fn what_has_no_effect_is_refused_by_name() {
        let mut command = Cli::command();
        command.build();
        assert_eq!(unknown::<Cli>(ROWS), Vec::<&str>::new());
        assert_eq!(unknown::<Cli>(&[Idle::With("no", &["Shared", "nor"])]), ["no", "nor"]);
        let outcome = |arguments: &[&str]| {
            let matches = command.clone().try_get_matches_from([&["x"], arguments].concat()).unwrap();
            refuse(&command, &matches, ROWS)
                .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
        };
        for (arguments, idle) in [
            (&["--alone", "--number", "0"][..], None),
            (&["--second", "--first"], None),
            (&["--alone", "--second"], Some("error: the argument '--second' cannot be used with '--alone'")),
            (&["--second", "--first", "--number", "1"], Some("'--number <N>' cannot be used with '--first'")),
            (&["--first"], Some("error: the argument '--first' has no effect without '--second'")),
        ] {
            match (outcome(arguments), idle) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{error}"),
                (other, _) => panic!("{arguments:?}: {other:?}"),
            }
        }
    }
}
