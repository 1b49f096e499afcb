//! A generation, a pass at a time: what `generate` and `ask` run to its end, and what `stream` and `steps` yield step by step.

use crate::error::{Raised, Stopped, argument, detached, failure};
use crate::model::Opened;
use crate::session::Lease;
use crate::values::{self, Prompted};
use diffulex::engine::{Control, Event, Generating, Generation};
use diffulex::text_model::{self, Answering};
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, TryLockError};

type Half<'m> = Answering<'m>;

self_cell::self_cell!(
    /// An answer in progress, with the model that it reads.
    pub(crate) struct Reply {
        owner: Arc<Opened>,
        #[not_covariant]
        dependent: Half,
    }
);

/// A generation in progress, in a leased session.
pub(crate) enum Work {
    /// Ids in, ids out.
    Ids(Lease, Box<Generating<'static>>),
    /// Text out.
    Text(Lease, Reply, Prompted),
}

/// What came of it.
pub(crate) enum Done {
    Generation(Generation),
    Answer(Box<text_model::Answer>, Prompted),
}

type OnEvent<'a> = dyn FnMut(&Event<'_>, &str) -> diffulex::Result<Control> + 'a;

impl Work {
    /// Runs a pass.
    fn step(&mut self, on_event: &mut OnEvent<'_>) -> diffulex::Result<Option<Done>> {
        match self {
            Self::Ids(lease, generating) => {
                let done =
                    lease.with(|state| state.session.step(generating, &mut |event| on_event(&event, "")))?;
                Ok(done.map(Done::Generation))
            }
            Self::Text(lease, reply, prompt) => {
                let done = reply.with_dependent_mut(|opened, answering| {
                    lease.with(|state| opened.model.step(&mut state.session, answering, on_event))
                })?;
                Ok(done.map(|answer| Done::Answer(Box::new(answer), *prompt)))
            }
        }
    }

    fn cancel(&mut self) {
        match self {
            Self::Ids(_, generating) => generating.cancel(),
            Self::Text(_, reply, _) => reply.with_dependent_mut(|_, answering| answering.cancel()),
        }
    }
}

impl Done {
    fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Generation(generation) => values::generation(py, generation)?.unbind(),
            Self::Answer(answer, prompt) => values::answer(py, answer, *prompt)?.unbind(),
        })
    }

    /// The end of the text that came with no event.
    fn rest(&self) -> &str {
        match self {
            Self::Generation(_) => "",
            Self::Answer(answer, _) => &answer.rest,
        }
    }
}

/// Which callback is told of what happens.
pub(crate) enum Listener {
    Nobody,
    /// One that gets every event.
    Events(Py<PyAny>),
    /// One that gets text as it becomes final.
    Text(Py<PyAny>),
}

impl Listener {
    pub(crate) fn events(callback: Option<Py<PyAny>>) -> Self {
        callback.map_or(Self::Nobody, Self::Events)
    }

    pub(crate) fn text(callback: Option<Py<PyAny>>) -> Self {
        callback.map_or(Self::Nobody, Self::Text)
    }

    /// Reports an event. Signals that arrived in the meantime are handled first.
    fn hear(&self, event: &Event<'_>, text: &str) -> PyResult<Control> {
        let wanted = match self {
            Self::Nobody => false,
            Self::Events(_) => true,
            Self::Text(_) => !text.is_empty(),
        };
        if !wanted && !matches!(event, Event::Pass { .. }) {
            return Ok(Control::Continue);
        }
        Python::attach(|py| {
            py.check_signals()?;
            let enough = match self {
                Self::Events(callback) => {
                    callback.call1(py, (values::event(py, event, text)?,))?.is_truthy(py)?
                }
                Self::Text(callback) if !text.is_empty() => callback.call1(py, (text,))?.is_truthy(py)?,
                _ => false,
            };
            Ok(if enough { Control::Stop } else { Control::Continue })
        })
    }
}

/// Runs a generation to its end.
pub(crate) fn run(py: Python<'_>, mut work: Work, listener: Listener) -> PyResult<Py<PyAny>> {
    let done = detached(py, || {
        loop {
            let mut raised = Raised::default();
            let stepped = work.step(&mut |event, text| raised.keep(listener.hear(event, text)));
            if let Some(done) = raised.or(stepped)? {
                return Ok(done);
            }
        }
    })?;
    py.check_signals()?;
    if let Listener::Text(callback) = &listener
        && !done.rest().is_empty()
    {
        // Nothing is left that its result could end.
        callback.call1(py, (done.rest(),))?;
    }
    done.value(py)
}

