//! Ollama's API: `/api/chat`, `/api/generate`, `/api/tags`, `/api/show`, `/api/ps`, `/api/version`.

mod models;

pub(crate) use models::*;

use super::openai::finish_reason;
use crate::body::Body;
use crate::bound::{self, Wish};
use crate::error::ApiError;
use crate::fields::{self, ChatMessage, OneOrMany, Sampling};
use crate::keys::Owner;
use crate::openapi::Diffusion;
use crate::sse::{self, Kind, Writer};
use crate::state::{Server, Updates};
use crate::tools::{self, Call, Calls, Choice, Held};
use crate::update::{Outcome, Update};
use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use diffulex::text::Message;
use diffulex::text_model::Prompt;
use diffulex_cli::decoding::DecodingArgs;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// An error in the form of this API.
pub(crate) struct Plain(ApiError);

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        self.0.plain()
    }
}

impl<E: Into<ApiError>> From<E> for Plain {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// Settings of a request. Settings of machines and samplers that this engine does not have are accepted only with values that have
/// no effect.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = OllamaOptions)]
struct Options {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    /// -1 and -2: as many as fit.
    num_predict: Option<i64>,
    /// Positions; the server's own number has to be enough for it.
    num_ctx: Option<usize>,
    /// Settings of other engines: where and how a model is run.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    others: Map<String, Value>,
}

/// Options of Ollama's own engine that say how a machine is used, not what is answered.
const OF_MACHINES: [&str; 8] =
    ["num_gpu", "main_gpu", "num_thread", "num_batch", "numa", "low_vram", "use_mmap", "use_mlock"];
/// Options that change answers, with the value at which they do not.
const NEUTRAL: [(&str, f64); 10] = [
    ("repeat_penalty", 1.0),
    ("presence_penalty", 0.0),
    ("frequency_penalty", 0.0),
    ("mirostat", 0.0),
    ("tfs_z", 1.0),
    ("typical_p", 1.0),
    ("min_p", 0.0),
    ("num_keep", 0.0),
    ("repeat_last_n", 0.0),
    ("penalize_newline", 0.0),
];

impl Options {
    fn sampling(
        self,
        server: &Server,
        diffusion: Option<DecodingArgs>,
        grammar: Option<Wish>,
    ) -> Result<Sampling, ApiError> {
        for (name, value) in &self.others {
            let neutral = NEUTRAL.iter().find(|(neutral, _)| neutral == name);
            let asks_nothing = match neutral {
                Some(&(_, neutral)) => value.as_f64() == Some(neutral) || value == &json!(false),
                None => OF_MACHINES.contains(&name.as_str()),
            };
            if !asks_nothing && !value.is_null() {
                let message = match neutral {
                    Some((_, neutral)) => {
                        format!("option `{name}`: {value} given, only {neutral} is supported")
                    }
                    None => format!("option `{name}` is not known"),
                };
                return Err(ApiError::unsupported(&format!("options.{name}"), message));
            }
        }
        let context = server.model.engine.context();
        if let Some(asked) = self.num_ctx.filter(|&asked| asked > context) {
            let message = format!("option `num_ctx`: {asked} given, the server has {context} (--context)");
            return Err(ApiError::field("options.num_ctx", message));
        }
        Ok(Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            seed: self.seed,
            stop: self.stop,
            max_tokens: self.num_predict.filter(|&tokens| !matches!(tokens, -1 | -2)),
            diffusion,
            grammar,
        })
    }
}

/// The body of `/api/chat`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaChatRequest)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatRequest {
    model: Option<String>,
    #[serde(default)]
    messages: Vec<ChatMessage>,
    stream: Option<bool>,
    options: Option<Options>,
    #[schema(value_type = Option<Diffusion>)]
    diffusion: Option<DecodingArgs>,
    format: Option<Value>,
    tools: Option<Vec<Value>>,
    /// As in OpenAI's API; Ollama itself has no such field.
    tool_choice: Option<Value>,
    think: Option<Value>,
    #[allow(dead_code, reason = "the model stays loaded")]
    keep_alive: Option<Value>,
}

