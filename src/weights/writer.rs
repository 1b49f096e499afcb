//! Writes checkpoints in the Hugging Face layout: `model.safetensors`, or shards and their index.
//!
//! Tensors are requested one at a time, so the memory needed is that of the largest one. Everything is written under
//! temporary names in the same directory and renamed at the end: no reader ever sees half a checkpoint.

use super::{Error, Result};
use crate::dtype::DType;
use crate::json::Value;
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A tensor to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the checkpoint.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Size in bytes.
    ///
    /// # Panics
    /// If it exceeds the address space.
    pub fn bytes(&self) -> usize {
        let elements =
            self.shape.iter().try_fold(self.dtype.size(), |product, &dim| product.checked_mul(dim));
        elements.unwrap_or_else(|| panic!("tensor `{}` of shape {:?} is too large", self.name, self.shape))
    }
}

/// Writes `tensors` into one or more files of at most `max_shard_bytes` of data each (`model.safetensors`, or
/// `model-0000i-of-0000n.safetensors` and `model.safetensors.index.json`); a larger tensor gets a file of its own.
///
/// `fill` is asked for the bytes of one tensor at a time, file after file, in the order of the format (larger elements
/// first, then by name); its buffer is zeroed. `metadata` goes into the header of every file. Returns the paths written,
/// the index last. Nothing is left under the final names if it fails.
///
/// # Errors
/// What `fill` returned; [`Error::Io`]; [`Error::Format`] if `dir` already holds one of the files, or an index that
/// would shadow the new weights.
///
/// # Panics
/// If two tensors have the same name.
pub fn write_checkpoint(
    dir: &Path,
    tensors: &[TensorSpec],
    max_shard_bytes: u64,
    metadata: &[(String, String)],
    fill: &mut dyn FnMut(&TensorSpec, &mut [u8]) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    let mut names = HashSet::new();
    for TensorSpec { name, .. } in tensors {
        assert!(names.insert(name), "tensor `{name}` is in the list twice");
    }
    let shards = split(tensors, max_shard_bytes);
    let names: Vec<String> = (1..=shards.len())
        .map(|i| match shards.len() {
            1 => "model.safetensors".to_string(),
            n => format!("model-{i:05}-of-{n:05}.safetensors"),
        })
        .collect();
    for name in names.iter().map(String::as_str).chain(["model.safetensors", "model.safetensors.index.json"])
    {
        if dir.join(name).exists() {
            return Err(Error::format(dir.display(), format!("already holds weights: {name}")));
        }
    }
    let mut staged = Staged { dir, names: Vec::new(), kept: false };
    for (name, shard) in names.iter().zip(&shards) {
        write_shard(&staged.stage(name)?, shard, metadata, fill)?;
    }
    if shards.len() > 1 {
        let partial = staged.stage("model.safetensors.index.json")?;
        let index = index_json(&names, &shards).to_string();
        std::fs::write(&partial, index).map_err(|e| Error::io(&partial, e))?;
    }
    staged.publish()
}

/// Spaces to append to a string in the metadata, so that the first tensor of bytes begins at a multiple of 64 in the file of all
/// `tensors`: the panels of quantized weights are read in cache lines. The string must be one whose meaning spaces do not change, such as
/// JSON. 0 if other tensors before it make that impossible.
pub fn padding(tensors: &[TensorSpec], metadata: &[(String, String)]) -> usize {
    const LINE: usize = 64;
    let (mut sorted, mut offset): (Vec<_>, _) = (tensors.iter().collect(), 0);
    sorted.sort_by(|a, b| foreign(b.dtype).cmp(&foreign(a.dtype)).then_with(|| a.name.cmp(&b.name)));
    let numbers = |numbers: &[usize]| Value::Array(numbers.iter().map(|&n| Value::from(n as u64)).collect());
    let (mut before, mut entries) = (0, Vec::new());
    let texts = metadata.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str())));
    entries.push(("__metadata__".to_string(), Value::Object(texts.collect())));
    for tensor in sorted {
        let end = offset + tensor.bytes();
        let fields = vec![
            ("dtype".to_string(), Value::from(tensor.dtype.name())),
            ("shape".to_string(), numbers(&tensor.shape)),
            ("data_offsets".to_string(), numbers(&[offset, end])),
        ];
        entries.push((tensor.name.clone(), Value::Object(fields)));
        before += if tensor.dtype == DType::U8 { 0 } else { end - offset };
        offset = end;
    }
    // The header is filled up to a multiple of 8, after its length of 8 bytes.
    let header = Value::Object(entries).to_string().len().next_multiple_of(8);
    let begin = 8 + header + before;
    if before.is_multiple_of(8) { begin.next_multiple_of(LINE) - begin } else { 0 }
}

