//! Sequences of calls of the C interface: engines and sessions opened, used and freed in any order, callbacks that call back.
//!
//! The target does what the header requires of a caller (live handles, true lengths) and nothing else. It holds a small
//! model of every session: what is committed, and the arrays that its last generation handed out, which must stay as they are
//! until the next one.

use crate::capi_args::{self as args, AnyVersion};
use crate::engine::{CHECKPOINTS, damage};
use arbitrary::{Result, Unstructured};
use diffulex_capi::*;
use std::collections::VecDeque;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut};

/// Handles of each kind at a time.
const HANDLES: usize = 3;
/// Calls of a sequence.
const CALLS: usize = 24;

/// See the module.
pub fn check(data: &[u8]) {
    crate::with(data, |u| {
        let mut caller = Caller { engines: Vec::new(), sessions: Vec::new() };
        (0..CALLS).try_for_each(|_| if u.is_empty() { Ok(()) } else { caller.step(u) })
    });
}

/// A C program.
struct Caller {
    engines: Vec<*mut EngineHandle>,
    sessions: Vec<Slot>,
}

/// A session, and what is known of it.
struct Slot {
    handle: *mut SessionHandle,
    vocab: usize,
    context: usize,
    committed: usize,
    /// What the last generation handed out, and a copy.
    shown: Option<(Generation, [Vec<u32>; 2])>,
}

/// A call's status, checked against what it wrote, if it was given where to write.
fn told(error: Option<&ErrorText>, status: Status) -> Status {
    assert!(!matches!(status, Status::Panic | Status::Poisoned), "a defect");
    if let Some(error) = error {
        // SAFETY: a message ends with NUL inside its array.
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().expect("UTF-8");
        assert_eq!((error.status, message.is_empty()), (status, status == Status::Ok), "{message}");
    }
    status
}

/// Calls with somewhere to write the error to, or nowhere.
fn call(u: &mut Unstructured<'_>, function: impl FnOnce(*mut ErrorText) -> Status) -> Result<Status> {
    if u.ratio(1, 8)? {
        return Ok(told(None, function(null_mut())));
    }
    let mut error = ErrorText { status: Status::Busy, message: [1; _] };
    let status = function(&raw mut error);
    Ok(told(Some(&error), status))
}

