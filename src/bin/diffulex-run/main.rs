//! Generates text with a diffusion language model: one prompt in, one answer out, or a conversation.

mod answer;
mod args;
mod canvas;
mod chat;
mod demo;
mod display;
mod info;
mod prompt;
mod report;
mod trace;
mod transcript;

use answer::Setup;
use args::Cli;
use clap::Parser;
use diffulex::cli::{self, INTERRUPTED, decoding};
use diffulex::{Policy, Result};
use prompt::Prompt;
use std::process::ExitCode;
use std::time::Instant;
use trace::Trace;

fn main() -> ExitCode {
    let args = Cli::parse();
    cli::run(|| run(&args))
}

fn run(args: &Cli) -> Result<ExitCode> {
    if args.output.list_strategies {
        for (name, help) in Policy::names() {
            cli::print(&format!("{name:22} {help}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut trace = args.output.trace.as_deref().map(Trace::create).transpose()?;
    let start = Instant::now();
    let opened = match &args.model.weights {
        Some(path) => args.model.open(path, &args.machine)?,
        None => demo::open(&args.model, &args.machine)?,
    };
    let open_time = start.elapsed();
    if args.output.info {
        cli::print(&info::render(&opened, args.output.json))?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_demo = args.model.weights.is_none();
    if chat::is_asked_for(args) {
        return chat::run(args, &opened, is_demo);
    }
    let prompt = Prompt::read(&args.prompt, &opened, is_demo.then_some(demo::SUGGESTIONS[0]))?;
    if is_demo && !args.output.quiet && !args.output.json {
        cli::note(demo::NOTICE);
    }
    let policy = decoding::policy(&args.decoding, &opened.generation, &opened.engine)?;
    let setup = Setup::new(&args.length, policy, &opened.engine)?;
    let mut session = opened.engine.session()?;
    let mut display = display::choose(&args.output, &opened, &setup, &prompt)?;
    let answer = match &mut trace {
        Some(trace) => {
            answer::answer(&mut session, &opened, &setup, &prompt, &mut trace.watch(&mut *display))?
        }
        None => answer::answer(&mut session, &opened, &setup, &prompt, &mut *display)?,
    };
    let json = report::json(&answer, &opened, &prompt, open_time);
    if let Some(trace) = trace {
        trace.finish(&opened, &setup, &prompt, &answer, &json)?;
    }
    if args.output.json {
        cli::print(&format!("{json:#}\n"))?;
    } else if !args.output.quiet {
        report::summary(&answer, &opened, &prompt, open_time, args.output.verbose);
    }
    Ok(if cli::interrupted() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}
