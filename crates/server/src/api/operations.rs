//! For operators of the server: `/health`, `/metrics`, `/props`, `/tokenize`, `/detokenize`.

use crate::body::Body;
use crate::error::ApiError;
use crate::queue::State as EngineState;
use crate::state::{Server, merge};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use diffulex::engine::Overrides;
use diffulex::tensor::TokenId;
use diffulex_cli::decoding;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// `GET /health`: 200 when requests are answered, else 503.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, description = "requests are answered")))]
pub(crate) async fn health(State(server): State<Arc<Server>>) -> Response {
    let (status, word) = match server.queue.state() {
        EngineState::Ready => (StatusCode::OK, "ok"),
        EngineState::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        EngineState::Draining => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        EngineState::Gone => (StatusCode::SERVICE_UNAVAILABLE, "the engine failed"),
    };
    (status, Json(json!({ "status": word }))).into_response()
}

/// `GET /metrics`, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, description = "metrics as Prometheus reads them")))]
pub(crate) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], server.metrics.render()).into_response()
}

/// `GET /props`: the model and the settings that apply unless a request says otherwise.
#[utoipa::path(get, path = "/props", tag = "operations", responses((status = 200, description = "the model and the settings in effect")))]
pub(crate) async fn props(State(server): State<Arc<Server>>) -> Result<Json<Value>, ApiError> {
    let (engine, config) = (&server.model.engine, &server.config);
    let policy = merge(&Overrides::default(), &config.defaults)?.policy(engine)?;
    Ok(Json(json!({
        "model": config.name, "origin": server.model.origin, "family": engine.arch().family,
        "version": env!("CARGO_PKG_VERSION"), "context": engine.context(), "parallel": config.parallel,
        "waiting": server.queue.waiting(), "threads": engine.threads(), "kv": engine.kv().name(),
        "weights": engine.model().weight_format().to_string(), "chat": server.model.template.is_some(),
        "decoding": decoding::describe(&policy, engine.stop(), engine),
    })))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizeRequest {
    content: String,
}

/// `POST /tokenize`
#[utoipa::path(post, path = "/tokenize", tag = "operations", request_body = TokenizeRequest, responses((status = 200, description = "ids")))]
pub(crate) async fn tokenize(
    State(server): State<Arc<Server>>,
    Body(request): Body<TokenizeRequest>,
) -> Result<Json<Value>, ApiError> {
    let ids = server.model.tokenizer()?.encode(&request.content)?;
    Ok(Json(json!({ "tokens": ids })))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetokenizeRequest {
    #[schema(value_type = Vec<u32>)]
    tokens: Vec<TokenId>,
}

/// `POST /detokenize`
#[utoipa::path(post, path = "/detokenize", tag = "operations", request_body = DetokenizeRequest, responses((status = 200, description = "text")))]
pub(crate) async fn detokenize(
    State(server): State<Arc<Server>>,
    Body(request): Body<DetokenizeRequest>,
) -> Result<Json<Value>, ApiError> {
    server.model.check_ids("tokens", &request.tokens)?;
    let text = server.model.tokenizer()?.decode(&request.tokens, false)?;
    Ok(Json(json!({ "content": text })))
}
