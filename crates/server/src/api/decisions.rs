//! Questions with the probability of every answer: `/v1/decisions`.

use super::{new_id, now};
use crate::body::Body;
use crate::error::ApiError;
use crate::queue::{Refused, State as EngineState};
use crate::state::{Server, merge};
use axum::Json;
use axum::extract::State;
use diffulex::engine::{Overrides, Reader};
use diffulex::text_model::decide::{Decision, Prepared, Verdict};
use diffulex::{Model, Policy};
use diffulex_cli::decide::{self, Questions, State as Facts};
use metrics::{counter, histogram};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use utoipa::ToSchema;

/// What reads probabilities. It has memory of its own, made when it is needed first; its passes and those of answers take turns.
pub(crate) struct Decider {
    /// None before the first decision, and while one is made.
    reader: Arc<Mutex<Option<Reader<'static>>>>,
    /// Decisions that may be made or wait.
    places: Semaphore,
    limit: usize,
}

impl Decider {
    /// One that at most `waiting` requests may wait for.
    pub(crate) fn new(waiting: usize) -> Self {
        let limit = waiting.saturating_add(1).min(Semaphore::MAX_PERMITS);
        Self { reader: Arc::default(), places: Semaphore::new(limit), limit }
    }
}

/// The body of `/v1/decisions`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionRequest {
    model: Option<String>,
    /// A text, or JSON.
    #[schema(value_type = Value)]
    state: Facts,
    /// By name: `options`, `boolean` or `score`, and `ask` and `lead` (docs/decisions.md).
    #[schema(value_type = Object)]
    questions: Questions,
    prompt: Option<String>,
    passes: Option<u64>,
}

/// A decision, and how many forward passes it took.
type Decided = (Prepared, Vec<Verdict>, usize);

/// `POST /v1/decisions`
#[utoipa::path(post, path = "/v1/decisions", tag = "diffulex", request_body = DecisionRequest, responses((status = 200, description = "the probability of every answer")))]
pub(crate) async fn decisions(
    State(server): State<Arc<Server>>,
    Body(request): Body<DecisionRequest>,
) -> Result<Json<Value>, ApiError> {
    server.check_model(request.model.as_deref())?;
    let decision = decide::decision(request.state, request.questions, request.prompt, request.passes)?;
    if matches!(server.queue.state(), EngineState::Draining | EngineState::Gone) {
        return Err(Refused::Closed.into());
    }
    let decider = &server.decider;
    let place = decider.places.try_acquire();
    counter!("diffulex_decisions_total", "refused" => if place.is_ok() { "no" } else { "yes" }).increment(1);
    let _place = place.map_err(|_| Refused::Full(decider.limit - 1))?;
    let began = Instant::now();
    let made = make(Arc::clone(&server), decision);
    let (prepared, verdicts, passes) = match server.config.timeout {
        Some(limit) => timeout(limit, made).await.map_err(|_| ApiError::timed_out())??,
        None => made.await?,
    };
    record(began.elapsed());
    Ok(Json(Value::Object(response(&server, &prepared, &verdicts, passes))))
}

fn record(time: Duration) {
    histogram!("diffulex_decision_seconds").record(time.as_secs_f64());
}

async fn make(server: Arc<Server>, decision: Decision) -> Result<Decided, ApiError> {
    let mut reader = Arc::clone(&server.decider.reader).lock_owned().await;
    let work = move || {
        let model = &server.model;
        let policy = merge(&Overrides::default(), &server.config.defaults)?.policy(&model.engine)?;
        let mut own = match reader.take() {
            Some(own) => own,
            None => Reader::shared(&model.engine)?,
        };
        let decided = read(model, &policy, &mut own, &decision);
        *reader = Some(own);
        decided.map_err(|error| match ApiError::from(&error) {
            error if error.param.as_deref() == Some("messages") => {
                ApiError { param: Some("state".into()), ..error }
            }
            error => error,
        })
    };
    // A panic leaves no reader, and the next decision makes a new one.
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::gone())?
}

fn read(
    model: &Model,
    policy: &Policy,
    reader: &mut Reader<'_>,
    decision: &Decision,
) -> diffulex::Result<Decided> {
    let before = reader.passes();
    let prepared = model.prepare(decision)?;
    let mut verdicts = model.decide(reader, policy, std::slice::from_ref(&prepared))?;
    let verdicts = verdicts.pop().expect("one for each");
    Ok((prepared, verdicts, reader.passes() - before))
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
