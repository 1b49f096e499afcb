//! [`OutputDirectory`]: a directory of files that appear together or not at all.

use super::follow;
use crate::cli::interrupt::Temporary;
use diffulex::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::{Builder, TempDir};

/// Where files are written at first: a directory in the output. One that is left from a run that was killed is removed by the
/// next.
const STAGING: [&str; 2] = [".diffulex.", ".partial"];

/// Files to be put into a directory. Nothing is left of them unless they are published: not after an error, and not when Ctrl-C ends
/// the program. Others are kept away as long as the value lives.
pub struct OutputDirectory {
    dir: PathBuf,
    /// Removed again unless the files are published.
    made: Option<Temporary>,
    staging: Option<(TempDir, Temporary)>,
    /// The old files that the new ones replace.
    replaced: Vec<PathBuf>,
    /// Locked as long as it is open; absent where directories cannot be locked.
    lock: Option<File>,
}

impl OutputDirectory {
    /// Prepares `dir`, which is created if it is missing. A file in it that `replaces` names makes room for the new ones when they are
    /// published; others stay. Without `replaces` a directory that is not empty is refused, with `advice`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] for a directory that is not empty or that another program writes to.
    pub fn prepare(dir: &Path, replaces: Option<&dyn Fn(&str) -> bool>, advice: &str) -> Result<Self> {
        let io = |error| Error::io(dir, error);
        let at = if dir.exists() { dir.to_path_buf() } else { follow(dir).map_err(io)? };
        if at.exists() && !at.is_dir() {
            return Err(io(io::ErrorKind::NotADirectory.into()));
        }
        let made = (!at.exists()).then(|| Temporary::if_empty(&at));
        fs::create_dir_all(&at).map_err(io)?;
        let mut output = Self { made, staging: None, replaced: Vec::new(), lock: None, dir: at };
        // Only some systems open a directory as a file.
        if let Ok(lock) = File::open(&output.dir) {
            if let Err(TryLockError::WouldBlock) = lock.try_lock() {
                output.made = None;
                return Err(Error::format(dir.display(), "another run writes to this directory"));
            }
            output.lock = Some(lock);
        }
        let entries =
            fs::read_dir(&output.dir).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(io)?;
        let mut entries: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if output.lock.is_some() && name.starts_with(STAGING[0]) && name.ends_with(STAGING[1]) {
                // A program that is still running holds the lock.
                fs::remove_dir_all(&path).map_err(|error| Error::io(&path, error))?;
            } else {
                match replaces {
                    None => {
                        let what = format!("the directory is not empty: {name}{advice}");
                        return Err(Error::format(dir.display(), what));
                    }
                    Some(replaces) if replaces(&name) => output.replaced.push(path),
                    Some(_) => {}
                }
            }
        }
        let mut builder = Builder::new();
        builder.prefix(STAGING[0]).suffix(STAGING[1]);
        let staging = builder.tempdir_in(&output.dir).map_err(|error| io(super::plain(error)))?;
        let temporary = Temporary::with_contents(staging.path());
        output.staging = Some((staging, temporary));
        Ok(output)
    }

    /// Where to write the files.
    pub fn staging(&self) -> &Path {
        self.staging.as_ref().map_or(&self.dir, |(staging, _)| staging.path())
    }

    /// To be called once everything is written: removes the old files, and moves the new ones into place, `last` as the last one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn publish(mut self, last: &str) -> Result<()> {
        for path in &self.replaced {
            fs::remove_file(path).map_err(|error| Error::io(path, error))?;
        }
        self.made = None;
        let staging = self.staging();
        let io = |error| Error::io(staging, error);
        let entries = fs::read_dir(staging).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(io)?;
        let mut names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
        names.sort_by_key(|name| (name == last, name.clone()));
        for name in names {
            let path = self.dir.join(&name);
            fs::rename(staging.join(&name), &path).map_err(|error| Error::io(path, error))?;
        }
        Ok(())
    }
}

impl Drop for OutputDirectory {
    fn drop(&mut self) {
        // The error worth reporting is the one that led here.
        drop(self.staging.take());
        if self.made.is_some() {
            let _ = fs::remove_dir(&self.dir);
        }
        // Closing is not enough: a child process that has not yet called exec still has the file, and the lock with it.
        if let Some(lock) = &self.lock {
            let _ = lock.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let prepare = || OutputDirectory::prepare(&out, None, "; try another");
        let output = prepare().unwrap();
        fs::write(output.staging().join("a"), "").unwrap();
        assert!(prepare().err().is_none_or(|error| error.to_string().contains("another run")));
        drop(output);
        assert!(!out.exists(), "nothing is left");
        // What a killed run left.
        fs::create_dir_all(out.join(".diffulex.x.partial/y")).unwrap();
        let output = prepare().unwrap();
        for name in ["a", "z"] {
            fs::write(output.staging().join(name), name).unwrap();
        }
        output.publish("a").unwrap();
        assert_eq!(names(&out), ["a", "z"]);
        let error = prepare().err().unwrap().to_string();
        assert!(error.contains("not empty: a; try another"), "{error}");
        let replaces = |name: &str| name == "a";
        let again = || OutputDirectory::prepare(&out, Some(&replaces), "").unwrap();
        drop(again());
        assert_eq!(names(&out), ["a", "z"], "the old files stay until the new ones are there");
        let output = again();
        fs::write(output.staging().join("b"), "").unwrap();
        output.publish("b").unwrap();
        assert_eq!(names(&out), ["b", "z"]);
        let error = OutputDirectory::prepare(&out.join("b"), None, "").err().unwrap().to_string();
        assert!(error.to_lowercase().contains("not a directory"), "{error}");
    }
}
