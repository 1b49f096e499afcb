//! `Session`: one sequence, token ids in and out, and passes for a decoding loop of the caller's own. Wrong calls, which panic in
//! Rust, are refused before they are made.

use crate::arguments::{ids, policy, rows, size, whole};
use crate::error::{argument, detached, failure, held};
use crate::steps::{Listener, Steps, Wants, Work, run};
use diffulex::cache::Visible;
use diffulex::engine::{Engine, Request, Standard};
use diffulex::model::Probe;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A session as its calls share it.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    state: Mutex<State>,
    busy: AtomicBool,
}

/// What one call at a time works with.
pub(crate) struct State {
    pub(crate) session: diffulex::Session<'static>,
    /// Rows of the latest pass of `forward`; 0 after anything else.
    pub(crate) rows: usize,
}

/// The right to use a session: nobody else has it.
pub(crate) struct Lease(pub(crate) Arc<Shared>);

impl Shared {
    /// A new session of an engine.
    pub(crate) fn new(py: Python<'_>, engine: &Arc<Engine>) -> PyResult<Arc<Self>> {
        let engine = Arc::clone(engine);
        detached(py, move || {
            let state = State { session: engine.shared_session()?, rows: 0 };
            Ok(Arc::new(Self { engine, state: Mutex::new(state), busy: AtomicBool::new(false) }))
        })
    }

    /// Takes the session, until the lease is dropped.
    pub(crate) fn lease(self: &Arc<Self>, py: Python<'_>) -> PyResult<Lease> {
        if self.busy.swap(true, Ordering::Acquire) {
            return Err(failure(py, "BUSY", "the session is serving another call"));
        }
        let lease = Lease(Arc::clone(self));
        if self.state.is_poisoned() {
            let message = "an earlier call with this session panicked; it can only be closed";
            return Err(failure(py, "POISONED", message));
        }
        Ok(lease)
    }
}

