//! Text in, text out: the answers are those of the library's own model.

use super::calls::{Engines, Sessions, done, golden, refused, session};
use diffulex::text::Message as Turn;
use diffulex::{Control, Model};
use diffulex_capi::*;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/sdar")
}

struct Models(*mut ModelHandle);

impl Drop for Models {
    fn drop(&mut self) {
        // SAFETY: handed out once, freed once.
        unsafe { diffulex_model_free(self.0) };
    }
}

fn open(path: &Path) -> Models {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let mut options = zeroed!(Options);
    (options.threads, options.context) = (2, 256);
    let mut model = null_mut();
    // SAFETY: locals.
    done(|error| unsafe { diffulex_model_open(path.as_ptr(), &raw const options, &raw mut model, error) });
    Models(model)
}

fn engine(model: &Models) -> Engines {
    let mut engine = null_mut();
    // SAFETY: a live handle, a local.
    done(|error| unsafe { diffulex_model_engine(model.0, &raw mut engine, error) });
    Engines(engine)
}

fn reference() -> Model {
    Model::open_with(demo(), diffulex::Engine::builder().threads(2).context(256)).unwrap()
}

/// What a callback was told, and after how many pieces it has enough.
struct Heard {
    pieces: Vec<String>,
    enough: usize,
}

unsafe extern "C" fn hear(text: *const c_char, len: usize, user_data: *mut c_void) -> c_int {
    // SAFETY: the caller below passes a `Heard`, and the library `len` bytes with a NUL after them.
    let (bytes, heard) =
        unsafe { (std::slice::from_raw_parts(text.cast::<u8>(), len + 1), &mut *user_data.cast::<Heard>()) };
    assert_eq!(bytes[len], 0, "a NUL follows");
    heard.pieces.push(std::str::from_utf8(&bytes[..len]).unwrap().to_string());
    c_int::from(heard.pieces.len() >= heard.enough)
}

/// The text of an answer, which is also reported piece by piece; at most `enough` pieces.
fn ask(model: &Models, session: &Sessions, question: &Question, enough: usize) -> (String, Answer) {
    let (mut heard, mut answer) = (Heard { pieces: Vec::new(), enough }, zeroed!(Answer));
    let user_data = (&raw mut heard).cast();
    // SAFETY: live handles, locals; `hear` takes a `Heard`.
    done(|error| unsafe {
        diffulex_ask(model.0, session.0, question, Some(hear), user_data, &raw mut answer, error)
    });
    // SAFETY: the library says how long its text is.
    let text = unsafe { std::slice::from_raw_parts(answer.text.cast::<u8>(), answer.text_len + 1) };
    assert_eq!(text[answer.text_len], 0, "a NUL follows");
    let text = String::from_utf8(text[..answer.text_len].to_vec()).unwrap();
    assert!(heard.pieces.iter().all(|piece| !piece.is_empty()), "{:?}", heard.pieces);
    assert_eq!(heard.pieces.concat(), text, "the pieces are the text");
    (text, answer)
}

#[test]
fn answers_are_those_of_the_model() {
    let (model, reference) = (open(&demo()), reference());
    let session = session(&engine(&model)); // The engine's handle is freed here.
    for text in [c"What is 27 + 45?", c"27 + 45 = <mask:4>", c"Sort 9 3 7 1."] {
        let mut question = zeroed!(Question);
        question.text = text.as_ptr();
        let prompt = reference.prompt(text.to_str().unwrap()).unwrap();
        let expected = reference.ask(&prompt).unwrap();
        let (found, answer) = ask(&model, &session, &question, usize::MAX);
        assert_eq!(found, expected.text);
        assert_eq!((answer.tokens, answer.nfe), (expected.counted, expected.generation.nfe));
        assert_eq!(answer.stop_reason, if expected.reason() == "stop id" { STOP_TOKEN } else { STOP_LENGTH });
        assert!(answer.decode_seconds > 0.0);
    }
}

