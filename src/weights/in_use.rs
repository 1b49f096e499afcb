//! Weight files that are mapped: whoever writes to one changes the weights of a running model.

use super::{Checkpoint, Error, Result};
use std::fs::{File, Metadata, TryLockError};
use std::path::PathBuf;
use std::time::SystemTime;

/// The files of a model as they were when it was opened.
#[derive(Debug, Default)]
pub struct InUse {
    files: Vec<Held>,
}

/// A file that stays open: a new file that takes over its name is no change, the mapping keeps the old one. It is locked for
/// reading where the system can, so that a program that asks for the lock before it writes waits.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    file: File,
    stamp: Stamp,
}

#[derive(Debug, PartialEq)]
struct Stamp {
    bytes: u64,
    /// Absent where the system does not know.
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl InUse {
    /// Notes how the weight files of `checkpoint` are now. What cannot be opened is left out: opening the weights says it better.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that another program has locked for writing; as [`Checkpoint::weight_files`].
    pub fn hold(checkpoint: &Checkpoint) -> Result<Self> {
        let held = |path: PathBuf| {
            // Opening a pipe would wait for its writer.
            let file = std::fs::metadata(&path).ok().filter(Metadata::is_file).and(File::open(&path).ok())?;
            let stamp = Stamp::of(&file.metadata().ok()?);
            Some(Held { path, file, stamp })
        };
        let files: Vec<_> = checkpoint.weight_files()?.into_iter().filter_map(held).collect();
        for Held { path, file, .. } in &files {
            // Any other refusal is of a file system without locks.
            if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
                let what = "another program has locked the file for writing; wait until it has finished";
                return Err(Error::format(path.display(), what));
            }
        }
        Ok(Self { files })
    }

    /// Checks that nobody has written to the files since.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file.
    pub fn check(&self) -> Result<()> {
        for Held { path, file, stamp } in &self.files {
            let now = Stamp::of(&file.metadata().map_err(|e| Error::io(path, e))?);
            if now != *stamp {
                let what = format!(
                    "the file changed while it was in use ({} bytes when it was opened, {} now), what was computed is not to be \
                     trusted; `--no-mmap` reads it once, at the start",
                    stamp.bytes, now.bytes
                );
                return Err(Error::format(path.display(), what));
            }
        }
        Ok(())
    }
}