/// What an iterator yields.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wants {
    /// Events.
    Events,
    /// Events with their text, and one at the end.
    Steps,
    /// Text.
    Text,
}

struct Flow {
    work: Option<Work>,
    ready: VecDeque<Py<PyAny>>,
    result: Option<Py<PyAny>>,
}

/// A generation as an iterator: every pass runs when its events are requested. `result` is the outcome, once it has ended.
#[pyclass(frozen, module = "diffulex")]
pub(crate) struct Steps {
    wants: Wants,
    flow: Mutex<Flow>,
}

impl Steps {
    pub(crate) fn new(work: Work, wants: Wants) -> Self {
        Self { wants, flow: Mutex::new(Flow { work: Some(work), ready: VecDeque::new(), result: None }) }
    }

    /// Does something with the flow, which no other thread may use meanwhile: it would wait for the lock while it holds Python's own.
    fn with<T>(&self, py: Python<'_>, work: impl FnOnce(&mut Flow) -> PyResult<T>) -> PyResult<T> {
        match self.flow.try_lock() {
            Ok(mut flow) => work(&mut flow),
            Err(TryLockError::Poisoned(flow)) => work(&mut flow.into_inner()),
            Err(TryLockError::WouldBlock) => Err(failure(py, "BUSY", "the iterator is serving another call")),
        }
    }
}

impl Flow {
    /// Runs passes until something happens that is wanted. Any failure ends it and returns the session.
    fn advance(&mut self, py: Python<'_>, wants: Wants) -> PyResult<()> {
        let Some(mut work) = self.work.take() else { return Ok(()) };
        let ready = &mut self.ready;
        let done = detached(py, || {
            let mut raised = Raised::default();
            let stepped = work.step(&mut |event, text| raised.keep(put(ready, event, text, wants)));
            raised.or(stepped)
        })?;
        py.check_signals()?;
        match done {
            None => self.work = Some(work),
            Some(done) => {
                drop(work);
                self.finish(py, &done, wants)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, py: Python<'_>, done: &Done, wants: Wants) -> PyResult<()> {
        match (wants, done) {
            (Wants::Text, done) if !done.rest().is_empty() => {
                self.ready.push_back(done.rest().into_pyobject(py)?.into_any().unbind());
            }
            (Wants::Steps, Done::Answer(answer, prompt)) => {
                let end = values::end(py, answer, *prompt)?;
                self.ready.push_back(end.unbind());
            }
            _ => {}
        }
        self.result = Some(done.value(py)?);
        Ok(())
    }
}

/// Keeps what is wanted of an event.
fn put(ready: &mut VecDeque<Py<PyAny>>, event: &Event<'_>, text: &str, wants: Wants) -> PyResult<Control> {
    if wants == Wants::Text && text.is_empty() {
        return Ok(Control::Continue);
    }
    Python::attach(|py| {
        ready.push_back(match wants {
            Wants::Text => text.into_pyobject(py)?.into_any().unbind(),
            Wants::Events | Wants::Steps => values::event(py, event, text)?.unbind(),
        });
        Ok(Control::Continue)
    })
}

#[pymethods]
impl Steps {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// `async for`: the same, with every pass in a thread.
    fn __aiter__(this: Py<Self>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.import("diffulex._async")?.getattr("Async")?.call1((this,))?.unbind())
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.with(py, |flow| {
            while flow.ready.is_empty() && flow.work.is_some() {
                flow.advance(py, self.wants)?;
            }
            match (flow.ready.pop_front(), &flow.result) {
                (Some(next), _) => Ok(next),
                (None, Some(result)) => Err(PyStopIteration::new_err((result.clone_ref(py),))),
                (None, None) => Err(PyStopIteration::new_err(())),
            }
        })
    }

    /// The outcome. The rest of the passes run first, and what they yield is left out.
    #[getter]
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.with(py, |flow| {
            while flow.work.is_some() {
                flow.advance(py, self.wants)?;
            }
            let over = || argument(py, "the iterator was closed, or failed, before its end");
            Ok(flow.result.as_ref().ok_or_else(over)?.clone_ref(py))
        })
    }

    /// Ends the generation with what there is, which is then `result`. Closing twice is fine.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |flow| {
            flow.ready.clear();
            let Some(mut work) = flow.work.take() else { return Ok(()) };
            let done = detached(py, || {
                work.cancel();
                Ok::<_, Stopped>(work.step(&mut |_, _| Ok(Control::Continue))?)
            })?;
            if let Some(done) = done {
                flow.result = Some(done.value(py)?);
            }
            Ok(())
        })
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }
}
