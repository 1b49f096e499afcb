//! The directory that is written: what must not be there before, what goes with the weights, and that nothing is left of a run
//! that did not end well.

use crate::cli::readable;
use diffulex::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Larger files beside the weights are not copied, in bytes: a tokenizer has up to 40 MB.
const LARGEST_COMPANION: u64 = 100_000_000;

/// Files that are made. All of them are removed again unless the output is kept.
pub(crate) struct Output {
    dir: PathBuf,
    made_dir: bool,
    files: Vec<PathBuf>,
    kept: bool,
}

impl Output {
    /// Prepares `dir` for the checkpoint in the directory `source`.
    pub(crate) fn prepare(dir: &Path, source: &Path) -> Result<Self> {
        let io = |e| Error::io(dir, e);
        let there = dir.exists();
        if there {
            let same = |path: &Path| path.canonicalize().ok();
            // "" is the current directory.
            let source = if source.as_os_str().is_empty() { Path::new(".") } else { source };
            if same(dir).is_some_and(|dir| Some(dir) == same(source)) {
                return Err(Error::option("output", "it is the directory of the source"));
            }
            let mut names: Vec<_> = fs::read_dir(dir)
                .map_err(io)?
                .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
                .collect();
            names.sort();
            if let Some(name) = names.first() {
                return Err(Error::format(dir.display(), format!("the directory is not empty: {name}")));
            }
        } else {
            fs::create_dir_all(dir).map_err(io)?;
        }
        Ok(Self { dir: dir.to_path_buf(), made_dir: !there, files: Vec::new(), kept: false })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Asks the file system for room before the work begins. Others may still take it meanwhile.
    pub(crate) fn require(&self, bytes: u64) -> Result<()> {
        let free = fs4::available_space(&self.dir).map_err(|e| Error::io(&self.dir, e))?;
        if free < bytes {
            let what = format!("{} are needed, {} are free", readable(bytes), readable(free));
            return Err(Error::format(self.dir.display(), what));
        }
        Ok(())
    }

    /// Copies `files`.
    pub(crate) fn copy(&mut self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let target = self.dir.join(file.file_name().unwrap_or_default());
            self.files.push(target.clone());
            fs::copy(file, &target).map_err(|e| Error::io(&target, e))?;
        }
        Ok(())
    }

    /// Everything is there.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The error worth reporting is the one that led here.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        if self.made_dir {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// The files beside the weights in `dir` that belong to a model: configurations, tokenizer, templates.
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
