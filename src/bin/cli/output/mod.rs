//! What programs write: files that appear, or are replaced, as a whole; files that grow line by line ([`Claim`]); directories
//! ([`OutputDirectory`]). What is not a regular file is written to as it is, and never replaced.

mod claim;
mod directory;

pub use claim::Claim;
pub use directory::OutputDirectory;

use super::interrupt::{Temporary, waiting};
use diffulex::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Links that are followed to a file that is not there yet.
const LINKS: usize = 40;

/// Writes a file so that a partial one never appears under its name: an interrupted run leaves what was there before. What
/// a link points to is replaced, not the link. A pipe or a device is written to; a reader that went away is not an error.
///
/// # Errors
/// [`Error::Io`] with the path. Nothing is left behind.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let written = || match place(path)? {
        Place::File(at) => {
            let mut new = Beside::new(&at)?;
            new.write(write)?;
            new.persist().map(drop)
        }
        Place::Stream => {
            let mut out = BufWriter::new(waiting(|| File::options().write(true).open(path))?);
            match write(&mut out).and_then(|()| out.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    // Nobody is left to read the rest of the buffer.
                    let _ = out.into_parts();
                    Ok(())
                }
                outcome => outcome,
            }
        }
    };
    written().map_err(|error| Error::io(path, plain(error)))
}

/// Checks that [`replace`] can write there, before the work.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn replaceable(path: &Path) -> Result<()> {
    let check = || match place(path)? {
        Place::File(at) => Beside::new(&at).map(drop),
        // Opening a pipe would tell its reader that nothing will come.
        Place::Stream => Ok(()),
    };
    check().map_err(|error| Error::io(path, plain(error)))
}

/// Refuses an output of the option `option` that is one of the files that are read: it would replace what it is made from.
///
/// # Errors
/// [`Error::Option`].
pub fn refuse_input(option: &'static str, output: &Path, inputs: &[PathBuf]) -> Result<()> {
    let Some(there) = fs::metadata(output).ok().filter(fs::Metadata::is_file) else { return Ok(()) };
    let is_output = |input: &&PathBuf| {
        fs::metadata(input).is_ok_and(|input| claim::same(&there, &input))
            && (cfg!(unix) || input.canonicalize().ok() == output.canonicalize().ok())
    };
    match inputs.iter().find(is_output) {
        None => Ok(()),
        Some(input) => {
            let what = format!("it is {}, which is read; another file expected", input.display());
            Err(Error::option(option, what))
        }
    }
}

/// Where an output goes.
enum Place {
    /// A regular file, existing or not, with all relevant links in its path resolved.
    File(PathBuf),
    /// A pipe, a terminal or another device.
    Stream,
}

fn place(path: &Path) -> io::Result<Place> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Place::File(path.canonicalize()?)),
        Ok(metadata) if metadata.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(metadata) => stream(&metadata).map(|()| Place::Stream),
        Err(error) if error.kind() == ErrorKind::NotFound => follow(path).map(Place::File),
        Err(error) => Err(error),
    }
}

/// What a dangling path leads to: links may point to a file that is to be created.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links, one after the other"))
}

/// Refuses what cannot be written to like a pipe.
fn stream(metadata: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        let refused = [(kind.is_socket(), "a socket"), (kind.is_block_device(), "a disk")];
        if let Some((_, what)) = refused.iter().find(|(is, _)| *is) {
            return Err(io::Error::other(format!("it is {what}; a file, a pipe or a terminal expected")));
        }
    }
    let _ = metadata;
    Ok(())
}

/// The system's own message, without the temporary name that `tempfile` appends, which means nothing to anybody.
fn plain(error: io::Error) -> io::Error {
    let words = error.to_string();
    match words.split_once(" at path \"") {
        Some((words, _)) if error.raw_os_error().is_none() => io::Error::new(error.kind(), words),
        _ => error,
    }
}

/// A new file in the directory of the one that it becomes. It is removed when the value is dropped, and when Ctrl-C ends the program.
struct Beside {
    file: NamedTempFile,
    at: PathBuf,
    _temporary: Temporary,
}

impl Beside {
    fn new(at: &Path) -> io::Result<Self> {
        let prefix = format!(".{}.", at.file_name().unwrap_or_default().to_string_lossy());
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        let permissions = {
            use std::os::unix::fs::PermissionsExt;
            // Those of any new file under the user's umask; else those of the file that is replaced.
            let new = fs::Permissions::from_mode(0o666);
            fs::metadata(at).map_or(new, |metadata| metadata.permissions())
        };
        #[cfg(unix)]
        builder.permissions(permissions);
        let dir = at.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = builder.tempfile_in(dir)?;
        let temporary = Temporary::with_contents(file.path());
        Ok(Self { file, at: at.to_path_buf(), _temporary: temporary })
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = BufWriter::new(self.file.as_file_mut());
        write(&mut out)?;
        out.flush()
    }

    /// Takes the place of what was there.
    fn persist(self) -> io::Result<File> {
        self.file.persist(&self.at).map_err(|failed| failed.error)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        let names = || fs::read_dir(dir.path()).unwrap().count();
        // A link to nothing, too.
        symlink("file", &link).unwrap();
        replace(&link, |out| out.write_all(b"first")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
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
        assert!(replaceable(dir.path()).is_err(), "a directory cannot be replaced by a file");
        let error = replaceable(&dir.path().join("none/file")).unwrap_err().to_string();
        assert!(!error.contains("partial") && error.contains("none/file: No such"), "{error}");
        assert_eq!(names(), 2);
    }

    #[test]
    fn what_is_not_a_file_is_written_to_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        symlink("pipe", at("link")).unwrap();
        symlink("link", at("link of a link")).unwrap();
        for name in ["pipe", "link", "link of a link"] {
            let (pipe, name) = (at("pipe"), at(name));
            let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
            replaceable(&name).unwrap();
            replace(&name, |out| out.write_all(b"text")).unwrap();
            assert_eq!(reader.join().unwrap(), b"text");
            assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
        }
        replace(Path::new("/dev/null"), |out| out.write_all(b"text")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        symlink("circle", at("circle")).unwrap();
        for (name, words) in [("socket", "it is a socket"), ("circle", "links")] {
            for outcome in [replaceable(&at(name)), replace(&at(name), |_| Ok(()))] {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
        }
        assert!(fs::metadata(at("socket")).unwrap().file_type().is_socket());
    }
}
