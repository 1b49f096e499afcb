//! `--doctor`: what this machine is, what it can do, and how fast it would run which models.

use crate::args::Cli;
use crate::cli::forecast::{Forecast, REVEALED};
use crate::cli::machine::Machine;
use crate::cli::memory::{self, Fit, Need};
use crate::cli::presets::Preset;
use crate::cli::work::{PassSize, Work};
use crate::cli::{self, readable};
use diffulex::Result;
use diffulex::cache::KvDtype;
use diffulex::exec::{self, Threads};
use diffulex::kernels::{Activations, Kernels, Level};
use diffulex::model::Architecture;
use diffulex::quant::Format;
use diffulex::sampler::Policy;
use serde_json::{Value, json};

/// The models of the table.
const MODELS: [&str; 8] = [
    "sdar-1.7b",
    "fast-dllm-7b",
    "dream-7b",
    "llada-8b",
    "llada-moe-7b",
    "llada2-mini",
    "sdar-30b-a3b",
    "nemotron-8b",
];
/// The formats of the table: a name, that of the blocks, that of the output matrix, as diffulex-quantize writes them.
const FORMATS: [(&str, [&str; 2]); 3] =
    [("bf16", ["bf16", "bf16"]), ("int8", ["q8g64", "q8g64"]), ("int4", ["q4g64", "q8g64"])];
/// Positions that the cache should hold.
const CONTEXT: usize = 4096;
/// Rows of the passes that are estimated: a block, and a single position.
const ROWS: [usize; 2] = [32, 1];
/// Tokens of the answer whose time is estimated, and of the prompt before it.
const ANSWER: usize = 128;

/// A model in a format on this machine.
struct Estimate {
    model: &'static str,
    format: &'static str,
    need: Need,
    /// Absent where the system does not say how much memory there is.
    fit: Option<Fit>,
    /// The least time of a pass of [`ROWS`] rows, in seconds.
    seconds: [f64; 2],
    /// The least time of an answer if every pass reveals one token, in seconds.
    answer: f64,
}

/// Measures and prints, as text or as JSON.
///
/// # Errors
/// A level or activations that this CPU does not have, or a full disk when stdout is a file.
pub(crate) fn run(args: &Cli) -> Result<()> {
    let level = args.machine.cpu.level()?;
    let kernels = Kernels::new(level).with_activations(args.machine.activations()?)?;
    let exec = Threads::new(args.machine.cpu.threads());
    // Before the buffer for measuring bandwidth is allocated.
    let available = memory::available();
    let mut formats = vec![Format::F32];
    formats.extend(FORMATS.iter().flat_map(|(_, pair)| pair.map(format)));
    let pairs: Vec<_> = formats.into_iter().map(|format| (&kernels, format)).collect();
    let machine = Machine::measure(&exec, level, &pairs);
    let mut estimates = Vec::new();
    for model in MODELS {
        let arch = Preset::named(model)?.architecture()?;
        estimates
            .extend(FORMATS.map(|format| Estimate::new(model, &arch, format, &machine, &kernels, available)));
    }
    let text = match args.output.json {
        true => format!("{:#}\n", as_json(&machine, available, &estimates)),
        false => as_text(&machine, available, &estimates, kernels.activations()),
    };
    cli::print(&text).map(drop)
}

fn format(name: &str) -> Format {
    Format::from_name(name).expect("the table names formats that exist")
}

