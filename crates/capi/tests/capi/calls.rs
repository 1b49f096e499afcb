//! Calls with right and wrong arguments, compared with what the engine itself does.

use diffulex::cache::{KvDtype, Visible};
use diffulex::engine::{Overrides, StopReason};
use diffulex::model::Probe;
use diffulex::{Control, Engine};
use diffulex_capi::*;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// What a call left in its error.
fn message(error: &ErrorText) -> String {
    // SAFETY: a message ends with NUL inside its array.
    unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().unwrap().to_string()
}

/// A call that succeeds; returns nothing.
#[track_caller]
pub(crate) fn done(call: impl FnOnce(*mut ErrorText) -> Status) {
    let mut error = ErrorText::EMPTY;
    assert_eq!(call(&raw mut error), Status::Ok, "{}", message(&error));
}

/// A call that fails; returns its message.
#[track_caller]
pub(crate) fn refused(status: Status, call: impl FnOnce(*mut ErrorText) -> Status) -> String {
    let mut error = ErrorText::EMPTY;
    assert_eq!(call(&raw mut error), status, "{}", message(&error));
    assert_eq!(error.status, status, "the struct says what the call returns");
    let message = message(&error);
    assert!(!message.is_empty(), "a failure has a message");
    message
}

/// Frees at the end of a test.
pub(crate) struct Engines(pub(crate) *mut EngineHandle);
pub(crate) struct Sessions(pub(crate) *mut SessionHandle);

impl Drop for Engines {
    fn drop(&mut self) {
        // SAFETY: handed out once, freed once.
        unsafe { diffulex_engine_free(self.0) };
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        // SAFETY: handed out once, freed once.
        unsafe { diffulex_session_free(self.0) };
    }
}

fn open(name: &str) -> Engines {
    let path = CString::new(golden(name).to_str().unwrap()).unwrap();
    let mask = mask(name);
    let mut options = zeroed!(Options);
    (options.threads, options.context, options.kv, options.mask) = (2, 256, c"f32".as_ptr(), &raw const mask);
    let mut engine = null_mut();
    // SAFETY: locals.
    done(|error| unsafe { diffulex_engine_open(path.as_ptr(), &raw const options, &raw mut engine, error) });
    Engines(engine)
}

pub(crate) fn session(engine: &Engines) -> Sessions {
    let mut session = null_mut();
    // SAFETY: a live handle, a local.
    done(|error| unsafe { diffulex_session_new(engine.0, &raw mut session, error) });
    Sessions(session)
}

/// The recorded mask id: two configs do not name it.
fn mask(name: &str) -> u32 {
    let manifest = diffulex::json::Value::read(&golden(name).join("golden.json")).unwrap();
    manifest.get("mask_token_id").unwrap().as_u64().unwrap() as u32
}

fn reference(name: &str) -> Engine {
    Engine::builder().threads(2).context(256).kv(KvDtype::F32).mask(mask(name)).open(golden(name)).unwrap()
}

const PROMPT: [u32; 10] = [159, 189, 224, 95, 202, 125, 79, 251, 134, 236];

fn request(max_new: usize) -> Request {
    let mut request = zeroed!(Request);
    (request.prompt, request.prompt_len, request.max_new) = (PROMPT.as_ptr(), PROMPT.len(), max_new);
    request
}

/// What a callback was told: kind, the canvas, what was revealed.
type Heard = Vec<(i32, Vec<u32>, Vec<(usize, u32, u64)>)>;

/// The array of an event or a generation.
fn array<T: Clone>(pointer: *const T, len: usize) -> Vec<T> {
    match len {
        0 => Vec::new(),
        // SAFETY: the library says how long its arrays are.
        _ => unsafe { std::slice::from_raw_parts(pointer, len) }.to_vec(),
    }
}

