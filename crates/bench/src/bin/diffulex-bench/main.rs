//! `diffulex-bench`: times forward passes and generations, compared with what the machine can do at most.
#![forbid(unsafe_code)]

mod args;
mod case;
mod decisions;
mod generate;
mod peers;
mod quality;
mod report;
mod subject;
mod throughput;

use args::Cli;
use case::Case;
use diffulex::exec::Threads;
use diffulex::kernels::{Activations, Kernels};
use diffulex::quant::Format;
use diffulex::{Error, Result};
use diffulex_cli as cli;
use diffulex_cli::machine::Machine;
use std::process::ExitCode;
use std::sync::Arc;
use subject::Subject;

fn main() -> ExitCode {
    let args = cli::parse::<Cli>(args::IDLE);
    cli::run(|| run(&args))
}

fn run(args: &Cli) -> Result<ExitCode> {
    args.check()?;
    if let Some(grid) = args.quality.quality {
        quality::run(args, grid)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.decisions {
        decisions::run(args, file)?;
        return Ok(ExitCode::SUCCESS);
    }
    let level = args.machine.cpu.level()?;
    let exec = Arc::new(Threads::new(args.machine.cpu.threads()));
    if args.roofline {
        let units = [Activations::F32, Activations::Int8]
            .map(|activations| Kernels::new(level).with_activations(activations));
        let formats = Format::all();
        let pairs: Vec<_> =
            units.iter().flatten().flat_map(|kernels| formats.iter().map(move |&f| (kernels, f))).collect();
        report::print_machine(args, &Machine::measure(&*exec, level, &pairs))?;
        return Ok(ExitCode::SUCCESS);
    }
    let peers = args.cases.peer_csv.as_deref().map(peers::read).transpose()?.unwrap_or_default();
    let subject = Subject::open(args, exec)?;
    if !args.generate.generate {
        args.cases
            .rows
            .iter()
            .try_for_each(|&rows| args.cases.choice(subject.engine.arch(), rows).map(drop))?;
    }
    let kernels = subject.engine.kernels();
    // Attention multiplies in f32 whatever the weights are.
    let formats = subject.engine.model().formats().into_iter().chain([Format::F32]);
    let pairs: Vec<_> = formats.map(|format| (kernels, format)).collect();
    let machine = Machine::measure(&*subject.exec, level, &pairs);
    // Requests that make no sense are refused before anything is printed.
    let generation = args.generate.generate.then(|| generate::measure(args, &subject)).transpose()?;
    let mut report = report::Report::new(args, &subject, &machine)?;
    match generation {
        Some(generation) => {
            report.generation(&generation)?;
            if let Some(sequences) = args.generate.sequences {
                report.throughput(&throughput::measure(args, &subject, sequences.into())?)?;
            }
        }
        None => {
            for &context in &args.cases.context {
                for &rows in &args.cases.rows {
                    report.case(Case::measure(args, &subject, &machine, rows, context)?)?;
                }
            }
        }
    }
    report.finish(&peers)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses int8 activations where no weight is quantized: the figures would be mislabelled.
fn check_activations(activations: Activations, formats: &[Format]) -> Result<()> {
    let quantized = formats.iter().any(|format| format.is_quantized());
    if activations == Activations::Int8 && !quantized {
        let names: Vec<_> = formats.iter().map(ToString::to_string).collect();
        let reason =
            format!("int8 given, which is for quantized weights only; these are {}", names.join(" and "));
        return Err(Error::option("activations", reason));
    }
    Ok(())
}
