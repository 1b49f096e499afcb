//! Weights as the tile loop sees them: one row of one format, decoded to f32 a vector at a time.

use crate::dtype::{Bf16, F16};
use crate::kernels::simd::Tile;

/// A row of stored weights. A new format implements this and nothing else to run on the FMA tile of every level.
pub(crate) trait Decode: Copy {
    /// Elements `at .. at + LANES` as f32.
    ///
    /// # Safety
    /// The row has these elements.
    unsafe fn load<S: Tile>(self, s: S, at: usize) -> S::V;

    /// Prefetches the cache line of element `at`, which need not exist.
    fn prefetch<S: Tile>(self, s: S, at: usize);

    /// Elements `at .. at + len` as f32, and 0 in the other lanes.
    ///
    /// # Safety
    /// The row has these elements, and `len < LANES`.
    unsafe fn load_partial<S: Tile>(self, s: S, at: usize, len: usize) -> S::V;
}

/// A row of plain numbers.
pub(crate) struct WeightRow<T>(*const T);

impl<T> Clone for WeightRow<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for WeightRow<T> {}

impl<T> WeightRow<T> {
    /// The row `x`. Its elements are those of `x`, as long as `x` lives.
    #[inline(always)]
    pub(crate) fn new(x: &[T]) -> Self {
        Self(x.as_ptr())
    }
}

impl Decode for WeightRow<f32> {
    #[inline(always)]
    unsafe fn load<S: Tile>(self, s: S, at: usize) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { s.load_f32(self.0.add(at)) }
    }
    #[inline(always)]
    fn prefetch<S: Tile>(self, s: S, at: usize) {
        s.prefetch(self.0.wrapping_add(at).cast());
    }
    #[inline(always)]
    unsafe fn load_partial<S: Tile>(self, s: S, at: usize, len: usize) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { s.load_f32_partial(self.0.add(at), len) }
    }
}

impl Decode for WeightRow<Bf16> {
    #[inline(always)]
    unsafe fn load<S: Tile>(self, s: S, at: usize) -> S::V {
        // SAFETY: the caller's contract; Bf16 is a transparent u16.
        unsafe { s.load_bf16(self.0.add(at).cast()) }
    }
    #[inline(always)]
    fn prefetch<S: Tile>(self, s: S, at: usize) {
        s.prefetch(self.0.wrapping_add(at).cast());
    }
    #[inline(always)]
    unsafe fn load_partial<S: Tile>(self, s: S, at: usize, len: usize) -> S::V {
        // SAFETY: the caller's contract; Bf16 is a transparent u16.
        unsafe { s.load_bf16_partial(self.0.add(at).cast(), len) }
    }
}

impl Decode for WeightRow<F16> {
    #[inline(always)]
    unsafe fn load<S: Tile>(self, s: S, at: usize) -> S::V {
        // SAFETY: the caller's contract; F16 is a transparent u16.
        unsafe { s.load_f16(self.0.add(at).cast()) }
    }
    #[inline(always)]
    fn prefetch<S: Tile>(self, s: S, at: usize) {
        s.prefetch(self.0.wrapping_add(at).cast());
    }
    #[inline(always)]
    unsafe fn load_partial<S: Tile>(self, s: S, at: usize, len: usize) -> S::V {
        // SAFETY: the caller's contract; F16 is a transparent u16.
        unsafe { s.load_f16_partial(self.0.add(at).cast(), len) }
    }
}