unsafe extern "C" fn hear(event: *const Event, user_data: *mut c_void) -> c_int {
    // SAFETY: the caller below passes a `Heard`, and the library a live event.
    let (event, heard) = unsafe { (&*event, &mut *user_data.cast::<Heard>()) };
    assert_eq!(event.struct_size, size_of::<Event>(), "the library says what it knows");
    let tokens = array(event.tokens, event.tokens_len);
    let tokens = tokens.iter().map(|token| (token.position, token.id, token.score.to_bits())).collect();
    heard.push((event.kind, array(event.canvas, event.canvas_len), tokens));
    0
}

fn told(event: diffulex::Event<'_>, heard: &mut Heard) {
    heard.push(match event {
        diffulex::Event::Pass { canvas, .. } => (EVENT_PASS, canvas.ids().to_vec(), Vec::new()),
        diffulex::Event::Block { canvas, .. } => (EVENT_BLOCK, canvas.ids().to_vec(), Vec::new()),
        diffulex::Event::Revealed { tokens, canvas, .. } => {
            let tokens = tokens.iter().map(|c| (c.pos, c.token, c.score.to_bits())).collect();
            (EVENT_REVEALED, canvas.ids().to_vec(), tokens)
        }
    });
}

#[test]
fn generations_are_those_of_the_engine() {
    for (name, policy, overrides) in [
        ("sdar-f32", c"", Overrides::default()),
        ("sdar-f32", c"sdar-static temperature=0.5", of("sdar-static", Some(0.5))),
        ("fastdllm2-f32", c"", Overrides::default()),
        ("dream-f32", c"dream-entropy", of("dream-entropy", None)),
        ("llada-f32", c"llada-random temperature=0.9", of("llada-random", Some(0.9))),
    ] {
        let engine = reference(name);
        let policy_of = overrides.policy(&engine).unwrap();
        let wanted = diffulex::Request {
            seed: 7,
            stop: engine.stop(),
            ..diffulex::Request::new(&PROMPT, 12, &policy_of)
        };
        let (mut expected_events, mut events) = (Heard::new(), Heard::new());
        let expected = engine.session().unwrap().generate(&wanted, &mut |event| {
            told(event, &mut expected_events);
            Ok(Control::Continue)
        });
        let expected = expected.unwrap();

        let session = session(&open(name)); // The engine's handle is freed here.
        let mut request = request(12);
        (request.seed, request.policy) = (7, policy.as_ptr());
        let mut found = zeroed!(Generation);
        // SAFETY: a live handle, locals; `hear` takes a `Heard`.
        done(|error| unsafe {
            let user_data = (&raw mut events).cast();
            diffulex_generate(session.0, &raw const request, Some(hear), user_data, &raw mut found, error)
        });
        assert_eq!(array(found.tokens, found.tokens_len), expected.tokens, "{name} {policy:?}");
        assert_eq!(array(found.canvas, found.canvas_len), expected.canvas, "{name} {policy:?}");
        assert_eq!((found.nfe, found.prefill_passes), (expected.nfe, expected.prefill_passes), "{name}");
        assert_eq!(found.new_tokens, expected.new_tokens());
        let stop = match expected.stop {
            StopReason::Length => (STOP_LENGTH, 0),
            StopReason::Stop(id) => (STOP_TOKEN, id),
            StopReason::Cancelled => (STOP_CANCELLED, 0),
        };
        assert_eq!((found.stop_reason, found.stop_id), stop);
        // SAFETY: a static string.
        assert_eq!(unsafe { CStr::from_ptr(found.cache) }.to_str(), Ok(expected.cache.name()));
        assert!(found.prefill_seconds >= 0.0 && found.decode_seconds > 0.0);
        assert!(events.len() > 3 && events == expected_events, "{name}: {} events", events.len());
    }
}

fn of(strategy: &str, temperature: Option<f32>) -> Overrides {
    Overrides { strategy: Some(strategy.into()), temperature, ..Overrides::default() }
}

