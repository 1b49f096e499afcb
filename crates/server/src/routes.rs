//! Which path leads where, and what holds for all of them.

use crate::api::{decisions, denoise, ollama, openai, operations};
use crate::error::ApiError;
use crate::keys::Owner;
use crate::page;
use crate::state::Server;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use diffulex::{Error, Result};
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any as AnyOrigin, CorsLayer};

/// All routes of `server`. `origins`: whose pages may ask.
///
/// # Errors
/// [`Error::Option`] for an origin that is none.
pub(crate) fn routes(server: Arc<Server>, origins: &[String]) -> Result<Router> {
    let guarded = Router::new()
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{*name}", get(openai::model))
        .route("/v1/denoise", post(denoise::denoise))
        .route("/v1/infill", post(denoise::infill))
        .route("/v1/decisions", post(decisions::decisions))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/tags", get(ollama::tags))
        .route("/api/ps", get(ollama::ps))
        .route("/api/show", post(ollama::show))
        .route("/api/version", get(ollama::version))
        .route("/metrics", get(operations::metrics))
        .route("/props", get(operations::props))
        .route("/tokenize", post(operations::tokenize))
        .route("/detokenize", post(operations::detokenize))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), guard));
    let mut all = Router::new()
        .route("/health", get(operations::health))
        .route("/", get(page::page))
        .merge(guarded)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(crate::BODY_LIMIT))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(log));
    if !origins.is_empty() {
        all = all.layer(cors(origins)?);
    }
    Ok(all.with_state(server))
}

fn cors(origins: &[String]) -> Result<CorsLayer> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]);
    if origins.iter().any(|origin| origin == "*") {
        return Ok(layer.allow_origin(AnyOrigin));
    }
    let parse = |origin: &String| {
        let value = HeaderValue::from_str(origin).ok().filter(|_| origin.contains("://"));
        value.ok_or_else(|| {
            Error::option(
                "cors",
                format!("`{origin}` given, `*` or an origin such as https://example.org expected"),
            )
        })
    };
    Ok(layer.allow_origin(origins.iter().map(parse).collect::<Result<Vec<_>>>()?))
}

/// Lets a request through that carries a key, if keys are needed.
async fn guard(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let Some(owner) = server.keys.owner(request.headers()) else {
        let message = "no valid key given, `Authorization: Bearer KEY` expected";
        let code = Some("invalid_api_key");
        return ApiError { code, ..ApiError::new(StatusCode::UNAUTHORIZED, message) }.into_response();
    };
    request.extensions_mut().insert(Owner(owner));
    next.run(request).await
}

async fn unknown(request: Request) -> ApiError {
    let message = format!("{} {} is not served here", request.method(), request.uri().path());
    ApiError { code: Some("unknown_url"), ..ApiError::new(StatusCode::NOT_FOUND, message) }
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    let message = "the request met a fault of the server, which its log describes";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

/// One line for every request, with an id that the response carries, too.
async fn log(request: Request, next: Next) -> Response {
    let id = crate::api::new_id("req");
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let began = Instant::now();
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    let ms = began.elapsed().as_millis() as u64;
    tracing::info!(%id, %method, path, status, ms, "request");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}
