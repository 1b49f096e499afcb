//! The small files of a checkpoint, and what may be found in place of a file.
#![forbid(unsafe_code)]

use crate::{Error, Result};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Larger JSON files are refused before they are read, in bytes. The index of a checkpoint with 10 000 tensors has 1 MB.
pub const MAX_FILE: u64 = 100_000_000;

/// The beginning of the text that Git keeps instead of a large file.
const POINTER: &[u8] = b"version https://git-lfs";

/// How files of other formats begin, and what they are called.
const FOREIGN: [(&[u8], &str); 14] = [
    (b"GGUF", "a GGUF file"),
    (b"FUGG", "a GGUF file"),
    (b"tjgg", "a GGML file"),
    (b"lmgg", "a GGML file"),
    (b"PK\x03\x04", "a PyTorch file or another zip archive"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<!", "a page for a browser"),
    (b"<html", "a page for a browser"),
    (b"Entry not", "a message from the hub that the file does not exist"),
];

/// What is read instead of files of other formats.
pub(crate) const INSTEAD: &str =
    "is not read: give the directory of the checkpoint in the Hugging Face layout, with safetensors weights";

/// The bytes of a JSON file or another small text of a checkpoint.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is not a regular file, larger than [`MAX_FILE`], or a Git LFS pointer.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !metadata.is_file() {
        return Err(Error::format(path.display(), "not a regular file, expected a text file"));
    }
    if metadata.len() > MAX_FILE {
        let what = format!("{} bytes, expected at most {MAX_FILE}", metadata.len());
        return Err(Error::format(path.display(), what));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    refuse_pointer(&path.display().to_string(), &bytes)?;
    Ok(bytes)
}

/// The file `name` of a checkpoint in `directory`, if anything is there by that name.
///
/// # Errors
/// [`Error::Format`] if it is a dangling link: treated as absent, it would silently change what the model is asked.
/// [`Error::Io`] if the system does not say.
pub(crate) fn beside(directory: &Path, name: impl AsRef<Path>) -> Result<Option<PathBuf>> {
    let path = directory.join(name);
    match std::fs::metadata(&path) {
        Ok(_) => Ok(Some(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => match std::fs::read_link(&path) {
            Ok(target) => {
                let what = format!("a link to {}, which is not there", target.display());
                Err(Error::format(path.display(), what))
            }
            Err(_) => Ok(None),
        },
        Err(error) => Err(Error::io(&path, error)),
    }
}

/// Refuses the pointer that a clone without Git LFS leaves in the place of a file.
///
/// # Errors
/// [`Error::Format`].
pub(crate) fn refuse_pointer(file: &str, bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(POINTER) {
        return Ok(());
    }
    Err(Error::format(file, "a Git LFS pointer, not the file itself; fetch it with Git LFS (`git lfs pull`)"))
}

/// What the file at `path` is, if it begins like one of a format that is not read.
pub(crate) fn foreign(path: &Path) -> Option<&'static str> {
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(9).read_to_end(&mut start).ok()?;
    format_of(&start)
}

/// What bytes are that begin like a file of a format that is not read.
pub(crate) fn format_of(start: &[u8]) -> Option<&'static str> {
    // A safetensors file begins with a length, which may be any number.
    let safetensors = start.get(8) == Some(&b'{');
    FOREIGN.iter().find(|(magic, _)| !safetensors && start.starts_with(magic)).map(|&(_, name)| name)
}
