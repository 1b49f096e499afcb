//! What C programs cannot provoke: panics, structs of other versions, strings at their limits.

use super::engine::EngineHandle;
use super::error::{ErrorText, Failure, MESSAGE, Outcome, Status, call};
use super::pointers::{read, slice, text, write};
use super::session::cache_name;
use super::structs::Versioned;
use super::{Request, diffulex_committed, diffulex_engine_free, diffulex_generate, diffulex_session_free};
use super::{diffulex_session_new, diffulex_status_name};
use diffulex::engine::Engine;
use diffulex::exec::Executor;
use diffulex::sampler::CachePlan;
use std::ffi::CStr;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a call reported.
fn message(text: &ErrorText) -> &str {
    // SAFETY: a message ends with NUL inside its array.
    unsafe { CStr::from_ptr(text.message.as_ptr()) }.to_str().unwrap()
}

fn failing(body: impl FnOnce() -> Outcome) -> (Status, String) {
    let mut error = ErrorText::EMPTY;
    // SAFETY: `error` is a local.
    let status = unsafe { call(&raw mut error, body) };
    assert_eq!(error.status, status, "the struct says what the call returns");
    (status, message(&error).to_string())
}

#[test]
fn every_status_has_the_name_of_the_header() {
    for (number, name) in [(0, c"DIFFULEX_OK"), (8, c"DIFFULEX_ARGUMENT"), (12, c"DIFFULEX_MEMORY")] {
        // SAFETY: a static string.
        assert_eq!(unsafe { CStr::from_ptr(diffulex_status_name(number)) }, name);
    }
    for number in [-1, 13, i32::MAX] {
        // SAFETY: a static string.
        assert_eq!(unsafe { CStr::from_ptr(diffulex_status_name(number)) }, c"DIFFULEX_UNKNOWN");
    }
}

#[test]
fn cache_plans_have_the_same_names_in_c() {
    for plan in CachePlan::ALL {
        assert_eq!(cache_name(plan).to_str(), Ok(plan.name()));
    }
}

#[test]
fn long_messages_are_cut_between_characters() {
    // 'é' takes two bytes, so that one of two lengths would cut it in half.
    for lead in ["", "x"] {
        let long = format!("{lead}{}", "é".repeat(MESSAGE));
        let (status, text) = failing(|| Err(Failure::argument(long.clone())));
        assert_eq!(status, Status::Argument);
        assert!(long.starts_with(&text) && text.len() >= MESSAGE - 2, "{} bytes", text.len());
    }
    let (_, text) = failing(|| Err(Failure::argument("a\0b")));
    assert_eq!(text, "a?b", "a NUL inside does not end the message");
    assert_eq!(failing(|| Ok(())), (Status::Ok, String::new()));
}

#[test]
fn a_panic_is_a_status_with_its_message() {
    assert_eq!(failing(|| panic!("text")), (Status::Panic, "text".into()));
    assert_eq!(failing(|| panic!("number {}", 7)), (Status::Panic, "number 7".into()));
    let odd = failing(|| std::panic::panic_any(7));
    assert_eq!(odd, (Status::Panic, "panic without a message".into()));
}

/// Panics when it is told to.
struct Faulty(AtomicBool);

impl Executor for Faulty {
    fn width(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        assert!(!self.0.load(Ordering::Relaxed), "the executor was told to fail");
        (0..tasks).for_each(task);
    }
}

#[test]
fn a_session_that_panicked_is_poisoned_and_others_are_not() {
    let faulty = Arc::new(Faulty(AtomicBool::new(false)));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/sdar-f32");
    let engine = Engine::builder().executor(faulty.clone()).context(64).open(path).unwrap();
    let engine = Arc::into_raw(Arc::new(EngineHandle::new(engine))).cast_mut();
    let prompt = [5, 173, 89, 198];
    let request = Request {
        struct_size: size_of::<Request>(),
        prompt: prompt.as_ptr(),
        prompt_len: prompt.len(),
        max_new: 4,
        policy: null(),
        stop: null(),
        stop_len: 0,
        seed: 0,
        padding: 0,
    };
    let mut sessions = [null_mut(); 2];
    for session in &mut sessions {
        // SAFETY: a live handle and a local.
        assert_eq!(unsafe { diffulex_session_new(engine, session, null_mut()) }, Status::Ok);
    }
    let generate = |session, error: &mut ErrorText| {
        // SAFETY: a live handle, locals.
        unsafe { diffulex_generate(session, &raw const request, None, null_mut(), null_mut(), error) }
    };
    let mut error = ErrorText::EMPTY;
    assert_eq!(generate(sessions[0], &mut error), Status::Ok, "{}", message(&error));
    faulty.0.store(true, Ordering::Relaxed);
    assert_eq!(generate(sessions[0], &mut error), Status::Panic);
    assert_eq!(message(&error), "the executor was told to fail");
    faulty.0.store(false, Ordering::Relaxed);
    assert_eq!(generate(sessions[0], &mut error), Status::Poisoned);
    let mut committed = 0;
    // SAFETY: a live handle, locals.
    let status = unsafe { diffulex_committed(sessions[0], &raw mut committed, null_mut()) };
    assert_eq!(status, Status::Poisoned);
    assert_eq!(generate(sessions[1], &mut error), Status::Ok, "{}", message(&error));
    // SAFETY: live handles, each freed once.
    unsafe {
        diffulex_engine_free(engine);
        diffulex_session_free(sessions[0]);
        diffulex_session_free(sessions[1]);
    }
}

