//! What was measured: tables for people, printed as they fill, or one JSON object.

use crate::args::Cli;
use crate::case::Case;
use crate::generate::Run;
use crate::peers::{self, Peer};
use crate::subject::Subject;
use crate::throughput::Throughput;
use diffulex::Result;
use diffulex_cli as cli;
use diffulex_cli::machine::Machine;
use serde_json::{Value, json};

/// Prints the machine alone.
pub(crate) fn print_machine(args: &Cli, machine: &Machine) -> Result<()> {
    let text =
        if args.json { format!("{:#}\n", json!({ "machine": machine.json() })) } else { machine.text() };
    cli::print(&text).map(drop)
}

/// A report in progress.
pub(crate) struct Report {
    /// Absent if the report is for people, who read it while it grows.
    json: Option<Value>,
    cases: Vec<Case>,
}

impl Report {
    /// Begins with the machine and the model.
    pub(crate) fn new(args: &Cli, subject: &Subject, machine: &Machine) -> Result<Self> {
        let json = args.json.then(|| {
            let engine = &subject.engine;
            json!({
                "machine": machine.json(),
                "model": model_json(subject),
                "activations": engine.kernels().activations().name(),
                "kernels": engine.kernels().names(&engine.model().formats()),
                "kv": engine.kv().name(),
                "logits": args.cases.logits.name(),
                "cases": [],
                "generation": null,
                "throughput": null,
                "peers": [],
            })
        });
        let report = Self { json, cases: Vec::new() };
        report.print(|| machine.text() + &model_text(args, subject))?;
        Ok(report)
    }

    fn print(&self, text: impl FnOnce() -> String) -> Result<()> {
        if self.json.is_none() {
            cli::print(&text())?;
        }
        Ok(())
    }

    /// Adds a case.
    pub(crate) fn case(&mut self, case: Case) -> Result<()> {
        if self.cases.is_empty() {
            let experts = if case.experts.is_empty() { "" } else { EXPERTS };
            self.print(|| format!("{HEADER}{experts}\n"))?;
        }
        self.print(|| case_text(&case))?;
        self.cases.push(case);
        Ok(())
    }

    /// Adds a generation.
    pub(crate) fn generation(&mut self, run: &Run) -> Result<()> {
        if let Some(json) = &mut self.json {
            json["generation"] = run.json();
        }
        self.print(|| run.text())
    }

    /// Adds many generations.
    pub(crate) fn throughput(&mut self, measured: &Throughput) -> Result<()> {
        if let Some(json) = &mut self.json {
            json["throughput"] = measured.json();
        }
        self.print(|| measured.text())
    }

    /// Ends with the peers, and prints JSON.
    pub(crate) fn finish(mut self, peers: &[Peer]) -> Result<()> {
        if !peers.is_empty() {
            self.print(|| peers::text(peers, &self.cases))?;
        }
        if let Some(mut json) = self.json.take() {
            json["cases"] = self.cases.iter().map(Case::json).collect();
            json["peers"] = peers::json(peers, &self.cases);
            cli::print(&format!("{json:#}\n"))?;
        }
        Ok(())
    }
}

fn model_json(subject: &Subject) -> Value {
    let model = subject.engine.model();
    let formats: Vec<_> = model.formats().into_iter().map(|format| format.name()).collect();
    json!({
        "name": subject.name,
        "family": subject.engine.arch().family,
        "random_weights": subject.is_random,
        "open_s": subject.seconds,
        "parameters": model.parameters(),
        "bytes": model.weight_bytes(),
        "formats": formats,
        "format": model.weight_format().name(),
        "lm_head": model.lm_head().format().name(),
    })
}

fn model_text(args: &Cli, subject: &Subject) -> String {
    let (model, kernels) = (subject.engine.model(), subject.engine.kernels());
    let (format, head) = (model.weight_format(), model.lm_head().format());
    format!(
        "model        {}: {format}, output matrix {head}, {:.2} GB, ready after {:.1} s\n\
         activations  {}\n\
         kernels      {}, keys and values {}\n",
        subject.name,
        model.weight_bytes() as f64 / 1e9,
        subject.seconds,
        kernels.activations().name(),
        kernels.names(&model.formats())[..model.formats().len()].join(" "),
        subject.engine.kv().name(),
    ) + &if args.generate.generate {
        String::new()
    } else {
        format!("logits       {} rows\n", args.cases.logits.name())
    }
}

/// Ended by [`EXPERTS`] for models with experts.
const HEADER: &str =
    "\n  rows context  median ms    best ms  runs  weights GB/s      Gop/s   limit ms  by       share";

/// Distinct experts of a block.
const EXPERTS: &str = "  experts";

fn case_text(case: &Case) -> String {
    let experts = case.mean_experts().map_or_else(String::new, |mean| format!(" {mean:8.1}"));
    format!(
        "{:6} {:7} {:10.2} {:10.2} {:5} {:13.1} {:10.1} {:10.2}  {:7} {:4.0} %{experts}\n",
        case.rows,
        case.context,
        case.median() * 1e3,
        case.best() * 1e3,
        case.runs(),
        case.weight_rate() / 1e9,
        case.rate() / 1e9,
        case.limit.seconds() * 1e3,
        case.limit.name(),
        case.share() * 100.0,
    )
}
