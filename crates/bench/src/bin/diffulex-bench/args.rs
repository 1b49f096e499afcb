//! The command line.

use crate::quality::Grid;
use clap::{Args, Parser, ValueEnum};
use diffulex::cache::KvDtype;
use diffulex::model::{Architecture, Choice, Mixture};
use diffulex::quant::{Code, Format, Group};
use diffulex::tensor::TokenId;
use diffulex::{Error, Result};
use diffulex_cli::decoding::DecodingArgs;
use diffulex_cli::presets::Preset;
use diffulex_cli::{self as cli, DEFAULT_GROUP, FormatName, Idle, MachineArgs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Measure forward passes, compared with what this machine can do at most.
///
/// First the machine: how fast all threads read memory, and how fast the units that the kernels use multiply. Then, for every
/// case, a forward pass of some rows over some cached positions: every row sees all of them and all other rows, as in a denoise
/// step. A step of a dual cache with a block of 32 in a canvas of 256 is --rows 32 --context 224; a full one is --rows 256.
#[derive(Parser)]
#[command(name = "diffulex-bench", version = cli::version(), long_version = cli::long_version(), allow_negative_numbers = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) cases: CaseArgs,
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
    #[command(flatten)]
    pub(crate) quality: QualityArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Count right decisions of a trained model, how well it is calibrated, and how many it makes a second: a file as for
    /// `diffulex-run --decide`, with `expect`, a label for every question
    #[arg(long, value_name = "FILE", help_heading = "Quality")]
    pub(crate) decisions: Option<PathBuf>,
    /// Measure the machine only
    #[arg(long, help_heading = "Output")]
    pub(crate) roofline: bool,
    /// Print one JSON object instead of tables
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Options that would do nothing. Options that always exclude another one say so where they are declared.
pub(crate) const IDLE: &[Idle] = &[
    Idle::AllBut("roofline", &["CpuArgs", "seconds", "json"]),
    Idle::AllBut(
        "quality",
        // A preset is refused with what is expected instead.
        &[
            "QualityArgs",
            "preset",
            "weights",
            "mask_id",
            "kv",
            "DecodingArgs",
            "CpuArgs",
            "no_memory_check",
            "seconds",
            "json",
        ],
    ),
    Idle::Without(&["quality"], &["QualityArgs"]),
    Idle::AllBut(
        "decisions",
        &[
            "preset",
            "weights",
            "mask_id",
            "kv",
            "DecodingArgs",
            "CpuArgs",
            "activations",
            "no_memory_check",
            "json",
        ],
    ),
    Idle::With("generate", &["rows", "context", "logits", "experts_touched", "peer_csv"]),
    Idle::Without(&["generate"], &["GenerateArgs"]),
    Idle::Without(&["generate", "quality", "decisions"], &["DecodingArgs"]),
    Idle::With("preset", &["prompt"]),
    Idle::With("prompt", &["prompt_tokens"]),
    Idle::With("weights", &["format", "group", "zero_points", "lm_head", "layers"]),
];

/// The model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// A published shape with random weights; `diffulex-synth --list` shows the names
    #[arg(long, value_name = "NAME", required_unless_present_any = ["weights", "roofline"])]
    pub(crate) preset: Option<String>,
    /// Checkpoint: a directory, model.safetensors or model.safetensors.index.json, or the hub id of a downloaded one
    #[arg(long, short, value_name = "PATH", conflicts_with = "preset")]
    pub(crate) weights: Option<PathBuf>,
    /// Format of the preset's weights [default: bf16]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Element>,
    /// Elements that share a scale: 32, 64, 128, 256 or row [default: 64]
    #[arg(long, value_name = "N", value_parser = cli::group)]
    pub(crate) group: Option<Group>,
    /// int4 groups have a minimum of their own
    #[arg(long)]
    pub(crate) zero_points: bool,
    /// Format of output matrix and embedding [default: int8 for int4 weights, else the format of the weights]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) lm_head: Option<Element>,
    /// Number of layers, instead of the preset's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) layers: Option<u16>,
    /// Id of the mask token, if neither config.json nor the tokenizer names it
    #[arg(long, value_name = "ID")]
    pub(crate) mask_id: Option<TokenId>,
    /// Element type of cached keys and values
    #[arg(long, value_parser = cli::kv(), default_value = "f16")]
    pub(crate) kv: KvDtype,
}

/// What is measured.
#[derive(Args)]
#[command(next_help_heading = "Cases")]
pub(crate) struct CaseArgs {
    /// Positions of a pass
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4,32,128")]
    pub(crate) rows: Vec<usize>,
    /// Cached positions that it sees in addition to its own
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    pub(crate) context: Vec<usize>,
    /// Rows whose logits are computed
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) logits: Logits,
    /// Distinct experts that every block reads in a pass, whatever the router says, for models with experts
    #[arg(long, value_name = "N")]
    pub(crate) experts_touched: Option<usize>,
    /// Repeat a case for this long; at least 5 times, if that takes no more than four times as long
    #[arg(long, value_name = "S", default_value_t = 1.5)]
    pub(crate) seconds: f64,
    /// Another engine's times, to print next to ours: CSV with the columns rows, context, ms and, if there are several, name
    #[arg(long, value_name = "FILE")]
    pub(crate) peer_csv: Option<PathBuf>,
}

