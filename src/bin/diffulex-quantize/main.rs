//! `diffulex-quantize`: a checkpoint of floats becomes one of int8 or int4 weights, which the engine maps and multiplies as they
//! are.
#![deny(unsafe_code)]

mod args;
mod check;
#[path = "../cli/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the sources of crates/cli; a program uses its part"
)]
mod cli;
mod convert;
mod output;
mod report;

use args::Args;
use diffulex::Result;
use diffulex::weights::Checkpoint;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = cli::parse::<Args>(args::IDLE);
    cli::run(|| cli::unless_interrupted(run(&args)))
}

fn run(args: &Args) -> Result<ExitCode> {
    // Also refuses a level that the check could not use, before the work.
    args.machine.level()?;
    cli::catch_interrupt();
    let files = Checkpoint::locate(&cli::hub::resolve(&args.source)?)?;
    cli::passed_over(&files).iter().for_each(|note| cli::note(note));
    let conversion = match args.format {
        Some(format) => {
            let recipe = args.recipe(format)?;
            Some(convert::convert(&files, &args.output, &recipe, args.machine.threads())?)
        }
        None => {
            check::refuse_not_finite(&args.output)?;
            None
        }
    };
    let check = (!args.no_check).then(|| check::compare(&files, &args.output, &args.machine)).transpose()?;
    let (conversion, check) = (conversion.as_ref(), check.as_ref());
    cli::print(&match args.json {
        true => format!("{:#}\n", report::json(conversion, check)),
        false => report::text(conversion, check),
    })?;
    Ok(ExitCode::SUCCESS)
}
