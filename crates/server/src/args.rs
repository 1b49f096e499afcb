//! The command line.

use clap::{Args, Parser, ValueEnum};
use diffulex::Model;
use diffulex_cli::decoding::DecodingArgs;
use diffulex_cli::{self as cli, MachineArgs, ModelArgs, demo, memory};
use std::io::IsTerminal;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// Serve a diffusion language model over HTTP, as OpenAI and Ollama do.
///
/// Without --weights the built-in demo model is served.
#[derive(Parser)]
#[command(name = "diffulex-server", version = cli::version(), long_version = cli::long_version(), allow_negative_numbers = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What is served, and to whom.
#[derive(Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Address to listen on; other machines can connect only if they can reach it
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Sequences in a forward pass [default: as many as memory allows, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: Option<u16>,
    /// Requests that may wait for their turn; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) queue: usize,
    /// Most new tokens where a request gives no number [default: 1024, bidirectional models 256, or what fits]
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Seconds that a request may take, waiting included [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
    /// Seconds that running requests have to finish when the server is told to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) grace: u64,
    /// File of keys, one a line; requests have to carry one of them
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Origin whose pages may send requests, or `*` (may be given several times)
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Vec<String>,
    /// What the model is called [default: the name of its directory]
    #[arg(long, value_name = "NAME")]
    pub(crate) served_name: Option<String>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON, one object a line.
    Json,
}

/// What is written to stderr.
#[derive(Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// How the log is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Write prompts to the log
    #[arg(long)]
    pub(crate) log_prompts: bool,
    /// Log only what went wrong
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl LogArgs {
    /// Starts the log. RUST_LOG decides what is logged instead.
    pub(crate) fn start(&self) {
        let level = if self.quiet { "warn" } else { "info" };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let ansi = std::io::stderr().is_terminal();
        let log =
            tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi).with_env_filter(filter);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }
}

impl ServerArgs {
    /// Where to listen.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Cli {
    /// What the model is called.
    pub(crate) fn name(&self, model: &Model) -> String {
        if let Some(name) = &self.server.served_name {
            return name.clone();
        }
        if demo::is(model) {
            return "diffulex-demo".into();
        }
        let path = self.model.weights.as_deref().unwrap_or(std::path::Path::new("model"));
        // For a file, the directory has the name of the model.
        let directory = if path.is_file() { path.parent().unwrap_or(path) } else { path };
        let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
        whole.file_name().unwrap_or(directory.as_os_str()).to_string_lossy().into_owned()
    }

    /// Sequences in a pass.
    pub(crate) fn parallel(&self, model: &Model) -> usize {
        self.server.parallel.map_or_else(|| memory::sequences(&model.engine), usize::from)
    }
}
