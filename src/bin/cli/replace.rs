//! Files that appear, or are replaced, as a whole.

use diffulex::error::{Error, Result};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Writes a file so that at no time a part of it stands under its name: a run that is broken off leaves what was there before. What
/// a link points to is replaced, not the link.
///
/// # Errors
/// [`Error::Io`] with the path. Nothing is left behind.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let written = || {
        let (mut file, path) = beside(path)?;
        let mut out = BufWriter::new(file.as_file_mut());
        write(&mut out)?;
        out.flush()?;
        drop(out);
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|error: io::Error| Error::io(path, error))
}

/// Checks that [`replace`] can write there, before the work.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn replaceable(path: &Path) -> Result<()> {
    beside(path).map(drop).map_err(|error| Error::io(path, error))
}

/// A new file in the directory of `path`, and the place that it will take.
fn beside(path: &Path) -> io::Result<(NamedTempFile, PathBuf)> {
    let path = if path.exists() { path.canonicalize()? } else { path.to_path_buf() };
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt;
        // As any new file, less what the user's mask takes; else those of the file that is replaced.
        let new = std::fs::Permissions::from_mode(0o666);
        std::fs::metadata(&path).map_or(new, |metadata| metadata.permissions())
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((builder.tempfile_in(dir)?, path))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        let names = || fs::read_dir(dir.path()).unwrap().count();
        replace(&file, |out| out.write_all(b"first")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        replace(&link, |out| out.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"second");
        assert!(link.is_symlink(), "the link stays");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        let failed = replace(&file, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        });
        let message = failed.unwrap_err().to_string();
        assert!(
            message.starts_with(&file.display().to_string()) && message.ends_with("the disk is full"),
            "{message}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"second");
        assert_eq!(names(), 2, "nothing is left behind");
        replaceable(&file).unwrap();
        assert!(replaceable(dir.path()).is_err(), "a directory is no place for a file");
        assert!(replaceable(&dir.path().join("none/file")).is_err(), "no directory, no file");
        assert_eq!(names(), 2);
    }
}
