//! [`Recording`]: the manifest and the tensors of a golden directory, and which of them have been read.

use diffulex::dtype::DType;
use diffulex::error::{Error, Result};
use diffulex::json::Value;
use diffulex::tensor::{TensorView, TokenId};
use diffulex::weights::{Checkpoint, SafeTensors, Storage, TensorSource};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// Largest difference and agreement of two sets of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) max_abs: f32,
    pub(super) rows: usize,
    pub(super) same_top1: usize,
}

impl Difference {
    pub(super) const NONE: Self = Self { max_abs: 0.0, rows: 0, same_top1: 0 };

    /// Takes in one row. A NaN on either side counts as an infinite difference.
    pub(super) fn add(&mut self, ours: &[f32], theirs: &[f32]) {
        assert_eq!(ours.len(), theirs.len(), "rows of different widths");
        for (a, b) in ours.iter().zip(theirs) {
            let d = (a - b).abs();
            self.max_abs = if d.is_nan() { f32::INFINITY } else { self.max_abs.max(d) };
        }
        self.rows += 1;
        self.same_top1 += usize::from(argmax(ours) == argmax(theirs));
    }

    pub(super) fn top1(&self) -> f64 {
        self.same_top1 as f64 / self.rows.max(1) as f64
    }
}

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

/// A golden directory.
pub struct Recording {
    manifest: Value,
    tensors: SafeTensors,
    read_keys: RefCell<BTreeSet<String>>,
    read_tensors: RefCell<BTreeSet<String>>,
    has_model: bool,
}

impl Recording {
    /// Opens golden.json and golden.safetensors in `dir`.
    ///
    /// # Errors
    /// If either is missing or malformed, or of another format.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("golden.json");
        let manifest = Value::read(&path)?;
        match manifest.get("format").and_then(Value::as_u64) {
            Some(1) => {}
            _ => {
                return Err(Error::config(
                    path.display(),
                    "format",
                    "1 expected: not a recording that is understood",
                ));
            }
        }
        let tensors = Checkpoint::locate(&dir.join("golden.safetensors"))?.open(Storage::Read)?;
        Ok(Self {
            manifest,
            tensors,
            read_keys: RefCell::default(),
            read_tensors: RefCell::default(),
            has_model: dir.join("config.json").exists(),
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Value {
        &self.manifest
    }

    /// The mask id that was recorded.
    pub(super) fn mask(&self) -> Option<TokenId> {
        self.manifest.get("mask_token_id").and_then(Value::as_u64).and_then(|id| TokenId::try_from(id).ok())
    }

    /// Whether a model is in the directory of the recording.
    pub(super) fn has_model(&self) -> bool {
        self.has_model
    }

    /// The entries under a top-level key, which counts as read from now on.
    pub(super) fn entries(&self, key: &str) -> &[Value] {
        self.value(key).and_then(Value::as_array).unwrap_or(&[])
    }

    /// The value of a top-level key, which counts as read from now on.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.read_keys.borrow_mut().insert(key.to_string());
        self.manifest.get(key)
    }

    pub(super) fn was_read(&self, key: &str) -> bool {
        self.read_keys.borrow().contains(key)
    }

    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Names of tensors that begin with `prefix`.
    pub(super) fn tensor_names(&self, prefix: &str) -> Vec<String> {
        self.tensors.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
    }

    pub(super) fn unread_tensors(&self) -> Vec<String> {
        let read = self.read_tensors.borrow();
        self.tensors.names().into_iter().filter(|name| !read.contains(name)).collect()
    }

    fn view(&self, name: &str, dtype: DType) -> std::result::Result<TensorView, String> {
        self.read_tensors.borrow_mut().insert(name.to_string());
        let view = self.tensors.tensor(name).map_err(|error| error.to_string())?;
        if view.dtype() != dtype {
            return Err(format!("tensor `{name}` holds {}, {} expected", view.dtype().name(), dtype.name()));
        }
        Ok(view)
    }

    /// A tensor of f32 with its shape.
    pub(super) fn f32s(&self, name: &str) -> std::result::Result<(Vec<usize>, Vec<f32>), String> {
        let view = self.view(name, DType::F32)?;
        let numbers = view.bytes().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        Ok((view.shape().to_vec(), numbers))
    }

    /// A tensor of f64.
    pub(super) fn f64s(&self, name: &str) -> std::result::Result<Vec<f64>, String> {
        let view = self.view(name, DType::F64)?;
        Ok(view.bytes().as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b)).collect())
    }

    /// A tensor of i64 with its shape.
    pub(super) fn i64s(&self, name: &str) -> std::result::Result<(Vec<usize>, Vec<i64>), String> {
        let view = self.view(name, DType::I64)?;
        let numbers = view.bytes().as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect();
        Ok((view.shape().to_vec(), numbers))
    }

    /// Rows of token ids of a tensor of shape `[batch, len]`.
    pub(super) fn id_rows(&self, name: &str) -> std::result::Result<Vec<Vec<TokenId>>, String> {
        let (shape, ids) = self.i64s(name)?;
        let len = match shape[..] {
            [batch, len] if batch > 0 && len > 0 => len,
            _ => {
                return Err(format!(
                    "tensor `{name}` has shape {shape:?}, at least one row and one id expected"
                ));
            }
        };
        ids.chunks(len).map(|row| row.iter().map(|&id| token_id(id)).collect()).collect()
    }
}

fn token_id(id: i64) -> std::result::Result<TokenId, String> {
    TokenId::try_from(id).map_err(|_| format!("{id} is not a token id"))
}

/// A string field.
pub(super) fn text<'a>(entry: &'a Value, key: &str) -> std::result::Result<&'a str, String> {
    entry.get(key).and_then(Value::as_str).ok_or_else(|| format!("`{key}` is missing or not a string"))
}

/// A whole number.
pub(super) fn whole(entry: &Value, key: &str) -> std::result::Result<usize, String> {
    let value = entry.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    value.ok_or_else(|| format!("`{key}` is missing or not a whole number"))
}

/// A list of token ids.
pub(super) fn ids(value: Option<&Value>, what: &str) -> std::result::Result<Vec<TokenId>, String> {
    let items =
        value.and_then(Value::as_array).ok_or_else(|| format!("`{what}` is missing or not a list"))?;
    let id =
        |item: &Value| item.as_i64().ok_or_else(|| format!("`{what}` holds something that is not an id"));
    items.iter().map(|item| id(item).and_then(token_id)).collect()
}

/// The positions of the ones of an attention mask of the form 0..0 1..1 0..0.
pub(super) fn unpadded(mask: &[i64]) -> std::result::Result<Range<usize>, String> {
    let start = mask.iter().take_while(|&&bit| bit == 0).count();
    let end = start + mask[start..].iter().take_while(|&&bit| bit == 1).count();
    if start == end || mask[end..].iter().any(|&bit| bit != 0) {
        return Err("an attention mask that is not padding on the left or on the right".into());
    }
    Ok(start..end)
}

/// The position of the first 1 of an attention mask of the form 0..0 1..1.
pub(super) fn padding(mask: &[i64]) -> std::result::Result<usize, String> {
    match unpadded(mask)? {
        ones if ones.end == mask.len() => Ok(ones.start),
        _ => Err("an attention mask that is not left padding".into()),
    }
}
