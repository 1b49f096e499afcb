//! Weight files that are mapped: whoever writes to one changes the weights of a running model.
//!
//! A file whose size and time are as they were is taken to be the same. Where only the time moved (a tool that sets it after copying,
//! a file system that rounds it), the bytes decide: all of a small file, some of a large one.

use super::{Checkpoint, Error, Result};
use std::fs::{File, Metadata, TryLockError};
use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Files up to this size are compared as a whole, in bytes.
const WHOLE: u64 = 16 << 20;
/// Of larger ones: pieces at equal distances, the first and the last one included, and their size in bytes.
const PIECES: u64 = 256;
const PIECE: usize = 4096;

/// The files of a model as they were when it was opened.
#[derive(Debug, Default)]
pub struct InUse {
    files: Vec<Held>,
}

/// A file that stays open: a new file that takes over its name does not matter, the mapping keeps the old one. It is locked for
/// reading where the system can, so that a program that takes the lock before it writes has to wait.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Hash of the contents; absent if they could not be read.
    digest: Option<u64>,
    time: Mutex<Time>,
}

/// When a file was written to.
#[derive(Debug)]
struct Time {
    /// Absent where the system does not know.
    modified: Option<SystemTime>,
    /// Whether it moved although the bytes did not.
    moved: bool,
}

/// A number that depends on what is in the file.
fn digest(mut file: &File, bytes: u64) -> std::io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; if bytes <= WHOLE { 1 << 16 } else { PIECE }];
    if bytes <= WHOLE {
        file.seek(SeekFrom::Start(0))?;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                read => hasher.write(&buffer[..read]),
            }
        }
    }
    for piece in 0..PIECES {
        // The factors are below 2^53 and 2^8.
        let at = u128::from(bytes - PIECE as u64) * u128::from(piece) / u128::from(PIECES - 1);
        file.seek(SeekFrom::Start(at as u64))?;
        file.read_exact(&mut buffer)?;
        hasher.write(&buffer);
    }
    Ok(hasher.finish())
}

impl Held {
    /// A file as it is now. What is not a file, or cannot be opened, is left out: opening the weights gives a better message.
    fn new(path: PathBuf) -> Option<Self> {
        // Opening a pipe would wait for its writer.
        let file = std::fs::metadata(&path).ok().filter(Metadata::is_file).and(File::open(&path).ok())?;
        let metadata = file.metadata().ok()?;
        let time = Mutex::new(Time { modified: metadata.modified().ok(), moved: false });
        Some(Self { path, bytes: metadata.len(), digest: None, time, file })
    }

    fn check(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|e| Error::io(&self.path, e))?;
        let modified = now.modified().ok();
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let same_size = now.len() == self.bytes;
        if same_size && modified == time.modified {
            return Ok(());
        }
        if same_size && self.digest.is_some() && digest(&self.file, self.bytes).ok() == self.digest {
            *time = Time { modified, moved: true };
            return Ok(());
        }
        let how = match same_size {
            true => "other bytes, the same size".to_owned(),
            false => format!("{} bytes when it was opened, {} now", self.bytes, now.len()),
        };
        let what = format!(
            "the file changed while it was in use ({how}), what was computed is not to be trusted; `--no-mmap` reads it once, at the \
             start"
        );
        Err(Error::format(self.path.display(), what))
    }
}

impl InUse {
    /// Notes how the weight files of `checkpoint` are now. What cannot be opened is left out: opening the weights gives a better message.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that another program has locked for writing; as [`Checkpoint::weight_files`].
    pub fn hold(checkpoint: &Checkpoint) -> Result<Self> {
        let mut files: Vec<_> = checkpoint.weight_files()?.into_iter().filter_map(Held::new).collect();
        for held in &mut files {
            // Any other refusal comes from a file system without locks.
            if let Err(TryLockError::WouldBlock) = held.file.try_lock_shared() {
                let what = "another program has locked the file for writing; wait until it has finished";
                return Err(Error::format(held.path.display(), what));
            }
            held.digest = digest(&held.file, held.bytes).ok();
        }
        Ok(Self { files })
    }

    /// Checks that nobody has written to the files since. A file whose time moved but whose bytes did not counts as unchanged; of one larger
    /// than 16 MiB, 256 pieces of 4096 bytes are compared.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file.
    pub fn check(&self) -> Result<()> {
        self.files.iter().try_for_each(Held::check)
    }

    /// A note about files that [`Self::check`] found unchanged although their time moved.
    pub fn note(&self) -> Option<String> {
        let moved = |held: &&Held| held.time.lock().unwrap_or_else(PoisonError::into_inner).moved;
        self.files.iter().find(moved).map(|held| {
            let path = held.path.display();
            format!("note: {path}: its time changed while it was in use, its bytes did not")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    fn held(dir: &std::path::Path, bytes: u64) -> Held {
        let path = dir.join("file");
        let file = File::create(&path).unwrap();
        file.set_len(bytes).unwrap();
        let mut held = Held::new(path).unwrap();
        held.digest = digest(&held.file, bytes).ok();
        held
    }

    /// Writes a byte, and sets the time as if the clock had advanced.
    fn change(held: &Held, at: u64, byte: &[u8]) {
        let mut file = File::options().write(true).open(&held.path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(byte).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn the_bytes_decide_when_only_the_time_moved() {
        let dir = std::env::temp_dir().join(format!("diffulex-in-use-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // As a whole, and by pieces; the file has holes and takes no room.
        for bytes in [0, 100_000, WHOLE + 1, WHOLE * 64] {
            let held = held(&dir, bytes);
            change(&held, 0, b"");
            held.check().unwrap();
            let in_use = InUse { files: vec![held] };
            assert!(in_use.note().unwrap().contains("its time changed"), "{bytes}");
            in_use.check().unwrap();
            let held = &in_use.files[0];
            for at in [0, bytes.saturating_sub(1)] {
                change(held, at, b"x");
                let error = held.check().unwrap_err().to_string();
                let how = if bytes == 0 {
                    "0 bytes when it was opened, 1 now"
                } else {
                    "other bytes, the same size"
                };
                assert!(error.contains(how) && error.contains("file"), "{bytes} {at}: {error}");
                change(held, at, b"\0");
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
