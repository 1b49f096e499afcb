//! `diffulex_engine`: opening, describing, freeing.

use super::error::{ErrorText, Failure, Outcome, Status, call};
use super::pointers::{read, required, slice, text, write};
use super::structs::{Files, Info, Options, ROW_BEFORE, ROW_OWN, ROW_SEEDED};
use diffulex::bytes::Bytes;
use diffulex::cache::{Attention, KvDtype};
use diffulex::engine::{Engine, EngineBuilder, ModelFiles};
use diffulex::error::{Error, Result};
use diffulex::json::Value;
use diffulex::kernels::{Activations, Level};
use diffulex::model::{Alignment, GenerationConfig};
use diffulex::quant::{DEFAULT_GROUP, FormatName};
use diffulex::weights::{SafeTensors, Storage};
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;

/// More threads than this are a mistake.
const MAX_THREADS: usize = 1024;

/// `diffulex_engine`: an engine, and its descriptions as C reads them.
pub struct EngineHandle {
    pub(super) engine: Arc<Engine>,
    /// Family, policy, level, activations, element type of the cache, format of the weights.
    texts: [CString; 6],
}

impl EngineHandle {
    pub(super) fn new(engine: impl Into<Arc<Engine>>) -> Self {
        let engine = engine.into();
        let format = engine.model().weight_format().name();
        let (arch, kernels) = (engine.arch(), engine.kernels());
        let texts = [
            arch.family,
            arch.policy,
            kernels.level().name(),
            kernels.activations().name(),
            engine.kv().name(),
            &format,
        ];
        let texts = texts.map(|text| CString::new(text).expect("no name holds a NUL"));
        Self { engine, texts }
    }

    /// Writes the handle that an opening function returns.
    ///
    /// # Safety
    /// `to` is writable.
    pub(super) unsafe fn hand_out(self, to: *mut *mut Self) {
        // SAFETY: by the contract. `diffulex_engine_free` takes this share back.
        unsafe { to.write(Arc::into_raw(Arc::new(self)).cast_mut()) };
    }

    fn info(&self) -> Info {
        let Self { engine, texts, .. } = self;
        let [family, policy, level, activations, kv, weights] = texts.each_ref().map(|text| text.as_ptr());
        let arch = engine.arch();
        Info {
            struct_size: size_of::<Info>(),
            family,
            policy,
            level,
            activations,
            kv,
            weights,
            vocab: arch.dims.vocab,
            context: engine.context(),
            threads: engine.threads(),
            block: match arch.attention {
                Attention::BlockCausal { block } => block,
                Attention::Bidirectional => 0,
            },
            layers: arch.dims.layers,
            parameters: engine.model().parameters(),
            weight_bytes: engine.model().weight_bytes(),
            mask: engine.mask().map_or(-1, i64::from),
            stop: engine.stop().as_ptr(),
            stop_len: engine.stop().len(),
            alignment: match arch.alignment {
                Alignment::Own => ROW_OWN,
                Alignment::Shifted => ROW_BEFORE,
                Alignment::Seeded => ROW_SEEDED,
            },
        }
    }
}

/// A share of a handle, for the time of a call: the handle outlives the call even if a callback frees it.
///
/// # Safety
/// NULL, or a handle that was handed out and not freed.
pub(super) unsafe fn share<T>(name: &str, handle: *const T) -> Outcome<Arc<T>> {
    required(name, handle)?;
    // SAFETY: handles come from `Arc::into_raw`, and one that is not freed has a share of its own.
    unsafe { Arc::increment_strong_count(handle) };
    // SAFETY: the share that was just added.
    Ok(unsafe { Arc::from_raw(handle) })
}

/// The settings that options give.
///
/// # Safety
/// Members as the header says.
pub(super) unsafe fn builder(options: *const Options) -> Outcome<EngineBuilder> {
    let mut builder = Engine::builder();
    if options.is_null() {
        return Ok(builder);
    }
    // SAFETY: by the contract.
    let options = unsafe { read(options) }?;
    // SAFETY: by the contract, for this and the two blocks below.
    let text = |name, pointer| unsafe { text(name, pointer) };
    if let Some(name) = text("diffulex_options.level", options.level)? {
        builder = builder.level(Level::from_name(name)?);
    }
    if let Some(name) = text("diffulex_options.activations", options.activations)? {
        builder = builder.activations(Activations::from_name(name)?);
    }
    if let Some(name) = text("diffulex_options.kv", options.kv)? {
        builder = builder.kv(KvDtype::from_name(name)?);
    }
    if let Some(name) = text("diffulex_options.storage", options.storage)? {
        builder = builder.storage(storage(name)?);
    }
    if let Some(name) = text("diffulex_options.quantize", options.quantize)? {
        let name: FormatName = name.parse().map_err(|reason: String| Error::option("quantize", reason))?;
        builder = builder.quantize(name.resolve(DEFAULT_GROUP, false)?);
    }
    if options.threads > MAX_THREADS {
        let reason = format!("{} given, at most {MAX_THREADS} expected", options.threads);
        return Err(Error::option("threads", reason).into());
    }
    if options.threads > 0 {
        builder = builder.threads(options.threads);
    }
    if options.context > 0 {
        builder = builder.context(options.context);
    }
    let given = usize::from(!options.mask.is_null());
    // SAFETY: by the contract, one element if it is there.
    let mask = unsafe { slice("diffulex_options.mask", options.mask, given) }?;
    if let [mask] = mask {
        builder = builder.mask(*mask);
    }
    if options.token_limit > 0 {
        builder = builder.tokens(options.token_limit, Vec::new());
    }
    // SAFETY: by the contract.
    let stop = unsafe { slice("diffulex_options.stop", options.stop, options.stop_len) }?;
    if !options.stop.is_null() {
        builder = builder.stop(stop.to_vec());
    }
    Ok(builder)
}

