//! Files of a model, one after the other.

use crate::check;
use crate::hub::Hub;
use crate::listing::{File, Listing};
use crate::watch::{self, Watch};
use diffulex::{Error, Result};
use diffulex_cli::Progress;
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;
use std::fs;
use std::path::{Path, PathBuf};

/// Downloads what is missing of `plan` and returns the directory of the snapshot. The branch or tag that was requested points to it only when
/// every file is there and is what it should be.
///
/// # Errors
/// As [`one`]; [`Error::Io`] if the cache cannot be written.
pub(crate) fn all(hub: &Hub, listing: &Listing, plan: &[File], quiet: bool) -> Result<PathBuf> {
    let bar = watch::bar(plan.iter().map(|file| file.size).sum(), quiet);
    for file in plan {
        bar.set_message(file.name.clone());
        one(hub, listing, file, Some(&bar))?;
    }
    bar.finish_and_clear();
    let folder = hub.cache().join(listing.folder());
    let repository =
        |revision: &str| Repo::with_revision(listing.id.clone(), RepoType::Model, revision.to_owned());
    let cache = Cache::new(hub.cache().to_path_buf());
    let made = cache.repo(repository(&listing.revision)).create_ref(&listing.commit);
    made.map_err(|error| Error::io(&folder, error))?;
    if listing.revision != listing.commit {
        // The library also records each commit as a branch of that name, which no other program does.
        let _ = fs::remove_file(folder.join("refs").join(&listing.commit));
    }
    Ok(snapshot(hub, listing))
}

fn snapshot(hub: &Hub, listing: &Listing) -> PathBuf {
    hub.cache().join(listing.folder()).join("snapshots").join(&listing.commit)
}

/// The path of a file in the snapshot, downloaded unless it is there, and compared with its checksum. A wrong file is removed, and
/// downloaded a second time.
///
/// # Errors
/// [`Error::Format`] for what the hub refuses and what is wrong twice; [`Error::Io`] if the cache cannot be written.
pub(crate) fn one(hub: &Hub, listing: &Listing, file: &File, bar: Option<&ProgressBar>) -> Result<PathBuf> {
    let path = snapshot(hub, listing).join(&file.name);
    if path.exists() {
        if checked(&path, file, bar)?.is_none() {
            return Ok(path);
        }
        remove(hub, listing, file, &path);
    }
    let mut again = true;
    loop {
        fetch(hub, listing, file, bar)?;
        let Some(flaw) = checked(&path, file, None)? else { return Ok(path) };
        remove(hub, listing, file, &path);
        if !again {
            let name = format!("{}@{}/{}", listing.id, listing.revision, file.name);
            return Err(Error::format(name, format!("{flaw}; it was downloaded twice and removed")));
        }
        again = false;
        // What was received is subtracted from the progress again.
        if let Some(bar) = bar {
            bar.set_position(bar.position().saturating_sub(file.size));
        }
    }
}

fn checked(path: &Path, file: &File, bar: Option<&ProgressBar>) -> Result<Option<String>> {
    let _progress = Progress::start(format!("comparing {} with its checksum", file.name), bar.is_none());
    let flaw = check::flaw(path, file)?;
    if let Some(bar) = bar.filter(|_| flaw.is_none()) {
        bar.inc(file.size);
    }
    Ok(flaw)
}

/// Removes what was received of a file.
fn remove(hub: &Hub, listing: &Listing, file: &File, path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_file(blob(hub, listing, file));
}

fn blob(hub: &Hub, listing: &Listing, file: &File) -> PathBuf {
    hub.cache().join(listing.folder()).join("blobs").join(file.sum.hex())
}

fn fetch(hub: &Hub, listing: &Listing, file: &File, bar: Option<&ProgressBar>) -> Result<()> {
    let name = format!("{}@{}/{}", listing.id, listing.revision, file.name);
    // A server refuses a range past the end. Everything received may be right, so the last byte is requested again; if there is more than
    // the file can have, it came from something else.
    let part = blob(hub, listing, file).with_extension("part");
    if fs::metadata(&part).is_ok_and(|metadata| metadata.len() >= file.size) {
        let shorter = fs::File::options().write(true).open(&part);
        let kept = shorter.and_then(|part| part.set_len(file.size.saturating_sub(1)));
        kept.map_err(|error| Error::io(&part, error))?;
    }
    let mut watch = Watch::start(&name, hub.endpoint(), bar);
    let repository = hub.model(&listing.id, &listing.commit);
    hub.named_safely(&name, &repository.url(&file.name))?;
    let fetched = repository.download_with_progress(&file.name, &mut watch);
    fetched.map(drop).map_err(|error| hub.broken(&name, &error))
}
