//! Keys and values in memory: [`Store`], pages of every layer.

use crate::bytes::{ALIGN, AlignedBuf, ask_for};
use crate::dtype::{F16, as_slice, as_slice_mut};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, KvRows};
use crate::tensor::Rows;
use std::ops::Range;

/// Positions in a page: as many as a tile of attention has keys at most, so that a tile of a sequence that sees everything
/// lies in one page. No block size has to divide it.
pub const PAGE: usize = 96;

/// From here on numbers round to an infinite f16.
const F16_END: f32 = 65520.0;

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
    /// [`Error::Option`] if there is no such type.
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

    /// Finds a number that would be stored as infinity; `what` and `layer` name it in the error.
    pub(super) fn check(self, numbers: &[f32], what: &str, layer: usize) -> Result<()> {
        let end = match self {
            Self::F32 => f32::INFINITY,
            Self::F16 => F16_END,
        };
        // The loop has no early exit, so that it is vectorized.
        if !numbers.iter().fold(false, |beyond, x| beyond | (x.abs() >= end)) {
            return Ok(());
        }
        let first = numbers.iter().find(|x| x.abs() >= end).copied().unwrap_or(f32::INFINITY);
        if first.is_infinite() {
            return Err(Error::NotFinite { place: format!("layer {layer}, a {what} for the cache") });
        }
        let reason = format!(
            "f16 given, but a {what} of layer {layer} is {first} and the largest number of f16 is 65504; \
             `--kv f32` (KvDtype::F32) keeps it"
        );
        Err(Error::option("kv", reason))
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

/// Index of a page, the same in all layers.
pub(super) type PageId = u32;

/// Keys and values of one layer: `[pages, n_kv_heads, PAGE, head_dim]` each.
struct Layer {
    keys: AlignedBuf,
    values: AlignedBuf,
}

/// The pages of all layers, regardless of who holds them.
pub(super) struct Store {
    shape: KvShape,
    dtype: KvDtype,
    pages: usize,
    layers: Vec<Layer>,
}

impl Store {
    /// Reserves memory, which is touched when it is used.
    ///
    /// # Errors
    /// [`Error::Capacity`] if the size in bytes overflows, [`Error::Memory`] if there is not that much.
    pub(super) fn new(shape: KvShape, dtype: KvDtype, pages: usize) -> Result<Self> {
        let per_page = shape.n_kv_heads * PAGE * shape.head_dim * dtype.size();
        let layer_bytes = per_page
            .checked_mul(pages)
            .filter(|bytes| bytes.checked_mul(2 * shape.layers).is_some_and(|all| all <= isize::MAX as usize))
            .filter(|_| u32::try_from(pages).is_ok())
            .ok_or(Error::Capacity {
                what: "positions in the key/value cache",
                limit: isize::MAX as usize / shape.bytes_per_token(dtype).max(1),
                asked: pages.saturating_mul(PAGE),
            })?;
        ask_for("the key/value cache", 2 * shape.layers * (layer_bytes + ALIGN))?;
        let layer =
            || Layer { keys: AlignedBuf::zeroed(layer_bytes), values: AlignedBuf::zeroed(layer_bytes) };
        let layers = (0..shape.layers).map(|_| layer()).collect();
        Ok(Self { shape, dtype, pages, layers })
    }

    /// Adds pages after those that are there, which keep their contents.
    ///
    /// # Errors
    /// As [`Self::new`]; nothing has changed then.
    pub(super) fn grow(&mut self, more: usize) -> Result<()> {
        let mut larger = Self::new(self.shape, self.dtype, self.pages.saturating_add(more))?;
        for (new, old) in larger.layers.iter_mut().zip(&self.layers) {
            new.keys.as_mut()[..old.keys.as_ref().len()].copy_from_slice(old.keys.as_ref());
            new.values.as_mut()[..old.values.as_ref().len()].copy_from_slice(old.values.as_ref());
        }
        *self = larger;
        Ok(())
    }

    pub(super) fn shape(&self) -> KvShape {
        self.shape
    }

    pub(super) fn dtype(&self) -> KvDtype {
        self.dtype
    }

    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// All keys of a layer.
    pub(super) fn keys(&self, layer: usize) -> KvRows<'_> {
        view(self.dtype, self.layers[layer].keys.as_ref())
    }

    /// All values of a layer.
    pub(super) fn values(&self, layer: usize) -> KvRows<'_> {
        view(self.dtype, self.layers[layer].values.as_ref())
    }

    /// Element where the row of a head begins.
    fn at(&self, page: PageId, head: usize, inside: usize) -> usize {
        ((page as usize * self.shape.n_kv_heads + head) * PAGE + inside) * self.shape.head_dim
    }

    /// Writes the keys and values of consecutive positions from `first` on, which `table` places.
    /// `keys`, `values`: `[rows, n_kv_heads * head_dim]`.
    pub(super) fn write(
        &mut self,
        kernels: &Kernels,
        layer: usize,
        table: &[PageId],
        first: usize,
        [keys, values]: [Rows<'_>; 2],
    ) {
        for i in 0..keys.len() {
            let (page, inside) = (table[(first + i) / PAGE], (first + i) % PAGE);
            for head in 0..self.shape.n_kv_heads {
                let at = self.at(page, head, inside);
                let part = head * self.shape.head_dim..(head + 1) * self.shape.head_dim;
                let Layer { keys: stored_keys, values: stored_values } = &mut self.layers[layer];
                write(kernels, self.dtype, stored_keys.as_mut(), at, &keys.row(i)[part.clone()]);
                write(kernels, self.dtype, stored_values.as_mut(), at, &values.row(i)[part]);
            }
        }
    }

    /// Copies the first `rows` positions of a page.
    pub(super) fn copy(&mut self, from: PageId, to: PageId, rows: usize) {
        let bytes = self.dtype.size();
        for head in 0..self.shape.n_kv_heads {
            let (source, target) = (self.at(from, head, 0) * bytes, self.at(to, head, 0) * bytes);
            let range: Range<usize> = source..source + rows * self.shape.head_dim * bytes;
            for Layer { keys, values } in &mut self.layers {
                keys.as_mut().copy_within(range.clone(), target);
                values.as_mut().copy_within(range.clone(), target);
            }
        }
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
