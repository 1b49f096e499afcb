//! The static key/value cache: [`KvCache`].
//!
//! Capacity is fixed when the cache is made. A forward pass *stages* the rows of the positions that it computes; *commit*
//! declares staged rows final; *rewind* forgets rows after a committed length. One buffer serves every plan:
//!
//! | plan | committed | staged |
//! |---|---|---|
//! | block-causal | finished blocks | the active block, every denoise step anew |
//! | sub-block cache | finished blocks | the active block once, then only a sub-block of it |
//! | prefix (approximate) | positions before the active block | the rest of the canvas |
//! | dual (approximate) | nothing | the whole canvas once, then only the active block |
//! | none | nothing | the whole canvas every step |
//!
//! Rows that no pass has staged cannot be attended to: an empty slot would take part in the softmax with a key of zero.
#![forbid(unsafe_code)]

mod visible;

pub use visible::{Attention, Visible};

use crate::bytes::{ALIGN, AlignedBuf, ask_for};
use crate::dtype::{F16, as_slice, as_slice_mut};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, KvRows};
use crate::tensor::Rows;
use std::ops::Range;

/// Element type of cached keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvDtype {
    /// Exact: what the pass computed.
    F32,
    /// Half the memory; keys and values are rounded to binary16.
    F16,
}

impl KvDtype {
    /// The element type with this name.
    ///
    /// # Errors
    /// [`Error::Option`] if there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        [Self::F32, Self::F16]
            .into_iter()
            .find(|kv| kv.name() == name)
            .ok_or_else(|| Error::option("kv", format!("`{name}` given, f32 or f16 expected")))
    }

    /// The name used in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// What a cache stores, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Number of blocks of the model.
    pub layers: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl KvShape {
    /// Bytes of keys and values that one position takes.
    pub fn bytes_per_token(&self, dtype: KvDtype) -> usize {
        2 * self.layers * self.n_kv_heads * self.head_dim * dtype.size()
    }
}

/// Keys and values of one layer: `[n_kv_heads, capacity, head_dim]` each.
struct Layer {
    keys: AlignedBuf,
    values: AlignedBuf,
}

/// Keys and values of every layer for positions `0..capacity`.
pub struct KvCache {
    shape: KvShape,
    dtype: KvDtype,
    capacity: usize,
    committed: usize,
    filled: usize,
    layers: Vec<Layer>,
}

