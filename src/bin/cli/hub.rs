//! Models by their hub id, such as `JetLM/SDAR-1.7B-Chat`, in the local Hugging Face cache. Only `diffulex-pull` downloads.
//!
//! ```text
//! CACHE/models--ORG--NAME/refs/REVISION          the commit that a branch or tag refers to
//! CACHE/models--ORG--NAME/snapshots/COMMIT/..    its files, as links
//! CACHE/models--ORG--NAME/blobs/..               what they link to; `*.incomplete` while it is downloaded
//! ```
//!
//! # Source
//! huggingface_hub, "Understand caching" and "Environment variables".

use super::presets;
use diffulex::error::{Error, Result};
use diffulex::weights::Checkpoint;
use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The branch that is meant where no revision is named.
const MAIN: &str = "main";
/// What the address of a model begins with in a browser, without `https://`.
const HOSTS: [&str; 3] = ["huggingface.co/", "www.huggingface.co/", "hf.co/"];

/// Where the model that the user calls `name` lies: `name` itself if there is such a file or directory or if it cannot be a
/// model, else the snapshot in the local cache of the model with this id (`ORG/NAME`, `ORG/NAME@REVISION`, or its address in a
/// browser) or this name (`NAME`, or the short one of a preset). Letter case does not matter where only one model has that name.
///
/// # Errors
/// [`Error::Format`] that says which places were searched and how to download it, if it is missing or incomplete, and what is there that
/// has this name, if that is not exactly one.
pub fn resolve(name: &Path) -> Result<Cow<'_, Path>> {
    let Some(text) = name.to_str().filter(|_| !name.exists()) else { return Ok(Cow::Borrowed(name)) };
    let cache = directory();
    let (called, revision) =
        text.split_once('@').map_or((text, None), |(name, revision)| (name, Some(revision)));
    let exact = Id::parse(text);
    let path = exact.as_ref().map_or_else(|| called.to_owned(), Id::path);
    let revision = exact.as_ref().map_or(revision, |id| id.revision);
    let there = cache.as_ref().map_or_else(Vec::new, |cache| alike(cache, &path));
    let known = |id| Id { revision, ..Id::parse(id).expect("ids of the cache and the table are ids") };
    let id = match (&exact, &there[..]) {
        (Some(id), there) if there.contains(&path) => id.clone(),
        (_, [only]) => known(only.as_str()),
        (exact, []) => match (presets::hub_id(&path), exact) {
            (Some(id), _) => known(id),
            (None, Some(id)) => id.clone(),
            (None, None) => return Ok(Cow::Borrowed(name)),
        },
        (_, several) => {
            let what =
                format!("no such file or directory; the Hugging Face cache has {}", several.join(", "));
            return Err(Error::format(text, what));
        }
    };
    let no_place = || Err(id.missing("no home directory, and HF_HOME is not set"));
    cache.map_or_else(no_place, |cache| id.snapshot(&cache)).map(Cow::Owned)
}

/// The model on the hub that the user calls `text`: an id, an address, or a name of the table of published models, in any letter case.
///
/// # Errors
/// [`Error::Format`] for anything else.
pub fn wanted(text: &str) -> Result<Id<'_>> {
    let id = Id::parse(text);
    let (called, revision) =
        text.split_once('@').map_or((text, None), |(name, revision)| (name, Some(revision)));
    let known = presets::hub_id(&id.as_ref().map_or_else(|| called.to_owned(), Id::path));
    let revision = id.as_ref().map_or(revision, |id| id.revision);
    let known = known.map(|known| Id { revision, ..Id::parse(known).expect("an id of the table") });
    known.or(id).ok_or_else(|| {
        let what = "no model of this name is known; expected ORG/NAME, or a name that `diffulex-run --list-models` prints";
        Error::format(text, what)
    })
}

/// The local cache; `None` without a home directory.
pub fn directory() -> Option<PathBuf> {
    cache(|variable| std::env::var_os(variable), std::env::home_dir())
}