/// A struct whose first version ended after `first`, as this library knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Grown {
    struct_size: usize,
    first: u64,
    second: u64,
}

// SAFETY: repr(C), its size first, numbers.
unsafe impl Versioned for Grown {
    const NAME: &'static str = "grown";
    const FIRST: usize = 16;
}

/// The same struct in the memory of a caller who knows `size` bytes of it.
fn caller(size: usize, words: [u64; 4]) -> [u64; 5] {
    [size as u64, words[0], words[1], words[2], words[3]]
}

#[test]
fn structs_of_older_and_newer_programs_are_read() {
    let read = |memory: &[u64; 5]| {
        // SAFETY: no case claims more bytes than the array has, or is read beyond what it claims.
        unsafe { read::<Grown>(memory.as_ptr().cast()) }
    };
    let second = |memory| read(&memory).map(|grown| (grown.first, grown.second)).map_err(|f| f.message);
    assert_eq!(second(caller(16, [1, 2, 3, 4])), Ok((1, 0)), "an older program: what it lacks is 0");
    assert_eq!(second(caller(24, [1, 2, 3, 4])), Ok((1, 2)));
    assert_eq!(second(caller(40, [1, 2, 0, 0])), Ok((1, 2)), "a newer program that uses nothing new");
    let newer = second(caller(40, [1, 2, 0, 4])).unwrap_err();
    assert!(newer.starts_with("grown: byte 32 is not 0"), "{newer}");
    let short = second(caller(15, [1, 2, 3, 4])).unwrap_err();
    assert!(short.contains("struct_size is 15, at least 16"), "{short}");
    // SAFETY: NULL is refused.
    assert_eq!(unsafe { super::pointers::read::<Grown>(null()) }.unwrap_err().message, "grown is NULL");
}

#[test]
fn structs_of_older_and_newer_programs_are_written() {
    let value = Grown { struct_size: size_of::<Grown>(), first: 8, second: 9 };
    let written = |mut memory: [u64; 5]| {
        // SAFETY: as many bytes as the array claims are its own.
        unsafe { write(memory.as_mut_ptr().cast(), &value) }.unwrap();
        memory
    };
    assert_eq!(
        written(caller(16, [1, 2, 3, 4])),
        [16, 8, 2, 3, 4],
        "nothing after an older struct is touched"
    );
    assert_eq!(written(caller(24, [1, 2, 3, 4])), [24, 8, 9, 3, 4]);
    assert_eq!(written(caller(32, [1, 2, 3, 4])), [32, 8, 9, 0, 4], "what a newer program knows is 0");
}

#[test]
fn pointers_that_cannot_be_used_are_named() {
    let two = [1u32, 2];
    // SAFETY: everything that is read is a local; the others are refused before.
    let found = unsafe {
        [
            slice::<u32>("ids", null(), 0).map(<[u32]>::len),
            slice("ids", two.as_ptr(), 2).map(<[u32]>::len),
            slice::<u32>("ids", null(), 1).map(<[u32]>::len),
            slice("ids", two.as_ptr().byte_add(1), 1).map(<[u32]>::len),
            slice("ids", two.as_ptr(), usize::MAX / 4).map(<[u32]>::len),
        ]
    };
    let found = found.map(|result| result.map_err(|failure| (failure.status, failure.message)));
    let refused = |message: &str| Err((Status::Argument, message.to_string()));
    let huge = format!("ids: {} elements are more than fit into the address space", usize::MAX / 4);
    let expected =
        [Ok(0), Ok(2), refused("ids is NULL"), refused("ids is not aligned to 4 bytes"), refused(&huge)];
    assert_eq!(found, expected);
    // SAFETY: a static string.
    let broken = unsafe { text("path", c"\xff".as_ptr()) }.unwrap_err();
    assert!(broken.message.starts_with("path is not UTF-8"), "{}", broken.message);
}