/// Cuts the list into files, in its order.
fn split(tensors: &[TensorSpec], max_bytes: u64) -> Vec<&[TensorSpec]> {
    let mut shards = Vec::new();
    let (mut start, mut size) = (0, 0u64);
    for (i, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.bytes() as u64;
        if i > start && size.saturating_add(bytes) > max_bytes {
            shards.push(&tensors[start..i]);
            (start, size) = (i, 0);
        }
        size = size.saturating_add(bytes);
    }
    shards.push(&tensors[start..]);
    shards
}

fn index_json(names: &[String], shards: &[&[TensorSpec]]) -> Value {
    let total: u64 = shards.iter().copied().flatten().map(|tensor| tensor.bytes() as u64).sum();
    let map = names.iter().zip(shards).flat_map(|(file, shard)| {
        shard.iter().map(|tensor| (tensor.name.clone(), Value::from(file.as_str())))
    });
    Value::Object(vec![
        ("metadata".into(), Value::Object(vec![("total_size".into(), total.into())])),
        ("weight_map".into(), Value::Object(map.collect())),
    ])
}

/// Files under temporary names, removed unless they are published.
struct Staged<'a> {
    dir: &'a Path,
    names: Vec<String>,
    kept: bool,
}

impl Staged<'_> {
    fn partial(&self, name: &str) -> PathBuf {
        self.dir.join(format!(".{name}.partial"))
    }

    /// The temporary path for `name`, as a new empty file.
    fn stage(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.partial(name);
        std::fs::File::create(&path).map_err(|e| Error::io(&path, e))?;
        self.names.push(name.to_string());
        Ok(path)
    }

    fn publish(mut self) -> Result<Vec<PathBuf>> {
        let mut published = Vec::new();
        for name in &self.names {
            let path = self.dir.join(name);
            if let Err(error) = std::fs::rename(self.partial(name), &path) {
                for path in published {
                    // The error worth reporting is the first one.
                    let _ = std::fs::remove_file(path);
                }
                return Err(Error::io(path, error));
            }
            published.push(path);
        }
        self.kept = true;
        Ok(published)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.kept {
            for name in &self.names {
                // Already gone if it was published.
                let _ = std::fs::remove_file(self.partial(name));
            }
        }
    }
}

/// What the tensors of a shard share while it is written.
struct Filling<'f> {
    fill: &'f mut dyn FnMut(&TensorSpec, &mut [u8]) -> Result<()>,
    failed: Option<Error>,
}

/// A tensor whose bytes are made when the writer requests them.
struct Lazy<'a, 'f> {
    spec: &'a TensorSpec,
    filling: &'a RefCell<Filling<'f>>,
}

impl View for Lazy<'_, '_> {
    fn dtype(&self) -> Dtype {
        foreign(self.spec.dtype)
    }

    fn shape(&self) -> &[usize] {
        &self.spec.shape
    }

    /// Cannot fail: after an error every tensor is empty, and the file is thrown away.
    fn data(&self) -> Cow<'_, [u8]> {
        let filling = &mut *self.filling.borrow_mut();
        if filling.failed.is_some() {
            return Cow::Borrowed(&[]);
        }
        let mut bytes = vec![0; self.spec.bytes()];
        filling.failed = (filling.fill)(self.spec, &mut bytes).err();
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.spec.bytes()
    }
}

fn write_shard(
    path: &Path,
    shard: &[TensorSpec],
    metadata: &[(String, String)],
    fill: &mut dyn FnMut(&TensorSpec, &mut [u8]) -> Result<()>,
) -> Result<()> {
    // The crate creates its file for the owner only; a checkpoint gets the permissions of any new file.
    let permissions = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.permissions();
    let metadata: HashMap<String, String> = metadata.iter().cloned().collect();
    let filling = RefCell::new(Filling { fill, failed: None });
    let views = shard.iter().map(|spec| (spec.name.as_str(), Lazy { spec, filling: &filling }));
    let written = safetensors::serialize_to_file(views, (!metadata.is_empty()).then_some(metadata), path);
    if let Some(error) = filling.into_inner().failed {
        return Err(error);
    }
    written.map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => Error::io(path, error),
        other => Error::format(path.display(), other.to_string()),
    })?;
    std::fs::set_permissions(path, permissions).map_err(|e| Error::io(path, e))
}

fn foreign(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::I8 => Dtype::I8,
        DType::U16 => Dtype::U16,
        DType::I16 => Dtype::I16,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        DType::U32 => Dtype::U32,
        DType::I32 => Dtype::I32,
        DType::F32 => Dtype::F32,
        DType::U64 => Dtype::U64,
        DType::I64 => Dtype::I64,
        DType::F64 => Dtype::F64,
    }
}