/// The body of `/api/generate`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaGenerateRequest)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenerateRequest {
    model: Option<String>,
    #[serde(default)]
    prompt: String,
    system: Option<String>,
    suffix: Option<String>,
    raw: Option<bool>,
    stream: Option<bool>,
    options: Option<Options>,
    #[schema(value_type = Option<Diffusion>)]
    diffusion: Option<DecodingArgs>,
    format: Option<Value>,
    images: Option<Vec<Value>>,
    template: Option<String>,
    context: Option<Vec<u32>>,
    think: Option<Value>,
    #[allow(dead_code, reason = "the model stays loaded")]
    keep_alive: Option<Value>,
}

/// Refuses fields that request what is not supported.
fn refuse(fields: &[(&str, bool)]) -> Result<(), ApiError> {
    match fields.iter().find(|(_, asks)| *asks) {
        Some((name, _)) => Err(ApiError::unsupported(name, format!("`{name}` is not supported"))),
        None => Ok(()),
    }
}

/// Whether an optional field requests something.
fn asks(value: Option<&Value>) -> bool {
    !matches!(value, None | Some(Value::Null | Value::Bool(false))) && value != Some(&json!(""))
}

/// `POST /api/chat`
#[utoipa::path(post, path = "/api/chat", tag = "Ollama", request_body = ChatRequest, responses((status = 200, description = "an answer, or its pieces as lines of JSON")))]
pub(crate) async fn chat(
    State(server): State<Arc<Server>>,
    Extension(Owner(owner)): Extension<Owner>,
    request: Result<Body<ChatRequest>, ApiError>,
) -> Result<Response, Plain> {
    let Body(request) = request?;
    server.check_model(request.model.as_deref())?;
    refuse(&[("think", asks(request.think.as_ref()))])?;
    let given = request.tools.unwrap_or_default();
    let choice = Choice::read(request.tool_choice.as_ref(), &given)?;
    let tools = if choice == Choice::None { Vec::new() } else { tools::tools(&given)? };
    let format = bound::of_format(request.format)?;
    let call = choice.form(&given)?.map(|form| Wish { field: "tool_choice", form });
    let grammar = bound::one([format, call])?;
    let mut answer = Answer::new(&server, true);
    if request.messages.is_empty() {
        // How a model is loaded; it already is.
        return Ok(Json(answer.loaded()).into_response());
    }
    let prompt = fields::conversation(&server.model, request.messages, &tools)?;
    answer.calls = Calls::of(&server, &prompt, &tools)?;
    choice.check(&answer.calls)?;
    let sampling = request.options.unwrap_or_default().sampling(&server, request.diffusion, grammar)?;
    let given_answer = answer.give(&server, owner, prompt, sampling, request.stream.unwrap_or(true)).await;
    given_answer.map_err(|Plain(error)| Plain(tools::blame(&server, &given, error)))
}

/// `POST /api/generate`
#[utoipa::path(post, path = "/api/generate", tag = "Ollama", request_body = GenerateRequest, responses((status = 200, description = "an answer, or its pieces as lines of JSON")))]
pub(crate) async fn generate(
    State(server): State<Arc<Server>>,
    Extension(Owner(owner)): Extension<Owner>,
    request: Result<Body<GenerateRequest>, ApiError>,
) -> Result<Response, Plain> {
    let Body(request) = request?;
    server.check_model(request.model.as_deref())?;
    refuse(&[
        ("images", request.images.is_some_and(|images| !images.is_empty())),
        ("think", asks(request.think.as_ref())),
        ("template", request.template.is_some_and(|template| !template.is_empty())),
        ("context", request.context.is_some_and(|context| !context.is_empty())),
        ("suffix", request.suffix.is_some_and(|suffix| !suffix.is_empty())),
    ])?;
    let grammar = bound::of_format(request.format)?;
    let answer = Answer::new(&server, false);
    if request.prompt.is_empty() {
        return Ok(Json(answer.loaded()).into_response());
    }
    let (raw, system) = (request.raw.unwrap_or(false), request.system.filter(|system| !system.is_empty()));
    let prompt = match (&server.model.template, raw) {
        (Some(_), false) => {
            let system = system.map(|text| Message::new("system", text));
            let messages: Vec<_> = system.into_iter().chain([Message::new("user", request.prompt)]).collect();
            server.model.conversation(&messages)?
        }
        _ => server.model.prompt_with(&request.prompt, system.as_deref(), true)?,
    };
    let sampling = request.options.unwrap_or_default().sampling(&server, request.diffusion, grammar)?;
    answer.give(&server, owner, prompt, sampling, request.stream.unwrap_or(true)).await
}

