//! `Model`: text in, text out.

use crate::arguments::{ids, optional_text, path, size};
use crate::engine::{Engine, Options, description, located};
use crate::error::{Raise, argument, detached};
use crate::question::{Question, prepare, take, turns};
use crate::session::{Session, Shared, Slot, copied};
use crate::steps::{Listener, Reply, Steps, Wants, Work, run};
use crate::values::Prompted;
use crate::{decide, many, numbers};
use diffulex::text::grammar::{Form, Grammars};
use diffulex::text_model::Bound as Grammar;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use std::sync::{Arc, OnceLock};

/// Prompts that `generate_many` runs at a time, unless the caller says otherwise.
const PARALLEL: usize = 8;

/// A model as its calls share it.
pub(crate) struct Opened {
    pub(crate) model: diffulex::Model,
    /// The tokens of the model, for grammars; read when the first question needs them.
    words: OnceLock<Arc<Grammars>>,
}

impl Opened {
    /// The grammar of a question, given as JSON schema, regular expression or Lark grammar.
    pub(crate) fn bound(&self, form: &Form) -> diffulex::Result<Grammar> {
        // A process that forks meanwhile does not wait for the first reader: both read them.
        let words = match self.words.get() {
            Some(words) => Arc::clone(words),
            None => Arc::new(Grammars::new(Arc::clone(self.model.tokenizer()?))?),
        };
        let compiled = words.compile(form)?;
        let _ = self.words.set(words);
        Ok(Grammar(Arc::new(compiled)))
    }
}

/// An engine with the tokenizer, the chat template and the defaults of its checkpoint. It decodes as diffulex-run does.
///
/// Options as for `Engine`, all optional.
#[pyclass(frozen, subclass, module = "diffulex")]
pub(crate) struct Model {
    pub(crate) of: Slot<Opened>,
    engine: Py<Engine>,
}