impl KvCache {
    /// A cache for `capacity` positions. Memory is reserved now and touched when it is used.
    ///
    /// # Errors
    /// [`Error::Capacity`] if the size in bytes overflows, [`Error::Memory`] if there is not so much.
    pub fn new(shape: KvShape, dtype: KvDtype, capacity: usize) -> Result<Self> {
        let layer_bytes = (shape.n_kv_heads * shape.head_dim * dtype.size())
            .checked_mul(capacity)
            .filter(|bytes| bytes.checked_mul(2 * shape.layers).is_some_and(|all| all <= isize::MAX as usize))
            .ok_or(Error::Capacity {
                what: "positions in the key/value cache",
                limit: isize::MAX as usize / shape.bytes_per_token(dtype).max(1),
                asked: capacity,
            })?;
        ask_for("the key/value cache", 2 * shape.layers * (layer_bytes + ALIGN))?;
        let layer =
            || Layer { keys: AlignedBuf::zeroed(layer_bytes), values: AlignedBuf::zeroed(layer_bytes) };
        let layers = (0..shape.layers).map(|_| layer()).collect();
        Ok(Self { shape, dtype, capacity, committed: 0, filled: 0, layers })
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Element type.
    pub fn dtype(&self) -> KvDtype {
        self.dtype
    }

    /// Positions `0..committed` are final.
    pub fn committed(&self) -> usize {
        self.committed
    }

    /// Positions `0..filled` hold keys and values, final or staged.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Opens the positions `rows` for staging by one forward pass.
    ///
    /// # Errors
    /// [`Error::Capacity`] if they do not fit.
    ///
    /// # Panics
    /// If they touch committed rows or would leave a hole of empty rows before them.
    pub fn begin(&mut self, rows: Range<usize>) -> Result<()> {
        if rows.end > self.capacity {
            return Err(Error::Capacity {
                what: "positions in the key/value cache",
                limit: self.capacity,
                asked: rows.end,
            });
        }
        assert!(rows.start >= self.committed, "rows {rows:?} are committed up to {}", self.committed);
        assert!(rows.start <= self.filled, "rows {rows:?} leave a hole after {}", self.filled);
        self.filled = self.filled.max(rows.end);
        Ok(())
    }

    /// Writes the keys and values of the positions from `first` on. `keys`, `values`: `[rows, n_kv_heads * head_dim]`.
    ///
    /// # Panics
    /// If the rows were not opened by [`Self::begin`] or have another width.
    pub fn stage(&mut self, kernels: &Kernels, layer: usize, first: usize, keys: Rows<'_>, values: Rows<'_>) {
        let width = self.shape.n_kv_heads * self.shape.head_dim;
        assert!(keys.width() == width && values.width() == width, "rows of {width} numbers expected");
        assert!(keys.len() == values.len(), "{} keys, {} values", keys.len(), values.len());
        assert!(
            first >= self.committed && first + keys.len() <= self.filled,
            "rows from {first} were not opened"
        );
        let Layer { keys: stored_keys, values: stored_values } = &mut self.layers[layer];
        for (stored, rows) in [(stored_keys, keys), (stored_values, values)] {
            for i in 0..rows.len() {
                for (head, part) in rows.row(i).chunks_exact(self.shape.head_dim).enumerate() {
                    let at = (head * self.capacity + first + i) * self.shape.head_dim;
                    write(kernels, self.dtype, stored.as_mut(), at, part);
                }
            }
        }
    }

    /// Declares the next `rows` positions final.
    ///
    /// # Panics
    /// If they were not staged.
    pub fn commit(&mut self, rows: usize) {
        assert!(
            self.committed + rows <= self.filled,
            "commit of {rows} rows, of which some were never staged"
        );
        self.committed += rows;
    }

    /// Forgets everything after the first `length` positions.
    ///
    /// # Panics
    /// If they are not all committed.
    pub fn rewind(&mut self, length: usize) {
        assert!(
            length <= self.committed,
            "rewind to {length}, but only {} positions are committed",
            self.committed
        );
        self.committed = length;
        self.filled = length;
    }

    /// Keys of a layer.
    pub fn keys(&self, layer: usize) -> KvRows<'_> {
        view(self.dtype, self.layers[layer].keys.as_ref())
    }

    /// Values of a layer.
    pub fn values(&self, layer: usize) -> KvRows<'_> {
        view(self.dtype, self.layers[layer].values.as_ref())
    }
}

const ALIGNED: &str = "cache buffers are aligned and a whole number of elements";

fn view(dtype: KvDtype, bytes: &[u8]) -> KvRows<'_> {
    match dtype {
        KvDtype::F32 => KvRows::F32(as_slice(bytes).expect(ALIGNED)),
        KvDtype::F16 => KvRows::F16(as_slice(bytes).expect(ALIGNED)),
    }
}

/// Stores one head of one position at element `at`.
fn write(kernels: &Kernels, dtype: KvDtype, bytes: &mut [u8], at: usize, part: &[f32]) {
    match dtype {
        KvDtype::F32 => as_slice_mut::<f32>(bytes).expect(ALIGNED)[at..at + part.len()].copy_from_slice(part),
        KvDtype::F16 => {
            kernels.narrow(part, &mut as_slice_mut::<F16>(bytes).expect(ALIGNED)[at..at + part.len()]);
        }
    }
}

#[cfg(test)]
mod tests;