fn storage(name: &str) -> Result<Storage> {
    match name {
        "map" => Ok(Storage::Map),
        "read" => Ok(Storage::Read),
        _ => Err(Error::option("storage", format!("`{name}` given, map or read expected"))),
    }
}

/// Writes NULL where a handle will be written.
///
/// # Safety
/// NULL, or writable.
pub(super) unsafe fn clear<T>(name: &str, to: *mut *mut T) -> Outcome {
    required(name, to)?;
    // SAFETY: not NULL, as checked; writable by the contract.
    unsafe { to.write(ptr::null_mut()) };
    Ok(())
}

/// Opens a checkpoint on disk.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_engine_open(
    path: *const c_char,
    options: *const Options,
    engine: *mut *mut EngineHandle,
    error: *mut ErrorText,
) -> Status {
    let open = || {
        // SAFETY: the contract of this function, for this and the blocks below.
        unsafe { clear("engine", engine) }?;
        // SAFETY: as above.
        let path = unsafe { text("path", path) }?.ok_or_else(|| Failure::argument("path is NULL"))?;
        // SAFETY: as above.
        let builder = unsafe { builder(options) }?;
        let opened = EngineHandle::new(builder.open(path)?);
        // SAFETY: `clear` has written there.
        unsafe { opened.hand_out(engine) };
        Ok(())
    };
    // SAFETY: the contract of this function.
    unsafe { call(error, open) }
}

/// Memory of the caller that stays where it is.
struct Borrowed(&'static [u8]);

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

/// The model in memory.
///
/// # Safety
/// Members as the header says; with `borrow`, for as long as it says.
unsafe fn files(files: *const Files) -> Outcome<(ModelFiles, SafeTensors)> {
    // SAFETY: by the contract, for this and the block below.
    let files = unsafe { read(files) }?;
    // `'static` holds for the weights with `borrow`, and is not used for anything else.
    let bytes = |name, pointer: *const c_void, len| -> Outcome<Option<&'static [u8]>> {
        // SAFETY: as above.
        let bytes = unsafe { slice(name, pointer.cast(), len) }?;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    };
    let absent = |name: &str| Failure::argument(format!("{name} is NULL or empty"));
    let config = bytes("diffulex_files.config", files.config, files.config_len)?;
    let config = config.ok_or_else(|| absent("diffulex_files.config"))?;
    let name = "diffulex_files.generation_config";
    let generation = bytes(name, files.generation_config, files.generation_config_len)?;
    let weights = bytes("diffulex_files.weights", files.weights, files.weights_len)?;
    let weights = weights.ok_or_else(|| absent("diffulex_files.weights"))?;
    let generation = match generation {
        Some(json) => GenerationConfig::from_json(
            "generation_config",
            &Value::parse_python("generation_config", json)?,
        )?,
        None => GenerationConfig::default(),
    };
    let read = ModelFiles::from_json("config", Value::parse_python("config", config)?, generation)?;
    let weights =
        if files.borrow == 0 { Bytes::copy_aligned(weights) } else { Bytes::new(Borrowed(weights)) };
    Ok((read, SafeTensors::from_bytes("weights", &weights)?))
}

/// Opens a checkpoint in memory.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_engine_open_memory(
    files: *const Files,
    options: *const Options,
    engine: *mut *mut EngineHandle,
    error: *mut ErrorText,
) -> Status {
    let open = || {
        // SAFETY: the contract of this function, for this and the blocks below.
        unsafe { clear("engine", engine) }?;
        // SAFETY: as above.
        let builder = unsafe { builder(options) }?;
        // SAFETY: as above.
        let (files, source) = unsafe { self::files(files) }?;
        let opened = EngineHandle::new(builder.load(files, &source)?);
        // SAFETY: `clear` has written there.
        unsafe { opened.hand_out(engine) };
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
pub unsafe extern "C" fn diffulex_engine_free(engine: *mut EngineHandle) {
    // SAFETY: the contract of this function.
    unsafe { release(engine) };
}

/// Drops the caller's share of a handle. A panic while dropping cannot be reported and is only caught.
///
/// # Safety
/// NULL, or a handle that was handed out and not freed.
pub(super) unsafe fn release<T>(handle: *mut T) {
    let free = || {
        if !handle.is_null() {
            // SAFETY: handles come from `Arc::into_raw`; the caller gives up the share that it was given.
            drop(unsafe { Arc::from_raw(handle) });
        }
        Ok(())
    };
    // SAFETY: NULL is fine.
    unsafe { call(ptr::null_mut(), free) };
}

/// Describes an engine.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_engine_info(
    engine: *const EngineHandle,
    info: *mut Info,
    error: *mut ErrorText,
) -> Status {
    let describe = || {
        // SAFETY: the contract of this function.
        let engine = unsafe { share("engine", engine) }?;
        // SAFETY: as above.
        unsafe { write(info, &engine.info()) }
    };
    // SAFETY: as above.
    unsafe { call(error, describe) }
}
