//! From the caller's pointers to slices, strings and structs. What can be checked is checked; what cannot is the contract of the
//! header: a pointer that is not NULL points to as many elements as its length says, and nothing writes them during the call.

use super::error::{Failure, Outcome};
use super::structs::Versioned;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// The elements of an array; NULL with length 0 is empty. `name` is the argument or member, for messages.
///
/// # Safety
/// NULL, or `len` elements that are valid and not written for `'a`.
pub(super) unsafe fn slice<'a, T>(name: &str, pointer: *const T, len: usize) -> Outcome<&'a [T]> {
    check(name, pointer, len)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: aligned, not NULL and at most isize::MAX bytes, as checked; valid and unwritten by the contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// The same for elements that will be written.
///
/// # Safety
/// NULL, or `len` elements that are valid, writable and not otherwise used for `'a`.
pub(super) unsafe fn slice_mut<'a, T>(name: &str, pointer: *mut T, len: usize) -> Outcome<&'a mut [T]> {
    check(name, pointer, len)?;
    if len == 0 {
        return Ok(&mut []);
    }
    // SAFETY: aligned, not NULL and at most isize::MAX bytes, as checked; valid and exclusive by the contract.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

fn check<T>(name: &str, pointer: *const T, len: usize) -> Outcome {
    if len == 0 {
        return Ok(());
    }
    required(name, pointer)?;
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::argument(format!(
            "{name}: {len} elements are more than fit into the address space"
        )));
    }
    Ok(())
}

/// Refuses a pointer to a `T` that is NULL or misaligned.
pub(super) fn required<T>(name: &str, pointer: *const T) -> Outcome {
    if pointer.is_null() {
        return Err(Failure::argument(format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{name} is not aligned to {} bytes", align_of::<T>())));
    }
    Ok(())
}

/// A string, or `None` for NULL.
///
/// # Safety
/// NULL, or bytes that end with NUL and are not written for `'a`.
pub(super) unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Outcome<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, ends with NUL by the contract.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|error| Failure::argument(format!("{name} is not UTF-8: {error}")))
}

/// Bytes of a struct that the caller knows, checked.
///
/// # Safety
/// NULL, or at least a `usize` is readable.
unsafe fn known_size<T: Versioned>(pointer: *const T) -> Outcome<usize> {
    required(T::NAME, pointer)?;
    // SAFETY: not NULL, aligned for the whole struct, and `T: Versioned` begins with a usize.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < T::FIRST {
        let reason = format!(
            "{}.struct_size is {size}, at least {} expected; DIFFULEX_INIT sets it",
            T::NAME,
            T::FIRST
        );
        return Err(Failure::argument(reason));
    }
    Ok(size)
}

/// Reads a struct of this or another version of the header.
///
/// # Safety
/// NULL, or as many readable bytes as its `struct_size` says.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T) -> Outcome<T> {
    // SAFETY: by the contract.
    let size = unsafe { known_size(pointer) }?;
    let bytes = pointer.cast::<u8>();
    // SAFETY: `size` bytes are readable by the contract, and the offset is below it.
    let unknown = (size_of::<T>()..size).find(|&at| unsafe { bytes.add(at).read() } != 0);
    if let Some(at) = unknown {
        let reason = format!(
            "{}: byte {at} is not 0, but version {} knows only {}",
            T::NAME,
            env!("CARGO_PKG_VERSION"),
            size_of::<T>()
        );
        return Err(Failure::argument(reason));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: source and target hold at least the smaller of both sizes; a new local does not overlap.
    unsafe { bytes.copy_to_nonoverlapping(value.as_mut_ptr().cast(), size.min(size_of::<T>())) };
    // SAFETY: `T: Versioned` takes every bit pattern, zeros included.
    Ok(unsafe { value.assume_init() })
}

/// Writes a struct of this or another version of the header; the caller's `struct_size` stays.
///
/// # Safety
/// NULL, or as many writable bytes as its `struct_size` says.
pub(super) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) -> Outcome {
    // SAFETY: by the contract.
    let size = unsafe { known_size(pointer) }?;
    let (from, to) = ((&raw const *value).cast::<u8>(), pointer.cast::<u8>());
    let (skip, common) = (size_of::<usize>(), size.min(size_of::<T>()));
    // SAFETY: `common` bytes of each, without the leading usize; `value` is a borrow, so the caller's memory does not overlap it.
    unsafe { from.add(skip).copy_to_nonoverlapping(to.add(skip), common - skip) };
    // SAFETY: the rest of the caller's `size` bytes.
    unsafe { to.add(common).write_bytes(0, size - common) };
    Ok(())
}
