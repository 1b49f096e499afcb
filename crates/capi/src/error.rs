//! Statuses and messages, and the boundary that no panic crosses: [`call`].

use diffulex::error::Error;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `diffulex_status`.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// [`Error::Io`].
    Io = 1,
    /// Malformed input, or input that does not fit the config.
    Format = 2,
    /// [`Error::Unsupported`].
    Unsupported = 3,
    /// [`Error::Option`].
    Option = 4,
    /// [`Error::Capacity`].
    Capacity = 5,
    /// [`Error::TokenId`].
    Token = 6,
    /// [`Error::NotFinite`].
    NotFinite = 7,
    /// A wrong call.
    Argument = 8,
    /// The session is serving another call.
    Busy = 9,
    /// The session panicked before.
    Poisoned = 10,
    /// A panic was caught.
    Panic = 11,
    /// [`Error::Memory`].
    Memory = 12,
}

impl Status {
    const ALL: [(Self, &CStr); 13] = [
        (Self::Ok, c"DIFFULEX_OK"),
        (Self::Io, c"DIFFULEX_IO"),
        (Self::Format, c"DIFFULEX_FORMAT"),
        (Self::Unsupported, c"DIFFULEX_UNSUPPORTED"),
        (Self::Option, c"DIFFULEX_OPTION"),
        (Self::Capacity, c"DIFFULEX_CAPACITY"),
        (Self::Token, c"DIFFULEX_TOKEN"),
        (Self::NotFinite, c"DIFFULEX_NOT_FINITE"),
        (Self::Argument, c"DIFFULEX_ARGUMENT"),
        (Self::Busy, c"DIFFULEX_BUSY"),
        (Self::Poisoned, c"DIFFULEX_POISONED"),
        (Self::Panic, c"DIFFULEX_PANIC"),
        (Self::Memory, c"DIFFULEX_MEMORY"),
    ];
}

/// The name of a status.
#[unsafe(no_mangle)]
pub extern "C" fn diffulex_status_name(status: i32) -> *const c_char {
    let known = Status::ALL.iter().find(|(known, _)| *known as i32 == status);
    known.map_or(c"DIFFULEX_UNKNOWN", |(_, name)| name).as_ptr()
}

/// Bytes of a message, NUL included.
pub(super) const MESSAGE: usize = 1020;

/// `diffulex_error`.
#[repr(C)]
pub struct ErrorText {
    /// The status of the call.
    pub status: Status,
    /// Why, ends with NUL.
    pub message: [c_char; MESSAGE],
}

impl ErrorText {
    /// Success, without a message.
    pub const EMPTY: Self = Self { status: Status::Ok, message: [0; MESSAGE] };

    fn new(failure: &Failure) -> Self {
        let mut text = Self { status: failure.status, ..Self::EMPTY };
        // One byte stays for the NUL; a character that does not fit is left out as a whole.
        let fits = failure.message.floor_char_boundary(MESSAGE - 1);
        // A NUL inside would end the string early.
        let bytes = failure.message[..fits].bytes().map(|byte| if byte == 0 { b'?' } else { byte });
        for (to, byte) in text.message.iter_mut().zip(bytes) {
            *to = byte as c_char;
        }
        text
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: Status,
    pub(super) message: String,
}

/// Result of a call.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A wrong call.
    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self { status: Status::Argument, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Io { .. } => Status::Io,
            Error::Unsupported { .. } => Status::Unsupported,
            Error::Option { .. } => Status::Option,
            Error::Capacity { .. } => Status::Capacity,
            Error::Memory { .. } => Status::Memory,
            Error::TokenId { .. } => Status::Token,
            Error::NotFinite { .. } => Status::NotFinite,
            // Every other variant says what is wrong with the contents of an input.
            _ => Status::Format,
        };
        Self { status, message: error.to_string() }
    }
}

/// Runs the body of a function of the interface, and reports how it ended.
///
/// # Safety
/// `error` is NULL or points to writable memory of that type.
pub(super) unsafe fn call(error: *mut ErrorText, body: impl FnOnce() -> Outcome) -> Status {
    // Unwind safe: a session that panicked has a poisoned lock, and everything else that is shared is never written.
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(Failure {
            status: Status::Panic,
            message: text.unwrap_or_else(|| "panic without a message".into()),
        })
    });
    let (status, text) = match &outcome {
        Ok(()) => (Status::Ok, ErrorText::EMPTY),
        Err(failure) => (failure.status, ErrorText::new(failure)),
    };
    if !error.is_null() {
        // SAFETY: not NULL, and writable by the contract of this function.
        unsafe { error.write(text) };
    }
    status
}
