//! `diffulex_session`, and generating with it.

use super::engine::{EngineHandle, clear, release, share};
use super::error::{ErrorText, Failure, Outcome, Status, call};
use super::pointers::{read, slice, text, write};
use super::structs;
use super::structs::{Callback, Event, Generation, Request, Token};
use diffulex::engine::{self, Control, Overrides, PassKind, Session, StopReason};
use diffulex::sampler::{CachePlan, Candidate, Canvas, Edit};
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, TryLockError};

/// `diffulex_session`. The lock says that a call is in progress, and remembers a panic; it is never waited for.
pub struct SessionHandle(Mutex<State>);

/// A session and what its calls leave.
pub(super) struct State {
    pub(super) session: Session<'static>,
    pub(super) engine: Arc<EngineHandle>,
    /// Rows of the latest pass of the caller's own, whose logits may be requested.
    pub(super) rows: usize,
    /// Owns the arrays that the caller was shown.
    generation: Option<engine::Generation>,
    /// The text of the latest answer and a NUL: owned here, shown to the caller.
    pub(super) answer: String,
}

impl SessionHandle {
    /// Does something with the session.
    ///
    /// # Errors
    /// [`Status::Busy`], [`Status::Poisoned`], and what `work` says.
    pub(super) fn with(&self, work: impl FnOnce(&mut State) -> Outcome) -> Outcome {
        let refuse = |status, message: &str| Err(Failure { status, message: message.into() });
        match self.0.try_lock() {
            Ok(mut state) => work(&mut state),
            Err(TryLockError::WouldBlock) => refuse(Status::Busy, "the session is serving another call"),
            Err(TryLockError::Poisoned(_)) => {
                refuse(Status::Poisoned, "an earlier call with this session panicked; it can only be freed")
            }
        }
    }
}

/// A new session.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_session_new(
    engine: *const EngineHandle,
    session: *mut *mut SessionHandle,
    error: *mut ErrorText,
) -> Status {
    let open = || {
        // SAFETY: the contract of this function, for this and the blocks below.
        unsafe { clear("session", session) }?;
        // SAFETY: as above.
        let engine = unsafe { share("engine", engine) }?;
        let state = State {
            session: engine.engine.shared_session()?,
            engine,
            rows: 0,
            generation: None,
            answer: String::new(),
        };
        let handle = Arc::into_raw(Arc::new(SessionHandle(Mutex::new(state)))).cast_mut();
        // SAFETY: `clear` has written there. `diffulex_session_free` takes this share back.
        unsafe { session.write(handle) };
        Ok(())
    };
    // SAFETY: the contract of this function.
    unsafe { call(error, open) }
}

/// Gives a share back.
///
/// # Safety
/// NULL, or a handle that was handed out and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_session_free(session: *mut SessionHandle) {
    // SAFETY: the contract of this function.
    unsafe { release(session) };
}

/// Generates.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_generate(
    session: *mut SessionHandle,
    request: *const Request,
    callback: Callback,
    user_data: *mut c_void,
    generation: *mut Generation,
    error: *mut ErrorText,
) -> Status {
    let generate = || {
        if !generation.is_null() {
            // SAFETY: the contract of this function, for this and the blocks below.
            unsafe { write(generation, &Generation::EMPTY) }?;
        }
        // SAFETY: as above.
        let handle = unsafe { share("session", session) }?;
        // SAFETY: as above.
        let request = unsafe { read(request) }?;
        handle.with(|state| {
            let listener = Listener { callback, user_data, tokens: Vec::new(), candidates: Vec::new() };
            // SAFETY: as above.
            unsafe { state.generate(&request, listener) }?;
            match &state.generation {
                // SAFETY: as above.
                Some(done) if !generation.is_null() => unsafe { write(generation, &Generation::of(done)) },
                _ => Ok(()),
            }
        })
    };
    // SAFETY: as above.
    unsafe { call(error, generate) }
}

impl State {
    /// # Safety
    /// Members of the request and the callback as the header says.
    unsafe fn generate(&mut self, request: &Request, mut listener: Listener) -> Outcome {
        self.generation = None;
        // The latest pass will be one of the generation.
        self.rows = 0;
        let handle = Arc::clone(&self.engine);
        // SAFETY: by the contract, for this and the blocks below.
        let prompt = unsafe { slice("diffulex_request.prompt", request.prompt, request.prompt_len) }?;
        // SAFETY: as above.
        let stop = unsafe { slice("diffulex_request.stop", request.stop, request.stop_len) }?;
        // SAFETY: as above.
        let text = unsafe { text("diffulex_request.policy", request.policy) }?;
        let policy = text.unwrap_or_default().parse::<Overrides>()?.policy(&handle.engine)?;
        let request = engine::Request {
            stop: if request.stop.is_null() { handle.engine.stop() } else { stop },
            seed: request.seed,
            padding: request.padding,
            ..engine::Request::new(prompt, request.max_new, &policy)
        };
        // SAFETY: as above.
        let generation = self.session.generate(&request, &mut |event| unsafe { listener.hear(event) })?;
        self.generation = Some(generation);
        Ok(())
    }
}