impl Model {
    /// Begins an answer, in the session that is given or in one of its own.
    fn begin(
        &self,
        py: Python<'_>,
        question: Question,
        options: Option<&Bound<'_, PyDict>>,
        raw: bool,
    ) -> PyResult<Work> {
        let opened = self.of.share(py)?;
        let options = options.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
        let session = take(&options, "session")?;
        let (prompt, setup) = prepare(py, &opened, question, &options, raw)?;
        let shared = match session {
            Some(session) => session.cast::<Session>()?.get().of.share(py)?,
            None => Shared::new(py, &opened.model.engine)?,
        };
        if !Arc::ptr_eq(&shared.engine, &opened.model.engine) {
            return Err(argument(py, "the session belongs to another engine than the model's"));
        }
        let lease = shared.lease(py)?;
        let prompted = Prompted { tokens: prompt.ids.len(), mask: opened.model.engine.mask().raise(py)? };
        let reply = detached(py, || {
            Ok(lease.with(|state| {
                state.rows = 0;
                Reply::try_new(opened, |opened| opened.model.begin(&mut state.session, prompt, setup))
            })?)
        })?;
        Ok(Work::Text(lease, reply, prompted))
    }
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path, **options))]
    fn opened(
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let path = self::path(path)?;
        let options = Options::read(py, options)?;
        let model = options.load(py, |builder| diffulex::Model::open_with(located(path)?, builder))?;
        let engine = Py::new(py, Engine::new(Arc::clone(&model.engine)))?;
        Ok(Self { of: Slot::new("model", Arc::new(Opened { model, words: OnceLock::new() })), engine })
    }

    /// The same as `Model(path, ..)`.
    #[classmethod]
    #[pyo3(signature = (path, **options))]
    fn open<'py>(
        class: &Bound<'py, PyType>,
        path: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        class.call((path,), options)
    }

    /// The engine, for ids, passes and logits.
    #[getter]
    fn engine(&self, py: Python<'_>) -> Py<Engine> {
        self.engine.clone_ref(py)
    }

    /// What was opened.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        crate::values::info(py, &self.of.share(py)?.model.engine)
    }

    /// A new session. Kept for a chat, it does not compute again what the next question has in common with the last.
    fn session(&self, py: Python<'_>) -> PyResult<Session> {
        Session::open(py, &self.of.share(py)?.model.engine)
    }

    /// Tokenizes a string, nothing added at its ends; `<mask:N>` in it is N masks.
    fn encode(&self, py: Python<'_>, text: &str) -> PyResult<Vec<u32>> {
        self.of.share(py)?.model.encode_with_gaps(text).raise(py)
    }

    /// Decodes ids to a string.
    #[pyo3(signature = (ids, skip_special=true))]
    fn decode(&self, py: Python<'_>, ids: &Bound<'_, PyAny>, skip_special: bool) -> PyResult<String> {
        let (opened, ids) = (self.of.share(py)?, self::ids(ids)?);
        opened.model.tokenizer().and_then(|tokenizer| tokenizer.decode(&ids, skip_special)).raise(py)
    }

    /// The text that the chat template makes of messages, with the start of the assistant's turn at its end.
    fn render(&self, py: Python<'_>, messages: &Bound<'_, PyAny>) -> PyResult<String> {
        self.of.share(py)?.model.render(&turns(messages)?).raise(py)
    }

    /// Answers a question: a string, or the messages of a conversation (`[{"role": "user", "content": ".."}]`), both through the chat
    /// template. A string with `<mask:N>` in it has gaps to fill in; `raw` leaves the template out.
    ///
    /// `max_new` limits the new tokens (default: 128, or only what fills the gaps). `policy` and further keywords are those of
    /// `Session.generate`. `stop` strings end the answer. `on_text` gets text as it becomes final; if it returns True the answer
    /// ends there. `session` keeps what was computed, for the next question.
    ///
    /// The answer can be constrained to a JSON `schema` (a dictionary, or JSON), a regular expression (`regex`), or a `grammar` in Lark's
    /// syntax: an answer that ends by itself (`stop_reason` is "token") is valid.
    #[pyo3(signature = (question, *, on_text=None, **options))]
    fn ask(
        &self,
        py: Python<'_>,
        question: &Bound<'_, PyAny>,
        on_text: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        run(py, self.begin(py, Question::read(question, false)?, options, false)?, Listener::text(on_text))
    }

    /// The text of `ask`, piece by piece; `result` is the `Answer` at the end. Closing it ends the answer.
    #[pyo3(signature = (question, **options))]
    fn stream(
        &self,
        py: Python<'_>,
        question: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Steps> {
        Ok(Steps::new(self.begin(py, Question::read(question, false)?, options, false)?, Wants::Text))
    }

    /// Answers the messages of a conversation. Keywords as for `ask`.
    #[pyo3(signature = (messages, *, on_text=None, **options))]
    fn chat(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        on_text: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        if messages.is_instance_of::<PyString>() {
            let what = "messages is a string, a list of messages expected";
            return Err(PyTypeError::new_err(what));
        }
        self.ask(py, messages, on_text, options)
    }

    /// Continues a string, or token ids, as they are: without the chat template. `<mask:N>` in a string is a gap of N tokens to fill
    /// in, and so are masks among ids; `suffix` is what follows a gap of `max_new` tokens after the string. Keywords as for `ask`.
    #[pyo3(signature = (prompt, *, on_text=None, **options))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        on_text: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        run(py, self.begin(py, Question::read(prompt, true)?, options, true)?, Listener::text(on_text))
    }

    /// The answer to a question, or to ids, as an iterator of events with the text that became final by each, and of one of kind "end".
    #[pyo3(signature = (question, **options))]
    fn steps(
        &self,
        py: Python<'_>,
        question: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Steps> {
        Ok(Steps::new(self.begin(py, Question::read(question, true)?, options, false)?, Wants::Steps))
    }

    /// Answers many prompts in shared forward passes, each as it would be alone: strings and ids as `generate` does, messages as `chat`
    /// does. `parallel` limits how many run at a time, and with it the memory. `on_answer` is called for each as it is finished: its number,
    /// and the answer. Keywords as for `ask`, without `session`.
    #[pyo3(signature = (prompts, *, parallel=None, on_answer=None, **options))]
    fn generate_many(
        &self,
        py: Python<'_>,
        prompts: &Bound<'_, PyAny>,
        parallel: Option<&Bound<'_, PyAny>>,
        on_answer: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let parallel = size("parallel", parallel, PARALLEL)?;
        if prompts.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("prompts is a string, a list of prompts expected"));
        }
        let options = options.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
        many::run(py, &self.of.share(py)?, prompts, parallel, on_answer.as_ref(), &options)
    }

    /// How probable every answer to questions about a state is. `questions` are by name: one of `options` (strings), `boolean` (True)
    /// and `score` (`{"min": .., "max": ..}`), and `ask` and `lead` in words. `prompt` replaces the words around them,
    /// `again` asks every question a second time with the answers to the others. Returns verdicts by name.
    #[pyo3(signature = (state, questions, *, prompt=None, again=false))]
    fn decide<'py>(
        &self,
        py: Python<'py>,
        state: &Bound<'py, PyAny>,
        questions: &Bound<'py, PyAny>,
        prompt: Option<&Bound<'py, PyAny>>,
        again: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        decide::run(py, &*self.of.share(py)?, state, questions, optional_text(prompt)?, again)
    }

    /// Logits of a pass over `ids`, which see what the model's rule says: a numpy array, `[rows, vocabulary]`, of all rows or of those
    /// in `rows`.
    #[pyo3(signature = (ids, rows=None))]
    fn logits<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        rows: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        numbers::logits(py, &self.of.share(py)?.model.engine, ids, rows)
    }

    /// Hidden states of a pass over `ids`: a numpy array, `[rows, hidden]`. With `layer`, the residual stream after that block, counted
    /// from 0 or, if negative, from the end; without it, the final norm, from which the logits are computed.
    #[pyo3(signature = (ids, layer=None, rows=None))]
    fn hidden<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        layer: Option<isize>,
        rows: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        numbers::hidden(py, &self.of.share(py)?.model.engine, ids, layer, rows)
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
        Err(copied(py, "model"))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.of.share(py).map_or_else(
            |_| "<diffulex.Model, closed>".into(),
            |opened| {
                let model = &opened.model;
                format!("<diffulex.Model {}: {}>", model.origin, description(&model.engine))
            },
        )
    }
}
