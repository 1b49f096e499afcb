//! What is written: where it must not go, whether there is room, and what goes with the weights.

use crate::cli::{OutputDirectory, readable};
use diffulex::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Larger files next to the weights are not copied, in bytes: a tokenizer has up to 40 MB.
const LARGEST_COMPANION: u64 = 100_000_000;

/// Prepares `dir` for the checkpoint in the directory `source`, of `bytes` bytes.
///
/// # Errors
/// The directory of the source, one that is not empty, or no room: other programs may still fill the disk during the work.
pub(crate) fn prepare(dir: &Path, source: &Path, bytes: u64) -> Result<OutputDirectory> {
    let same = |path: &Path| path.canonicalize().ok();
    // "" is the current directory.
    let source = if source.as_os_str().is_empty() { Path::new(".") } else { source };
    if same(dir).is_some_and(|dir| Some(dir) == same(source)) {
        return Err(Error::option("output", "it is the directory of the source"));
    }
    let output = OutputDirectory::prepare(dir, None, "")?;
    let free = fs4::available_space(output.staging()).map_err(|e| Error::io(dir, e))?;
    if free < bytes {
        let what = format!("{} are needed, {} are free", readable(bytes), readable(free));
        return Err(Error::format(dir.display(), what));
    }
    Ok(output)
}

/// Copies `files` into `dir`.
///
/// # Errors
/// [`Error::Io`] with the path.
pub(crate) fn copy(files: &[PathBuf], dir: &Path) -> Result<()> {
    files.iter().try_for_each(|file| {
        let target = dir.join(file.file_name().unwrap_or_default());
        fs::copy(file, &target).map(drop).map_err(|e| Error::io(file, e))
    })
}

/// The files next to the weights in `dir` that belong to a model: configurations, tokenizer, templates.
pub(crate) fn companions(dir: &Path) -> Result<Vec<PathBuf>> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ending = [".json", ".jinja", ".txt", ".model"].iter().any(|end| name.ends_with(end));
        // An index would point to weights that are not there.
        if ending && !name.ends_with(".index.json") {
            let metadata = fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
            if metadata.is_file() && metadata.len() <= LARGEST_COMPANION {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
