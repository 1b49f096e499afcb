//! Published checksums.

use crate::listing::{File, Sum};
use diffulex::{Error, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// What is wrong with the file at `path`, if it is not `file`.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub(crate) fn flaw(path: &Path, file: &File) -> Result<Option<String>> {
    let failed = |error| Error::io(path, error);
    let content = std::fs::File::open(path).map_err(failed)?;
    let size = content.metadata().map_err(failed)?.len();
    if size != file.size {
        return Ok(Some(format!("{size} bytes received, {} expected", file.size)));
    }
    let found = match &file.sum {
        Sum::Sha256(_) => digest(Sha256::new(), content),
        Sum::Git(_) => digest(Sha1::new().chain_update(format!("blob {size}\0")), content),
    };
    let found = found.map_err(failed)?;
    let expected = file.sum.hex();
    Ok((!found.eq_ignore_ascii_case(expected))
        .then(|| format!("its checksum is {found}, {expected} expected")))
}

fn digest<D: Digest>(mut digest: D, mut content: impl Read) -> std::io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => digest.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_sha256sum_and_of_git() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        // `sha256sum file` and `git hash-object file`.
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let file = |size, sum| File { name: "file".to_owned(), size, sum };
        for sum in [Sum::Sha256(sha256.to_owned()), Sum::Git(git.to_owned())] {
            assert_eq!(flaw(&path, &file(6, sum.clone())).unwrap(), None, "{sum:?}");
            let short = flaw(&path, &file(7, sum)).unwrap().unwrap();
            assert_eq!(short, "6 bytes received, 7 expected");
        }
        let other = flaw(&path, &file(6, Sum::Git(git.replace('c', "d")))).unwrap().unwrap();
        assert!(other.contains(git), "{other}");
    }
}
