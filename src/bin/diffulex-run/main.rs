//! Generates text with a diffusion language model: one prompt in, one answer out.

mod args;
mod demo;
mod info;
mod printer;
mod prompt;
mod report;

use args::Cli;
use clap::Parser;
use diffulex::cli::{self, INTERRUPTED, Opened, decoding};
use diffulex::{Control, Event, Policy, Request, Result};
use printer::Printer;
use prompt::Prompt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Set by Ctrl-C; the decoding loop looks at it before every forward pass.
static INTERRUPT: AtomicBool = AtomicBool::new(false);

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
    let prompt = Prompt::read(&args.prompt, &opened, is_demo.then_some(demo::PROMPT))?;
    if is_demo && !args.output.quiet && !args.output.json {
        cli::note(demo::NOTICE);
    }
    let answer = generate(args, &opened, &prompt)?;
    if args.output.json {
        cli::print(&format!("{:#}\n", report::json(&answer, &opened, &prompt, open_time)))?;
    } else if !args.output.quiet {
        report::summary(&answer, &opened, &prompt, open_time, args.output.verbose);
    }
    Ok(if INTERRUPT.load(Ordering::SeqCst) { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

fn generate(args: &Cli, opened: &Opened, prompt: &Prompt) -> Result<report::Answer> {
    let engine = &opened.engine;
    let policy = decoding::policy(&args.decoding, &opened.generation, engine)?;
    let stop = match (&args.length.stop_id[..], args.length.ignore_eos) {
        (_, true) => &[][..],
        ([], false) => engine.stop(),
        (ids, false) => ids,
    };
    prompt::check_ids("stop-id", stop, engine)?;
    let infills = prompt.ids.contains(&engine.mask()?);
    let max_new = args.length.max_tokens.unwrap_or(if infills { 0 } else { DEFAULT_MAX_TOKENS });
    let request = Request { stop, seed: args.length.seed, ..Request::new(&prompt.ids, max_new, &policy) };
    let mut session = engine.session()?;
    catch_interrupt();
    // Filled-in text is printed whole, at the end; JSON too.
    let streams = !args.output.json && !infills;
    let mut printer = Printer::new(opened, prompt, &args.length.stop, stop, max_new, streams);
    let mut failure = None;
    let generation = session.generate(&request, &mut |event| {
        let control = match event {
            Event::Revealed { canvas, .. } => printer.advance(canvas),
            _ => Ok(Control::Continue),
        };
        match control {
            Ok(control) if !INTERRUPT.load(Ordering::SeqCst) => control,
            Ok(_) => Control::Stop,
            Err(error) => {
                failure = Some(error);
                Control::Stop
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let text = if infills { printer.whole(&generation)? } else { printer.finish(&generation)? };
    if infills && !args.output.json {
        cli::print(&format!("{text}\n"))?;
    }
    Ok(report::Answer {
        text,
        generation,
        policy,
        counted: printer.counted(),
        stopped_by_string: printer.stopped(),
    })
}

/// New tokens unless the user says otherwise.
const DEFAULT_MAX_TOKENS: usize = 128;

/// The first Ctrl-C ends the generation, the second one the program.
fn catch_interrupt() {
    let handler = || {
        if INTERRUPT.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    if ctrlc::set_handler(handler).is_err() {
        cli::note("note: Ctrl-C cannot be caught here; it ends the program at once");
    }
}
