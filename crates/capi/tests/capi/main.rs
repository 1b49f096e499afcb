//! The C interface, called as C calls it. `tools/check-capi.sh` adds the programs of examples/c and the Python package.

/// A C struct with everything 0, as `DIFFULEX_INIT` leaves it.
macro_rules! zeroed {
    ($type:ident) => {{
        // SAFETY: the structs of the interface are numbers and pointers.
        let mut value: $type = unsafe { std::mem::zeroed() };
        value.struct_size = size_of::<$type>();
        value
    }};
}

mod calls;
mod header;
mod text;
