//! What Ollama's front ends ask about models: `/api/tags`, `/api/ps`, `/api/show`, `/api/version`.

use super::Plain;
use crate::body::Body;
use crate::error::ApiError;
use crate::state::Server;
use crate::tools::{self, Calls};
use axum::Json;
use axum::extract::State;
use diffulex::text::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// What the model is, in the terms of this API.
fn details(server: &Server) -> Value {
    let (engine, arch) = (&server.model.engine, server.model.engine.arch());
    json!({
        "format": "safetensors", "family": arch.family, "families": [arch.family],
        "parameter_size": "", "parent_model": "",
        "quantization_level": engine.model().weight_format().to_string(),
    })
}

fn entry(server: &Server) -> Value {
    let modified = server.started.format(&Rfc3339).unwrap_or_default();
    json!({
        "name": format!("{}:latest", server.config.name), "model": format!("{}:latest", server.config.name),
        "modified_at": modified, "size": 0, "digest": "", "details": details(server),
    })
}

/// `GET /api/tags`
#[utoipa::path(get, path = "/api/tags", tag = "Ollama", responses((status = 200, description = "the model that is served")))]
pub(crate) async fn tags(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({ "models": [entry(&server)] }))
}

/// `GET /api/ps`
#[utoipa::path(get, path = "/api/ps", tag = "Ollama", responses((status = 200, description = "the model that is served")))]
pub(crate) async fn ps(State(server): State<Arc<Server>>) -> Json<Value> {
    let mut entry = entry(&server);
    // It is never unloaded.
    entry["expires_at"] = "2999-12-31T23:59:59Z".into();
    entry["size_vram"] = 0.into();
    Json(json!({ "models": [entry] }))
}

/// What front ends may use.
fn capabilities(server: &Server) -> Vec<&'static str> {
    let tool = json!({ "type": "function", "function": { "name": "x", "parameters": { "type": "object" } } });
    let calls = tools::tools(&[tool]).and_then(|tools| {
        let prompt = server.model.conversation_with(&[Message::new("user", "x")], &tools)?;
        Calls::of(server, &prompt, &tools)
    });
    let takes_tools = calls.is_ok_and(|calls| calls.are_read());
    ["completion"].into_iter().chain(takes_tools.then_some("tools")).collect()
}

/// The body of `/api/show`.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ShowRequest {
    /// Its newer name is `model`.
    name: Option<String>,
    model: Option<String>,
}

/// `POST /api/show`
#[utoipa::path(post, path = "/api/show", tag = "Ollama", request_body = ShowRequest, responses((status = 200, description = "what is known of the model")))]
pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    request: Result<Body<ShowRequest>, ApiError>,
) -> Result<Json<Value>, Plain> {
    let Body(request) = request?;
    server.check_model(request.model.or(request.name).as_deref())?;
    let (engine, arch) = (&server.model.engine, server.model.engine.arch());
    let family = arch.family;
    Ok(Json(json!({
        "modelfile": "", "parameters": "", "template": "", "license": "",
        "details": details(&server), "capabilities": capabilities(&server),
        "model_info": {
            "general.architecture": family,
            format!("{family}.context_length"): engine.context(),
            format!("{family}.block_count"): arch.dims.layers,
            format!("{family}.embedding_length"): arch.dims.hidden,
        },
    })))
}

/// `GET /api/version`. Clients compare it with the versions of Ollama that have what they need.
#[utoipa::path(get, path = "/api/version", tag = "Ollama", responses((status = 200, description = "the version of the server")))]
pub(crate) async fn version() -> Json<Value> {
    Json(json!({ "version": "0.6.0", "diffulex": env!("CARGO_PKG_VERSION") }))
}
