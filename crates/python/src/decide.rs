//! Decisions: questions about a state, as dictionaries.

use crate::arguments::text;
use crate::error::detached;
use crate::model::Opened;
use crate::values::record;
use diffulex::engine::Reader;
use diffulex::text_model::decide::{Decision, Kind, Question, Verdict};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};

/// One of `options`, `boolean` and `score`, and optionally `ask` and `lead`.
fn question(name: &Bound<'_, PyAny>, given: &Bound<'_, PyAny>) -> PyResult<Question> {
    let name = text(name)?;
    let Ok(given) = given.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!(
            "questions['{name}'] is {}, a mapping expected",
            given.repr()?
        )));
    };
    let wrong = |what: String| PyValueError::new_err(format!("questions['{name}']: {what}"));
    let (mut kinds, mut ask, mut lead) = (Vec::new(), None, None);
    for item in given.items()?.iter() {
        let (key, value): (String, Bound<'_, PyAny>) = item.extract()?;
        match &*key {
            "options" => kinds.push(Kind::Options(
                value.try_iter()?.map(|option| text(&option?)).collect::<PyResult<_>>()?,
            )),
            "boolean" if value.extract::<bool>().unwrap_or(false) => kinds.push(Kind::Boolean),
            "boolean" => return Err(wrong(format!("boolean is {}, True expected", value.repr()?))),
            "score" => {
                let end = |key| value.get_item(key)?.extract::<i64>();
                kinds.push(Kind::Score { min: end("min")?, max: end("max")? });
            }
            "ask" => ask = Some(text(&value)?),
            "lead" => lead = Some(text(&value)?),
            _ => {
                return Err(wrong(format!(
                    "'{key}' is not known: options, boolean, score, ask and lead are"
                )));
            }
        }
    }
    match <[Kind; 1]>::try_from(kinds) {
        Ok([kind]) => Ok(Question { name, ask, kind, lead }),
        Err(_) => Err(wrong("one of options, boolean and score expected".into())),
    }
}

/// The answers to questions about a state, by their names.
pub(crate) fn run<'py>(
    py: Python<'py>,
    opened: &Opened,
    state: &Bound<'py, PyAny>,
    questions: &Bound<'py, PyAny>,
    prompt: Option<String>,
    again: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let state = match state.is_instance_of::<PyString>() {
        true => text(state)?,
        false => py.import("json")?.call_method1("dumps", (state,))?.extract()?,
    };
    let questions = questions
        .cast::<PyMapping>()
        .map_err(|_| PyTypeError::new_err("questions: a mapping of names to questions expected"))?;
    let questions = questions.items()?.iter().map(|item| {
        let (name, given): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        question(&name, &given)
    });
    let decision = Decision { state, questions: questions.collect::<PyResult<_>>()?, prompt, again };
    let model = &opened.model;
    let verdicts = detached(py, || {
        let prepared = model.prepare(&decision)?;
        let mut reader = Reader::shared(&model.engine)?;
        Ok(model.decide(&mut reader, &model.engine.default_policy(), &[prepared])?)
    })?;
    let answers = PyDict::new(py);
    for verdict in verdicts.iter().flatten() {
        answers.set_item(&verdict.name, value(py, verdict)?)?;
    }
    Ok(answers)
}

fn value<'py>(py: Python<'py>, of: &Verdict) -> PyResult<Bound<'py, PyAny>> {
    let answer = match of.kind {
        Kind::Options(_) => of.labels[of.best].as_str().into_pyobject(py)?.into_any(),
        Kind::Boolean => (of.best == 0).into_pyobject(py)?.to_owned().into_any(),
        Kind::Score { min, .. } => (min + of.best as i64).into_pyobject(py)?.into_any(),
    };
    let each = PyDict::new(py);
    for (label, probability) in of.labels.iter().zip(&of.probabilities) {
        each.set_item(label, probability)?;
    }
    record!(py, "Verdict", {
        answer: answer,
        probability: of.probabilities[of.best],
        probabilities: each,
        mass: of.mass,
        mean: of.mean(),
    })
}
