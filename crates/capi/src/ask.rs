//! `diffulex_ask`: a question in, an answer out, both as text.

use super::engine::share;
use super::error::{ErrorText, Failure, Outcome, Status, call};
use super::model::ModelHandle;
use super::pointers::{read, slice, text, write};
use super::session::{SessionHandle, State, stop_reason};
use super::structs::{STOP_LENGTH, STOP_STRING, Versioned};
use diffulex::Model;
use diffulex::engine::{Control, Overrides};
use diffulex::text;
use diffulex::text_model::{self, Prompt, Setup};
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

/// `diffulex_message`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Who speaks.
    pub role: *const c_char,
    /// What is said.
    pub content: *const c_char,
}

/// `diffulex_question`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Bytes of the struct that the caller knows.
    pub struct_size: usize,
    /// A question.
    pub text: *const c_char,
    /// A conversation.
    pub messages: *const Message,
    /// Its turns.
    pub messages_len: usize,
    /// A policy as a string.
    pub policy: *const c_char,
    /// Strings that end the text.
    pub stop: *const *const c_char,
    /// How many.
    pub stop_len: usize,
    /// The most new tokens.
    pub max_new: usize,
    /// Seed of every random number.
    pub seed: u64,
    /// Whether the chat template is left out.
    pub raw: i32,
    /// A JSON schema.
    pub schema: *const c_char,
    /// A regular expression.
    pub regex: *const c_char,
    /// A grammar in Lark's syntax.
    pub grammar: *const c_char,
}

// SAFETY: see the definition: repr(C), its size first, numbers and pointers.
unsafe impl Versioned for Question {
    const NAME: &'static str = "diffulex_question";
    const FIRST: usize = 104;
}

/// `diffulex_text_callback`.
pub type TextCallback =
    Option<unsafe extern "C" fn(text: *const c_char, text_len: usize, user_data: *mut c_void) -> c_int>;

/// `diffulex_answer`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Bytes of the struct that the caller knows.
    pub struct_size: usize,
    /// All of the text.
    pub text: *const c_char,
    /// Its bytes.
    pub text_len: usize,
    /// New tokens up to the end of the text.
    pub tokens: usize,
    /// Forward passes.
    pub nfe: usize,
    /// Forward passes over the prompt.
    pub prefill_passes: usize,
    /// Seconds over the prompt.
    pub prefill_seconds: f64,
    /// Seconds of everything else.
    pub decode_seconds: f64,
    /// `STOP_*`.
    pub stop_reason: i32,
    /// The stop id.
    pub stop_id: u32,
}

// SAFETY: see the definition: repr(C), its size first, numbers and pointers.
unsafe impl Versioned for Answer {
    const NAME: &'static str = "diffulex_answer";
    const FIRST: usize = 72;
}

impl Answer {
    /// What a failing call leaves.
    const EMPTY: Self = Self {
        struct_size: size_of::<Self>(),
        text: ptr::null(),
        text_len: 0,
        tokens: 0,
        nfe: 0,
        prefill_passes: 0,
        prefill_seconds: 0.0,
        decode_seconds: 0.0,
        stop_reason: STOP_LENGTH,
        stop_id: 0,
    };

    /// `text` ends with the NUL of C.
    fn of(done: &text_model::Answer, text: &str) -> Self {
        let generation = &done.generation;
        let stop = stop_reason(generation.stop);
        let (stop_reason, stop_id) = if done.stopped_by_string { (STOP_STRING, 0) } else { stop };
        Self {
            struct_size: size_of::<Self>(),
            text: text.as_ptr().cast(),
            text_len: text.len() - 1,
            tokens: done.counted,
            nfe: generation.nfe,
            prefill_passes: generation.prefill_passes,
            prefill_seconds: generation.timings.prefill.as_secs_f64(),
            decode_seconds: generation.timings.decode.as_secs_f64(),
            stop_reason,
            stop_id,
        }
    }
}

/// Answers a question.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_ask(
    model: *const ModelHandle,
    session: *mut SessionHandle,
    question: *const Question,
    callback: TextCallback,
    user_data: *mut c_void,
    answer: *mut Answer,
    error: *mut ErrorText,
) -> Status {
    let ask = || {
        if !answer.is_null() {
            // SAFETY: the contract of this function, for this and the blocks below.
            unsafe { write(answer, &Answer::EMPTY) }?;
        }
        // SAFETY: as above.
        let (model, handle) = unsafe { (share("model", model)?, share("session", session)?) };
        // SAFETY: as above.
        let question = unsafe { read(question) }?;
        handle.with(|state| {
            if !Arc::ptr_eq(&state.engine.engine, &model.model.engine) {
                return Err(Failure::argument("the session belongs to another engine than the model's"));
            }
            // SAFETY: as above.
            let done = unsafe { state.ask(&model, &question, callback, user_data) }?;
            if answer.is_null() {
                return Ok(());
            }
            // SAFETY: as above.
            unsafe { write(answer, &Answer::of(&done, &state.answer)) }
        })
    };
    // SAFETY: as above.
    unsafe { call(error, ask) }
}

