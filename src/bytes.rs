//! [`Bytes`]: a shared, immutable run of bytes with one owner.
//!
//! A mapped file, an aligned buffer read from disk, a `&'static` slice or the embedder's own storage all become the same
//! type, so nothing above this module carries a lifetime or knows where weights live. Cloning and slicing are cheap and
//! never copy.

use crate::error::{Error, Result};
use crate::system::{LARGE_PAGE, prefer_large_pages};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Alignment of buffers that this crate allocates, in bytes: one cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// A shared slice of bytes. Cheap to clone and to slice.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// Takes any owner of bytes: a map, a `Vec<u8>`, a `&'static [u8]`.
    ///
    /// The owner's `as_ref` must return the same slice every time; if a later call returns a shorter one, access panics.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::shared(Arc::new(owner))
    }

    /// Takes an owner that others hold too.
    pub fn shared(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        let range = 0..(*owner).as_ref().len();
        Self { owner, range }
    }

    /// Copies `bytes` into a buffer aligned to [`ALIGN`].
    pub fn copy_aligned(bytes: &[u8]) -> Self {
        let mut buffer = AlignedBuf::zeroed(bytes.len());
        buffer.as_mut().copy_from_slice(bytes);
        Self::new(buffer)
    }

    /// The sub-slice `range`, relative to this slice, sharing the owner.
    ///
    /// # Panics
    /// If `range` is out of bounds.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "slice {range:?} of {} bytes is out of bounds",
            self.len()
        );
        Self {
            owner: Arc::clone(&self.owner),
            range: self.range.start + range.start..self.range.start + range.end,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({} bytes)", self.len())
    }
}

/// Requests memory from the system and gives it back at once, before a buffer takes it: a refusal inside a buffer ends the process.
/// Others may still take the memory in between. `what` is what it is for.
///
/// # Errors
/// [`Error::Memory`] if there is not that much.
pub(crate) fn ask_for(what: impl Into<String>, bytes: usize) -> Result<()> {
    let mut memory = Vec::<u8>::new();
    let granted = memory.try_reserve_exact(bytes).is_ok();
    // An allocation that is never used may be optimized away, and its failure with it.
    std::hint::black_box(&memory);
    if granted { Ok(()) } else { Err(Error::Memory { what: what.into(), bytes }) }
}

/// A buffer of bytes whose first byte is aligned to [`ALIGN`], and to large pages if it has the length of one.
pub struct AlignedBuf {
    /// As many bytes more than `len` as aligning takes; never resized, so `start` stays aligned.
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes. Their pages are not touched before they are written (the allocator hands out zero pages).
    pub fn zeroed(len: usize) -> Self {
        let align = if len < LARGE_PAGE { ALIGN } else { LARGE_PAGE };
        let mut storage = vec![0; len + align - 1];
        let start = storage.as_ptr().align_offset(align);
        prefer_large_pages(&mut storage[start..][..len]);
        Self { storage, start, len }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl AsMut<[u8]> for AlignedBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}
