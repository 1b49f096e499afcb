//! The handler of every path, and what holds for all of them.

use crate::api::{decisions, denoise, ollama, openai, operations};
use crate::error::ApiError;
use crate::keys::Owner;
use crate::openapi::{self, Interfaces};
use crate::page;
use crate::state::Server;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use diffulex::{Error, Result};
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any as AnyOrigin, CorsLayer};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// All routes of `server`. `origins`: whose pages may send requests.
///
/// # Errors
/// [`Error::Option`] for an origin that is not one.
pub(crate) fn routes(server: Arc<Server>, origins: &[String]) -> Result<Router> {
    let (guarded, document) = OpenApiRouter::with_openapi(Interfaces::openapi())
        .routes(routes!(openai::chat))
        .routes(routes!(openai::completions))
        .routes(routes!(openai::models))
        .routes(routes!(decisions::decisions))
        .routes(routes!(denoise::denoise))
        .routes(routes!(denoise::infill))
        .routes(routes!(ollama::chat))
        .routes(routes!(ollama::generate))
        .routes(routes!(ollama::tags))
        .routes(routes!(ollama::ps))
        .routes(routes!(ollama::show))
        .routes(routes!(ollama::version))
        .routes(routes!(operations::metrics))
        .routes(routes!(operations::props))
        .routes(routes!(operations::tokenize))
        .routes(routes!(operations::detokenize))
        .split_for_parts();
    let (open, document) =
        OpenApiRouter::with_openapi(document).routes(routes!(operations::health)).split_for_parts();
    let document = Bytes::from(openapi::text(&document));
    let described = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    let guarded = guarded
        // Names may contain slashes.
        .route("/v1/models/{*name}", get(openai::model))
        .route("/openapi.json", get(described))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), guard));
    let mut all = open
        .route("/", get(page::page))
        .merge(guarded)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
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
    let message = "internal error, which the log of the server describes";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

/// One line for every request, with an id that the response also carries.
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
