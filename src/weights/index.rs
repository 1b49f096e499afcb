//! Reads `model.safetensors.index.json`: which shard of a checkpoint holds which tensor.
//!
//! ```text
//! { "metadata": { .. }?, "weight_map": { tensor name: shard, .. } }
//! ```
//!
//! A shard is the plain name of a file in the directory of the index: an index from elsewhere must not name files outside its
//! directory.

use super::{Error, Result};
use crate::json::Value;
use std::path::Path;

/// The contents of an index file.
pub(super) struct Index {
    /// Shards in order of their names, each once.
    pub(super) shards: Vec<String>,
    /// Tensor name and shard, sorted by name.
    pub(super) map: Vec<(String, String)>,
}

impl Index {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = path.display();
        let json = Value::read(path)?;
        let map = json.get("weight_map");
        let entries = map.and_then(Value::entries).ok_or_else(|| {
            let found = map.map_or_else(|| "nothing".to_string(), |value| format!("`{value}`"));
            let reason = format!(
                "found {found}, expected an object of tensor names and shards; a checkpoint is given by its directory"
            );
            Error::config(&file, "weight_map", reason)
        })?;
        let mut map = Vec::with_capacity(entries.len());
        for (name, shard) in entries {
            let Some(shard) = shard.as_str().filter(|shard| is_plain(shard)) else {
                let what = format!("tensor `{name}` is mapped to {shard}, expected the plain name of a file");
                return Err(Error::config(&file, "weight_map", what));
            };
            map.push((name.clone(), shard.to_string()));
        }
        if map.is_empty() {
            return Err(Error::config(&file, "weight_map", "it is empty"));
        }
        map.sort();
        let mut shards: Vec<String> = map.iter().map(|(_, shard)| shard.clone()).collect();
        shards.sort();
        shards.dedup();
        Ok(Self { shards, map })
    }

    /// The shards that are not in `directory`.
    pub(super) fn missing(&self, directory: &Path) -> Vec<String> {
        self.shards.iter().filter(|shard| !directory.join(shard).exists()).cloned().collect()
    }

    /// The shard of a tensor.
    pub(super) fn shard(&self, tensor: &str) -> Option<&str> {
        let i = self.map.binary_search_by(|(name, _)| name.as_str().cmp(tensor)).ok()?;
        Some(&self.map[i].1)
    }
}

/// Whether a name stays in its directory on every system: no separator, no drive, no parent.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0'])
}