#[test]
fn an_engine_describes_itself() {
    for name in ["sdar-f32", "dream-f32"] {
        let (engine, expected) = (open(name), reference(name));
        let mut info = zeroed!(Info);
        // SAFETY: a live handle, a local.
        done(|error| unsafe { diffulex_engine_info(engine.0, &raw mut info, error) });
        // SAFETY: strings of a live engine.
        let text = |pointer: *const c_char| unsafe { CStr::from_ptr(pointer) }.to_str().unwrap();
        assert_eq!(text(info.family), expected.arch().family);
        assert_eq!(text(info.policy), expected.arch().policy);
        assert_eq!(text(info.level), expected.kernels().level().name());
        assert_eq!(text(info.activations), expected.kernels().activations().name());
        assert_eq!((text(info.kv), text(info.weights)), ("f32", "f32"));
        assert_eq!((info.vocab, info.context), (expected.arch().dims.vocab, 256));
        assert_eq!((info.threads, info.mask), (expected.threads(), i64::from(mask(name))));
        assert_eq!(
            (info.parameters, info.layers),
            (expected.model().parameters(), expected.arch().dims.layers)
        );
        assert_eq!(info.weight_bytes, expected.model().weight_bytes());
        assert_eq!(array(info.stop, info.stop_len), expected.stop());
        let (block, alignment) = if name == "sdar-f32" { (4, ROW_OWN) } else { (0, ROW_BEFORE) };
        assert_eq!((info.block, info.alignment), (block, alignment));
    }
}

#[test]
fn passes_give_the_bits_of_the_engine() {
    for (name, visible) in
        [("sdar-f32", VISIBLE_RULE), ("sdar-f32", VISIBLE_ALL), ("llada-f32", VISIBLE_RULE)]
    {
        let engine = reference(name);
        let (rows, vocab) = ([9, 0, 4], engine.arch().dims.vocab);
        let spans = match visible {
            VISIBLE_RULE => Visible::by_rule(engine.arch().attention, 0..10, 0, 10),
            _ => Visible::all(0..10, 0..10),
        };
        let mut own = engine.session().unwrap();
        own.forward(&PROMPT, 0, &spans, &mut Probe::none()).unwrap();
        let expected: Vec<u32> =
            own.logits(&rows, &mut Probe::none()).data().iter().map(|x| x.to_bits()).collect();

        let session = session(&open(name));
        let mut logits = vec![0.0f32; rows.len() * vocab];
        // SAFETY: a live handle, locals; for both calls.
        done(|error| unsafe {
            diffulex_forward(session.0, PROMPT.as_ptr(), PROMPT.len(), 0, visible, error)
        });
        // SAFETY: as above.
        done(|error| unsafe {
            diffulex_logits(session.0, rows.as_ptr(), rows.len(), logits.as_mut_ptr(), logits.len(), error)
        });
        let found: Vec<u32> = logits.iter().map(|x| x.to_bits()).collect();
        assert!(found == expected, "{name}, visible {visible}: other bits");
    }
}

#[test]
fn a_generation_ends_the_pass_whose_logits_may_be_asked_for() {
    let session = session(&open("sdar-f32"));
    let (request, mut logits) = (request(4), [0.0f32; 301]);
    // SAFETY: a live handle, locals; for every call.
    unsafe {
        done(|error| diffulex_forward(session.0, PROMPT.as_ptr(), 4, 0, VISIBLE_RULE, error));
        done(|error| diffulex_logits(session.0, &0, 1, logits.as_mut_ptr(), logits.len(), error));
        done(|error| diffulex_generate(session.0, &raw const request, None, null_mut(), null_mut(), error));
        let why = refused(Status::Argument, |error| {
            diffulex_logits(session.0, &0, 1, logits.as_mut_ptr(), logits.len(), error)
        });
        assert_eq!(why, "row 0 of a pass of 0 rows");
    }
}

