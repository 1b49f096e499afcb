//! The other programs of this project: found in the directory of this one, or on the path.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Continues as `program` with these arguments and exits as it does. `asked` is what the user typed for it.
pub fn become_program(
    program: &str,
    asked: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> ExitCode {
    let mut command = command(program);
    command.args(arguments);
    let what = match become_it(&mut command) {
        Ok(code) => return code,
        Err(error) => failed(program, asked, &error),
    };
    // Nobody listens on a closed stderr.
    let _ = writeln!(std::io::stderr(), "error: {what}");
    ExitCode::from(2)
}

/// The program, without arguments.
pub fn command(program: &str) -> Command {
    Command::new(neighbour(program).unwrap_or_else(|| program.into()))
}

/// Why it did not start.
pub fn failed(program: &str, asked: &str, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!(
            "`{asked}` is the program {program}, which is neither in the directory of this one nor on the path; \
             `cargo install --locked --path {}` installs it",
            package(program)
        ),
        _ => format!("{program}: {error}"),
    }
}

/// The program in the directory of this one.
fn neighbour(program: &str) -> Option<PathBuf> {
    let path =
        std::env::current_exe().ok()?.with_file_name(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    path.is_file().then_some(path)
}

/// The directory of the package that a program belongs to.
fn package(program: &str) -> &'static str {
    match program {
        "diffulex-server" => "crates/server",
        "diffulex-bench" | "diffulex-synth" => "crates/bench",
        "diffulex-verify" => "crates/verify",
        "diffulex-pull" => "crates/pull",
        _ => ".",
    }
}

/// By replacing this process: signals and the terminal are the other program's own.
#[cfg(unix)]
fn become_it(command: &mut Command) -> std::io::Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(command))
}

/// Runs the other program and exits as it does.
#[cfg(not(unix))]
fn become_it(command: &mut Command) -> std::io::Result<ExitCode> {
    let code = command.status()?.code().unwrap_or(1);
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}
