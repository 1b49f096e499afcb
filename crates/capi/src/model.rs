//! `diffulex_model`: opening, its engine, and text as ids.

use super::engine::{EngineHandle, builder, clear, release, share};
use super::error::{ErrorText, Failure, Outcome, Status, call};
use super::pointers::{required, slice, slice_mut, text};
use super::structs::Options;
use diffulex::Model;
use diffulex::engine::EngineBuilder;
use diffulex::error::Result;
#[cfg(feature = "text")]
use diffulex::text::grammar::{Form, Grammars};
use diffulex::text_model::Bound;
use std::ffi::c_char;
use std::sync::Arc;
#[cfg(feature = "text")]
use std::sync::OnceLock;

/// `diffulex_model`.
pub struct ModelHandle {
    pub(super) model: Model,
    /// The tokens of the model, for grammars; read when the first question needs them.
    #[cfg(feature = "text")]
    words: OnceLock<Result<Grammars>>,
}

impl ModelHandle {
    fn new(model: Model) -> Self {
        Self {
            model,
            #[cfg(feature = "text")]
            words: OnceLock::new(),
        }
    }

    /// The grammar that a question gives, as JSON schema, regular expression or Lark grammar.
    #[cfg(feature = "text")]
    pub(super) fn bound(&self, forms: [Option<&str>; 3]) -> Outcome<Option<Bound>> {
        let [schema, regex, grammar] = forms.map(|form| form.map(str::to_string));
        let forms = [schema.map(Form::JsonSchema), regex.map(Form::Regex), grammar.map(Form::Lark)];
        let mut forms = forms.into_iter().flatten();
        let Some(form) = forms.next() else { return Ok(None) };
        if forms.next().is_some() {
            return Err(Failure::argument(
                "diffulex_question: several of schema, regex and grammar are given",
            ));
        }
        let tokenizer = self.model.tokenizer()?;
        let words = self.words.get_or_init(|| Grammars::new(Arc::clone(tokenizer)));
        let words = words.as_ref().map_err(|error| Failure::argument(error.to_string()))?;
        Ok(Some(Bound(Arc::new(words.compile(&form)?))))
    }

    /// A build without text opens no model, so this is never called.
    #[cfg(not(feature = "text"))]
    pub(super) fn bound(&self, _: [Option<&str>; 3]) -> Outcome<Option<Bound>> {
        Ok(None)
    }
}

/// Opens a checkpoint with the tokenizer and the chat template in its directory.
#[cfg(feature = "text")]
fn open(path: &str, builder: EngineBuilder) -> Result<Model> {
    Model::open_with(path, builder)
}

/// A build without a tokenizer cannot open one.
#[cfg(not(feature = "text"))]
fn open(path: &str, _: EngineBuilder) -> Result<Model> {
    let what = "text needs a tokenizer, which this library was built without; diffulex_engine_open takes ids";
    Err(diffulex::Error::unsupported(format!("{path}: {what}")))
}

/// Opens a model.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_model_open(
    path: *const c_char,
    options: *const Options,
    model: *mut *mut ModelHandle,
    error: *mut ErrorText,
) -> Status {
    let open = || {
        // SAFETY: the contract of this function, for this and the blocks below.
        unsafe { clear("model", model) }?;
        // SAFETY: as above.
        let path = unsafe { text("path", path) }?.ok_or_else(|| Failure::argument("path is NULL"))?;
        // SAFETY: as above.
        let builder = unsafe { builder(options) }?;
        let opened = Arc::new(ModelHandle::new(open(path, builder)?));
        // SAFETY: `clear` has written there. `diffulex_model_free` takes this share back.
        unsafe { model.write(Arc::into_raw(opened).cast_mut()) };
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
pub unsafe extern "C" fn diffulex_model_free(model: *mut ModelHandle) {
    // SAFETY: the contract of this function.
    unsafe { release(model) };
}

/// Returns the engine.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_model_engine(
    model: *const ModelHandle,
    engine: *mut *mut EngineHandle,
    error: *mut ErrorText,
) -> Status {
    let hand_out = || {
        // SAFETY: the contract of this function, for this and the blocks below.
        unsafe { clear("engine", engine) }?;
        // SAFETY: as above.
        let model = unsafe { share("model", model) }?;
        // SAFETY: `clear` has written there.
        unsafe { EngineHandle::new(Arc::clone(&model.model.engine)).hand_out(engine) };
        Ok(())
    };
    // SAFETY: the contract of this function.
    unsafe { call(error, hand_out) }
}

/// Tokenizes a string.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_encode(
    model: *const ModelHandle,
    text: *const c_char,
    text_len: usize,
    ids: *mut u32,
    capacity: usize,
    ids_len: *mut usize,
    error: *mut ErrorText,
) -> Status {
    let encode = || {
        // SAFETY: the contract of this function, for this and the blocks below.
        let model = unsafe { share("model", model) }?;
        // SAFETY: as above.
        let bytes = unsafe { slice::<u8>("text", text.cast(), text_len) }?;
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|error| Failure::argument(format!("text is not UTF-8: {error}")))?;
        let found = model.model.encode_with_gaps(text)?;
        // SAFETY: as above.
        unsafe { fill("ids", &found, ids, capacity, ids_len) }
    };
    // SAFETY: the contract of this function.
    unsafe { call(error, encode) }
}

/// Decodes ids to a string.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_decode(
    model: *const ModelHandle,
    ids: *const u32,
    ids_len: usize,
    skip_special: i32,
    text: *mut c_char,
    capacity: usize,
    text_len: *mut usize,
    error: *mut ErrorText,
) -> Status {
    let decode = || {
        // SAFETY: the contract of this function, for this and the blocks below.
        let model = unsafe { share("model", model) }?;
        // SAFETY: as above.
        let ids = unsafe { slice("ids", ids, ids_len) }?;
        model.model.check_ids("ids", ids)?;
        let found = model.model.tokenizer()?.decode(ids, skip_special != 0)?;
        // SAFETY: as above.
        unsafe { fill("text", found.as_bytes(), text.cast(), capacity, text_len) }
    };
    // SAFETY: the contract of this function.
    unsafe { call(error, decode) }
}

/// Writes as many elements as fit, and how many there are.
///
/// # Safety
/// `to` is NULL with a capacity of 0, or as many writable elements; `len` is NULL or writable.
unsafe fn fill<T: Copy>(name: &str, from: &[T], to: *mut T, capacity: usize, len: *mut usize) -> Outcome {
    required(&format!("{name}_len"), len)?;
    // SAFETY: by the contract.
    let to = unsafe { slice_mut(name, to, capacity) }?;
    let fits = from.len().min(to.len());
    to[..fits].copy_from_slice(&from[..fits]);
    // SAFETY: not NULL, as checked; writable by the contract.
    unsafe { len.write(from.len()) };
    Ok(())
}
