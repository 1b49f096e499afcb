//! OpenAI's API: `/v1/chat/completions`, `/v1/completions`, `/v1/models`.

mod request;
mod response;
mod stream;

pub(crate) use response::finish_reason;

use crate::body::Body;
use crate::error::ApiError;
use crate::fields;
use crate::keys::Owner;
use crate::state::{Server, Updates};
use crate::tools::{self, Calls};
use crate::update::Outcome;
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use diffulex::text_model::{Prompt, Setup};
use request::{Chat, Options};
pub(crate) use request::{ChatRequest, CompletionRequest};
use response::{Head, Shape};
use serde_json::{Value, json};
use std::sync::Arc;

/// The most answers to one request.
const MAX_CHOICES: usize = 32;

/// `POST /v1/chat/completions`
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI", request_body = ChatRequest, responses((status = 200, description = "an answer, or its pieces as server-sent events")))]
pub(crate) async fn chat(
    State(server): State<Arc<Server>>,
    Extension(Owner(owner)): Extension<Owner>,
    Body(request): Body<ChatRequest>,
) -> Result<Response, ApiError> {
    let Chat { messages, tools, given, choice, options } = request.split()?;
    server.check_model(options.model.as_deref())?;
    let prompt = fields::conversation(&server.model, messages, &tools)?;
    let calls = Calls::of(&server, &prompt, &tools)?;
    choice.check(&calls)?;
    let answer = answer(&server, owner, vec![prompt], options, Shape::Chat, calls).await;
    answer.map_err(|error| tools::blame(&server, &given, error))
}

/// `POST /v1/completions`
#[utoipa::path(post, path = "/v1/completions", tag = "OpenAI", request_body = CompletionRequest, responses((status = 200, description = "an answer, or its pieces as server-sent events")))]
pub(crate) async fn completions(
    State(server): State<Arc<Server>>,
    Extension(Owner(owner)): Extension<Owner>,
    Body(request): Body<CompletionRequest>,
) -> Result<Response, ApiError> {
    let (texts, options) = request.split()?;
    server.check_model(options.model.as_deref())?;
    let prompts: Result<Vec<_>, ApiError> = texts.iter().map(|text| text.prompt(&server.model)).collect();
    answer(&server, owner, prompts?, options, Shape::Completion, Calls::default()).await
}

/// Starts the answers to all prompts, `n` to each, and writes them in their order.
async fn answer(
    server: &Arc<Server>,
    owner: usize,
    prompts: Vec<Prompt>,
    options: Options,
    shape: Shape,
    calls: Calls,
) -> Result<Response, ApiError> {
    if !(1..=MAX_CHOICES).contains(&options.n) {
        return Err(ApiError::field("n", format!("{} given, 1 to {MAX_CHOICES} expected", options.n)));
    }
    let mut jobs = Vec::new();
    for prompt in &prompts {
        let mut setup = server.setup(prompt, &options.wishes)?;
        if let Some(others) = options.logprobs {
            server.check_probabilities(&setup, "logprobs")?;
            setup.alternatives = others;
        }
        server.log_prompt(prompt);
        let seeds = (0..options.n as u64).map(|i| setup.seed.wrapping_add(i));
        jobs.extend(seeds.map(|seed| (prompt.clone(), Setup { seed, ..setup.clone() })));
    }
    let choices = server.start(jobs, owner, false)?;
    let head = Head::new(server, shape, options.logprobs, calls);
    if options.stream {
        return Ok(stream::respond(Arc::clone(server), head, choices, options.usage));
    }
    let outcomes = all(choices).await?;
    let prompt_tokens = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    Ok(Json(head.whole(server, &outcomes, prompt_tokens)?).into_response())
}

/// All answers, in their order.
async fn all(choices: Vec<Updates>) -> Result<Vec<Outcome>, ApiError> {
    let mut outcomes = Vec::new();
    for choice in choices {
        outcomes.push(*choice.whole().await?);
    }
    Ok(outcomes)
}

fn describe(server: &Server) -> Value {
    let created = server.started.unix_timestamp();
    json!({ "id": server.config.name, "object": "model", "created": created, "owned_by": "diffulex" })
}

/// `GET /v1/models`
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", responses((status = 200, description = "the model that is served")))]
pub(crate) async fn models(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [describe(&server)] }))
}

/// `GET /v1/models/{model}`
#[utoipa::path(get, path = "/v1/models/{name}", tag = "OpenAI", params(("name" = String, Path)), responses((status = 200, description = "the model that is served")))]
pub(crate) async fn model(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    server.check_model(Some(&name))?;
    Ok(Json(describe(&server)))
}
