//! Checked casts between byte slices and slices of plain numbers. The only file that reinterprets memory.

use super::{Bf16, F16};

/// Types that are plain bits: no padding, no invalid pattern, no pointer.
///
/// # Safety
/// Every bit pattern of `size_of::<T>()` bytes must be a valid `T`, and `T` must have no padding bytes.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: primitive numbers have no padding, and every pattern is a value.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: transparent wrappers of u16.
unsafe impl Plain for Bf16 {}
// SAFETY: as above.
unsafe impl Plain for F16 {}

/// The bytes of a slice of numbers, in native (little-endian) order.
pub fn as_bytes<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: the length is that of `values` in bytes; u8 has no alignment; T: Plain has no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The bytes of a mutable slice of numbers.
pub fn as_bytes_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `as_bytes`; every pattern written is a valid T; the borrow stays exclusive.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// Views bytes as numbers. `None` if the length is not a multiple of the element size or the start is misaligned.
pub fn as_slice<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    if !bytes.len().is_multiple_of(size_of::<T>()) || !bytes.as_ptr().cast::<T>().is_aligned() {
        return None;
    }
    // SAFETY: length and alignment were checked above; T: Plain accepts every pattern.
    Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

/// Views mutable bytes as numbers, under the conditions of [`as_slice`].
pub fn as_slice_mut<T: Plain>(bytes: &mut [u8]) -> Option<&mut [T]> {
    if !bytes.len().is_multiple_of(size_of::<T>()) || !bytes.as_ptr().cast::<T>().is_aligned() {
        return None;
    }
    // SAFETY: as in `as_slice`; the borrow stays exclusive.
    Some(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) })
}
