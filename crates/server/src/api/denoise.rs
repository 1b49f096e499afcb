//! The canvas while it is denoised, `/v1/denoise`, and gaps anywhere, `/v1/infill`.

use super::new_id;
use super::openai::finish_reason;
use crate::body::Body;
use crate::bound::{ResponseFormat, one_of};
use crate::error::ApiError;
use crate::fields::{self, ChatMessage, OneOrMany, Sampling};
use crate::keys::Owner;
use crate::openapi::Diffusion;
use crate::sse::{self, Kind, Writer};
use crate::state::{Server, Updates};
use crate::update::{Outcome, Revealed, Update};
use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use diffulex::tensor::TokenId;
use diffulex::text::grammar::Form;
use diffulex::text_model::Prompt;
use diffulex_cli::decoding::DecodingArgs;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// The body of `/v1/denoise`: a conversation, or a prompt as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DenoiseRequest {
    model: Option<String>,
    messages: Option<Vec<ChatMessage>>,
    prompt: Option<String>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    max_tokens: Option<i64>,
    #[schema(value_type = Option<Diffusion>)]
    diffusion: Option<DecodingArgs>,
    response_format: Option<ResponseFormat>,
    regex: Option<String>,
    grammar: Option<String>,
}

/// `POST /v1/denoise`
#[utoipa::path(post, path = "/v1/denoise", tag = "diffulex", request_body = DenoiseRequest, responses((status = 200, description = "every pass as server-sent events")))]
pub(crate) async fn denoise(
    State(server): State<Arc<Server>>,
    Extension(Owner(owner)): Extension<Owner>,
    Body(request): Body<DenoiseRequest>,
) -> Result<Response, ApiError> {
    server.check_model(request.model.as_deref())?;
    let prompt = match (request.messages, request.prompt) {
        (Some(messages), None) => fields::conversation(&server.model, messages, &[])?,
        (None, Some(text)) => server.model.prompt_with(&text, None, true)?,
        _ => return Err(ApiError::field("messages", "one of `messages` and `prompt` expected")),
    };
    let sampling = Sampling {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        seed: request.seed,
        stop: request.stop,
        max_tokens: request.max_tokens,
        diffusion: request.diffusion,
        grammar: one_of([
            ("response_format", request.response_format.and_then(ResponseFormat::form)),
            ("regex", request.regex.map(Form::Regex)),
            ("grammar", request.grammar.map(Form::Lark)),
        ])?,
    };
    let setup = server.setup(&prompt, &sampling.read()?)?;
    server.log_prompt(&prompt);
    let new = setup.max_tokens.unwrap_or(0);
    let start = start(&server, &prompt, new)?;
    let mut updates = server.start(vec![(prompt, setup)], owner, true)?;
    let updates = updates.pop().expect("one job, one answer");
    Ok(sse::respond(Kind::Events, async move |writer| {
        writer.event("start", &start).await;
        if let Err(error) = write(&server, updates, &writer).await {
            writer.event("error", &error.body()).await;
        }
    }))
}

/// What there is before the first pass.
fn start(server: &Server, prompt: &Prompt, new: usize) -> Result<Value, ApiError> {
    let mask = server.model.engine.mask()?;
    Ok(json!({
        "id": new_id("denoise"), "model": server.config.name, "mask_id": mask,
        "prompt_tokens": prompt.ids.len(), "canvas_tokens": prompt.ids.len() + new,
        "prompt": text(server, &prompt.ids)?,
    }))
}

fn text(server: &Server, ids: &[TokenId]) -> Result<String, ApiError> {
    Ok(server.model.tokenizer()?.decode(ids, false)?)
}

