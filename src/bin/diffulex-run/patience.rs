//! The note before work that takes minutes.

use crate::args::Cli;
use crate::cli::forecast::Forecast;
use crate::cli::machine::Machine;
use crate::cli::note;
use crate::cli::work::{PassSize, Work};
use diffulex::exec::{self, Threads};
use diffulex::kernels::Kernels;
use diffulex::quant::Format;
use diffulex::sampler::{CachePlan, Commit, Policy, Unmask};
use diffulex::text_model::{Prompt, Setup};
use diffulex::{Model, Result};

/// Work that takes longer is announced, in seconds.
const LONG: f64 = 60.0;
/// Real passes take up to this many times what bandwidth and units allow.
const REAL: f64 = 2.0;

/// What is to be answered.
#[derive(Clone, Copy)]
pub(crate) struct Questions {
    /// How many there are.
    pub(crate) count: usize,
    /// How many are answered at a time.
    pub(crate) parallel: usize,
    /// Tokens of each.
    pub(crate) prompt: usize,
    /// Tokens of each answer, at most.
    pub(crate) new: usize,
}

impl Questions {
    /// A single answer. Masks of the prompt count as tokens of the answer.
    ///
    /// # Errors
    /// If the model has no mask.
    pub(crate) fn one(model: &Model, setup: &Setup, prompt: &Prompt) -> Result<Self> {
        let mask = model.engine.mask()?;
        let masks = prompt.ids.iter().filter(|&&id| id == mask).count();
        let new = setup.new_tokens(prompt, model.fills_gaps(prompt)?) + masks;
        Ok(Self { count: 1, parallel: 1, prompt: prompt.ids.len() - masks, new })
    }
}

/// Says how long the answers take if that is long, and what makes them shorter.
///
/// It measures this machine only for work that might be long on a slow one; that takes a fraction of a second.
pub(crate) fn announce(args: &Cli, model: &Model, setup: &Setup, questions: Questions) {
    // What is too long is refused at once.
    let too_long = questions.prompt.saturating_add(questions.new) > model.engine.context();
    if args.output.quiet || args.output.json || too_long {
        return;
    }
    let (engine, kernels) = (&model.engine, model.engine.kernels());
    let formats = engine.model().formats().into_iter().chain([Format::F32]);
    let pairs: Vec<(&Kernels, Format)> = formats.map(|format| (kernels, format)).collect();
    let (exec, level) = (Threads::new(engine.threads()), kernels.level());
    let line = |machine: &Machine| line(args, model, setup, questions, machine);
    if line(&Machine::slow(&exec, level, &pairs)).is_some() {
        line(&Machine::glance(&exec, level, &pairs)).iter().for_each(|line| note(line));
    }
}

/// The note for `machine`.
fn line(args: &Cli, model: &Model, setup: &Setup, questions: Questions, machine: &Machine) -> Option<String> {
    let Questions { count, parallel, prompt, new } = questions;
    let (engine, kernels) = (&model.engine, model.engine.kernels());
    let forecast = Forecast::new(engine.arch(), &setup.policy, prompt, new);
    let rounds = count.div_ceil(parallel.max(1));
    let pass = |PassSize { rows, context, logit_rows }| {
        let together = PassSize { rows: rows * parallel, context, logit_rows: logit_rows * parallel };
        Work::of(engine, together, None).limit(machine, kernels).seconds()
    };
    let what = match count {
        1 => format!("{new} tokens"),
        n => format!("{n} answers of {new} tokens"),
    };
    let seconds = rounds as f64 * forecast.seconds(pass);
    text(&what, rounds * forecast.passes, seconds, &help(args, model, &setup.policy))
}