#[test]
fn null_is_refused_everywhere() {
    let engine = open("sdar-f32");
    let session = session(&engine);
    let mut generation = zeroed!(Generation);
    let mut number = 0;
    // SAFETY: NULL, live handles and locals; for every call.
    unsafe {
        for (call, named) in [
            (refused(Status::Argument, |e| diffulex_engine_open(null(), null(), null_mut(), e)), "engine"),
            (
                refused(Status::Argument, |e| diffulex_engine_open_memory(null(), null(), null_mut(), e)),
                "engine",
            ),
            (refused(Status::Argument, |e| diffulex_engine_info(null(), null_mut(), e)), "engine"),
            (refused(Status::Argument, |e| diffulex_engine_info(engine.0, null_mut(), e)), "diffulex_info"),
            (refused(Status::Argument, |e| diffulex_session_new(engine.0, null_mut(), e)), "session"),
            (refused(Status::Argument, |e| diffulex_session_new(null(), &mut null_mut(), e)), "engine"),
            (
                refused(Status::Argument, |e| {
                    diffulex_generate(null_mut(), null(), None, null_mut(), &raw mut generation, e)
                }),
                "session",
            ),
            (
                refused(Status::Argument, |e| {
                    diffulex_generate(session.0, null(), None, null_mut(), null_mut(), e)
                }),
                "diffulex_request",
            ),
            (refused(Status::Argument, |e| diffulex_forward(null_mut(), null(), 0, 0, 0, e)), "session"),
            (refused(Status::Argument, |e| diffulex_forward(session.0, null(), 1, 0, 0, e)), "ids"),
            (
                refused(Status::Argument, |e| diffulex_logits(null_mut(), null(), 0, null_mut(), 0, e)),
                "session",
            ),
            (
                refused(Status::Argument, |e| diffulex_logits(session.0, null(), 1, null_mut(), 301, e)),
                "rows",
            ),
            (refused(Status::Argument, |e| diffulex_commit(null_mut(), 0, e)), "session"),
            (refused(Status::Argument, |e| diffulex_rewind(null_mut(), 0, e)), "session"),
            (refused(Status::Argument, |e| diffulex_committed(null_mut(), &raw mut number, e)), "session"),
            (refused(Status::Argument, |e| diffulex_committed(session.0, null_mut(), e)), "committed"),
        ] {
            assert_eq!(call, format!("{named} is NULL"));
        }
        diffulex_engine_free(null_mut());
        diffulex_session_free(null_mut());
        assert_eq!(diffulex_commit(null_mut(), 0, null_mut()), Status::Argument, "an error is not needed");
    }
}

#[test]
fn passes_out_of_order_are_refused_and_harm_nothing() {
    let session = session(&open("sdar-f32"));
    let mut logits = vec![0.0f32; 301];
    // SAFETY: a live handle, locals; for every call.
    unsafe {
        let forward = |first, len, status: Status| {
            let call = |error| diffulex_forward(session.0, PROMPT.as_ptr(), len, first, VISIBLE_RULE, error);
            if status == Status::Ok { done(call) } else { drop(refused(status, call)) }
        };
        // No rows of no pass.
        done(|error| diffulex_logits(session.0, null(), 0, null_mut(), 0, error));
        forward(1, 4, Status::Argument); // a hole
        forward(0, 0, Status::Argument);
        forward(usize::MAX, 2, Status::Argument);
        forward(0, 8, Status::Ok);
        refused(Status::Argument, |error| {
            diffulex_logits(session.0, &8, 1, logits.as_mut_ptr(), logits.len(), error)
        });
        refused(Status::Argument, |error| diffulex_commit(session.0, 9, error));
        refused(Status::Argument, |error| diffulex_commit(session.0, usize::MAX, error));
        done(|error| diffulex_commit(session.0, 4, error));
        forward(3, 4, Status::Argument); // committed
        refused(Status::Argument, |error| diffulex_rewind(session.0, 5, error));
        let long = vec![1; 300];
        refused(Status::Capacity, |error| {
            diffulex_forward(session.0, long.as_ptr(), long.len(), 4, VISIBLE_RULE, error)
        });
        forward(4, 4, Status::Ok);
        done(|error| diffulex_logits(session.0, &3, 1, logits.as_mut_ptr(), logits.len(), error));
    }
    assert!(logits.iter().all(|x| x.is_finite()) && logits.iter().any(|&x| x != 0.0));
}
