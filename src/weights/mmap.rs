//! Maps files into memory, so that weights are paged in when they are first used and shared between processes.

use super::{Error, Result};
use crate::bytes::Bytes;
use memmap2::Mmap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// The bytes of the regular, non-empty file at `path`, mapped read-only; `None` if its file system cannot do that, as some network
/// and merged ones.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened or there is no room for it, [`Error::Format`] if it changes its size meanwhile.
pub(super) fn map(path: &Path) -> Result<Option<Bytes>> {
    let io = |e| Error::io(path, e);
    let file = File::open(path).map_err(io)?;
    let before = file.metadata().map_err(io)?.len();
    // SAFETY: the mapping is read-only, and its size is compared with the file's size before and after. What no check can
    // rule out is another process that shrinks or rewrites the file later: touching a page that is gone ends this
    // process with SIGBUS, and rewritten bytes change weights under way. Both are inherent in mapping a file;
    // `Storage::Read` (`--no-mmap`) avoids them. Writers that rename a finished file into place, as ours does, are not a
    // danger: the mapping keeps the old file. No typed view depends on the values, every bit pattern is a number.
    let map = match unsafe { Mmap::map(&file) } {
        Ok(map) => map,
        Err(error) if error.kind() == ErrorKind::OutOfMemory => return Err(io(error)),
        Err(_) => return Ok(None),
    };
    // As for buffers that weights are read into; a file system without large pages refuses, which does no harm.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    let after = file.metadata().map_err(io)?.len();
    let mapped = map.len() as u64;
    if before != mapped || after != mapped {
        let what = format!("the file is being written: {before} bytes, then {after}, {mapped} are mapped");
        return Err(Error::format(path.display(), what));
    }
    Ok(Some(Bytes::new(map)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Such as sysfs, or network and merged file systems: the caller reads instead.
    #[test]
    fn a_file_system_that_cannot_map_is_no_error() {
        let path = Path::new("/sys/devices/system/cpu/online");
        if !path.is_file() {
            return println!("SKIPPED: {} is not there", path.display());
        }
        assert!(map(path).unwrap().is_none(), "{} was mapped", path.display());
    }
}
