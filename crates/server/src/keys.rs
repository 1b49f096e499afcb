//! [`Keys`]: who may send requests.

use axum::http::{HeaderMap, header};
use diffulex::{Error, Result};
use std::path::Path;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The number of the key that a request came with; 0 where none is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(pub(crate) usize);

/// The keys that requests may carry; without any, everybody may send requests.
#[derive(Clone, Default)]
pub(crate) struct Keys(Vec<Vec<u8>>);

impl Keys {
    /// The keys of a file, one a line; empty lines and lines that begin with `#` do not count.
    ///
    /// # Errors
    /// A file that cannot be read, and one without a key.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = diffulex_cli::input::read(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<_> = lines.map(|line| line.as_bytes().to_vec()).collect();
        if keys.is_empty() {
            return Err(Error::format(path.display(), "no key in it, at least one line with a key expected"));
        }
        Ok(Self(keys))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of the key that a request carries, in `Authorization: Bearer KEY` or `x-api-key: KEY`; 0 if none is needed. How
    /// long that takes does not depend on how much of a key is right.
    pub(crate) fn owner(&self, headers: &HeaderMap) -> Option<usize> {
        if self.0.is_empty() {
            return Some(0);
        }
        let bearer = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let bearer = bearer.and_then(|value| {
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        let given = bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes()))?;
        let mut found = 0u64;
        for (i, key) in self.0.iter().enumerate() {
            let same: Choice = key.as_slice().ct_eq(given.trim_ascii());
            found = u64::conditional_select(&found, &(i as u64 + 1), same);
        }
        (found > 0).then_some(found as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_key_is_found_by_its_whole_text() {
        let keys = Keys(vec![b"one".to_vec(), b"second".to_vec()]);
        assert_eq!(keys.owner(&with("authorization", "Bearer one")), Some(1));
        assert_eq!(keys.owner(&with("authorization", "bearer second ")), Some(2));
        assert_eq!(keys.owner(&with("x-api-key", "second")), Some(2));
        for wrong in ["Bearer on", "Bearer onee", "Bearer ", "one", "Basic one", "Bearer ONE"] {
            assert_eq!(keys.owner(&with("authorization", wrong)), None, "{wrong}");
        }
        assert_eq!(keys.owner(&HeaderMap::new()), None);
        assert_eq!(Keys::default().owner(&HeaderMap::new()), Some(0));
    }
}
