//! model.safetensors.index.json with any names: only files next to the index are opened, and what is opened is what the
//! index says.

use arbitrary::Unstructured;
use diffulex::TensorSource;
use diffulex::weights::{Checkpoint, Storage};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

/// Shards that are there, each with one tensor that is named as its file.
const SHARDS: [&str; 2] = ["a.safetensors", "b.safetensors"];
/// A file that must not be read: it lies above the checkpoint.
const OUTSIDE: &str = "outside.safetensors";
const CHECKPOINT: &str = "checkpoint";

/// One directory for all inputs of this process.
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new().expect("a directory for temporary files");
    std::fs::create_dir(directory.path().join(CHECKPOINT)).expect("an empty directory");
    let shards = SHARDS.map(|shard| Path::new(CHECKPOINT).join(shard));
    for path in shards.iter().map(|shard| &**shard).chain([Path::new(OUTSIDE)]) {
        let name = path.file_name().expect("a file").to_string_lossy();
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[7]].concat();
        std::fs::write(directory.path().join(path), file).expect("room for a few bytes");
    }
    directory
});

/// Takes the input as the text of an index, or as the names in one.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, names)) => crate::with(names, |u| {
            open(names_of(u)?.to_string().as_bytes());
            Ok(())
        }),
        _ => open(data),
    }
}

/// An index of names that are there and names that are not.
fn names_of(u: &mut Unstructured<'_>) -> arbitrary::Result<Value> {
    let mut map = Map::new();
    for _ in 0..u.int_in_range(0..=3)? {
        let mut name = |known: &[&str]| -> arbitrary::Result<String> {
            Ok(if u.arbitrary()? { u.choose(known)?.to_string() } else { u.arbitrary()? })
        };
        let tensor = name(&SHARDS)?;
        let shard = name(&[SHARDS[0], SHARDS[1], "../outside.safetensors", "..", ""])?;
        map.insert(tensor, shard.into());
    }
    Ok(json!({ "weight_map": map }))
}

fn open(index: &[u8]) {
    let directory = DIRECTORY.path().join(CHECKPOINT);
    std::fs::write(directory.join("model.safetensors.index.json"), index).expect("room for the index");
    let checkpoint = Checkpoint::locate(&directory).expect("the index is there");
    let missing = checkpoint.missing_shards();
    for storage in [Storage::Map, Storage::Read] {
        let Ok(source) = checkpoint.open(storage) else { continue };
        assert!(missing.as_ref().is_ok_and(Vec::is_empty), "opened although shards are missing: {missing:?}");
        for file in source.files() {
            assert_eq!(Path::new(file).parent(), Some(&*directory), "a file outside the directory");
        }
        let index: Value = serde_json::from_slice(index).expect("what we read is JSON");
        let map = index["weight_map"].as_object().expect("a map of names");
        assert!(source.names().iter().all(|name| map[name] == **name), "{:?} of {map:?}", source.names());
        assert_eq!(source.names().len(), map.len(), "tensors and entries");
    }
}
