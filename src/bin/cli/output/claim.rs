//! [`Claim`]: a file that grows line by line, and that one program at a time writes to.

use super::{Beside, Place, place, plain};
use crate::cli::interrupt::Temporary;
use diffulex::error::{Error, Result};
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// An output that nobody else writes to as long as the value lives. Where the system cannot lock files, nothing keeps others away.
pub struct Claim {
    file: File,
    /// What the user calls it, and where it is.
    name: PathBuf,
    at: PathBuf,
    /// Whether it can be read, emptied and replaced: pipes and devices cannot.
    regular: bool,
    /// Present if the file was created and is still empty.
    new: Option<Temporary>,
}

impl Claim {
    /// Claims the file at `path`, as it is; creates it if it is missing. A created file is removed again unless something is appended.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Option`] under the name of `option` if another program has claimed it.
    pub fn take(option: &'static str, path: &Path) -> Result<Self> {
        let io = |error| Error::io(path, plain(error));
        let name = path.to_path_buf();
        let at = match place(path).map_err(io)? {
            Place::File(at) => at,
            Place::Stream => {
                let file = File::options().append(true).open(path).map_err(io)?;
                return Ok(Self { file, at: name.clone(), name, regular: false, new: None });
            }
        };
        loop {
            let open = |new: bool| File::options().read(true).append(true).create_new(new).open(&at);
            let (file, new) = match open(true) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (open(false), None),
                made => (made, Some(Temporary::if_empty(&at))),
            };
            let file = match file {
                // Whoever created it has removed it again.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && at.parent().is_some_and(Path::exists) =>
                {
                    continue;
                }
                other => other.map_err(io)?,
            };
            let mut claim = Self { file, name: name.clone(), at: at.clone(), regular: true, new };
            // Any other refusal comes from a file system without locks.
            if let Err(TryLockError::WouldBlock) = claim.file.try_lock() {
                // The process with the lock has the file, too.
                claim.new = None;
                let reason = format!("{}: another run writes to it", path.display());
                return Err(Error::option(option, reason));
            }
            // Between opening and locking, the owner of the lock may have put another file there.
            if claim.is_there() {
                return Ok(claim);
            }
        }
    }

    /// Whether the file is still the one under its name.
    fn is_there(&self) -> bool {
        let both = self.file.metadata().and_then(|own| Ok((own, fs::metadata(&self.at)?)));
        both.is_ok_and(|(own, there)| same(&own, &there))
    }

    /// Whether it is a file, not a pipe or a device.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// What is in it; nothing in a pipe.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn contents(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.regular {
            let read = self.file.rewind().and_then(|()| self.file.read_to_end(&mut bytes));
            read.map_err(|error| Error::io(&self.name, error))?;
        }
        Ok(bytes)
    }

    /// Replaces its contents as a whole: at no time is less there than before.
    ///
    /// # Errors
    /// [`Error::Io`]. Then the file is as before.
    pub fn replace(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let replaced = || {
            let mut new = Beside::new(&self.at)?;
            // No other program has it yet; a file system without locks has no lock.
            let _ = new.file.as_file().try_lock();
            new.write(write)?;
            self.file = new.persist()?;
            Ok(())
        };
        if self.regular {
            replaced().map_err(|error| Error::io(&self.name, plain(error)))?;
        }
        Ok(())
    }

    /// Adds a line, in one call: a crash can cut off the end of this line, but nothing before it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, line: &[u8]) -> Result<()> {
        let written = self.file.write_all(line).and_then(|()| self.file.flush());
        written.map_err(|error| Error::io(&self.name, error))?;
        self.new = None;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Under the lock, so that no other program has begun to use it.
        if self.new.is_some() && self.is_there() && self.file.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = fs::remove_file(&self.at);
        }
        // Closing is not enough: a child process that has not yet called exec still has the file, and the lock with it.
        let _ = self.file.unlock();
    }
}

/// Whether both are the same file, as far as the system tells.
#[cfg(unix)]
pub(super) fn same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
pub(super) fn same(_a: &Metadata, _b: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_is_left_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        drop(Claim::take("output", &path).unwrap());
        assert!(!path.exists(), "nothing was appended");
        let mut claim = Claim::take("output", &path).unwrap();
        let refused = |path: &Path| Claim::take("output", path).err().expect("it is claimed").to_string();
        assert!(refused(&path).contains("another run writes to it"), "{}", refused(&path));
        claim.append(b"a\n").unwrap();
        claim.replace(|out| out.write_all(b"b\n")).unwrap();
        assert!(refused(&path).contains("another run"), "the new file is claimed, too");
        claim.append(b"c\n").unwrap();
        drop(claim);
        let mut again = Claim::take("output", &path).unwrap();
        assert_eq!(again.contents().unwrap(), b"b\nc\n");
        drop(again);
        assert!(path.exists());
        fs::write(&path, "").unwrap();
        drop(Claim::take("output", &path).unwrap());
        assert!(path.exists(), "it was there before");
    }
}