/// The cache directory that the environment names, by the variables that huggingface_hub reads; `None` without a home directory.
fn cache(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let directory = |name| {
        let value = variable(name).filter(|value| !value.is_empty())?;
        // As a shell would have done it.
        let path = PathBuf::from(expanded(&value, &variable).map_or(value, OsString::from));
        match (path.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(path),
        }
    };
    directory("HF_HUB_CACHE")
        .or_else(|| directory("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(directory("HF_HOME")?.join("hub")))
        .or_else(|| Some(directory("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(home.as_ref()?.join(".cache/huggingface/hub")))
}

/// `text` with the values of the variables that it names as `$NAME` or `${NAME}`; what is not set stays as it is. `None` if
/// there is nothing to replace.
fn expanded(text: &OsString, variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let mut rest = text.to_str().filter(|text| text.contains('$'))?;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        let inner = after.strip_prefix('{');
        let name = inner.unwrap_or(after);
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        let (name, behind) = name.split_at(end);
        let behind = if inner.is_some() { behind.strip_prefix('}') } else { Some(behind) };
        match (behind, variable(name).as_ref().and_then(|value| value.to_str())) {
            (Some(behind), Some(value)) if !name.is_empty() => {
                out += value;
                rest = behind;
            }
            _ => {
                out.push('$');
                rest = after;
            }
        }
    }
    Some(out + rest)
}

/// The small files of a snapshot that are read. Anything else that a repository holds may be missing.
pub const READ: [&str; 7] = [
    "added_tokens.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// The tokenizer of a snapshot without tokenizer.json.
pub const OLDER_TOKENIZER: [&str; 2] = ["vocab.json", "merges.txt"];

/// A hub id with its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Id<'a> {
    organisation: &'a str,
    name: &'a str,
    revision: Option<&'a str>,
}

impl<'a> Id<'a> {
    /// What could be a hub id: two words with a slash, not a file of weights, and nothing that leaves its directory.
    pub fn parse(text: &'a str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let word =
            |word: &str| word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(plain);
        let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let at_host = HOSTS.iter().find_map(|host| address.strip_prefix(host));
        let text = at_host.unwrap_or(text).trim_end_matches('/');
        let branch = at_host.and_then(|_| text.split_once("/tree/"));
        let parts = branch.or_else(|| text.split_once('@'));
        let (path, revision) = parts.map_or((text, None), |(path, revision)| (path, Some(revision)));
        let (organisation, name) = path.split_once('/')?;
        let file = [".safetensors", ".json"].iter().any(|ending| name.ends_with(ending));
        let known = revision.is_none_or(|revision| revision.split('/').all(word));
        (word(organisation) && word(name) && !file && known).then_some(Self { organisation, name, revision })
    }

    /// The directory of the snapshot in `cache`, if it is complete.
    fn snapshot(&self, cache: &Path) -> Result<PathBuf> {
        let model = cache.join(format!("models--{}--{}", self.organisation, self.name));
        let snapshots = model.join("snapshots");
        let revision = self.revision();
        let commits = names(&snapshots);
        let commit = match fs::read_to_string(model.join("refs").join(revision)) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => revision.to_owned(),
        };
        if !commits.contains(&commit) {
            let mut what = format!(
                "no such file or directory, and not in the Hugging Face cache (looked in {}",
                model.display()
            );
            if !commits.is_empty() {
                what += &format!(
                    ", which has no revision `{revision}`; there is {}",
                    commits
                        .iter()
                        .map(|commit| format!("{}@{commit}", self.path()))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
            }
            return Err(self.missing(&(what + ")")));
        }
        let snapshot = snapshots.join(commit);
        match flaw(&snapshot) {
            None => Ok(snapshot),
            Some(flaw) => {
                Err(self
                    .missing(&format!("the download into {} is not complete: {flaw}", snapshot.display())))
            }
        }
    }

    /// `ORG/NAME`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }

    /// The branch, tag or commit that is meant.
    pub fn revision(&self) -> &'a str {
        self.revision.unwrap_or(MAIN)
    }

    /// The error, with how to get the model.
    fn missing(&self, what: &str) -> Error {
        let path = self.path();
        let (at, option) = self.revision.map_or_else(Default::default, |revision| {
            (format!("@{revision}"), format!(" --revision {revision}"))
        });
        let advice = format!("to download it: `diffulex pull {path}{at}`, or `hf download {path}{option}`");
        Error::format(self.path(), format!("{what}; {advice}"))
    }
}

/// Ids of the models in a cache with this name, with capital letters or an organisation that `name` does not have.
fn alike(cache: &Path, name: &str) -> Vec<String> {
    let id = |directory: String| {
        let (organisation, model) = directory.strip_prefix("models--")?.split_once("--")?;
        let id = format!("{organisation}/{model}");
        let called = [model, &id].iter().any(|known| known.eq_ignore_ascii_case(name));
        (called && Id::parse(&id).is_some()).then_some(id)
    };
    names(cache).into_iter().filter_map(id).collect()
}

/// What shows that a snapshot is not complete. Files that a broken download left in `blobs` do not, nor do dangling links where
/// nothing is read.
fn flaw(snapshot: &Path) -> Option<String> {
    let files = names(snapshot);
    let older: &[&str] =
        if files.iter().any(|file| file == "tokenizer.json") { &[] } else { &OLDER_TOKENIZER };
    let is_read = |file: &str| READ.contains(&file) || older.contains(&file);
    let dangling =
        |file: &String| (!snapshot.join(file).exists()).then(|| format!("{file} links to nothing"));
    if let Some(flaw) = files.iter().filter(|file| is_read(file)).find_map(dangling) {
        return Some(flaw);
    }
    if !files.iter().any(|file| file == "config.json") {
        return Some("no config.json".to_owned());
    }
    match Checkpoint::locate(snapshot).and_then(|files| files.missing_shards()) {
        Err(error) => {
            let weights = files.iter().filter(|file| file.ends_with(".safetensors"));
            weights.into_iter().find_map(dangling).or_else(|| Some(error.to_string()))
        }
        Ok(missing) if !missing.is_empty() => {
            let links = files.iter().filter(|file| missing.contains(file)).find_map(dangling);
            links.or_else(|| Some(format!("{} missing", missing.join(", "))))
        }
        Ok(_) => None,
    }
}

/// Names in a directory, sorted; none if it is not there.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], home: Option<&str>) -> Option<PathBuf> {
        let value =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        cache(value, home.map(PathBuf::from))
    }

    #[test]
    fn the_environment_says_where_the_cache_is() {
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "/o"),
            ("HF_HOME", "/b"),
            ("XDG_CACHE_HOME", "/c"),
        ];
        for (variables, expected) in [
            (&all[..], "/a"),
            (&all[1..], "/o"),
            (&all[2..], "/b/hub"),
            (&all[3..], "/c/huggingface/hub"),
            (&[], "/h/.cache/huggingface/hub"),
            (&[("HF_HUB_CACHE", ""), ("HF_HOME", "~/b")], "/h/b/hub"),
            (&[("HUGGINGFACE_HUB_CACHE", "~/o")], "/h/o"),
            (&[("HF_HUB_CACHE", "$D/x"), ("D", "/d")], "/d/x"),
            (&[("HF_HOME", "${D}e/$$D$"), ("D", "/d")], "/de/$/d$/hub"),
            (&[("HF_HUB_CACHE", "/$UNSET/${D"), ("D", "/d")], "/$UNSET/${D"),
        ] {
            assert_eq!(found(variables, Some("/h")), Some(PathBuf::from(expected)), "{variables:?}");
        }
        assert_eq!(found(&all, None), Some(PathBuf::from("/a")));
        assert_eq!(found(&[], None), None);
    }

    #[test]
    fn ids_are_two_words_and_a_revision() {
        let id = |revision| Id { organisation: "JetLM", name: "SDAR-1.7B-Chat", revision };
        for (text, expected) in [
            ("JetLM/SDAR-1.7B-Chat", Some(id(None))),
            ("JetLM/SDAR-1.7B-Chat@main", Some(id(Some("main")))),
            ("JetLM/SDAR-1.7B-Chat@refs/pr/3", Some(id(Some("refs/pr/3")))),
            ("JetLM/SDAR-1.7B-Chat/", Some(id(None))),
            ("https://huggingface.co/JetLM/SDAR-1.7B-Chat", Some(id(None))),
            ("http://www.huggingface.co/JetLM/SDAR-1.7B-Chat/", Some(id(None))),
            ("hf.co/JetLM/SDAR-1.7B-Chat@v2", Some(id(Some("v2")))),
            ("https://huggingface.co/JetLM/SDAR-1.7B-Chat/tree/main", Some(id(Some("main")))),
            ("https://huggingface.co/JetLM/SDAR-1.7B-Chat/blob/main/config.json", None),
            ("https://example.org/JetLM/SDAR-1.7B-Chat", None),
            ("https://huggingface.co/datasets", None),
            ("SDAR-1.7B-Chat", None),
            ("./SDAR/chat", None),
            ("/models/sdar", None),
            ("../sdar", None),
            ("a/b/c", None),
            ("a/", None),
            ("dir/model.safetensors", None),
            ("dir/model.safetensors.index.json", None),
            ("a/b@", None),
            ("a/b@../../x", None),
            ("a/b@/x", None),
            ("a\\b/c", None),
        ] {
            assert_eq!(Id::parse(text), expected, "{text}");
        }
    }
}