#[test]
fn a_conversation_a_policy_and_stop_strings_reach_the_model() {
    let (model, reference) = (open(&demo()), reference());
    let session = session(&engine(&model));
    let turns = [
        Message { role: c"system".as_ptr(), content: c"Be short.".as_ptr() },
        Message { role: c"user".as_ptr(), content: c"What is 27 + 45?".as_ptr() },
    ];
    let mut question = zeroed!(Question);
    (question.messages, question.messages_len) = (turns.as_ptr(), turns.len());
    (question.policy, question.seed) = (c"sdar-static temperature=0.9 top-k=5".as_ptr(), 3);
    let messages = [Turn::new("system", "Be short."), Turn::new("user", "What is 27 + 45?")];
    let prompt = reference.conversation(&messages).unwrap();
    let overrides: diffulex::engine::Overrides = "sdar-static temperature=0.9 top-k=5".parse().unwrap();
    let mut setup = reference.setup();
    (setup.policy, setup.seed) = (overrides.policy(&reference.engine).unwrap(), 3);
    let mut own = reference.engine.session().unwrap();
    let mut expected =
        |setup: &_| reference.answer(&mut own, &prompt, setup, &mut |_, _| Ok(Control::Continue)).unwrap();
    let whole = expected(&setup);
    assert_eq!(ask(&model, &session, &question, usize::MAX).0, whole.text);

    // A piece from the middle of the answer ends it there.
    let middle: String = whole.text.chars().skip(3).take(2).collect();
    let (c_middle, absent) = (CString::new(middle.as_str()).unwrap(), c"not in the text");
    let stop = [absent.as_ptr(), c_middle.as_ptr()];
    (question.stop, question.stop_len) = (stop.as_ptr(), stop.len());
    setup.stop = vec!["not in the text".into(), middle];
    let (text, answer) = ask(&model, &session, &question, usize::MAX);
    assert_eq!(text, expected(&setup).text);
    assert!(text.len() < whole.text.len() && answer.stop_reason == STOP_STRING);

    question.stop_len = 0;
    question.max_new = 4;
    assert!(ask(&model, &session, &question, usize::MAX).1.tokens <= 4);
    question.max_new = 0;
    let (text, answer) = ask(&model, &session, &question, 1);
    assert!(whole.text.starts_with(&text) && answer.stop_reason == STOP_CANCELLED, "{text:?}");
}

#[test]
fn a_grammar_binds_the_answer() {
    let model = open(&demo());
    let session = session(&engine(&model));
    let mut question = zeroed!(Question);
    question.text = c"What is 27 + 45?".as_ptr();
    question.regex = c"(yes|no)!".as_ptr();
    let (text, answer) = ask(&model, &session, &question, usize::MAX);
    assert!(["yes!", "no!"].contains(&text.as_str()) && answer.stop_reason == STOP_TOKEN, "{text}");
    question.regex = null();
    question.schema = c"{\"enum\": [72, 73]}".as_ptr();
    let (text, _) = ask(&model, &session, &question, usize::MAX);
    assert!(["72", "73"].contains(&text.as_str()), "{text}");
    question.grammar = c"start: \"a\"".as_ptr();
    let several = refused(Status::Argument, |error| {
        // SAFETY: live handles, a local.
        unsafe { diffulex_ask(model.0, session.0, &raw const question, None, null_mut(), null_mut(), error) }
    });
    assert!(several.contains("several"), "{several}");
    (question.schema, question.grammar) = (null(), c"start: nothing".as_ptr());
    let wrong = refused(Status::Option, |error| {
        // SAFETY: live handles, a local.
        unsafe { diffulex_ask(model.0, session.0, &raw const question, None, null_mut(), null_mut(), error) }
    });
    assert!(wrong.contains("grammar"), "{wrong}");
}