/// An answer of either kind.
struct Answer {
    model: String,
    is_chat: bool,
    began: Instant,
    /// What it may call.
    calls: Calls,
}

impl Answer {
    fn new(server: &Server, is_chat: bool) -> Self {
        let (model, calls) = (server.config.name.clone(), Calls::default());
        Self { model, is_chat, began: Instant::now(), calls }
    }

    fn object(&self, text: &str) -> Value {
        let created = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut object = json!({ "model": self.model, "created_at": created });
        if self.is_chat {
            object["message"] = json!({ "role": "assistant", "content": text });
        } else {
            object["response"] = text.into();
        }
        object["done"] = false.into();
        object
    }

    fn loaded(&self) -> Value {
        let mut object = self.object("");
        object["done"] = true.into();
        object["done_reason"] = "load".into();
        object
    }

    /// The last object of an answer, with `text`.
    fn end(&self, text: &str, outcome: &Outcome) -> Value {
        let timings = outcome.answer.generation.timings;
        let nanoseconds = |time: std::time::Duration| Value::from(time.as_nanos() as u64);
        let mut object = self.object(text);
        object["done"] = true.into();
        object["done_reason"] = finish_reason(&outcome.answer).into();
        object["total_duration"] = nanoseconds(self.began.elapsed());
        object["load_duration"] = 0.into();
        object["prompt_eval_count"] = outcome.prompt_tokens.into();
        object["prompt_eval_duration"] = nanoseconds(timings.prefill);
        object["eval_count"] = outcome.answer.counted.into();
        object["eval_duration"] = nanoseconds(timings.decode);
        object
    }

    async fn give(
        self,
        server: &Arc<Server>,
        owner: usize,
        prompt: Prompt,
        sampling: Sampling,
        stream: bool,
    ) -> Result<Response, Plain> {
        let setup = server.setup(&prompt, &sampling.read()?)?;
        server.log_prompt(&prompt);
        let mut updates = server.start(vec![(prompt, setup)], owner, false)?;
        let updates = updates.pop().expect("one job, one answer");
        if stream {
            return Ok(sse::respond(Kind::Lines, async move |writer| {
                if let Err(error) = self.write(updates, &writer).await {
                    writer.data(&json!({ "error": error.message })).await;
                }
            }));
        }
        let outcome = updates.whole().await?;
        let text = &outcome.answer.text;
        let whole = match self.called(&outcome) {
            Some((said, calls)) => {
                let mut whole = self.end(&said, &outcome);
                whole["message"]["tool_calls"] = calls;
                whole
            }
            None => self.end(text, &outcome),
        };
        Ok(Json(whole).into_response())
    }

    /// What an answer says before it calls, and its calls.
    fn called(&self, outcome: &Outcome) -> Option<(String, Value)> {
        let whole = finish_reason(&outcome.answer) == "stop";
        let (said, calls) = self.calls.split(&outcome.answer.text).filter(|_| whole)?;
        Some((said, calls.iter().map(Call::plain).collect()))
    }

    async fn write(&self, mut updates: Updates, writer: &Writer) -> Result<(), ApiError> {
        let mut held = Held::default();
        let text = async |text: String| {
            if !text.is_empty() {
                writer.data(&self.object(&text)).await;
            }
        };
        loop {
            match updates.next().await {
                Update::Text(piece) => text(held.push(&self.calls, &piece)).await,
                Update::Done(outcome) => {
                    text(held.push(&self.calls, &outcome.answer.rest)).await;
                    match self.called(&outcome) {
                        Some((said, calls)) => {
                            let mut object = self.object(&held.up_to(&said));
                            object["message"]["tool_calls"] = calls;
                            writer.data(&object).await;
                        }
                        None => text(held.rest()).await,
                    }
                    writer.data(&self.end("", &outcome)).await;
                    return Ok(());
                }
                Update::Failed(error) => return Err(ApiError::from(&*error)),
                Update::TimedOut => return Err(ApiError::timed_out()),
                Update::Gone => return Err(ApiError::gone()),
                Update::Pass { .. } | Update::Revealed(..) | Update::Block(_) | Update::Decided(..) => {}
            }
        }
    }
}
