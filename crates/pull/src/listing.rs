//! What a repository contains, and what of it is read.

use crate::hub::Hub;
use diffulex::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The longest index that is read, in bytes; those of models with 20,000 tensors have 2 MB.
const LONGEST: u64 = 64 << 20;

/// A model at a commit.
pub(crate) struct Listing {
    /// Its id as the hub writes it.
    pub(crate) id: String,
    pub(crate) commit: String,
    /// The branch, tag or commit that was requested.
    pub(crate) revision: String,
    files: Vec<File>,
}

/// A file and what identifies its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) sum: Sum,
}

/// A published checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    /// SHA-256 of the content, of large files.
    Sha256(String),
    /// SHA-1 of the content as git stores it.
    Git(String),
}

impl Sum {
    pub(crate) fn hex(&self) -> &str {
        let (Self::Sha256(hex) | Self::Git(hex)) = self;
        hex
    }
}

impl File {
    /// Bytes of it that the directory of the model in the cache lacks.
    pub(crate) fn missing(&self, folder: &Path) -> u64 {
        let blob = folder.join("blobs").join(self.sum.hex());
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let there = length(&blob).max(length(&blob.with_extension("part")));
        self.size.saturating_sub(there)
    }
}

/// The answer of the hub, as far as it is read.
#[derive(Deserialize)]
struct Answer {
    id: String,
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Sibling {
    fn file(self) -> Option<File> {
        let (size, sum) = match self.lfs {
            Some(large) => (large.size, Sum::Sha256(large.sha256)),
            None => (self.size?, Sum::Git(self.blob_id?)),
        };
        Some(File { name: self.rfilename, size, sum })
    }
}

impl Listing {
    /// From the answer of the hub to `named`, an id with a revision.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not such an answer.
    pub(crate) fn read(named: &str, body: &[u8]) -> Result<Self> {
        let bad = |what: String| Error::format(named, format!("the hub's answer cannot be read: {what}"));
        let answer: Answer = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
        // These become names of files.
        let hex = |text: &str, length| text.len() == length && text.bytes().all(|c| c.is_ascii_hexdigit());
        if !hex(&answer.sha, 40) {
            return Err(bad(format!("`{}` is not a commit", answer.sha)));
        }
        let id = diffulex_cli::hub::Id::parse(&answer.id).filter(|id| id.path() == answer.id);
        if id.is_none() {
            return Err(bad(format!("`{}` is not an id", answer.id)));
        }
        let files: Vec<_> = answer.siblings.into_iter().filter_map(Sibling::file).collect();
        if let Some(file) = files.iter().find(|file| match &file.sum {
            Sum::Sha256(sum) => !hex(sum, 64),
            Sum::Git(sum) => !hex(sum, 40),
        }) {
            return Err(bad(format!("`{}` is not the checksum of {}", file.sum.hex(), file.name)));
        }
        let revision = named.rsplit_once('@').map_or("main", |(_, revision)| revision).to_owned();
        Ok(Self { id: answer.id, commit: answer.sha, revision, files })
    }

    /// The name of its directory in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.id.replace('/', "--"))
    }

    fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The files that are read of it, those that say what it is first.
    ///
    /// # Errors
    /// [`Error::Format`] if it has no safetensors weights, no configuration, or an index that names what it does not have.
    pub(crate) fn plan(&self, hub: &Hub) -> Result<Vec<File>> {
        let here = |what: String| Error::format(format!("{}@{}", self.id, self.revision), what);
        let small = |file: &&File| diffulex_cli::hub::READ.contains(&file.name.as_str());
        let mut plan: Vec<_> = self.files.iter().filter(small).cloned().collect();
        if !plan.iter().any(|file| file.name == "config.json") {
            return Err(here("the repository has no config.json".to_owned()));
        }
        if self.file("tokenizer.json").is_none() {
            plan.extend(
                diffulex_cli::hub::OLDER_TOKENIZER.iter().filter_map(|name| self.file(name)).cloned(),
            );
        }
        let shard = |file: &&File| file.name.ends_with(".safetensors") && !file.name.contains('/');
        let shards: Vec<_> = self.files.iter().filter(shard).collect();
        let weights = match (self.file(SINGLE), self.file(INDEX), &shards[..]) {
            (Some(single), ..) => vec![single.clone()],
            (None, Some(index), _) => {
                plan.push(index.clone());
                self.shards(hub, index)?
            }
            (None, None, [only]) => vec![(*only).clone()],
            (None, None, []) => {
                let what = "the repository has no weights as safetensors, which is all that is read";
                return Err(here(what.to_owned()));
            }
            (None, None, several) => {
                let names: Vec<_> = several.iter().map(|file| file.name.as_str()).collect();
                return Err(here(format!("several .safetensors files and no {INDEX}: {}", names.join(", "))));
            }
        };
        plan.extend(weights);
        Ok(plan)
    }

    /// The files that an index names.
    fn shards(&self, hub: &Hub, index: &File) -> Result<Vec<File>> {
        let named = format!("{}@{}/{INDEX}", self.id, self.revision);
        let bad = |what: String| Error::format(&named, what);
        if index.size > LONGEST {
            return Err(bad(format!("{} bytes, at most {LONGEST} expected", index.size)));
        }
        #[derive(Deserialize)]
        struct Index {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let path = crate::download::one(hub, self, index, None)?;
        let text = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let names: BTreeSet<_> = index.weight_map.values().collect();
        let known = |name: &&String| {
            let found = self.file(name).filter(|file| !file.name.contains('/'));
            found.cloned().ok_or_else(|| bad(format!("names `{name}`, which the repository does not have")))
        };
        names.iter().map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_the_cache_is_refused() {
        let commit = "0".repeat(40);
        let answer = |id: &str, sha: &str, sum: &str| {
            format!(
                r#"{{"id": "{id}", "sha": "{sha}", "siblings": [{{"rfilename": "config.json", "size": 2, "blobId": "{sum}"}}]}}"#
            )
        };
        let read = |text: String| Listing::read("Org/Name@main", text.as_bytes());
        let listing = read(answer("Org/Name", &commit, &commit)).expect("a good answer");
        assert_eq!((listing.folder().as_str(), listing.revision.as_str()), ("models--Org--Name", "main"));
        assert_eq!(listing.files[0].sum, Sum::Git(commit.clone()));
        for (text, words) in [
            (answer("Org/Name", "../../x", &commit), "`../../x` is not a commit"),
            (answer("../Name", &commit, &commit), "`../Name` is not an id"),
            (answer("Org/Name@v2", &commit, &commit), "`Org/Name@v2` is not an id"),
            (answer("Org/Name", &commit, "../x"), "`../x` is not the checksum of config.json"),
            ("<html>".to_owned(), "cannot be read"),
            (r#"{"id": "Org/Name"}"#.to_owned(), "missing field `sha`"),
        ] {
            let error = read(text.clone()).err().expect("refused").to_string();
            assert!(error.contains(words) && error.contains("Org/Name@main"), "{text}: {error}");
        }
    }
}