impl Estimate {
    fn new(
        model: &'static str,
        arch: &Architecture,
        (name, pair): (&'static str, [&str; 2]),
        machine: &Machine,
        kernels: &Kernels,
        available: Option<u64>,
    ) -> Self {
        let formats = pair.map(format);
        let weights = memory::matrix_bytes(arch, formats[0], formats[1]);
        let need = Need::new(weights, arch, KvDtype::F16, CONTEXT.min(arch.dims.max_pos));
        let limit = |rows, context| {
            let size = PassSize { rows, context, logit_rows: rows };
            Work::of_shapes(arch, formats, KvDtype::F16, size).limit(machine, kernels).seconds()
        };
        let policy = Policy::named(arch.policy).expect("families name samplers that exist");
        let PassSize { rows, context, .. } = Forecast::new(arch, &policy, ANSWER, ANSWER).pass;
        let (seconds, answer) = (ROWS.map(|rows| limit(rows, 0)), ANSWER as f64 * limit(rows, context));
        Self { model, format: name, need, fit: available.map(|bytes| need.fit(bytes)), seconds, answer }
    }

    fn fits(&self) -> &'static str {
        match self.fit {
            Some(Fit::Fits) => "yes",
            Some(Fit::Close) => "just",
            Some(Fit::TooLarge) => "no",
            None => "unknown",
        }
    }
}

fn hardware_threads() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

fn levels() -> Vec<&'static str> {
    Level::available().into_iter().map(Level::name).collect()
}

fn as_text(
    machine: &Machine,
    available: Option<u64>,
    estimates: &[Estimate],
    activations: Activations,
) -> String {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), readable);
    let mut text = format!(
        "{}\
         levels       compiled in: {}; of this cpu: {}; used: {}\n\
         cores        {} physical, {} threads of hardware\n\
         memory       {}, {} available\n\
         \n\
         model         format  weights     with {CONTEXT} positions  fits     {} rows  1 row    {ANSWER} tokens\n",
        machine.text(),
        Level::compiled().join(", "),
        levels().join(", "),
        machine.level.name(),
        exec::physical_cores(),
        hardware_threads().map_or_else(|| "unknown".to_owned(), |n| n.to_string()),
        bytes(memory::total()),
        bytes(available),
        ROWS[0],
    );
    for estimate in estimates {
        let about = |seconds: f64| format!("{:.0} ms", (seconds * 1e3).max(1.0));
        text += &format!(
            "{:13} {:7} {:11} {:20} {:8} {:8} {:8} {:.0} to {:.0} s\n",
            estimate.model,
            estimate.format,
            readable(estimate.need.weights),
            readable(estimate.need.total()),
            estimate.fits(),
            about(estimate.seconds[0]),
            about(estimate.seconds[1]),
            (estimate.answer / REVEALED as f64).max(1.0),
            estimate.answer.max(1.0),
        );
    }
    text + &format!(
        "\nTimes are what bandwidth and units allow at best, with {} activations for weights that can take them, f16 keys and\n\
         values and nothing cached; real passes take up to twice as long (diffulex-bench measures them). Weights are those a\n\
         pass multiplies with. The last column is an answer of {ANSWER} tokens to a prompt of {ANSWER}, if passes reveal {REVEALED} tokens\n\
         (about what --threshold 0.9 does) or 1 (most published schedules), bidirectional models without a cache.\n",
        activations.name()
    )
}

fn as_json(machine: &Machine, available: Option<u64>, estimates: &[Estimate]) -> Value {
    let rows = estimates.iter().map(|estimate| {
        json!({
            "model": estimate.model,
            "format": estimate.format,
            "weight_bytes": estimate.need.weights,
            "context": estimate.need.context,
            "needed_bytes": estimate.need.total(),
            "fits": estimate.fits(),
            "answer_s": { "tokens": ANSWER, "3_per_pass": estimate.answer / REVEALED as f64, "1_per_pass": estimate.answer },
            "limit_ms": { "32_rows": estimate.seconds[0] * 1e3, "1_row": estimate.seconds[1] * 1e3 },
        })
    });
    json!({
        "version": cli::version(),
        "machine": machine.json(),
        "levels": { "compiled": Level::compiled(), "cpu": levels(), "used": machine.level.name() },
        "cores": { "physical": exec::physical_cores(), "threads": hardware_threads() },
        "memory": { "total": memory::total(), "available": available },
        "models": rows.collect::<Vec<_>>(),
    })
}