impl Lease {
    /// Works with the session.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Never waits: only the holder of the lease gets here.
        work(&mut self.0.state.lock().expect("a poisoned session is not leased"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Something that `close` removes while calls that use it continue.
pub(crate) struct Slot<T> {
    name: &'static str,
    of: Mutex<Option<Arc<T>>>,
}

impl<T> Slot<T> {
    pub(crate) fn new(name: &'static str, of: Arc<T>) -> Self {
        Self { name, of: Mutex::new(Some(of)) }
    }

    /// A share of it for a call.
    pub(crate) fn share(&self, py: Python<'_>) -> PyResult<Arc<T>> {
        let of = held(self.of.lock())?.clone();
        of.ok_or_else(|| argument(py, format!("the {} is closed", self.name)))
    }

    /// Frees it when the calls with it have ended.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()>
    where
        T: Send + Sync,
    {
        let of = held(self.of.lock())?.take();
        py.detach(|| drop(of));
        Ok(())
    }
}

/// One sequence. Kept for a chat, it does not compute again what the next prompt has in common with the last.
#[pyclass(frozen, module = "diffulex")]
pub(crate) struct Session {
    pub(crate) of: Slot<Shared>,
}

impl Session {
    pub(crate) fn open(py: Python<'_>, engine: &Arc<Engine>) -> PyResult<Self> {
        Ok(Self { of: Slot::new("session", Shared::new(py, engine)?) })
    }

    fn lease(&self, py: Python<'_>) -> PyResult<Lease> {
        self.of.share(py)?.lease(py)
    }
}

/// The arguments of a generation other than the ids, as Python gives them.
pub(crate) struct Asked<'a, 'py> {
    pub(crate) max_new: &'a Bound<'py, PyAny>,
    pub(crate) policy: Option<&'a Bound<'py, PyAny>>,
    pub(crate) stop: Option<&'a Bound<'py, PyAny>>,
    pub(crate) seed: Option<&'a Bound<'py, PyAny>>,
    pub(crate) padding: Option<&'a Bound<'py, PyAny>>,
    pub(crate) changes: Option<&'a Bound<'py, PyDict>>,
}

/// Begins a generation in a session.
pub(crate) fn begin(
    py: Python<'_>,
    shared: &Arc<Shared>,
    prompt: &Bound<'_, PyAny>,
    asked: &Asked<'_, '_>,
) -> PyResult<Work> {
    let prompt = ids(prompt)?;
    let max_new = size("max_new", Some(asked.max_new), 0)?;
    let seed = whole("seed", asked.seed, 0, u64::MAX)?;
    let padding = size("padding", asked.padding, 0)?;
    let engine = &shared.engine;
    let policy = policy(engine, asked.policy, asked.changes, py)?;
    let stop = match asked.stop.filter(|stop| !stop.is_none()) {
        Some(stop) => ids(stop)?,
        None => engine.stop().to_vec(),
    };
    let lease = shared.lease(py)?;
    let generating = detached(py, || {
        let request = Request { stop: &stop, seed, padding, ..Request::new(&prompt, max_new, &policy) };
        lease.with(|state| {
            // The latest pass will be one of the generation.
            state.rows = 0;
            Ok(state.session.begin(&request, &Standard)?)
        })
    })?;
    Ok(Work::Ids(lease, Box::new(generating)))
}

/// Numbers as the bytes of an array.
pub(crate) fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// One pass over `ids`, which sees what the model's rule says, or everything.
pub(crate) fn forward(
    state: &mut State,
    ids: &[u32],
    first: usize,
    all: bool,
    probe: &mut Probe<'_>,
) -> diffulex::Result<()> {
    let end = first + ids.len();
    let session = &mut state.session;
    let visible = match all {
        true => Visible::all(first..end, 0..end),
        false => Visible::by_rule(session.engine().arch().attention, first..end, 0, end),
    };
    state.rows = 0;
    session.forward(ids, first, &visible, probe)?;
    state.rows = ids.len();
    Ok(())
}

#[pymethods]
impl Session {
    /// Generates up to `max_new` tokens after `ids`; masks among `ids` are filled in.
    ///
    /// `policy` names a published policy (default: the model's own), and further keywords change it: `temperature=0.7`, `top_k=20`,
    /// `threshold=0.9`, .. as in docs/decoding.md. `stop` ids end the text (default: the checkpoint's; `[]`: none). `on_event` gets
    /// every event; if it returns True the generation ends with what there is; if it raises, the generation ends and the exception is raised.
    /// What a signal raises, such as KeyboardInterrupt, ends it after the current pass.
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
        run(py, begin(py, &self.of.share(py)?, ids, &asked)?, Listener::events(on_event))
    }

    /// The events of `generate`, one by one; `result` is the `Generation` at the end. Closing it ends the generation.
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
        Ok(Steps::new(begin(py, &self.of.share(py)?, ids, &asked)?, Wants::Events))
    }

    /// One pass over `ids` at the positions from `first` on, which sees what the model's rule says ("rule") or everything ("all").
    #[pyo3(signature = (ids, first=None, visible="rule"))]
    fn forward(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        first: Option<&Bound<'_, PyAny>>,
        visible: &str,
    ) -> PyResult<()> {
        let all = match visible {
            "rule" => false,
            "all" => true,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "visible is '{visible}', 'rule' or 'all' expected"
                )));
            }
        };
        let (ids, first) = (self::ids(ids)?, size("first", first, 0)?);
        let lease = self.lease(py)?;
        let (committed, filled) = lease.with(|state| (state.session.committed(), state.session.filled()));
        if ids.is_empty() || first < committed || first > filled {
            let given = format!("{} ids from position {first}", ids.len());
            return Err(argument(py, format!("{given}, at least 1 from {committed} to {filled} expected")));
        }
        detached(py, || Ok(lease.with(|state| forward(state, &ids, first, all, &mut Probe::none()))?))
    }

    /// Logits of some rows of the latest `forward`, one for each id of the vocabulary.
    fn logits<'py>(&self, py: Python<'py>, rows: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let rows = self::rows(rows)?;
        let lease = self.lease(py)?;
        let there = lease.with(|state| state.rows);
        if let Some(row) = rows.iter().find(|&&row| row >= there) {
            return Err(argument(py, format!("row {row} of a pass of {there} rows")));
        }
        let vocab = lease.0.engine.arch().dims.vocab;
        let all = detached(py, || {
            Ok(lease.with(|state| bytes(state.session.logits(&rows, &mut Probe::none()).data())))
        })?;
        let array = py.import("array")?.getattr("array")?;
        let row = |row: &[u8]| array.call1(("f", PyBytes::new(py, row)));
        all.chunks_exact(vocab * size_of::<f32>()).map(row).collect()
    }

    /// Declares the next `rows` staged positions final.
    fn commit(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let rows = size("rows", Some(rows), 0)?;
        let lease = self.lease(py)?;
        let staged = lease.with(|state| state.session.filled() - state.session.committed());
        if rows > staged {
            return Err(argument(py, format!("commit of {rows} rows, {staged} are staged")));
        }
        lease.with(|state| state.session.commit(rows));
        Ok(())
    }

    /// Forgets everything after the first `length` committed positions.
    fn rewind(&self, py: Python<'_>, length: &Bound<'_, PyAny>) -> PyResult<()> {
        let length = size("length", Some(length), 0)?;
        let lease = self.lease(py)?;
        let committed = lease.with(|state| state.session.committed());
        if length > committed {
            return Err(argument(py, format!("rewind to {length}, {committed} positions are committed")));
        }
        lease.with(|state| state.session.rewind(length));
        Ok(())
    }

    /// How many positions are committed.
    #[getter]
    fn committed(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.lease(py)?.with(|state| state.session.committed()))
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
        Err(copied(py, "session"))
    }
}

/// The error for copying: a copy would be a different object, with memory of its own.
pub(crate) fn copied(_: Python<'_>, name: &str) -> PyErr {
    pyo3::exceptions::PyTypeError::new_err(format!("a {name} can be neither copied nor pickled"))
}
