//! `generate_many`: many prompts in shared forward passes, each with the answer that it would get alone.

use crate::error::{Raised, detached, failure};
use crate::model::Opened;
use crate::question::{Question, prepare};
use crate::values::{self, Prompted};
use diffulex::engine::{Control, Limits, SequenceId};
use diffulex::text_model::{Answer, Answered};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::Arc;

/// Answers to all prompts, in their order. `on_answer` is called for each as it is finished: its number, and the answer.
pub(crate) fn run(
    py: Python<'_>,
    opened: &Arc<Opened>,
    prompts: &Bound<'_, PyAny>,
    parallel: usize,
    on_answer: Option<&Py<PyAny>>,
    options: &Bound<'_, PyDict>,
) -> PyResult<Vec<Py<PyAny>>> {
    let mut prepared = Vec::new();
    for (at, prompt) in prompts.try_iter()?.enumerate() {
        let ready = Question::read(&prompt?, true)
            .and_then(|question| prepare(py, opened, question, &options.copy()?, true));
        prepared.push(ready.map_err(|error| numbered(py, at, error))?);
    }
    let model = &opened.model;
    let mask = model.engine.mask().ok();
    let lengths: Vec<usize> = prepared.iter().map(|(prompt, _)| prompt.ids.len()).collect();
    let value = |py: Python<'_>, at: usize, answer: &Answer| {
        let prompt = Prompted { tokens: lengths[at], mask: mask.unwrap_or_default() };
        Ok::<_, PyErr>(values::answer(py, answer, prompt)?.unbind())
    };
    let answers = detached(py, || {
        let mut batch =
            model.batch(Limits::for_engine(&model.engine, parallel.min(prepared.len()).max(1)))?;
        let mut places = HashMap::<SequenceId, usize>::new();
        let mut answers: Vec<Option<Py<PyAny>>> = Vec::new();
        for (at, (prompt, setup)) in prepared.into_iter().enumerate() {
            let added = batch.add(prompt, setup);
            let added = added
                .map_err(|error| Python::attach(|py| numbered(py, at, crate::error::error(py, &error))))?;
            places.insert(added, at);
            answers.push(None);
        }
        while batch.open() > 0 {
            let mut raised = Raised::default();
            let answered = batch.step(&mut |_, _, _| Ok(Control::Continue));
            let heard = Python::attach(|py| {
                py.check_signals()?;
                for Answered { id, result } in answered {
                    let at = places[&id];
                    let result = result.map_err(|error| numbered(py, at, crate::error::error(py, &error)));
                    let answer = value(py, at, &result?)?;
                    if let Some(callback) = on_answer {
                        callback.call1(py, (at, &answer))?;
                    }
                    answers[at] = Some(answer);
                }
                Ok(())
            });
            let kept = raised.keep(heard);
            raised.or(kept)?;
        }
        Ok(answers)
    })?;
    let missing = || failure(py, "PANIC", "a prompt has no answer");
    answers.into_iter().map(|answer| answer.ok_or_else(missing)).collect()
}

/// An exception that says which prompt it is about.
fn numbered(py: Python<'_>, at: usize, error: PyErr) -> PyErr {
    // Pythons before 3.11 have no notes.
    let _ = error.value(py).call_method1("add_note", (format!("prompts[{at}]"),));
    error
}