impl Caller {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.engines.is_empty() && self.sessions.is_empty() {
            return self.open(u);
        }
        match u.int_in_range(0..=11)? {
            0 if self.engines.len() < HANDLES => self.open(u),
            1 => self.info(u),
            2 | 3 if self.sessions.len() < HANDLES => self.session(u),
            4 => self.free(u),
            5 | 6 => self.generate(u),
            _ => self.pass(u),
        }
    }

    fn open(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (config, weights) = u.choose(&CHECKPOINTS)?;
        let (mut config, mut weights) = (config.clone().into_bytes(), weights.clone());
        if u.ratio(1, 8)? {
            damage(u, &mut config)?;
            damage(u, &mut weights)?;
        }
        let generation = if u.ratio(1, 4)? { Some(args::generation_config(u)?) } else { None };
        let files = args::files(u, &config, generation.as_deref(), &weights)?;
        let texts = args::Texts::new(u)?;
        let options = args::options(u, &texts)?;
        let options = if u.ratio(1, 4)? { null() } else { options.as_ptr() };
        let mut engine = 1 as *mut EngineHandle;
        // SAFETY: locals that outlive the call; nothing is borrowed after it (`args::files`).
        let open =
            |error| unsafe { diffulex_engine_open_memory(files.as_ptr(), options, &raw mut engine, error) };
        let status = call(u, open)?;
        assert_eq!(status == Status::Ok, !engine.is_null(), "a handle if and only if it succeeds");
        self.engines.extend(Some(engine).filter(|engine| !engine.is_null()));
        Ok(())
    }

    /// One of the engines, or NULL if there is none.
    fn engine(&self, u: &mut Unstructured<'_>) -> Result<*mut EngineHandle> {
        if self.engines.is_empty() { Ok(null_mut()) } else { u.choose(&self.engines).copied() }
    }

    fn info(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let engine = self.engine(u)?;
        let mut info = args::info(u)?;
        // SAFETY: a live handle or NULL, and a local with as many bytes as it says.
        let status = call(u, |error| unsafe { diffulex_engine_info(engine, info.as_mut_ptr(), error) })?;
        if status == Status::Ok && info.is_whole() {
            let info = info.value();
            for text in [info.family, info.policy, info.level, info.activations, info.kv, info.weights] {
                // SAFETY: strings of a live engine end with NUL.
                assert!(!unsafe { CStr::from_ptr(text) }.is_empty());
            }
            assert!(info.vocab > 0 && info.context > 0 && info.threads > 0 && info.mask < info.vocab as i64);
        }
        Ok(())
    }

    fn session(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let engine = self.engine(u)?;
        let mut handle = 1 as *mut SessionHandle;
        // SAFETY: a live handle or NULL, and a local.
        let status = call(u, |error| unsafe { diffulex_session_new(engine, &raw mut handle, error) })?;
        assert_eq!(status == Status::Ok, !handle.is_null(), "a handle if and only if it succeeds");
        if handle.is_null() {
            return Ok(());
        }
        let mut info = AnyVersion::<Info>::zeroed();
        // SAFETY: a live handle and a local.
        let status = unsafe { diffulex_engine_info(engine, info.as_mut_ptr(), null_mut()) };
        assert_eq!(status, Status::Ok);
        let Info { vocab, context, .. } = *info.value();
        self.sessions.push(Slot { handle, vocab, context, committed: 0, shown: None });
        Ok(())
    }

    fn free(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if u.arbitrary()? && !self.engines.is_empty() {
            let engine = self.engines.swap_remove(u.choose_index(self.engines.len())?);
            // SAFETY: a live handle, forgotten here.
            unsafe { diffulex_engine_free(engine) };
        } else if !self.sessions.is_empty() {
            self.sessions.swap_remove(u.choose_index(self.sessions.len())?).free();
        } else {
            // SAFETY: NULL is fine.
            unsafe { diffulex_session_free(null_mut()) };
        }
        Ok(())
    }

    fn generate(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.sessions.is_empty() {
            return Ok(());
        }
        let at = u.choose_index(self.sessions.len())?;
        let slot = &mut self.sessions[at];
        slot.shown_is_unchanged();
        slot.shown = None;
        let (prompt, stop) = (args::ids(u, slot.vocab)?, args::ids(u, slot.vocab)?);
        let policy = args::policy(u)?;
        let request = args::request(u, &prompt, &stop, policy.as_deref())?;
        let mut generation = args::generation(u)?;
        let deeds = crate::bytes(u, 8)?.into();
        let mut listener = Listener { session: slot.handle, deeds, freed: false, stopped: false };
        let callback: Callback = if u.ratio(1, 4)? { None } else { Some(hear) };
        // SAFETY: a live handle and locals that outlive the call.
        let status = call(u, |error| unsafe {
            let (user_data, out) = ((&raw mut listener).cast(), generation.as_mut_ptr());
            diffulex_generate(slot.handle, request.as_ptr(), callback, user_data, out, error)
        })?;
        if listener.freed {
            self.sessions.swap_remove(at);
            return Ok(());
        }
        if generation.is_whole() {
            let generation = *generation.value();
            assert!(status == Status::Ok || generation.canvas.is_null(), "nothing after a failure");
            assert!(!listener.stopped || status != Status::Ok || generation.stop_reason == STOP_CANCELLED);
            slot.shown = Some((
                generation,
                [
                    list(generation.tokens, generation.tokens_len),
                    list(generation.canvas, generation.canvas_len),
                ],
            ));
        }
        slot.committed = slot.count(u)?;
        Ok(())
    }

    /// A call for a loop of one's own.
    fn pass(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.sessions.is_empty() {
            return Ok(());
        }
        let slot = {
            let at = u.choose_index(self.sessions.len())?;
            &mut self.sessions[at]
        };
        let handle = slot.handle;
        match u.int_in_range(0..=3)? {
            0 => {
                let ids = args::ids(u, slot.vocab)?;
                let first = if u.ratio(7, 8)? { slot.committed } else { u.arbitrary()? };
                let visible = u.int_in_range(-1..=2)?;
                // SAFETY: a live handle and a local, here and below.
                let forward = |error| unsafe {
                    diffulex_forward(handle, ids.as_ptr(), ids.len(), first, visible, error)
                };
                call(u, forward)?;
            }
            1 => {
                let rows: Vec<usize> =
                    args::ids(u, slot.vocab)?.into_iter().map(|id| id as usize % 8).collect();
                let mut logits = vec![f32::NAN; rows.len() * slot.vocab];
                // SAFETY: as above.
                let compute = |error| unsafe {
                    diffulex_logits(
                        handle,
                        rows.as_ptr(),
                        rows.len(),
                        logits.as_mut_ptr(),
                        logits.len(),
                        error,
                    )
                };
                let status = call(u, compute)?;
                assert!(
                    logits.iter().all(|x| x.is_nan()) || status == Status::Ok,
                    "written by a call that failed"
                );
            }
            2 => {
                let rows = if u.ratio(7, 8)? { u.int_in_range(0..=12)? } else { u.arbitrary()? };
                // SAFETY: as above.
                if call(u, |error| unsafe { diffulex_commit(handle, rows, error) })? == Status::Ok {
                    slot.committed += rows;
                }
            }
            _ => {
                let length =
                    if u.ratio(7, 8)? { u.int_in_range(0..=slot.committed)? } else { u.arbitrary()? };
                // SAFETY: as above.
                let status = call(u, |error| unsafe { diffulex_rewind(handle, length, error) })?;
                assert_eq!(status == Status::Ok, length <= slot.committed, "a rewind of {length}");
                if status == Status::Ok {
                    slot.committed = length;
                }
            }
        }
        assert_eq!(slot.count(u)?, slot.committed, "committed positions");
        slot.shown_is_unchanged();
        Ok(())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // Engines first: sessions keep what they need.
        for engine in self.engines.drain(..) {
            // SAFETY: a live handle, forgotten here.
            unsafe { diffulex_engine_free(engine) };
        }
        self.sessions.drain(..).for_each(Slot::free);
    }
}

