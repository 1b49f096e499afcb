//! Reads safetensors files.
//!
//! ```text
//! file   = length: u64 little-endian | header: JSON, `length` bytes | data
//! header = { "__metadata__": { key: text, .. }?, name: { "dtype", "shape", "data_offsets": [begin, end] }, .. }
//! ```
//!
//! `begin` and `end` count bytes from the start of the data. The tensors must cover the data exactly: no gap, no overlap,
//! nothing after the last one. So every byte of a file has one meaning, and a truncated download is noticed on opening.
//!
//! # Source
//! The "Format" section of the safetensors project. This reader accepts fewer files than the project's own crate: a
//! duplicate name or key, an unknown field of a tensor and an element type that [`DType`] lacks are refused.

use super::quantized;
use super::{Error, QUANT_KEY, Result, Stored, TensorSource};
use crate::bytes::Bytes;
use crate::dtype::DType;
use crate::files::{INSTEAD, format_of, refuse_pointer};
use crate::json::Value;
use crate::tensor::TensorView;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Range;

/// Longer headers are refused, in bytes. The same limit as in the format's own crate.
const MAX_HEADER: u64 = 100_000_000;

/// Bytes of the length before the header.
const LENGTH: usize = 8;

/// The tensors of one safetensors file, or of the shards of one checkpoint.
#[derive(Debug)]
pub struct SafeTensors {
    /// What was opened: the file, the index, or the name of a buffer.
    origin: String,
    files: Vec<String>,
    tensors: BTreeMap<String, Entry>,
    metadata: Vec<(String, String)>,
    mapped: bool,
}

#[derive(Debug)]
struct Entry {
    /// Position in `files`.
    file: usize,
    stored: Stored,
}

impl SafeTensors {
    /// The tensors of one file that is in memory; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Json`] or [`Error::DType`] if the bytes are not a whole, valid safetensors file.
    pub fn from_bytes(file: &str, bytes: &Bytes) -> Result<Self> {
        let mut source = Self::empty(file);
        source.add(file, &(bytes.clone(), false))?;
        Ok(source)
    }

