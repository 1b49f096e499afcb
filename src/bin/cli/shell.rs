//! `--completions SHELL` and `--man`: shell completions and man pages, made from the options that a program really has.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use clap_complete::Shell;

/// The command with both options. They need no other argument, and allow none.
pub(crate) fn with_options(command: Command) -> Command {
    let option = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).exclusive(true).hide_short_help(true).help_heading("Shell")
    };
    let completions = "Print what a shell needs to complete the options of this program, then exit";
    let man = "Print the manual page of this program, then exit";
    command
        .arg(option("completions", completions).value_name("SHELL").value_parser(value_parser!(Shell)))
        .arg(option("man", man).action(ArgAction::SetTrue))
}

/// What one of them is to print, if it was given.
pub(crate) fn wanted(command: &mut Command, matches: &ArgMatches) -> Option<String> {
    let mut bytes = Vec::new();
    if let Some(&shell) = matches.get_one::<Shell>("completions") {
        let name = command.get_name().to_owned();
        clap_complete::generate(shell, command, name, &mut bytes);
    } else if matches.get_flag("man") {
        // The levels of one CPU do not belong in a manual.
        let command = command.clone().long_version(None::<&str>);
        clap_mangen::Man::new(command).render(&mut bytes).expect("memory can be written to");
    } else {
        return None;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
