//! What the library returns, as the values of `diffulex._types`.

use diffulex::cache::Attention;
use diffulex::engine::{Engine, Event, Generation, PassKind, StopReason};
use diffulex::model::Alignment;
use diffulex::sampler::{Candidate, Canvas, Edit};
use diffulex::tensor::TokenId;
use diffulex::text_model;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// A value of a class of `diffulex._types`, by the names of its members.
macro_rules! record {
    ($py:expr, $class:expr, { $($name:ident: $value:expr),* $(,)? }) => {{
        let members = PyDict::new($py);
        $(members.set_item(stringify!($name), $value)?;)*
        $py.import("diffulex._types")?.getattr($class)?.call((), Some(&members))
    }};
}

pub(crate) use record;

/// What is known of a prompt.
#[derive(Clone, Copy)]
pub(crate) struct Prompted {
    /// Its length.
    pub(crate) tokens: usize,
    /// The mask of its model.
    pub(crate) mask: TokenId,
}

/// What was opened.
pub(crate) fn info<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyAny>> {
    let (arch, kernels) = (engine.arch(), engine.kernels());
    record!(py, "Info", {
        family: arch.family,
        policy: arch.policy,
        level: kernels.level().name(),
        activations: kernels.activations().name(),
        kv: engine.kv().name(),
        weights: engine.model().weight_format().name().to_string(),
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
        mask: engine.mask().ok(),
        stop: PyTuple::new(py, engine.stop())?,
        alignment: match arch.alignment {
            Alignment::Own => "own",
            Alignment::Shifted => "before",
            Alignment::Seeded => "seeded",
        },
        hidden: arch.dims.hidden,
        heads: arch.dims.n_heads,
        kv_heads: arch.dims.n_kv_heads,
        head_dim: arch.dims.head_dim,
    })
}

fn token<'py>(py: Python<'py>, position: usize, id: u32, score: f64) -> PyResult<Bound<'py, PyAny>> {
    py.import("diffulex._types")?.getattr("Token")?.call1((position, id, score))
}

fn tokens<'py>(py: Python<'py>, of: &[Candidate], edits: &[Edit]) -> PyResult<Bound<'py, PyTuple>> {
    let mut all = Vec::with_capacity(of.len() + edits.len());
    for candidate in of {
        all.push(token(py, candidate.pos, candidate.token, candidate.score)?);
    }
    for edit in edits {
        all.push(token(py, edit.pos, edit.token, edit.score)?);
    }
    PyTuple::new(py, all)
}

/// What differs between the kinds of events.
#[derive(Default)]
struct Detail<'a> {
    kind: &'static str,
    pass_kind: Option<&'static str>,
    pass_index: usize,
    begin: usize,
    end: usize,
    cached: usize,
    tokens: &'a [Candidate],
    edits: &'a [Edit],
    candidates: &'a [Candidate],
}

/// The last event of an answer to a prompt, with the text that came with no other.
pub(crate) fn end<'py>(
    py: Python<'py>,
    of: &text_model::Answer,
    prompt: Prompted,
) -> PyResult<Bound<'py, PyAny>> {
    let canvas = (&of.generation.canvas[..], prompt.tokens, prompt.mask);
    described(py, &Detail { kind: "end", ..Detail::default() }, canvas, &of.rest)
}

/// An event, and the text that became final by it.
pub(crate) fn event<'py>(py: Python<'py>, event: &Event<'_>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let parts = |canvas: &'_ Canvas| (canvas.prompt(), canvas.mask());
    let (detail, canvas) = match event {
        Event::Pass { kind, index, rows, cached, canvas } => {
            let kind = match kind {
                PassKind::Prefill => "prefill",
                PassKind::Denoise => "denoise",
                PassKind::Commit => "commit",
            };
            let (begin, end) = (rows.start, rows.end);
            let detail = Detail {
                kind: "pass",
                pass_kind: Some(kind),
                pass_index: *index,
                begin,
                end,
                cached: *cached,
                ..Detail::default()
            };
            (detail, *canvas)
        }
        Event::Revealed { tokens, edits, candidates, canvas, .. } => {
            (Detail { kind: "revealed", tokens, edits, candidates, ..Detail::default() }, *canvas)
        }
        Event::Block { range, canvas } => {
            (Detail { kind: "block", begin: range.start, end: range.end, ..Detail::default() }, *canvas)
        }
    };
    let (prompt, mask) = parts(canvas);
    described(py, &detail, (canvas.ids(), prompt, mask), text)
}

fn described<'py>(
    py: Python<'py>,
    of: &Detail<'_>,
    (canvas, prompt_len, mask): (&[u32], usize, u32),
    text: &str,
) -> PyResult<Bound<'py, PyAny>> {
    record!(py, "Event", {
        kind: of.kind,
        pass_kind: of.pass_kind,
        pass_index: of.pass_index,
        begin: of.begin,
        end: of.end,
        cached: of.cached,
        canvas: PyTuple::new(py, canvas)?,
        prompt_len: prompt_len,
        mask: mask,
        tokens: tokens(py, of.tokens, of.edits)?,
        candidates: tokens(py, of.candidates, &[])?,
        replaced: PyTuple::new(py, of.edits.iter().map(|edit| edit.before).collect::<Vec<_>>())?,
        text: text,
    })
}

/// Why a generation ended, and the id that ended it.
fn stop(reason: StopReason) -> (&'static str, Option<u32>) {
    match reason {
        StopReason::Length => ("length", None),
        StopReason::Stop(id) => ("token", Some(id)),
        StopReason::Cancelled => ("cancelled", None),
    }
}

/// A finished generation.
pub(crate) fn generation<'py>(py: Python<'py>, of: &Generation) -> PyResult<Bound<'py, PyAny>> {
    let (reason, id) = stop(of.stop);
    record!(py, "Generation", {
        tokens: PyTuple::new(py, &of.tokens)?,
        canvas: PyTuple::new(py, &of.canvas)?,
        new_tokens: of.new_tokens(),
        nfe: of.nfe,
        prefill_passes: of.prefill_passes,
        prefill_seconds: of.timings.prefill.as_secs_f64(),
        decode_seconds: of.timings.decode.as_secs_f64(),
        cache: of.cache.name(),
        stop_reason: reason,
        stop_id: id,
    })
}

/// A finished answer to a prompt.
pub(crate) fn answer<'py>(
    py: Python<'py>,
    of: &text_model::Answer,
    prompt: Prompted,
) -> PyResult<Bound<'py, PyAny>> {
    let generation = &of.generation;
    let (reason, id) = if of.stopped_by_string { ("string", None) } else { stop(generation.stop) };
    record!(py, "Answer", {
        text: &of.text,
        tokens: of.counted,
        nfe: generation.nfe,
        prefill_passes: generation.prefill_passes,
        prefill_seconds: generation.timings.prefill.as_secs_f64(),
        decode_seconds: generation.timings.decode.as_secs_f64(),
        stop_reason: reason,
        stop_id: id,
        prompt_tokens: prompt.tokens,
        canvas: PyTuple::new(py, &generation.canvas)?,
        cache: generation.cache.name(),
    })
}
