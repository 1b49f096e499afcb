//! Shell completions and man pages, made from the options that a program really has.

use clap::{Arg, ArgAction, Command, Parser, value_parser};
use clap_complete::Shell;
use std::io::Write;
use std::process::exit;

/// Reads the command line of a program. Every program has two options more than it declares, `--completions SHELL` and `--man`;
/// they need no other argument, print to stdout and end the program.
pub fn parse<P: Parser>() -> P {
    let mut command = with_options(P::command());
    let mut matches = command.clone().get_matches();
    let wanted = matches.remove_one::<Shell>("completions").map(|shell| completions(&mut command, shell));
    let wanted = wanted.or_else(|| matches.get_flag("man").then(|| man(&command)));
    if let Some(bytes) = wanted {
        // A reader that went away is no error.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        exit(0);
    }
    P::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

fn with_options(command: Command) -> Command {
    let option = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).exclusive(true).hide_short_help(true).help_heading("Shell")
    };
    command
        .arg(
            option(
                "completions",
                "Print what a shell needs to complete the options of this program, then exit",
            )
            .value_name("SHELL")
            .value_parser(value_parser!(Shell)),
        )
        .arg(option("man", "Print the manual page of this program, then exit").action(ArgAction::SetTrue))
}

fn completions(command: &mut Command, shell: Shell) -> Vec<u8> {
    let (name, mut bytes) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, command, name, &mut bytes);
    bytes
}

fn man(command: &Command) -> Vec<u8> {
    // The levels of one CPU are no part of a manual.
    let command = command.clone().long_version(None::<&str>);
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command).render(&mut bytes).expect("memory can be written to");
    bytes
}
