//! Questions with the probability of every answer: `/v1/decisions`.

use super::{new_id, now};
use crate::body::Body;
use crate::error::ApiError;
use crate::keys::Owner;
use crate::queue::Task;
use crate::state::{Server, merge};
use crate::update::Update;
use axum::Json;
use axum::extract::{Extension, State};
use diffulex::engine::Overrides;
use diffulex::text_model::decide::{Decision, Prepared, Verdict};
use diffulex_cli::decide::{self, Questions, State as Facts};
use metrics::counter;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// The body of `/v1/decisions`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionRequest {
    model: Option<String>,
    /// A string, or JSON.
    #[schema(value_type = Value)]
    state: Facts,
    /// By name: `options`, `boolean` or `score`, and `ask` and `lead` (docs/decisions.md).
    #[schema(value_type = Object)]
    questions: Questions,
    prompt: Option<String>,
    passes: Option<u64>,
}

/// `POST /v1/decisions`
#[utoipa::path(post, path = "/v1/decisions", tag = "diffulex", request_body = DecisionRequest, responses((status = 200, description = "the probability of every answer")))]
pub(crate) async fn decisions(
    State(server): State<Arc<Server>>,
    Extension(Owner(owner)): Extension<Owner>,
    Body(request): Body<DecisionRequest>,
) -> Result<Json<Value>, ApiError> {
    let arrived = Instant::now();
    server.check_model(request.model.as_deref())?;
    let decision = decide::decision(request.state, request.questions, request.prompt, request.passes)?;
    let prepared = prepare(Arc::clone(&server), decision).await?;
    let policy = merge(&Overrides::default(), &server.config.defaults)?.policy(&server.model.engine)?;
    let task = Task::Decision(Box::new((prepared.clone(), policy)));
    let outcome = server.submit([task], owner, arrived, false);
    let refused = if outcome.is_err() { "yes" } else { "no" };
    counter!("diffulex_decisions_total", "refused" => refused).increment(1);
    let mut updates = outcome?.pop().expect("one for each task");
    match updates.next().await {
        Update::Decided(verdicts, passes) => {
            Ok(Json(Value::Object(response(&server, &prepared, &verdicts, passes))))
        }
        Update::Failed(error) => Err(of_state(ApiError::from(&*error))),
        Update::TimedOut => Err(ApiError::timed_out()),
        _ => Err(ApiError::gone()),
    }
}

/// Makes ids of a decision, which may have thousands of answers.
async fn prepare(server: Arc<Server>, decision: Decision) -> Result<Prepared, ApiError> {
    let work = tokio::task::spawn_blocking(move || server.model.prepare(&decision));
    // A panic is not the client's fault.
    let prepared = work.await.map_err(|_| ApiError::gone())?;
    prepared.map_err(|error| of_state(ApiError::from(error)))
}

/// What is too long is the state.
fn of_state(error: ApiError) -> ApiError {
    match error.param.as_deref() {
        Some("messages") => ApiError { param: Some("state".into()), ..error },
        _ => error,
    }
}

fn response(server: &Server, prepared: &Prepared, verdicts: &[Verdict], passes: usize) -> Map<String, Value> {
    let mut answers = decide::answers(prepared, verdicts);
    let tokens = answers.remove("prompt_tokens").unwrap_or_default();
    let mut whole = Map::new();
    whole.insert("id".into(), new_id("decision").into());
    whole.insert("object".into(), "decision".into());
    whole.insert("created".into(), now().into());
    whole.insert("model".into(), server.config.name.clone().into());
    whole.append(&mut answers);
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens, "forward_passes": passes });
    whole.insert("usage".into(), usage);
    whole
}
