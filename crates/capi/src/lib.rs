//! The C interface: what `include/diffulex.h` declares. The header documents every function, ownership and threads.
//!
//! A thin layer: pointers become slices and strings (`pointers.rs`), an [`Error`](diffulex::Error) or a panic becomes a status and a
//! message (`error.rs`), and everything else is [`Engine`](diffulex::Engine), [`Session`](diffulex::Session) and
//! [`Model`](diffulex::Model). Handles are shared
//! pointers, so that a session keeps its engine alive and may be freed inside its own callback.
//!
//! The names on the Rust side are those of the header without the prefix: [`Options`] is `diffulex_options`.

mod ask;
mod engine;
mod error;
mod model;
mod passes;
mod pointers;
mod session;
mod structs;
#[cfg(test)]
mod tests;

pub use ask::{Answer, Message, Question, TextCallback, diffulex_ask};
pub use engine::{
    EngineHandle, diffulex_engine_free, diffulex_engine_info, diffulex_engine_open,
    diffulex_engine_open_memory,
};
pub use error::{ErrorText, Status, diffulex_status_name};
pub use model::{
    ModelHandle, diffulex_decode, diffulex_encode, diffulex_model_engine, diffulex_model_free,
    diffulex_model_open,
};
pub use passes::{diffulex_commit, diffulex_committed, diffulex_forward, diffulex_logits, diffulex_rewind};
pub use session::{SessionHandle, diffulex_generate, diffulex_session_free, diffulex_session_new};
pub use structs::*;

use std::ffi::c_char;

/// `DIFFULEX_ABI_VERSION` of the header. The soname of the installed library ends with it.
pub const ABI_VERSION: u32 = 0;

/// The version of the library, ends with NUL.
#[unsafe(no_mangle)]
pub extern "C" fn diffulex_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// [`ABI_VERSION`] of this build.
#[unsafe(no_mangle)]
pub extern "C" fn diffulex_abi_version() -> u32 {
    ABI_VERSION
}
