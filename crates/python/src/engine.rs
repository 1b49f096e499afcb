//! `Engine`: a loaded model that takes and returns token ids, and the options of opening one.

use crate::arguments::{ids, optional_text, path, size, whole};
use crate::error::{Raise, Stopped, detached};
use crate::session::{Asked, Session, Shared, Slot, begin, copied};
use crate::steps::{Listener, Steps, Wants, run};
use crate::values;
use diffulex::bytes::Bytes;
use diffulex::cache::KvDtype;
use diffulex::engine::{EngineBuilder, ModelFiles};
use diffulex::json::Value;
use diffulex::kernels::{Activations, Level};
use diffulex::model::GenerationConfig;
use diffulex::quant::{DEFAULT_GROUP, FormatName};
use diffulex::tensor::TokenId;
use diffulex::weights::{SafeTensors, Storage};
use diffulex::{Error, Result};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// More threads than this are a mistake.
const MAX_THREADS: usize = 1024;

/// Options of opening, as Python gives them.
pub(crate) struct Options {
    pub(crate) builder: EngineBuilder,
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Options {
    /// Reads the keywords of an opening function.
    pub(crate) fn read(py: Python<'_>, given: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut options = Self { builder: diffulex::Engine::builder(), raised: Arc::default() };
        let mut unknown = Vec::new();
        for (key, value) in given.into_iter().flatten() {
            let key: String = key.extract()?;
            if !options.take(py, &key, &value)? {
                unknown.push(key);
            }
        }
        match unknown[..] {
            [] => Ok(options),
            _ => Err(PyTypeError::new_err(format!("unknown options: {}", unknown.join(", ")))),
        }
    }

    /// Takes an option; None is its default. Returns whether there is such an option.
    fn take(&mut self, py: Python<'_>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        const KNOWN: [&str; 11] = [
            "level",
            "activations",
            "kv",
            "storage",
            "quantize",
            "threads",
            "context",
            "mask",
            "token_limit",
            "stop",
            "progress",
        ];
        if value.is_none() {
            return Ok(KNOWN.contains(&key));
        }
        let builder = self.builder.clone();
        let named = || optional_text(Some(value)).map(Option::unwrap_or_default);
        self.builder = match key {
            "level" => builder.level(Level::from_name(&named()?).raise(py)?),
            "activations" => builder.activations(Activations::from_name(&named()?).raise(py)?),
            "kv" => builder.kv(KvDtype::from_name(&named()?).raise(py)?),
            "storage" => builder.storage(storage(&named()?).raise(py)?),
            "quantize" => {
                let name = named()?.parse().map_err(|reason: String| Error::option("quantize", reason));
                let name: FormatName = name.raise(py)?;
                builder.quantize(name.resolve(DEFAULT_GROUP, false).raise(py)?)
            }
            "threads" => threads(builder, size("threads", Some(value), 0)?).raise(py)?,
            "context" => match size("context", Some(value), 0)? {
                0 => builder,
                positions => builder.context(positions),
            },
            "mask" => builder.mask(whole("mask", Some(value), 0, u64::from(TokenId::MAX))? as TokenId),
            "token_limit" => match size("token_limit", Some(value), 0)? {
                0 => builder,
                limit => builder.tokens(limit, Vec::new()),
            },
            "stop" => builder.stop(ids(value)?),
            "progress" => self.told(builder, value.clone().unbind()),
            _ => return Ok(false),
        };
        Ok(true)
    }

    /// Reports the number of loaded tensors and of all to a callback. What it raises, or a signal, is raised when loading is over.
    fn told(&self, builder: EngineBuilder, callback: Py<PyAny>) -> EngineBuilder {
        let raised = Arc::clone(&self.raised);
        builder.progress(move |done, all| {
            Python::attach(|py| {
                let told = py.check_signals().and_then(|()| callback.call1(py, (done, all)).map(drop));
                if let (Err(error), Ok(mut raised)) = (told, raised.lock()) {
                    raised.get_or_insert(error);
                }
            });
        })
    }

    /// Loads with these options.
    pub(crate) fn load<T: Send>(
        self,
        py: Python<'_>,
        work: impl FnOnce(EngineBuilder) -> Result<T> + Send,
    ) -> PyResult<T> {
        let Self { builder, raised } = self;
        let loaded = detached(py, || work(builder).map_err(Stopped::Library))?;
        py.check_signals()?;
        match crate::error::held(raised.lock())?.take() {
            Some(error) => Err(error),
            None => Ok(loaded),
        }
    }
}

fn threads(builder: EngineBuilder, threads: usize) -> Result<EngineBuilder> {
    match threads {
        0 => Ok(builder),
        1..=MAX_THREADS => Ok(builder.threads(threads)),
        _ => Err(Error::option("threads", format!("{threads} given, at most {MAX_THREADS} expected"))),
    }
}

fn storage(name: &str) -> Result<Storage> {
    match name {
        "map" => Ok(Storage::Map),
        "read" => Ok(Storage::Read),
        _ => Err(Error::option("storage", format!("`{name}` given, map or read expected"))),
    }
}