/// Generating instead of single passes.
#[derive(Args)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerateArgs {
    /// Measure a whole generation instead of single passes
    #[arg(long)]
    pub(crate) generate: bool,
    /// A question for the checkpoint, through its chat template: what a trained model reveals in a pass depends on what it reads.
    /// Without it the prompt is random tokens
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// Random tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) prompt_tokens: usize,
    /// The most new tokens
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_tokens: usize,
    /// Do not end the text at the model's stop ids; `false` ends it there
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub(crate) ignore_eos: bool,
    /// Also decode this many sequences: one after the other, a thread each, and in one batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) sequences: Option<u16>,
}

/// Answers instead of times.
#[derive(Args)]
#[command(next_help_heading = "Quality")]
pub(crate) struct QualityArgs {
    /// Count right answers of a trained model, by format of the weights, rule of unmasking and cache plan
    #[arg(long, value_enum, value_name = "ROWS", num_args = 0..=1, default_missing_value = "all")]
    pub(crate) quality: Option<Grid>,
    /// Questions, one JSON object a line [default: quality.jsonl next to the weights]
    #[arg(long, value_name = "FILE")]
    pub(crate) questions: Option<PathBuf>,
    /// The most questions of each task
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<NonZeroUsize>,
}

/// Tokens that a chat template may add to a question.
const TEMPLATE: usize = 256;

/// Elements of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Element {
    F32,
    Bf16,
    F16,
    Int8,
    Int4,
}

impl Element {
    fn name(self) -> FormatName {
        match self {
            Self::F32 => FormatName::Exact(Format::F32),
            Self::Bf16 => FormatName::Exact(Format::Bf16),
            Self::F16 => FormatName::Exact(Format::F16),
            Self::Int8 => FormatName::Integers(Code::Int8, None),
            Self::Int4 => FormatName::Integers(Code::Int4, None),
        }
    }
}

/// Rows whose logits are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Logits {
    All,
    Last,
}

impl Logits {
    /// How many of `rows`.
    pub(crate) fn of(self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Last => 1,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Last => "last",
        }
    }
}

impl CaseArgs {
    /// What chooses the experts of a pass over `rows` rows.
    pub(crate) fn choice(&self, arch: &Architecture, rows: usize) -> Result<Choice<'static>> {
        let Some(count) = self.experts_touched else { return Ok(Choice::Router) };
        let wrong = |expected: String| Error::option("experts-touched", format!("{count} given, {expected}"));
        let Some(mixture) = &arch.mixture else {
            return Err(wrong(format!("but {} models have no experts", arch.family)));
        };
        let Mixture { experts, per_token, .. } = *mixture;
        let most = experts.min(rows.saturating_mul(per_token));
        if !(per_token..=most).contains(&count) {
            let why = format!("{per_token} of {experts} for each of {rows} rows");
            return Err(wrong(format!("{per_token} to {most} expected ({why})")));
        }
        Ok(Choice::Among(count))
    }
}

impl ModelArgs {
    /// The preset with the requested layers.
    pub(crate) fn shape(&self, name: &str) -> Result<Preset> {
        let preset = Preset::named(name)?;
        Ok(Preset { layers: self.layers.map_or(preset.layers, usize::from), ..preset })
    }

    /// Formats of block matrices and of output matrix and embedding.
    pub(crate) fn formats(&self) -> Result<(Format, Format)> {
        let blocks = self.format.unwrap_or(Element::Bf16);
        let head = self.lm_head.unwrap_or(if blocks == Element::Int4 { Element::Int8 } else { blocks });
        for (name, given, of) in [
            ("group", self.group.is_some(), &[Element::Int8, Element::Int4][..]),
            ("zero-points", self.zero_points, &[Element::Int4]),
        ] {
            if given && !of.contains(&blocks) && !of.contains(&head) {
                return Err(Error::option(name, "given, but no weight has a format with such groups"));
            }
        }
        let of =
            |element: Element| element.name().resolve(self.group.unwrap_or(DEFAULT_GROUP), self.zero_points);
        Ok((of(blocks)?, of(head)?))
    }
}

impl Cli {
    /// Checks what can be checked before anything is measured.
    pub(crate) fn check(&self) -> Result<()> {
        let CaseArgs { rows, seconds, .. } = &self.cases;
        if rows.contains(&0) {
            return Err(Error::option("rows", "0 given, at least 1 expected"));
        }
        if !(*seconds > 0.0 && *seconds <= 3600.0) {
            return Err(Error::option(
                "seconds",
                format!("{seconds} given, a number above 0 and at most 3600 expected"),
            ));
        }
        if self.generate.generate && self.generate.prompt_tokens == 0 {
            return Err(Error::option("prompt-tokens", "0 given, at least 1 expected"));
        }
        Ok(())
    }

    /// Positions that have to fit: cached ones and rows, or prompt and new tokens.
    pub(crate) fn positions(&self) -> usize {
        let CaseArgs { rows, context, .. } = &self.cases;
        let largest = |list: &[usize]| list.iter().copied().max().unwrap_or(0);
        if self.generate.generate {
            // A token is at least a byte, and a template adds some.
            let text = self.generate.prompt.as_ref().map(|text| text.len() + TEMPLATE);
            text.unwrap_or(self.generate.prompt_tokens).saturating_add(self.generate.max_tokens)
        } else {
            largest(rows).saturating_add(largest(context))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_options_that_there_are() {
        assert_eq!(cli::unknown::<Cli>(IDLE), Vec::<&str>::new());
    }
}
