//! The hub: its address, the token for it, and what its refusals mean.

use crate::listing::Listing;
use crate::watch::Watch;
use diffulex::{Error, Result};
use diffulex_cli::hub::Id;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Repo, RepoType};
use std::path::{Path, PathBuf};

/// How many times the download of a file is resumed where it broke off.
const RETRIES: usize = 5;
/// The longest description of a model that is read, in bytes; real ones have some 100 kB.
const LONGEST: u64 = 16 << 20;

/// A hub and the cache that its files go into.
pub(crate) struct Hub {
    api: Api,
    cache: PathBuf,
    endpoint: String,
    token: bool,
}

impl Hub {
    /// The hub that the environment names.
    ///
    /// # Errors
    /// [`Error::Option`] without a place for the cache, or with an address that is not one.
    pub(crate) fn from_env() -> Result<Self> {
        let cache = diffulex_cli::hub::directory().ok_or_else(|| {
            Error::option(
                "HF_HUB_CACHE",
                "it is not set, and without a home directory the cache has no default place",
            )
        })?;
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            let what = format!("`{endpoint}` is not an address: expected one with http:// or https://");
            return Err(Error::option("HF_ENDPOINT", what));
        }
        let token = token(&cache)?;
        let api = ApiBuilder::new()
            .with_cache_dir(cache.clone())
            .with_endpoint(endpoint.clone())
            .with_progress(false)
            .with_retries(RETRIES)
            .with_user_agent("diffulex", diffulex_cli::version())
            .with_token(token.clone())
            .build()
            .map_err(|error| Error::format(&endpoint, error.to_string()))?;
        Ok(Self { api, cache, endpoint, token: token.is_some() })
    }

    /// The directory of the cache.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A model at a revision.
    pub(crate) fn model(&self, id: &str, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned()))
    }

    /// What the hub has of a model.
    ///
    /// # Errors
    /// [`Error::Format`] for a model or revision that the hub does not have, and for an answer that cannot be read.
    pub(crate) fn listing(&self, id: &Id<'_>) -> Result<Listing> {
        let (path, revision) = (id.path(), id.revision());
        let request = self.model(&path, revision).info_request().query("blobs", "true");
        let named = format!("{path}@{revision}");
        let _watch = Watch::start(&named, &self.endpoint, None);
        let mut response = request.call().map_err(|error| self.refused(&named, &error))?;
        let body = response.body_mut().with_config().limit(LONGEST).read_to_vec();
        let body = body.map_err(|error| self.refused(&named, &error))?;
        Listing::read(&named, &body)
    }

    /// Refuses a file whose checksum from the hub cannot be one: it becomes the name of a file in the cache.
    ///
    /// # Errors
    /// [`Error::Format`], and what the hub refuses.
    pub(crate) fn named_safely(&self, what: &str, url: &str) -> Result<()> {
        let metadata = self.api.metadata(url).map_err(|error| self.broken(what, &error))?;
        for name in [metadata.etag(), metadata.commit_hash()] {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                let found = format!("{} calls it `{name}`, which is not a checksum", self.endpoint);
                return Err(Error::format(what, found));
            }
        }
        Ok(())
    }

    /// What a failed request for `what` means.
    pub(crate) fn refused(&self, what: &str, error: &ureq::Error) -> Error {
        let host = &self.endpoint;
        let means = match error {
            ureq::Error::StatusCode(401 | 403) if self.token => format!(
                "{host} refuses it for the token that was sent: it may lack access, which is granted on the model's page"
            ),
            ureq::Error::StatusCode(401 | 403) => {
                format!("{host} requires a token: the model does not exist, or is not public; set HF_TOKEN")
            }
            ureq::Error::StatusCode(404) => format!("{host} has no such model, revision or file"),
            ureq::Error::StatusCode(429) => format!("{host} has had too many requests; try again later"),
            ureq::Error::StatusCode(code) => format!("{host} answered with status {code}"),
            error => format!("{host}: {error}"),
        };
        Error::format(what, means)
    }

    /// As [`Self::refused`], for the error that a download of a file ends with.
    pub(crate) fn broken(&self, what: &str, error: &ApiError) -> Error {
        match error {
            ApiError::RequestError(error) => self.refused(what, error),
            ApiError::TooManyRetries(error) => self.broken(what, error),
            ApiError::LockAcquisition(path) => {
                Error::format(what, format!("another program is downloading it ({})", path.display()))
            }
            error => Error::format(what, format!("{}: {error}", self.endpoint)),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The token of the environment, or the one that `hf auth login` wrote. One that a header cannot hold is refused without
/// being shown.
fn token(cache: &Path) -> Result<Option<String>> {
    let stored = || {
        let home =
            variable("HF_HOME").map(PathBuf::from).or_else(|| cache.parent().map(Path::to_path_buf))?;
        let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        std::fs::read_to_string(path).ok().map(|token| token.trim().to_owned())
    };
    let token = variable("HF_TOKEN")
        .or_else(|| variable("HUGGING_FACE_HUB_TOKEN"))
        .or_else(stored)
        .unwrap_or_default();
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Error::option("HF_TOKEN", "contains characters that no token has"));
    }
    Ok(Some(token).filter(|token| !token.is_empty()))
}