/// Options that make an answer faster, starting with those that change nothing in it.
fn help(args: &Cli, model: &Model, policy: &Policy) -> Vec<String> {
    let cores = exec::physical_cores();
    let floats = args.model.weights.is_some() && !model.engine.model().is_quantized();
    let by_schedule = matches!(policy.unmask, Unmask::TopK { .. } | Unmask::LeftToRight);
    let by_schedule = by_schedule && policy.commit == Commit::Model;
    let uncached = policy.cache == CachePlan::None && policy.schedule.block.is_some();
    let all = [
        (model.engine.threads() < cores, format!("--threads {cores}")),
        (floats, "--quantize int4".to_owned()),
        (by_schedule, "--threshold 0.9".to_owned()),
        (uncached, "--cache dual".to_owned()),
        (true, "a smaller --max-tokens".to_owned()),
    ];
    all.into_iter().filter_map(|(helps, option)| helps.then_some(option)).collect()
}

/// The line for what takes `seconds` at best, if that may be long.
fn text(what: &str, passes: usize, seconds: f64, help: &[String]) -> Option<String> {
    let (unit, name) = match REAL * seconds {
        ..5400.0 => (60.0, "minutes"),
        _ => (3600.0, "hours"),
    };
    // To one digit after the point where that is significant.
    let number = |seconds: f64| match seconds / unit {
        few @ ..9.5 => format!("{few:.1}").trim_end_matches(".0").to_owned(),
        many => format!("{many:.0}"),
    };
    (REAL * seconds > LONG).then(|| {
        format!(
            "note: {what} take about {} to {} {name} on this machine ({passes} passes of {:.2} s or more); faster with {}",
            number(seconds),
            number(REAL * seconds),
            seconds / passes.max(1) as f64,
            help.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_line_says_what_a_machine_takes_and_what_helps() {
        let args = Cli::parse_from(["diffulex-run", "--threads", "1"]);
        let (model, _) = crate::open(&args).unwrap();
        let kernels = model.engine.kernels();
        let pairs: Vec<_> = [Format::F32, Format::Bf16].map(|format| (kernels, format)).into();
        let mut machine = Machine::slow(&Threads::new(1), kernels.level(), &pairs);
        let say = |machine: &Machine, count, parallel| {
            let questions = Questions { count, parallel, prompt: 20, new: 128 };
            line(&args, &model, &model.setup(), questions, machine)
        };
        assert_eq!(say(&machine, 1, 1), None, "the demo model answers at once on any machine");
        machine.bandwidth /= 1e4;
        let one = say(&machine, 1, 1).expect("a line");
        assert!(one.starts_with("note: 128 tokens take about "), "{one}");
        assert!(one.ends_with("a smaller --max-tokens") && !one.contains("--quantize"), "{one}");
        let filled = model.prompt_around("Two and ", 5, " are four.").unwrap();
        let filled = Questions::one(&model, &model.setup(), &filled).unwrap();
        assert_eq!(filled.new, 5, "a gap is what is answered");
        let many = say(&machine, 40, 8).expect("a line");
        assert!(many.starts_with("note: 40 answers of 128 tokens take about "), "{many}");
        let passes = |line: &str| line.split_once('(').unwrap().1.split(' ').next().unwrap().parse::<usize>();
        assert_eq!(passes(&many), passes(&one).map(|passes| 5 * passes), "eight at a time");
    }

    #[test]
    fn only_long_work_is_announced() {
        let help = ["--quantize int4", "a smaller --max-tokens"].map(str::to_owned);
        let text = |seconds| text("128 tokens", 128, seconds, &help);
        assert_eq!(text(29.9), None);
        let long = "note: 128 tokens take about 3.2 to 6.4 minutes on this machine (128 passes of 1.50 s or more); faster with \
                    --quantize int4, a smaller --max-tokens";
        assert_eq!(text(192.0).as_deref(), Some(long));
        assert!(text(600.0).unwrap().contains("about 10 to 20 minutes"), "{:?}", text(600.0));
        assert!(text(7200.0).unwrap().contains("about 2 to 4 hours"), "{:?}", text(7200.0));
    }
}
