//! `diffulex COMMAND ...`: the programs of this project under one name. Each command is a separate program, which is looked for in the
//! directory of this one and then on the path; it gets all arguments that follow.
#![deny(unsafe_code)]

#[path = "../cli/shell.rs"]
mod shell;
#[path = "../cli/sibling.rs"]
#[allow(unreachable_pub, reason = "a source of crates/cli")]
mod sibling;

use clap::{Arg, ArgMatches, Command};
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// A word and what it runs.
struct Word {
    name: &'static str,
    program: &'static str,
    /// The arguments that come before those of the user.
    before: &'static [&'static str],
    about: &'static str,
}

const WORDS: [Word; 10] = [
    Word {
        name: "run",
        program: "diffulex-run",
        before: &[],
        about: "Answer a prompt, or many; talk on a terminal",
    },
    Word { name: "chat", program: "diffulex-run", before: &["--chat"], about: "Talk with a model" },
    Word { name: "serve", program: "diffulex-server", before: &[], about: "Answer requests over HTTP" },
    Word {
        name: "pull",
        program: "diffulex-pull",
        before: &[],
        about: "Download a model from the Hugging Face hub",
    },
    Word {
        name: "quantize",
        program: "diffulex-quantize",
        before: &[],
        about: "Make int8 and int4 checkpoints",
    },
    Word {
        name: "bench",
        program: "diffulex-bench",
        before: &[],
        about: "Measure forward passes, generations and answers",
    },
    Word {
        name: "verify",
        program: "diffulex-verify",
        before: &[],
        about: "Compare with recorded reference data",
    },
    Word {
        name: "synth",
        program: "diffulex-synth",
        before: &[],
        about: "Write checkpoints with random weights",
    },
    Word {
        name: "doctor",
        program: "diffulex-run",
        before: &["--doctor"],
        about: "Measure this machine, and say which models it would run",
    },
    Word {
        name: "models",
        program: "diffulex-run",
        before: &["--list-models"],
        about: "List the published models that run",
    },
];

fn main() -> ExitCode {
    let mut command = shell::with_options(parser());
    let matches = command.get_matches_mut();
    if let Some(text) = shell::wanted(&mut command, &matches) {
        return match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                eprintln!("error: standard output: {error}");
                ExitCode::from(2)
            }
            _ => ExitCode::SUCCESS,
        };
    }
    let (name, given) = matches.subcommand().expect("without an option there is one");
    let word = WORDS.iter().find(|word| word.name == name).expect("the parser knows these only");
    let arguments = word.before.iter().map(Into::into).chain(arguments(given).cloned());
    sibling::become_program(word.program, name, arguments.collect::<Vec<OsString>>())
}

fn parser() -> Command {
    let rest = || {
        let all = Arg::new("arguments").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
        all.value_parser(clap::value_parser!(OsString)).hide(true)
    };
    // `--help` after a command is the program's own.
    let word = |word: &Word| Command::new(word.name).about(word.about).disable_help_flag(true).arg(rest());
    Command::new("diffulex")
        .about("Runs diffusion language models on CPUs. `diffulex COMMAND --help` describes a command")
        .version(env!("CARGO_PKG_VERSION"))
        .arg_required_else_help(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommands(WORDS.iter().map(word))
}

fn arguments(given: &ArgMatches) -> impl Iterator<Item = &OsString> {
    given.get_many::<OsString>("arguments").into_iter().flatten()
}
