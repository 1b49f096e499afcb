//! The C interface, called as C calls it. `tools/check-capi.sh` adds the programs of examples/c and the Python package.

mod calls;
mod header;