async fn write(server: &Server, mut updates: Updates, writer: &Writer) -> Result<(), ApiError> {
    loop {
        match updates.next().await {
            Update::Pass { kind, index, rows, cached } => {
                let pass = json!({
                    "index": index, "kind": kind, "first": rows.start, "rows": rows.len(), "cached": cached,
                });
                writer.event("pass", &pass).await;
            }
            Update::Revealed(tokens, edits) => {
                let tokens = tokens.into_iter().map(|token| describe(server, token));
                let tokens: Vec<Value> = tokens.collect::<Result<_, _>>()?;
                let edits = edits.into_iter().map(|edit| {
                    let mut now = describe(server, edit.now)?;
                    now["before"] = edit.before.into();
                    Ok(now)
                });
                let edits: Vec<Value> = edits.collect::<Result<_, ApiError>>()?;
                writer.event("reveal", &json!({ "tokens": tokens, "edits": edits })).await;
            }
            Update::Block(range) => {
                writer.event("block", &json!({ "first": range.start, "end": range.end })).await;
            }
            Update::Text(text) => writer.event("text", &json!({ "text": text })).await,
            Update::Done(outcome) => {
                writer.event("done", &summary(&outcome)).await;
                return Ok(());
            }
            Update::Failed(error) => return Err(ApiError::from(&*error)),
            Update::TimedOut => return Err(ApiError::timed_out()),
            Update::Gone | Update::Decided(..) => return Err(ApiError::gone()),
        }
    }
}

/// A token that is at its position now.
fn describe(server: &Server, token: Revealed) -> Result<Value, ApiError> {
    let (position, id) = (token.position, token.id);
    let text = text(server, &[id])?;
    Ok(json!({ "position": position, "id": id, "text": text, "confidence": token.score }))
}

/// An answer and what it cost.
fn summary(outcome: &Outcome) -> Value {
    let (answer, generation) = (&outcome.answer, &outcome.answer.generation);
    json!({
        "text": answer.text, "finish_reason": finish_reason(answer),
        "prompt_tokens": outcome.prompt_tokens, "cached_tokens": outcome.cached,
        "new_tokens": answer.counted, "forward_passes": generation.nfe,
        "prefill_passes": generation.prefill_passes, "tokens_per_forward": answer.per_forward(),
        "seconds": {
            "prefill": generation.timings.prefill.as_secs_f64(),
            "decode": generation.timings.decode.as_secs_f64(),
        },
    })
}

/// The body of `/v1/infill`: text with gaps, written as `<mask:N>`, or text before and after one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InfillRequest {
    model: Option<String>,
    text: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
    /// Tokens of the gap between `prefix` and `suffix`.
    masks: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    seed: Option<i64>,
    #[schema(value_type = Option<Diffusion>)]
    diffusion: Option<DecodingArgs>,
}

/// `POST /v1/infill`
#[utoipa::path(post, path = "/v1/infill", tag = "diffulex", request_body = InfillRequest, responses((status = 200, description = "the text with its gaps filled in")))]
pub(crate) async fn infill(
    State(server): State<Arc<Server>>,
    Extension(Owner(owner)): Extension<Owner>,
    Body(request): Body<InfillRequest>,
) -> Result<Response, ApiError> {
    server.check_model(request.model.as_deref())?;
    let model = &server.model;
    let prompt = match (request.text, request.prefix, request.suffix, request.masks) {
        (Some(text), None, None, None) => {
            let prompt = model.prompt_with(&text, None, true)?;
            if !model.fills_gaps(&prompt)? {
                return Err(ApiError::field("text", "no gap in it, `<mask:N>` expected"));
            }
            prompt
        }
        (None, Some(prefix), suffix, Some(masks)) => {
            model.prompt_around(&prefix, masks, &suffix.unwrap_or_default())?
        }
        _ => {
            let message = "either `text` with gaps expected, or `prefix`, `masks` and, optionally, `suffix`";
            return Err(ApiError::field("text", message));
        }
    };
    let (temperature, top_p, top_k) = (request.temperature, request.top_p, request.top_k);
    let (seed, diffusion) = (request.seed, request.diffusion);
    let sampling = Sampling { temperature, top_p, top_k, seed, diffusion, ..Sampling::default() };
    let setup = server.setup(&prompt, &sampling.read()?)?;
    server.log_prompt(&prompt);
    let mut updates = server.start(vec![(prompt, setup)], owner, false)?;
    let outcome = updates.pop().expect("one job, one answer").whole().await?;
    let generation = &outcome.answer.generation;
    let gaps: Result<Vec<_>, ApiError> =
        generation.filled.iter().map(|gap| text(&server, &generation.canvas[gap.clone()])).collect();
    let mut answer = summary(&outcome);
    answer["gaps"] = Value::from(gaps?);
    Ok(Json(answer).into_response())
}
