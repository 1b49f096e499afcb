//! Downloads what diffulex reads of a published model into the Hugging Face cache, where `--weights ORG/NAME` finds it.
#![deny(unsafe_code)]

mod check;
mod convert;
mod download;
mod hub;
mod listing;
mod watch;

use clap::Parser;
use convert::Conversion;
use diffulex::{Error, Result};
use diffulex_cli::{self as cli, FormatName, Idle, note};
use hub::Hub;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Download a model from the Hugging Face hub.
///
/// Only what is read is downloaded: configuration, tokenizer, chat template and safetensors weights. The files go into the local Hugging
/// Face cache, as `hf download` does (HF_HUB_CACHE, HF_HOME), and every file is compared with its published checksum. A download that
/// was interrupted resumes where it stopped when the same command is given again; given for a model that is there, it checks the files.
/// With --format the model is quantized as soon as it is downloaded.
///
/// HF_TOKEN (or the token that `hf auth login` stored) gives access to models that need one, HF_ENDPOINT names another server, and with HF_HUB_OFFLINE=1 nothing is downloaded.
/// Proxies are taken from HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.
#[derive(Parser)]
#[command(name = "diffulex-pull", version = cli::version(), long_version = cli::long_version())]
struct Args {
    /// Hub id (ORG/NAME, optionally with @REVISION), its URL, or a name of `diffulex-run --list-models` with or without
    /// its organisation, in any letter case
    #[arg(value_name = "NAME")]
    model: String,
    /// Say what would be downloaded, and download nothing but the list of shards
    #[arg(long)]
    dry_run: bool,
    /// Convert it to this format, in a directory of its own: int4, int8, or another name that diffulex-quantize takes. What was
    /// downloaded stays in the cache
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<String>,
    /// The directory of that model [default: the name of the model and the format, such as SDAR-1.7B-Chat-int4]
    #[arg(long, short, value_name = "DIR", requires = "format")]
    output: Option<PathBuf>,
    /// Print nothing but the directory of the model and errors
    #[arg(long, short)]
    quiet: bool,
}

/// Options that would do nothing.
const IDLE: &[Idle] = &[Idle::With("dry_run", &["format", "output"])];

/// The name of a format, as it was given.
fn format(text: &str) -> std::result::Result<String, String> {
    let resolved = text.parse::<FormatName>()?.resolve(cli::DEFAULT_GROUP, false);
    resolved.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args = cli::parse::<Args>(IDLE);
    cli::run(|| run(&args))
}

fn run(args: &Args) -> Result<ExitCode> {
    let wanted = cli::hub::wanted(&args.model)?;
    if offline() {
        let what = "is set, so nothing is downloaded; unset it";
        return Err(Error::option("HF_HUB_OFFLINE", what));
    }
    watch::patience()?;
    let hub = Hub::from_env()?;
    let listing = hub.listing(&wanted)?;
    let prepare = |format: &String| Conversion::prepare(format, args.output.as_deref(), &listing);
    let conversion = args.format.as_ref().map(prepare).transpose()?;
    let plan = listing.plan(&hub)?;
    let cache = hub.cache();
    let missing: u64 = plan.iter().map(|file| file.missing(&cache.join(listing.folder()))).sum();
    if !args.quiet {
        let all: u64 = plan.iter().map(|file| file.size).sum();
        note(&format!(
            "{}@{}: {} files, {}, of which {} are to be downloaded",
            listing.id,
            listing.commit,
            plan.len(),
            cli::readable(all),
            cli::readable(missing)
        ));
    }
    if args.dry_run {
        let lines: Vec<_> =
            plan.iter().map(|file| format!("{}  {}\n", file.name, cli::readable(file.size))).collect();
        cli::print(&lines.concat())?;
        return Ok(ExitCode::SUCCESS);
    }
    room(cache, missing)?;
    let snapshot = download::all(&hub, &listing, &plan, args.quiet)?;
    // What the programs would open, by their own rules.
    let id = format!("{}@{}", listing.id, listing.commit);
    let found = cli::hub::resolve(Path::new(&id))?;
    debug_assert_eq!(found, snapshot, "one layout of the cache");
    let (name, directory) = match &conversion {
        None => (listing.id.clone(), &*found),
        Some(conversion) => match conversion.run(&found)? {
            Ok(made) => (made.display().to_string(), made),
            Err(code) => return Ok(code),
        },
    };
    if !args.quiet {
        note(&format!("to use it: `diffulex-run -w {name}`"));
    }
    cli::print(&format!("{}\n", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the environment forbids connections, with the values that huggingface_hub knows.
fn offline() -> bool {
    let value = |name| std::env::var(name).unwrap_or_default().to_ascii_uppercase();
    ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
        .iter()
        .any(|name| ["1", "ON", "YES", "TRUE"].contains(&value(name).as_str()))
}

/// Refuses a download that the disk has no room for.
fn room(cache: &Path, missing: u64) -> Result<()> {
    std::fs::create_dir_all(cache).map_err(|error| Error::io(cache, error))?;
    let free = fs4::available_space(cache).map_err(|error| Error::io(cache, error))?;
    if free < missing {
        let (missing, free) = (cli::readable(missing), cli::readable(free));
        let what = format!("{missing} are to be downloaded, but only {free} are free there");
        return Err(Error::format(cache.display(), what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_options_that_there_are() {
        assert_eq!(cli::unknown::<Args>(IDLE), Vec::<&str>::new());
    }
}