#[test]
fn text_becomes_ids_and_ids_become_text() {
    let (model, reference) = (open(&demo()), reference());
    let text = "user: 27 + 45 é <mask:2>";
    let expected = reference.encode_with_gaps(text).unwrap();
    let encode = |ids: &mut [u32]| {
        let mut len = usize::MAX;
        // SAFETY: a live handle, locals.
        done(|error| unsafe {
            let (ids, capacity) = (ids.as_mut_ptr(), ids.len());
            diffulex_encode(model.0, text.as_ptr().cast(), text.len(), ids, capacity, &raw mut len, error)
        });
        len
    };
    let (mut few, mut all) = ([u32::MAX; 3], vec![u32::MAX; expected.len() + 1]);
    assert_eq!(
        (encode(&mut []), encode(&mut few), encode(&mut all)),
        (expected.len(), expected.len(), expected.len())
    );
    assert_eq!((&few[..], &all[..expected.len()]), (&expected[..3], &expected[..]));
    assert_eq!(all[expected.len()], u32::MAX, "elements without an id stay");

    for skip_special in [false, true] {
        let wanted = reference.tokenizer().unwrap().decode(&expected, skip_special).unwrap();
        let (mut bytes, mut len) = (vec![0_u8; 100], 0);
        // SAFETY: a live handle, locals.
        done(|error| unsafe {
            let (ids, count) = (expected.as_ptr(), expected.len());
            let to = bytes.as_mut_ptr().cast();
            diffulex_decode(model.0, ids, count, skip_special.into(), to, 100, &raw mut len, error)
        });
        assert_eq!(&bytes[..len], wanted.as_bytes());
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_harms_nothing() {
    let model = open(&demo());
    let engine = engine(&model);
    let session = session(&engine);
    let refuse = |status, change: &dyn Fn(&mut Question)| {
        let mut question = zeroed!(Question);
        question.text = c"What is 1 + 1?".as_ptr();
        change(&mut question);
        let mut answer = zeroed!(Answer);
        answer.tokens = 7;
        // SAFETY: live handles, locals.
        let why = refused(status, |error| unsafe {
            diffulex_ask(model.0, session.0, &raw const question, None, null_mut(), &raw mut answer, error)
        });
        assert_eq!((answer.tokens, answer.text), (0, null()), "what a failing call leaves");
        why
    };
    let turn = [Message { role: c"user".as_ptr(), content: null() }];
    let null_string = [null::<c_char>()];
    for (wanted, why) in [
        ("neither", refuse(Status::Argument, &|q| q.text = null())),
        ("both", refuse(Status::Argument, &|q| (q.messages, q.messages_len) = (turn.as_ptr(), 1))),
        ("diffulex_message.content", {
            refuse(Status::Argument, &|q| (q.text, q.messages, q.messages_len) = (null(), turn.as_ptr(), 1))
        }),
        (
            "raw",
            refuse(Status::Argument, &|q| {
                (q.text, q.raw, q.messages, q.messages_len) = (null(), 1, turn.as_ptr(), 1);
            }),
        ),
        ("stop", refuse(Status::Argument, &|q| (q.stop, q.stop_len) = (null_string.as_ptr(), 1))),
        ("UTF-8", refuse(Status::Argument, &|q| q.text = c"\xff".as_ptr())),
        ("prompt", refuse(Status::Option, &|q| q.text = c"".as_ptr())),
        ("temperature", refuse(Status::Option, &|q| q.policy = c"temperature=-1".as_ptr())),
        ("limit", refuse(Status::Capacity, &|q| q.max_new = 1000)),
    ] {
        assert!(why.contains(wanted), "{wanted}: {why}");
    }
    let other = super::text::engine(&open(&demo()));
    let other = super::calls::session(&other);
    let mut question = zeroed!(Question);
    question.text = c"What is 1 + 1?".as_ptr();
    // SAFETY: live handles, a local.
    let why = refused(Status::Argument, |error| unsafe {
        diffulex_ask(model.0, other.0, &raw const question, None, null_mut(), null_mut(), error)
    });
    assert!(why.contains("another engine"), "{why}");
    assert!(ask(&model, &session, &question, usize::MAX).0.contains('2'));
}

#[test]
fn a_checkpoint_without_a_tokenizer_says_what_is_missing() {
    let bare = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without-tokenizer");
    std::fs::create_dir_all(&bare).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("sdar-f32").join(file), bare.join(file)).unwrap();
    }
    let model = open(&bare);
    let session = session(&engine(&model));
    let mut question = zeroed!(Question);
    question.text = c"Hello".as_ptr();
    // SAFETY: live handles, a local.
    let why = refused(Status::Format, |error| unsafe {
        diffulex_ask(model.0, session.0, &raw const question, None, null_mut(), null_mut(), error)
    });
    assert!(why.contains("tokenizer.json"), "{why}");
}
