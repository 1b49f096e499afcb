//! Generates text with a diffusion language model: one prompt in, one answer out, or a conversation.

mod answer;
mod args;
mod batch;
mod bound;
mod broken;
mod canvas;
mod chat;
#[path = "../cli/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the sources of crates/cli; a program uses its part"
)]
mod cli;
mod decide;
mod display;
mod doctor;
mod info;
mod patience;
mod progress;
mod prompt;
mod report;
mod trace;

use args::Cli;
use cli::{INTERRUPTED, Progress, demo};
use diffulex::{Model, Policy, Result};
use patience::Questions;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trace::Trace;

/// The note before tokens are spent on answers that cannot end.
const NO_STOP: &str = "note: no stop id: neither generation_config.json nor config.json names eos_token_id, so every answer runs to \
                       --max-tokens; --stop-id names one";

/// The note for a model that may have been trained in either of two ways, if neither its name nor an option says which.
const TWO_WAYS: &str = "note: neither the files nor the name of this model say whether it was trained with mdlm (bidirectional), which is \
                        taken, or with bd3lm (block-causal); --strategy says it";

fn main() -> ExitCode {
    let args = cli::parse::<Cli>(args::IDLE);
    cli::run(|| run(&args))
}

fn run(args: &Cli) -> Result<ExitCode> {
    if args.output.list_strategies {
        for (name, help) in Policy::names() {
            cli::print(&format!("{name:24} {help}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.output.list_models {
        cli::print(&cli::presets::published()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(model) = &args.output.pull {
        let quiet = args.output.quiet.then_some("--quiet");
        let arguments = quiet.into_iter().chain(["--", model]);
        return Ok(cli::become_program("diffulex-pull", "--pull", arguments));
    }
    if args.output.doctor {
        doctor::run(args)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Files that cannot or should not be written are found before any work.
    let inputs: Vec<_> = args.model.inputs().into_iter().chain(args.prompt.prompt_file.clone()).collect();
    for (option, output) in [("trace", &args.output.trace), ("output", args.batch.output())] {
        output.iter().try_for_each(|output| cli::refuse_input(option, output, &inputs))?;
    }
    let batch = args.batch.prepare()?;
    let decisions = args.prompt.decide.as_deref().map(decide::Decisions::read).transpose()?;
    let trace = args.output.trace.as_deref().map(Trace::create).transpose()?;
    let start = Instant::now();
    let (model, notes) = match open(args) {
        Err(error) if args.output.info => return broken::report(args, error),
        outcome => outcome?,
    };
    let open_time = start.elapsed();
    if args.output.info {
        cli::print(&info::render(args, &model)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.output.quiet && !args.output.json {
        notes.iter().chain(&args.machine.cpu.note()).for_each(|note| cli::note(note));
        if decisions.is_none()
            && model.engine.stop().is_empty()
            && args.length.stop_id.is_empty()
            && !args.length.ignore_eos
        {
            cli::note(NO_STOP);
        }
        if is_unsaid(args, &model) {
            cli::note(TWO_WAYS);
        }
    }
    let outcome = match (batch, decisions) {
        (Some(batch), _) => batch.run(args, &model),
        (None, Some(decisions)) => decisions.run(args, &model),
        (None, None) if chat::is_asked_for(args) => chat::run(args, &model, args.model.weights.is_none()),
        (None, None) => once(args, &model, open_time, trace),
    };
    model.in_use.note().iter().for_each(|note| cli::note(note));
    outcome
}

/// Whether nothing says how the model was trained.
fn is_unsaid(args: &Cli, model: &Model) -> bool {
    let (arch, overrides) = (model.engine.arch(), &args.decoding.overrides);
    let said = overrides.strategy.is_some() || overrides.cache.is_some();
    let named = |policy: &str| model.origin.to_lowercase().contains(policy);
    arch.trained_block.is_some() && !said && !named("mdlm") && arch.policy == "mdlm"
}

/// The model that the options name, and what the user should know about it.
fn open(args: &Cli) -> Result<(Model, Vec<String>)> {
    let Some(path) = &args.model.weights else {
        return Ok((demo::open(&args.model, &args.machine)?, Vec::new()));
    };
    let verb = if args.model.quantize.is_some() { "quantizing" } else { "opening" };
    let words = format!("{verb} {}", path.display());
    let progress = Progress::start(words.as_str(), args.output.quiet);
    let builder = args.model.builder(&args.machine)?.progress(progress.share(words));
    // What a model needs can be asked on any machine.
    args.model.open_with(path, builder, !args.machine.no_memory_check && !args.output.info)
}

/// One prompt, one answer.
fn once(args: &Cli, model: &Model, open_time: Duration, mut trace: Option<Trace>) -> Result<ExitCode> {
    let is_demo = args.model.weights.is_none();
    let fallback = is_demo.then_some(demo::SUGGESTIONS[0]);
    let prompt = prompt::read(&args.prompt, args.length.max_tokens, model, fallback)?;
    if is_demo && !args.output.quiet && !args.output.json {
        cli::note(demo::NOTICE);
    }
    let policy = args.decoding.overrides.policy(&model.engine)?;
    let setup = answer::setup(&args.length, policy, model)?;
    let mut session = model.engine.session()?;
    patience::announce(args, model, &setup, Questions::one(model, &setup, &prompt)?);
    let mut display = display::choose(&args.output, model, &setup, &prompt)?;
    let answer = match &mut trace {
        None => answer::answer(&mut session, model, &setup, &prompt, &mut *display)?,
        Some(trace) => answer::answer(&mut session, model, &setup, &prompt, &mut trace.watch(&mut *display))?,
    };
    let json = report::json(&answer, model, &setup, &prompt, open_time);
    if let Some(trace) = trace {
        trace.finish(model, &setup, &prompt, &answer, &json)?;
    }
    if args.output.json {
        cli::print(&format!("{json:#}\n"))?;
    } else if !args.output.quiet {
        report::summary(&answer, model, &setup, &prompt, open_time, args.output.verbose);
    }
    Ok(if cli::interrupted() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}
