//! The command line.

use crate::batch::BatchArgs;
use crate::cli::decoding::DecodingArgs;
use crate::cli::{self, Idle, MachineArgs, ModelArgs};
use crate::display::CanvasChoice;
use clap::{Args, Parser};
use diffulex::tensor::TokenId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Generate text with a diffusion language model on the CPU.
///
/// Text goes to stdout, everything else to stderr. Without --weights the built-in demo model runs.
#[derive(Parser)]
#[command(name = "diffulex-run", version = cli::version(), long_version = cli::long_version(), allow_negative_numbers = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) length: LengthArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options that would do nothing. Options that always exclude each other say so where they are declared.
pub(crate) const IDLE: &[Idle] = &[
    Idle::AllBut("list_strategies", &[]),
    Idle::AllBut("list_models", &[]),
    Idle::AllBut("pull", &["quiet"]),
    Idle::AllBut("doctor", &["threads", "level", "activations", "json"]),
    Idle::With("info", &["no_memory_check"]),
    Idle::AllBut(
        "info",
        &[
            "ModelArgs",
            "activations",
            "no_memory_check",
            "CpuArgs",
            "DecodingArgs",
            "stop_id",
            "ignore_eos",
            "json",
            "quiet",
        ],
    ),
    Idle::AllBut(
        "prompts",
        &[
            "BatchArgs",
            "ModelArgs",
            "activations",
            "no_memory_check",
            "CpuArgs",
            "DecodingArgs",
            "LengthArgs",
            "system",
            "raw",
            "quiet",
        ],
    ),
    Idle::Without(&["prompts"], &["BatchArgs"]),
    Idle::AllBut(
        "decide",
        &["ModelArgs", "activations", "no_memory_check", "CpuArgs", "DecodingArgs", "quiet"],
    ),
    Idle::AllBut(
        "chat",
        &[
            "ModelArgs",
            "activations",
            "no_memory_check",
            "CpuArgs",
            "DecodingArgs",
            "LengthArgs",
            "system",
            "canvas",
            "canvas_delay",
            "quiet",
            "verbose",
        ],
    ),
    Idle::With("ids", &["system", "raw", "suffix", "stop", "chat_template"]),
    Idle::With("suffix", &["system", "stop", "stop_id", "ignore_eos", "chat_template"]),
    Idle::With("raw", &["system", "chat_template"]),
    // The object has every setting, and nothing else is shown.
    Idle::With("json", &["canvas", "canvas_delay", "verbose"]),
    Idle::With("quiet", &["verbose"]),
    Idle::Value("canvas", "off", &["canvas_delay"]),
    cli::FILES_OF_WEIGHTS,
];

/// Where the prompt comes from.
#[derive(Args)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// The prompt; with `<mask:N>` in it, it is taken as with --raw, and each is filled in with N tokens. Without any prompt option it is read from stdin
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["prompt_file", "ids"])]
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file; the end of its last line is not part of it
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// The prompt as token ids, such as 1,2,3; the answer is then printed as ids, and no tokenizer is needed
    #[arg(long, value_name = "IDS")]
    pub(crate) ids: Option<String>,
    /// The text after a gap: the prompt as it is, --max-tokens masks, and this text; prints what goes between. Models with
    /// blocks (SDAR, Fast-dLLM v2) need gap and suffix inside the last block
    #[arg(long, value_name = "TEXT", requires = "max_tokens")]
    pub(crate) suffix: Option<String>,
    /// The system message in the chat template
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Use the prompt as it is, without the chat template
    #[arg(long)]
    pub(crate) raw: bool,
    /// Hold a conversation, as a terminal without any prompt option does; from a pipe every line is a turn
    #[arg(long)]
    pub(crate) chat: bool,
    /// Answer questions about a state, with the probability of every answer: a JSON object with `state` and `questions`, or
    /// one on each line (docs/decisions.md); prints JSON; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) decide: Option<PathBuf>,
}

/// How much to decode.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Decoding")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LengthArgs {
    /// New tokens at most [default: 128, or 0 if the prompt has gaps to fill in]
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Seed of every random number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// End the text before this string, which is looked for among the new tokens after the prompt (may be given several times)
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// End the text at this id (may be given several times) [default: those of the model]
    #[arg(long, value_name = "ID")]
    pub(crate) stop_id: Vec<TokenId>,
    /// Do not end the text at the model's stop ids
    #[arg(long, conflicts_with = "stop_id")]
    pub(crate) ignore_eos: bool,
    /// The answer is JSON that this JSON schema allows; it ends when it is complete
    #[arg(long, value_name = "FILE", group = "bound")]
    pub(crate) schema: Option<PathBuf>,
    /// The answer is a JSON object
    #[arg(long, group = "bound")]
    pub(crate) json_object: bool,
    /// The answer is what this regular expression matches from its beginning to its end
    #[arg(long, value_name = "REGEX", group = "bound")]
    pub(crate) regex: Option<String>,
    /// The answer is what this grammar in Lark's syntax derives from `start`
    #[arg(long, value_name = "FILE", group = "bound")]
    pub(crate) grammar: Option<PathBuf>,
}

/// What to print.
#[derive(Args, Clone)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Show the canvas live while it is denoised; auto does so on a terminal that supports it
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) canvas: CanvasChoice,
    /// Milliseconds that every step of the canvas stays visible; the times of the summary do not count that [default: 0, demo model 50]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) canvas_delay: Option<u64>,
    /// Write every step to a file: data as .json (docs/trace.md), or a page to look at as .html
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Print one JSON object instead of text and summary
    #[arg(long)]
    pub(crate) json: bool,
    /// No summary on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Print every decoding setting that is in force, too
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Describe the model and what it needs, then exit
    #[arg(long)]
    pub(crate) info: bool,
    /// Measure this machine and say which models it would run how fast, then exit
    #[arg(long)]
    pub(crate) doctor: bool,
    /// List the published models that run, their sizes, and what each was checked against, then exit
    #[arg(long)]
    pub(crate) list_models: bool,
    /// Download a model from the Hugging Face hub, then exit: `diffulex-pull` (also `diffulex pull`), which has more options
    #[arg(long, value_name = "NAME")]
    pub(crate) pull: Option<String>,
    /// List the published samplers, then exit
    #[arg(long)]
    pub(crate) list_strategies: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_options_that_there_are() {
        assert_eq!(cli::unknown::<Cli>(IDLE), Vec::<&str>::new());
    }
}
