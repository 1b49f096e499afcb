//! The command line.

use clap::{Args, Parser, ValueEnum};
use diffulex::cli::{self, MachineArgs, ModelArgs};
use diffulex::sampler::{CachePlan, Score};
use diffulex::tensor::TokenId;
use std::path::PathBuf;

/// Generate text with a diffusion language model on the CPU.
///
/// Text goes to stdout, everything else to stderr. Without --weights the built-in demo model runs.
#[derive(Parser)]
#[command(name = "diffulex-run", version = cli::version(), allow_negative_numbers = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where the prompt comes from.
#[derive(Args)]
#[command(next_help_heading = "Prompt")]
pub(crate) struct PromptArgs {
    /// The prompt; `<mask:N>` in it is filled in with N tokens. Without any prompt option it is read from stdin
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["prompt_file", "ids"])]
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// The prompt as token ids, such as 1,2,3; ids are printed then, and no tokenizer is needed
    #[arg(long, value_name = "IDS")]
    pub(crate) ids: Option<String>,
    /// What the system says in the chat template
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["raw", "ids"])]
    pub(crate) system: Option<String>,
    /// Use the prompt as it is, without the chat template
    #[arg(long)]
    pub(crate) raw: bool,
}

/// How to decode.
#[derive(Args)]
#[command(next_help_heading = "Decoding")]
pub(crate) struct DecodingArgs {
    /// Published sampler by name; --list-strategies lists them [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub(crate) strategy: Option<String>,
    /// New tokens at most [default: 128, or 0 if the prompt has gaps to fill in]
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// 0 takes the most probable token [default: generation_config.json, else 0]
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Draw from the K most probable tokens; 0 is off [default: generation_config.json, else 0]
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the most probable tokens that make up P; 1 is off [default: generation_config.json, else 1]
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Makes tokens of the text less probable; 1 is off [default: generation_config.json, else 1]
    #[arg(long, value_name = "R")]
    pub(crate) repetition_penalty: Option<f32>,
    /// Seed of every random number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Denoise steps: of a block (SDAR, Fast-dLLM v2), of the whole generation (Dream, LLaDA)
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<usize>,
    /// Positions in a block
    #[arg(long, value_name = "N")]
    pub(crate) block: Option<usize>,
    /// Positions in a sub-block
    #[arg(long, value_name = "N")]
    pub(crate) sub_block: Option<usize>,
    /// Reveal what is at least this sure (from 0 to 1)
    #[arg(long, value_name = "P", conflicts_with_all = ["factor", "entropy_bound"])]
    pub(crate) threshold: Option<f64>,
    /// Reveal as many as the factor rule allows
    #[arg(long, value_name = "F", conflicts_with = "entropy_bound")]
    pub(crate) factor: Option<f64>,
    /// Reveal as many as this entropy budget allows, in nats
    #[arg(long, value_name = "NATS")]
    pub(crate) entropy_bound: Option<f64>,
    /// How sure the model is of a token
    #[arg(long, value_enum)]
    pub(crate) confidence: Option<Confidence>,
    /// Randomness in the choice of positions; 0 is off
    #[arg(long, value_name = "T")]
    pub(crate) alg_temp: Option<f64>,
    /// Last time step of Dream's schedule
    #[arg(long, value_name = "EPS")]
    pub(crate) eps: Option<f32>,
    /// Classifier-free guidance; 0 is off
    #[arg(long, value_name = "SCALE")]
    pub(crate) cfg: Option<f32>,
    /// What is kept between steps; prefix, dual and sub-block are approximate
    #[arg(long, value_enum)]
    pub(crate) cache: Option<Cache>,
    /// Commit every block in a forward pass of its own
    #[arg(long)]
    pub(crate) no_merge: bool,
    /// End the text before this string (may be given several times)
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// End the text at this id (may be given several times) [default: those of the model]
    #[arg(long, value_name = "ID")]
    pub(crate) stop_id: Vec<TokenId>,
    /// Do not end the text at the model's stop ids
    #[arg(long, conflicts_with = "stop_id")]
    pub(crate) ignore_eos: bool,
}

/// What to print.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
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
    /// List the published samplers, then exit
    #[arg(long)]
    pub(crate) list_strategies: bool,
}

/// See [`Score`].
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Confidence {
    Probability,
    Margin,
    Entropy,
    Random,
}

impl From<Confidence> for Score {
    fn from(confidence: Confidence) -> Self {
        match confidence {
            Confidence::Probability => Self::Probability,
            Confidence::Margin => Self::Margin,
            Confidence::Entropy => Self::NegEntropy,
            Confidence::Random => Self::Random,
        }
    }
}

/// See [`CachePlan`].
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cache {
    None,
    Prefix,
    Dual,
    Block,
    SubBlock,
}

impl From<Cache> for CachePlan {
    fn from(cache: Cache) -> Self {
        match cache {
            Cache::None => Self::None,
            Cache::Prefix => Self::Prefix,
            Cache::Dual => Self::Dual,
            Cache::Block => Self::Block,
            Cache::SubBlock => Self::SubBlock,
        }
    }
}
