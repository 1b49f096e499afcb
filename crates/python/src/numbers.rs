//! What a model computes, as numpy arrays. numpy is imported only here.

use crate::arguments::{ids, rows};
use crate::error::{argument, detached};
use crate::session::{Shared, bytes, forward};
use diffulex::Engine;
use diffulex::model::{Probe, Stage};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;
use std::sync::Arc;

/// Numbers as an array of this many columns.
fn array<'py>(py: Python<'py>, numbers: &[u8], columns: usize) -> PyResult<Bound<'py, PyAny>> {
    let numpy = py.import("numpy")?;
    let rows = numbers.len() / size_of::<f32>() / columns;
    numpy
        .call_method1("frombuffer", (PyByteArray::new(py, numbers), "float32"))?
        .call_method1("reshape", (rows, columns))
}

/// A pass over `ids` in a session of its own, and the rows of it that are wanted: all unless some are given.
struct Pass {
    shared: Arc<Shared>,
    ids: Vec<u32>,
    rows: Vec<usize>,
}

impl Pass {
    fn new(
        py: Python<'_>,
        engine: &Arc<Engine>,
        given: &Bound<'_, PyAny>,
        wanted: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let ids = ids(given)?;
        if ids.is_empty() {
            return Err(argument(py, "no ids given, at least 1 expected"));
        }
        let rows = match wanted.filter(|rows| !rows.is_none()) {
            Some(wanted) => rows(wanted)?,
            None => (0..ids.len()).collect(),
        };
        if let Some(row) = rows.iter().find(|&&row| row >= ids.len()) {
            return Err(argument(py, format!("row {row} of a pass of {} rows", ids.len())));
        }
        Ok(Self { shared: Shared::new(py, engine)?, ids, rows })
    }
}

/// Logits of rows of a pass over `ids`, `[rows, vocab]`.
pub(crate) fn logits<'py>(
    py: Python<'py>,
    engine: &Arc<Engine>,
    given: &Bound<'py, PyAny>,
    wanted: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Pass { shared, ids, rows } = Pass::new(py, engine, given, wanted)?;
    let lease = shared.lease(py)?;
    let numbers = detached(py, || {
        Ok(lease.with(|state| {
            forward(state, &ids, 0, false, &mut Probe::none())?;
            Ok::<_, diffulex::Error>(bytes(state.session.logits(&rows, &mut Probe::none()).data()))
        })?)
    })?;
    array(py, &numbers, engine.arch().dims.vocab)
}

/// Hidden states of rows of a pass over `ids`, `[rows, hidden]`: the residual stream after a block, or the final norm.
pub(crate) fn hidden<'py>(
    py: Python<'py>,
    engine: &Arc<Engine>,
    given: &Bound<'py, PyAny>,
    layer: Option<isize>,
    wanted: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let layers = engine.arch().dims.layers;
    let from_end = |layer: isize| if layer < 0 { layer + layers as isize } else { layer };
    let index = layer.map(|layer| usize::try_from(from_end(layer)).ok().filter(|&at| at < layers));
    if index == Some(None) {
        let what = format!("layer is {}, -{layers} to {} expected", layer.unwrap_or_default(), layers - 1);
        return Err(PyValueError::new_err(what));
    }
    let index = index.flatten();
    let Pass { shared, ids, rows } = Pass::new(py, engine, given, wanted)?;
    let lease = shared.lease(py)?;
    let numbers = detached(py, || {
        Ok(lease.with(|state| {
            let mut seen = Vec::new();
            let mut watch = |place: diffulex::model::Place, values: diffulex::tensor::Rows<'_>| {
                if place.layer == index && matches!(place.stage, Stage::Block) {
                    rows.iter().for_each(|&row| seen.extend(bytes(values.row(row))));
                } else if index.is_none() && place.stage == Stage::FinalNorm {
                    seen.extend(bytes(values.data()));
                }
            };
            forward(state, &ids, 0, false, &mut Probe::new(&mut watch))?;
            if index.is_none() {
                state.session.logits(&rows, &mut Probe::new(&mut watch));
            }
            Ok::<_, diffulex::Error>(seen)
        })?)
    })?;
    array(py, &numbers, engine.arch().dims.hidden)
}