/// Where a model is that is named by its path or by its id in the Hugging Face cache.
pub(crate) fn located(name: PathBuf) -> Result<PathBuf> {
    Ok(diffulex_cli::hub::resolve(&name)?.into_owned())
}

/// What an engine is, in a line.
pub(crate) fn description(engine: &diffulex::Engine) -> String {
    let (arch, kernels) = (engine.arch(), engine.kernels());
    let dims = &arch.dims;
    format!(
        "{}, {} parameters, {} layers of {} ({} heads of {}, {} for keys), vocabulary {}; {} weights, {} kernels, {} activations, \
         {} keys and values, context {}, {} threads",
        arch.family,
        engine.model().parameters(),
        dims.layers,
        dims.hidden,
        dims.n_heads,
        dims.head_dim,
        dims.n_kv_heads,
        dims.vocab,
        engine.model().weight_format().name(),
        kernels.level().name(),
        kernels.activations().name(),
        engine.kv().name(),
        engine.context(),
        engine.threads(),
    )
}

/// A loaded model: a checkpoint directory, a .safetensors file, or an index file; or the id of one in the Hugging Face cache.
/// Sessions keep it alive, so it may be closed before they are.
///
/// Options, all optional: level, activations, kv, storage, quantize (strings); threads, context, mask, token_limit (numbers); stop
/// (ids); progress (called with how much is loaded, and how much there is in all).
#[pyclass(frozen, subclass, module = "diffulex")]
pub(crate) struct Engine {
    of: Slot<diffulex::Engine>,
}

impl Engine {
    pub(crate) fn new(engine: Arc<diffulex::Engine>) -> Self {
        Self { of: Slot::new("engine", engine) }
    }

    /// The memory of a generation that has no session.
    fn shared(&self, py: Python<'_>) -> PyResult<Arc<Shared>> {
        Shared::new(py, &self.of.share(py)?)
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (path, **options))]
    fn opened(
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let path = self::path(path)?;
        let engine = Options::read(py, options)?.load(py, |builder| builder.open(located(path)?))?;
        Ok(Self::new(Arc::new(engine)))
    }

    /// The same as `Engine(path, ..)`.
    #[classmethod]
    #[pyo3(signature = (path, **options))]
    fn open<'py>(
        class: &Bound<'py, PyType>,
        path: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        class.call((path,), options)
    }

    /// Opens a checkpoint from the bytes of config.json and of one safetensors file, which are copied.
    #[staticmethod]
    #[pyo3(signature = (config, weights, generation_config=None, **options))]
    fn from_bytes(
        py: Python<'_>,
        config: &[u8],
        weights: &[u8],
        generation_config: Option<&[u8]>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let engine = Options::read(py, options)?.load(py, |builder| {
            let generation = match generation_config {
                None | Some([]) => GenerationConfig::default(),
                Some(json) => GenerationConfig::from_json(
                    "generation_config",
                    &Value::parse_python("generation_config", json)?,
                )?,
            };
            let files = ModelFiles::from_json("config", Value::parse_python("config", config)?, generation)?;
            builder.load(files, &SafeTensors::from_bytes("weights", &Bytes::copy_aligned(weights))?)
        })?;
        Ok(Self::new(Arc::new(engine)))
    }

    /// What was opened.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::info(py, &*self.of.share(py)?)
    }

    /// A new session: one sequence, with a cache of its own.
    fn session(&self, py: Python<'_>) -> PyResult<Session> {
        Session::open(py, &self.of.share(py)?)
    }

    /// `Session.generate` with a session for this call.
    #[pyo3(signature = (ids, max_new, policy=None, on_event=None, stop=None, seed=None, padding=None, **changes))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of a Python function")]
    fn generate(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        max_new: &Bound<'_, PyAny>,
        policy: Option<&Bound<'_, PyAny>>,
        on_event: Option<Py<PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        seed: Option<&Bound<'_, PyAny>>,
        padding: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let asked = Asked { max_new, policy, stop, seed, padding, changes };
        run(py, begin(py, &self.shared(py)?, ids, &asked)?, Listener::events(on_event))
    }

    /// `Session.stream` with a session for this call.
    #[pyo3(signature = (ids, max_new, policy=None, stop=None, seed=None, padding=None, **changes))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of a Python function")]
    fn stream(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        max_new: &Bound<'_, PyAny>,
        policy: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        seed: Option<&Bound<'_, PyAny>>,
        padding: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Steps> {
        let asked = Asked { max_new, policy, stop, seed, padding, changes };
        Ok(Steps::new(begin(py, &self.shared(py)?, ids, &asked)?, Wants::Events))
    }

    /// Frees what the library holds. Closing twice is fine.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.of.close(py)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __reduce__(&self, py: Python<'_>) -> PyResult<()> {
        Err(copied(py, "engine"))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.of.share(py).map_or_else(
            |_| "<diffulex.Engine, closed>".into(),
            |engine| format!("<diffulex.Engine: {}>", description(&engine)),
        )
    }
}