    /// No tensor yet. `origin` is what messages about missing tensors name.
    pub(super) fn empty(origin: &str) -> Self {
        Self {
            origin: origin.to_string(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            metadata: Vec::new(),
            mapped: false,
        }
    }

    /// Adds the tensors of another file; `mapped` says whether it is mapped. No tensor may be in two files.
    pub(super) fn add(&mut self, file: &str, (bytes, mapped): &(Bytes, bool)) -> Result<()> {
        self.mapped |= mapped;
        let header = Header::parse(file, bytes)?;
        let number = self.files.len();
        self.files.push(file.to_string());
        for (name, view) in header.tensors {
            let entry = Entry { file: number, stored: Stored::Plain(view) };
            match self.tensors.entry(name) {
                Slot::Vacant(slot) => _ = slot.insert(entry),
                Slot::Occupied(slot) => {
                    let what = format!("tensor `{}` is also in {}", slot.key(), self.files[slot.get().file]);
                    return Err(Error::format(file, what));
                }
            }
        }
        for (_, text) in header.metadata.iter().filter(|(key, _)| key == QUANT_KEY) {
            self.mark_quantized(file, number, text)?;
        }
        self.metadata.extend(header.metadata);
        Ok(())
    }

    /// Takes the metadata entry of one file into account.
    fn mark_quantized(&mut self, file: &str, number: usize, text: &str) -> Result<()> {
        for (name, quant) in quantized::parse(file, text)? {
            let entry = self.tensors.get_mut(&name).filter(|entry| entry.file == number);
            let missing = || Error::missing_tensor(file, &name);
            let entry = entry.ok_or_else(missing)?;
            let Stored::Plain(view) = &entry.stored else {
                return Err(Error::format(file, format!("tensor `{name}` is declared as quantized twice")));
            };
            if !quant.fits(view) {
                let what = format!(
                    "tensor `{name}` is declared as {} of shape [{}, {}], which takes U8 of shape {:?}; found {} of {:?}",
                    quant.quant,
                    quant.n,
                    quant.k,
                    quant.tensor_shape().unwrap_or_default(),
                    view.dtype().name(),
                    view.shape()
                );
                return Err(Error::format(file, what));
            }
            entry.stored = Stored::Panels(quant, view.bytes().clone());
        }
        Ok(())
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Whether any of the files is mapped. Those of a file system that cannot map are read.
    pub fn is_mapped(&self) -> bool {
        self.mapped
    }

    /// The free text in the headers, file after file.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }
}

impl TensorSource for SafeTensors {
    fn stored(&self, name: &str) -> Result<Stored> {
        match self.tensors.get(name) {
            Some(entry) => Ok(entry.stored.clone()),
            None => Err(Error::missing_tensor(&self.origin, name)),
        }
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn origin(&self, name: &str) -> String {
        self.tensors.get(name).map_or(&self.origin, |entry| &self.files[entry.file]).clone()
    }
}

/// What a file declares, checked against the bytes that are there.
struct Header {
    tensors: Vec<(String, TensorView)>,
    metadata: Vec<(String, String)>,
}

/// A tensor as declared.
struct Declared<'a> {
    name: &'a str,
    dtype: DType,
    shape: Vec<usize>,
    range: Range<usize>,
}

impl Header {
    fn parse(file: &str, bytes: &Bytes) -> Result<Self> {
        let data_start = header_end(file, bytes)?;
        let json = Value::parse(file, &bytes[LENGTH..data_start]).map_err(|error| in_file(error, LENGTH))?;
        let mut metadata = Vec::new();
        let mut declared = Vec::new();
        for (name, value) in json.entries().unwrap_or_default() {
            if name == "__metadata__" {
                metadata = read_metadata(file, value)?;
            } else {
                declared.push(Declared::read(file, name, value)?);
            }
        }
        // Empty tensors before the one that starts where they do.
        declared.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        check_coverage(file, &declared, bytes.len(), data_start)?;
        let data = bytes.slice(data_start..bytes.len());
        let mut tensors = Vec::with_capacity(declared.len());
        for Declared { name, dtype, shape, range } in declared {
            let size = range.len();
            let view = TensorView::new(dtype, shape.clone(), data.slice(range)).ok_or_else(|| {
                let what = format!(
                    "tensor `{name}` has {size} bytes, not what shape {shape:?} of {} takes",
                    dtype.name()
                );
                Error::format(file, what)
            })?;
            tensors.push((name.to_string(), view));
        }
        Ok(Self { tensors, metadata })
    }
}

/// Checks everything before the JSON; returns the offset of the data.
fn header_end(file: &str, bytes: &Bytes) -> Result<usize> {
    if bytes.is_empty() {
        return Err(Error::format(file, "the file is empty"));
    }
    refuse_pointer(file, bytes)?;
    if let Some(format) = format_of(bytes) {
        return Err(Error::format(file, format!("not a safetensors file but {format}, which {INSTEAD}")));
    }
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        return Err(truncated(file, bytes.len(), LENGTH));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        let what = format!("not a safetensors file: a header of {length} bytes, the limit is {MAX_HEADER}");
        return Err(Error::format(file, what));
    }
    // Fits: at most MAX_HEADER.
    let length = length as usize;
    match rest.first() {
        Some(b'{') if length > 0 => {}
        None if length > 0 => return Err(truncated(file, bytes.len(), LENGTH + length)),
        _ => return Err(Error::format(file, "not a safetensors file: the header does not start with `{`")),
    }
    if rest.len() < length {
        return Err(truncated(file, bytes.len(), LENGTH + length));
    }
    Ok(LENGTH + length)
}

fn truncated(file: &str, found: usize, asked: usize) -> Error {
    Error::format(file, format!("file is truncated: {found} bytes, the header requires {asked}"))
}

/// Moves the offset of a JSON error from the header to the file.
fn in_file(error: Error, by: usize) -> Error {
    match error {
        Error::Json { file, offset, what } => Error::Json { file, offset: offset + by, what },
        other => other,
    }
}

fn read_metadata(file: &str, value: &Value) -> Result<Vec<(String, String)>> {
    let malformed = || Error::format(file, "`__metadata__` is not an object of strings");
    let entries = value.entries().ok_or_else(malformed)?;
    let text = |(key, value): &(String, Value)| Some((key.clone(), value.as_str()?.to_string()));
    entries.iter().map(text).collect::<Option<_>>().ok_or_else(malformed)
}

impl<'a> Declared<'a> {
    fn read(file: &str, name: &'a str, value: &Value) -> Result<Self> {
        let malformed = |what: &str| Error::format(file, format!("tensor `{name}`: {what}"));
        let fields = value.entries().ok_or_else(|| malformed("its declaration is not an object"))?;
        if let Some((key, _)) =
            fields.iter().find(|(key, _)| !["dtype", "shape", "data_offsets"].contains(&key.as_str()))
        {
            return Err(malformed(&format!("unknown field `{key}`")));
        }
        let dtype =
            value.get("dtype").and_then(Value::as_str).ok_or_else(|| malformed("`dtype` is not a string"))?;
        let sizes = |key| value.get(key)?.as_array()?.iter().map(size).collect::<Option<Vec<usize>>>();
        let shape = sizes("shape").ok_or_else(|| malformed("`shape` is not an array of sizes"))?;
        let offsets =
            sizes("data_offsets").ok_or_else(|| malformed("`data_offsets` is not an array of offsets"))?;
        let &[begin, end] = offsets.as_slice() else {
            return Err(malformed("`data_offsets` is not a pair of offsets"));
        };
        if begin > end {
            return Err(malformed(&format!("`data_offsets` [{begin}, {end}] end before they begin")));
        }
        let dtype = DType::from_name(dtype).ok_or_else(|| Error::DType {
            file: file.to_string(),
            name: name.to_string(),
            expected: "one of BOOL, U8, I8, U16, I16, F16, BF16, U32, I32, F32, U64, I64, F64",
            found: dtype.to_string(),
        })?;
        Ok(Self { name, dtype, shape, range: begin..end })
    }
}

/// A number written as an unsigned integer, as every writer does; `2.0` is not a size.
fn size(value: &Value) -> Option<usize> {
    value.as_number()?.text().parse().ok()
}

/// Checks that the tensors, sorted by offset, cover the data of the file exactly.
fn check_coverage(file: &str, declared: &[Declared<'_>], found: usize, data_start: usize) -> Result<()> {
    let mut end = 0;
    for (i, Declared { name, range, .. }) in declared.iter().enumerate() {
        if range.start < end {
            let other = declared[i - 1].name;
            let what = format!(
                "tensor `{name}` begins at byte {} of the data and overlaps `{other}`, which ends at {end}",
                range.start
            );
            return Err(Error::format(file, what));
        }
        if range.start > end {
            let what = format!(
                "tensor `{name}` begins at byte {} of the data, expected {end}: the bytes between belong to no tensor",
                range.start
            );
            return Err(Error::format(file, what));
        }
        end = range.end;
    }
    let asked = data_start.saturating_add(end);
    if found < asked {
        return Err(truncated(file, found, asked));
    }
    if found > asked {
        let what = format!(
            "{} bytes after the last tensor: {found} bytes, the header requires {asked}",
            found - asked
        );
        return Err(Error::format(file, what));
    }
    Ok(())
}