impl State {
    /// Leaves the text in `self.answer`.
    ///
    /// # Safety
    /// Members of the question and the callback as the header says.
    unsafe fn ask(
        &mut self,
        handle: &ModelHandle,
        question: &Question,
        callback: TextCallback,
        user_data: *mut c_void,
    ) -> Outcome<text_model::Answer> {
        let model = &handle.model;
        self.answer.clear();
        // The latest pass will be one of the answer.
        self.rows = 0;
        // SAFETY: by the contract, for this and the blocks below.
        let prompt = unsafe { question.prompt(model) }?;
        // SAFETY: as above.
        let setup = unsafe { question.setup(handle) }?;
        let mut shown = String::new();
        let done = model.answer(&mut self.session, &prompt, &setup, &mut |_, settled| {
            let Some(callback) = callback.filter(|_| !settled.is_empty()) else {
                return Ok(Control::Continue);
            };
            shown.clear();
            shown.extend([settled, "\0"]);
            // SAFETY: as above; the text lives until the callback returns.
            Ok(match unsafe { callback(shown.as_ptr().cast(), settled.len(), user_data) } {
                0 => Control::Continue,
                _ => Control::Stop,
            })
        })?;
        if let Some(callback) = callback.filter(|_| !done.rest.is_empty()) {
            shown.clear();
            shown.extend([&done.rest, "\0"]);
            // SAFETY: as above. Nothing is left that its result could end.
            unsafe { callback(shown.as_ptr().cast(), done.rest.len(), user_data) };
        }
        self.answer.extend([&done.text, "\0"]);
        Ok(done)
    }
}

impl Question {
    /// # Safety
    /// Members as the header says.
    unsafe fn prompt(&self, model: &Model) -> Outcome<Prompt> {
        // SAFETY: by the contract, for this and the blocks below.
        let question = unsafe { text("diffulex_question.text", self.text) }?;
        // SAFETY: as above.
        let turns = unsafe { slice("diffulex_question.messages", self.messages, self.messages_len) }?;
        let refuse = |what: &str| Err(Failure::argument(format!("diffulex_question: {what}")));
        match (question, turns) {
            (Some(question), []) => Ok(model.prompt_with(question, None, self.raw != 0)?),
            (Some(_), _) => refuse("both text and messages are given, one of them expected"),
            (None, []) => refuse("neither text nor messages are given"),
            (None, _) if self.raw != 0 => refuse("raw is for text; messages go through the chat template"),
            (None, turns) => {
                let member = |name, pointer| {
                    // SAFETY: as above.
                    let text = unsafe { text(name, pointer) }?;
                    text.ok_or_else(|| Failure::argument(format!("{name} is NULL")))
                };
                let turn = |turn: &Message| {
                    let role = member("diffulex_message.role", turn.role)?;
                    Ok(text::Message::new(role, member("diffulex_message.content", turn.content)?))
                };
                let messages = turns.iter().map(turn).collect::<Outcome<Vec<_>>>()?;
                Ok(model.conversation(&messages)?)
            }
        }
    }

    /// # Safety
    /// Members as the header says.
    unsafe fn setup(&self, handle: &ModelHandle) -> Outcome<Setup> {
        let model = &handle.model;
        // SAFETY: by the contract, for this and the blocks below.
        let policy = unsafe { text("diffulex_question.policy", self.policy) }?;
        // SAFETY: as above.
        let stop = unsafe { slice("diffulex_question.stop", self.stop, self.stop_len) }?;
        let string = |&pointer: &*const c_char| {
            // SAFETY: as above.
            let string = unsafe { text("diffulex_question.stop", pointer) }?;
            let string = string.filter(|string| !string.is_empty());
            let absent = || Failure::argument("diffulex_question.stop: a string is NULL or empty");
            Ok(string.ok_or_else(absent)?.to_string())
        };
        // SAFETY: as above.
        let form = |name: &str, pointer| unsafe { text(&format!("diffulex_question.{name}"), pointer) };
        let forms =
            [form("schema", self.schema)?, form("regex", self.regex)?, form("grammar", self.grammar)?];
        Ok(Setup {
            grammar: handle.bound(forms)?,
            policy: policy.unwrap_or_default().parse::<Overrides>()?.policy(&model.engine)?,
            stop: stop.iter().map(string).collect::<Outcome<_>>()?,
            seed: self.seed,
            max_tokens: Some(self.max_new).filter(|&max| max > 0),
            ..model.setup()
        })
    }
}
