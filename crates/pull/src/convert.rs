//! A downloaded model in another format: `diffulex-quantize` makes it, in a directory of its own.
//!
//! The whole model is downloaded first: the tensors of the new file are sorted by their names, which the shards of the old one are not.

use crate::listing::Listing;
use diffulex::{Error, Result};
use diffulex_cli::sibling;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

const PROGRAM: &str = "diffulex-quantize";

/// What is to be made.
pub(crate) struct Conversion {
    /// The name of the format, as the user gave it.
    format: String,
    /// Where it goes.
    output: PathBuf,
}

impl Conversion {
    /// To `format`, in `output` or else a directory named after the model. What would fail afterwards fails here, before the download.
    ///
    /// # Errors
    /// [`Error::Format`] for a directory that is not empty, or without the program.
    pub(crate) fn prepare(format: &str, output: Option<&Path>, listing: &Listing) -> Result<Self> {
        let name = listing.id.rsplit('/').next().unwrap_or(&listing.id);
        let output = output
            .map_or_else(|| PathBuf::from(format!("{name}-{}", format.replace(':', "-"))), Path::to_path_buf);
        let entry = match std::fs::read_dir(&output) {
            Ok(mut entries) => entries.next(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(&output, error)),
        };
        if let Some(entry) = entry {
            let name = entry.map_err(|error| Error::io(&output, error))?.file_name();
            let what = format!("the directory is not empty: {}; --output names another one", name.display());
            return Err(Error::format(output.display(), what));
        }
        let there =
            sibling::command(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        there.map_err(|error| Error::option("format", sibling::failed(PROGRAM, "--format", &error)))?;
        Ok(Self { format: format.to_owned(), output })
    }

    /// Makes it from the model in `snapshot`, and returns its directory, or how the program ended. Nothing is left of what it does not finish.
    ///
    /// # Errors
    /// [`Error::Format`] if the program does not start.
    pub(crate) fn run(&self, snapshot: &Path) -> Result<std::result::Result<&Path, ExitCode>> {
        let mut output = OsString::from("--output=");
        output.push(&self.output);
        let mut command = sibling::command(PROGRAM);
        command.arg(output).args(["--no-check", "--format", &self.format, "--"]).arg(snapshot);
        // Only the directory is printed.
        let status = command.stdout(Stdio::null()).status();
        let status =
            status.map_err(|error| Error::option("format", sibling::failed(PROGRAM, "--format", &error)))?;
        if status.success() {
            return Ok(Ok(&self.output));
        }
        Ok(Err(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from)))
    }
}
