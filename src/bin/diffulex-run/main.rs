//! Generates text with a diffusion language model: one prompt in, one answer out.

mod answer;
mod args;
mod batch;
mod broken;
mod demo;
mod display;
mod doctor;
mod info;
mod progress;
mod prompt;
mod report;
mod transcript;

use answer::Setup;
use args::Cli;
use diffulex::cli::{self, INTERRUPTED, MachineArgs, Opened, Progress, decoding};
use diffulex::{Policy, Result};
use display::{AtEnd, Display, Plain, Silent};
use progress::WithProgress;
use prompt::Prompt;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args = cli::parse::<Cli>();
    cli::run(|| run(&args))
}

fn run(args: &Cli) -> Result<ExitCode> {
    if args.output.list_strategies {
        for (name, help) in Policy::names() {
            cli::print(&format!("{name:22} {help}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.output.doctor {
        doctor::run(args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let batch = args.batch.prepare()?;
    let start = Instant::now();
    let opened = match open(args) {
        Err(error) if args.output.info => return broken::report(args, error),
        outcome => outcome?,
    };
    let open_time = start.elapsed();
    if args.output.info {
        cli::print(&info::render(&opened, args.output.json))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(note) = opened.note.as_ref().filter(|_| !args.output.quiet && !args.output.json) {
        cli::note(note);
    }
    if let Some(batch) = batch {
        return batch.run(args, &opened);
    }
    let is_demo = args.model.weights.is_none();
    let prompt =
        Prompt::read(&args.prompt, args.length.max_tokens, &opened, is_demo.then_some(demo::PROMPT))?;
    if is_demo && !args.output.quiet && !args.output.json {
        cli::note(demo::NOTICE);
    }
    let policy = decoding::policy(&args.decoding, &opened.generation, &opened.engine)?;
    let setup = Setup::new(&args.length, policy, &opened.engine)?;
    let mut session = opened.engine.session()?;
    let (display, streams): (Box<dyn Display>, _) = if args.output.json {
        (Box::new(Silent), false)
    } else if answer::infills(&opened, &prompt)? {
        (Box::new(AtEnd), false)
    } else {
        (Box::new(Plain), true)
    };
    let mut display = WithProgress::new(display, streams, args.output.quiet);
    let answer = answer::answer(&mut session, &opened, &setup, &prompt, &mut display)?;
    if args.output.json {
        cli::print(&format!("{:#}\n", report::json(&answer, &opened, &prompt, open_time)))?;
    } else if !args.output.quiet {
        report::summary(&answer, &opened, &prompt, open_time, args.output.verbose);
    }
    Ok(if cli::interrupted() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// The model that the options name.
fn open(args: &Cli) -> Result<Opened> {
    let Some(path) = &args.model.weights else { return demo::open(&args.model, &args.machine) };
    let verb = if args.model.quantize.is_some() { "quantizing" } else { "opening" };
    let _progress = Progress::start(format!("{verb} {}", path.display()), args.output.quiet);
    // What a model needs can be asked on any machine.
    let no_memory_check = args.machine.no_memory_check || args.output.info;
    args.model.open(path, &MachineArgs { no_memory_check, ..args.machine.clone() })
}