/// The caller's callback, and buffers for what it is told.
struct Listener {
    callback: Callback,
    user_data: *mut c_void,
    tokens: Vec<Token>,
    candidates: Vec<Token>,
}

impl Listener {
    /// # Safety
    /// The callback may be called with `user_data` on this thread.
    unsafe fn hear(&mut self, event: engine::Event<'_>) -> diffulex::Result<Control> {
        let Some(callback) = self.callback else { return Ok(Control::Continue) };
        let event = self.translate(event);
        // SAFETY: the contract of this function; the event and what it points to live until the callback returns.
        Ok(match unsafe { callback(&raw const event, self.user_data) } {
            0 => Control::Continue,
            _ => Control::Stop,
        })
    }

    fn translate(&mut self, event: engine::Event<'_>) -> Event {
        match event {
            engine::Event::Pass { kind, index, rows, cached, canvas } => Event {
                pass: match kind {
                    PassKind::Prefill => structs::PASS_PREFILL,
                    PassKind::Denoise => structs::PASS_DENOISE,
                    PassKind::Commit => structs::PASS_COMMIT,
                },
                pass_index: index,
                begin: rows.start,
                end: rows.end,
                cached,
                ..Event::new(structs::EVENT_PASS, canvas)
            },
            engine::Event::Revealed { tokens, edits, candidates, canvas, .. } => {
                fill(&mut self.tokens, tokens);
                let changed = |edit: &Edit| Token { position: edit.pos, score: edit.score, id: edit.token };
                self.tokens.extend(edits.iter().map(changed));
                fill(&mut self.candidates, candidates);
                Event {
                    tokens: self.tokens.as_ptr(),
                    tokens_len: self.tokens.len(),
                    candidates: self.candidates.as_ptr(),
                    candidates_len: self.candidates.len(),
                    ..Event::new(structs::EVENT_REVEALED, canvas)
                }
            }
            engine::Event::Block { range, canvas } => {
                Event { begin: range.start, end: range.end, ..Event::new(structs::EVENT_BLOCK, canvas) }
            }
        }
    }
}

fn fill(tokens: &mut Vec<Token>, candidates: &[Candidate]) {
    tokens.clear();
    tokens.extend(candidates.iter().map(|c| Token { position: c.pos, score: c.score, id: c.token }));
}

impl Event {
    /// What every event reports.
    fn new(kind: i32, canvas: &Canvas) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            kind,
            pass: 0,
            pass_index: 0,
            begin: 0,
            end: 0,
            cached: 0,
            canvas: canvas.ids().as_ptr(),
            canvas_len: canvas.len(),
            prompt_len: canvas.prompt(),
            tokens: ptr::null(),
            tokens_len: 0,
            candidates: ptr::null(),
            candidates_len: 0,
            mask: canvas.mask(),
        }
    }
}

impl Generation {
    /// What a failing call leaves.
    const EMPTY: Self = Self {
        struct_size: size_of::<Self>(),
        tokens: ptr::null(),
        tokens_len: 0,
        canvas: ptr::null(),
        canvas_len: 0,
        new_tokens: 0,
        nfe: 0,
        prefill_passes: 0,
        prefill_seconds: 0.0,
        decode_seconds: 0.0,
        cache: ptr::null(),
        stop_reason: structs::STOP_LENGTH,
        stop_id: 0,
    };

    /// Points into `done`.
    fn of(done: &engine::Generation) -> Self {
        let (stop_reason, stop_id) = stop_reason(done.stop);
        Self {
            struct_size: size_of::<Self>(),
            tokens: done.tokens.as_ptr(),
            tokens_len: done.tokens.len(),
            canvas: done.canvas.as_ptr(),
            canvas_len: done.canvas.len(),
            new_tokens: done.new_tokens(),
            nfe: done.nfe,
            prefill_passes: done.prefill_passes,
            prefill_seconds: done.timings.prefill.as_secs_f64(),
            decode_seconds: done.timings.decode.as_secs_f64(),
            cache: cache_name(done.cache).as_ptr(),
            stop_reason,
            stop_id,
        }
    }
}

/// `DIFFULEX_STOP_*`, and the id that stopped.
pub(super) fn stop_reason(stop: StopReason) -> (i32, u32) {
    match stop {
        StopReason::Length => (structs::STOP_LENGTH, 0),
        StopReason::Stop(id) => (structs::STOP_TOKEN, id),
        StopReason::Cancelled => (structs::STOP_CANCELLED, 0),
    }
}

/// [`CachePlan::name`] with the NUL that C needs; a test compares both.
pub(super) fn cache_name(plan: CachePlan) -> &'static CStr {
    match plan {
        CachePlan::None => c"none",
        CachePlan::Prefix => c"prefix",
        CachePlan::Dual => c"dual",
        CachePlan::Block => c"block",
        CachePlan::SubBlock => c"sub-block",
    }
}