impl Slot {
    fn count(&self, u: &mut Unstructured<'_>) -> Result<usize> {
        let mut committed = usize::MAX;
        // SAFETY: a live handle and a local.
        let status = call(u, |error| unsafe { diffulex_committed(self.handle, &raw mut committed, error) })?;
        assert!(status == Status::Ok && committed <= self.context, "{status:?}, {committed} positions");
        Ok(committed)
    }

    fn shown_is_unchanged(&self) {
        if let Some((shown, [tokens, canvas])) = &self.shown {
            assert_eq!(&list(shown.tokens, shown.tokens_len), tokens);
            assert_eq!(&list(shown.canvas, shown.canvas_len), canvas);
        }
    }

    fn free(self) {
        self.shown_is_unchanged();
        // SAFETY: a live handle, forgotten here.
        unsafe { diffulex_session_free(self.handle) };
    }
}

/// What a callback is told and does.
struct Listener {
    session: *mut SessionHandle,
    /// What to do at the next events.
    deeds: VecDeque<u8>,
    freed: bool,
    stopped: bool,
}

/// The callback: reads all that it is shown, and calls back.
unsafe extern "C" fn hear(event: *const Event, user_data: *mut c_void) -> c_int {
    // SAFETY: what `Caller::generate` hands over, used by nobody else during its call.
    let (event, listener) = unsafe { (&*event, &mut *user_data.cast::<Listener>()) };
    let canvas = list(event.canvas, event.canvas_len);
    assert!(event.prompt_len <= canvas.len() && event.begin <= event.end && event.end <= canvas.len());
    for token in
        list(event.tokens, event.tokens_len).iter().chain(&list(event.candidates, event.candidates_len))
    {
        assert!(token.position < canvas.len() && token.id != event.mask, "{token:?}");
    }
    match listener.deeds.pop_front() {
        Some(255) if !listener.freed => {
            listener.freed = true;
            // SAFETY: a live handle that nobody uses after this; `Caller::generate` forgets it.
            unsafe { diffulex_session_free(listener.session) };
        }
        Some(1..=15) if !listener.freed => {
            let mut committed = 0;
            // SAFETY: a live handle and a local.
            let status = unsafe { diffulex_committed(listener.session, &raw mut committed, null_mut()) };
            assert_eq!(status, Status::Busy, "a session that is in use");
        }
        Some(16..=31) => listener.stopped = true,
        _ => {}
    }
    c_int::from(listener.stopped)
}

/// A copy of an array of the library's.
fn list<T: Copy>(pointer: *const T, len: usize) -> Vec<T> {
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: the library says that this many elements are there; the address sanitizer finds out if they are not.
    unsafe { std::slice::from_raw_parts(pointer, len) }.to_vec()
}
