//! Fields that several APIs have in common.

use crate::bound::Wish;
use crate::error::ApiError;
use crate::state::Wishes;
use crate::tools;
use diffulex::Model;
use diffulex::engine::options::DecodeOption;
use diffulex::json::Value as Json;
use diffulex::text::Message;
use diffulex::text_model::Prompt;
use diffulex_cli::decoding::DecodingArgs;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One string or several.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string or a list of strings expected")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// What is said: a string, or parts.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string or a list of parts expected")]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// One turn, as OpenAI and Ollama write it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatMessage {
    role: String,
    #[serde(default)]
    content: Option<Content>,
    /// Which of several users speaks, or the tool; most templates do not use it.
    #[serde(default)]
    name: Option<String>,
    /// What Ollama calls the name of a tool.
    #[serde(default)]
    tool_name: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    images: Option<Vec<Value>>,
    /// What an answer of this server carries, sent back with a conversation.
    #[serde(default)]
    refusal: Option<Value>,
}

/// The roles that requests may name.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// The prompt of a conversation.
///
/// # Errors
/// No messages, an unknown role, content that is not text, and a template that refuses the conversation.
pub(crate) fn conversation(
    model: &Model,
    messages: Vec<ChatMessage>,
    tools: &[Json],
) -> Result<Prompt, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "no messages given, at least one expected"));
    }
    let messages: Result<Vec<_>, _> = messages.into_iter().enumerate().map(|(i, m)| m.read(i)).collect();
    model.conversation_with(&messages?, tools).map_err(|error| {
        let mut error = ApiError::from(error);
        error.param.get_or_insert_with(|| "messages".into());
        error
    })
}

impl ChatMessage {
    fn read(self, i: usize) -> Result<Message, ApiError> {
        let field = |name: &str| format!("messages[{i}].{name}");
        if !ROLES.contains(&self.role.as_str()) {
            let message = format!("`{}` given, one of {} expected", self.role, ROLES.join(", "));
            return Err(ApiError::field(field("role"), message));
        }
        let calls = self.tool_calls.unwrap_or_default();
        if !calls.is_empty() && self.role != "assistant" {
            let message = "tool calls given, which only the assistant makes";
            return Err(ApiError::field(field("tool_calls"), message));
        }
        if self.images.is_some_and(|images| !images.is_empty()) {
            return Err(ApiError::unsupported(&field("images"), "images given, this model reads text"));
        }
        let is_refusal = self.refusal.is_some_and(|refusal| !refusal.is_null());
        let text = match self.content {
            _ if is_refusal => {
                return Err(ApiError::unsupported(&field("refusal"), "refusals are not supported"));
            }
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => join(parts, &field("content"))?,
            // A turn that only calls has no content.
            None if !calls.is_empty() => String::new(),
            None => return Err(ApiError::field(field("content"), "no content given, a string expected")),
        };
        // The newer name of the same role.
        let role = if self.role == "developer" { "system" } else { &self.role };
        let mut message = Message::new(role, text);
        let strings = [("name", self.name.or(self.tool_name)), ("tool_call_id", self.tool_call_id)];
        for (key, value) in strings.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            message = message.with(key, Json::String(value));
        }
        if !calls.is_empty() {
            message = message.with("tool_calls", tools::calls(&calls, &field("tool_calls"))?);
        }
        Ok(message)
    }
}

fn join(parts: Vec<Part>, field: &str) -> Result<String, ApiError> {
    let mut text = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        match (part.kind.as_str(), part.text) {
            ("text", Some(part)) => text += &part,
            ("text", None) => {
                return Err(ApiError::field(
                    format!("{field}[{i}].text"),
                    "no text given, a string expected",
                ));
            }
            (kind, _) => {
                let message = format!("a part of type `{kind}` given, this model reads `text`");
                return Err(ApiError::unsupported(&format!("{field}[{i}].type"), message));
            }
        }
    }
    Ok(text)
}

/// Settings with names of their own next to `diffusion`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampling {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<i64>,
    pub(crate) seed: Option<i64>,
    pub(crate) stop: Option<OneOrMany>,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) diffusion: Option<DecodingArgs>,
    pub(crate) grammar: Option<Wish>,
}

/// The most stop strings of a request.
const MAX_STOPS: usize = 16;

impl Sampling {
    /// # Errors
    /// Values out of their ranges, by field, and settings that are given twice.
    pub(crate) fn read(self) -> Result<Wishes, ApiError> {
        let mut overrides = self.diffusion.unwrap_or_default().overrides;
        let real = |value: Option<f32>| value.map(|value| value.to_string());
        for (name, field, value) in [
            ("temperature", "temperature", real(self.temperature)),
            ("top-p", "top_p", real(self.top_p)),
            ("top-k", "top_k", self.top_k.map(|value| value.max(0).to_string())),
        ] {
            let option = DecodeOption::named(name).expect("an option of every policy");
            let Some(value) = value else { continue };
            if option.get(&overrides).is_some() {
                return Err(ApiError::field(field, format!("`{field}` given twice, in `diffusion` as well")));
            }
            option.set(&mut overrides, Some(&value))?;
        }
        let stop = self.stop.map_or_else(Vec::new, OneOrMany::into_vec);
        if stop.len() > MAX_STOPS {
            let message = format!("{} strings given, at most {MAX_STOPS} expected", stop.len());
            return Err(ApiError::field("stop", message));
        }
        if stop.iter().any(String::is_empty) {
            return Err(ApiError::field("stop", "an empty string given, it would end every text"));
        }
        let max_tokens = match self.max_tokens {
            None => None,
            Some(given) => Some(usize::try_from(given).ok().filter(|&given| given > 0).ok_or_else(|| {
                ApiError::field("max_tokens", format!("{given} given, at least 1 expected"))
            })?),
        };
        // Negative seeds are valid seeds.
        let seed = self.seed.map_or_else(random_seed, |seed| seed as u64);
        if let Some(Wish { field, .. }) = self.grammar.as_ref().filter(|_| !stop.is_empty()) {
            let message = format!("given together with `{field}`, whose answers end when they are complete");
            return Err(ApiError::field("stop", message));
        }
        Ok(Wishes { overrides, seed, stop, max_tokens, grammar: self.grammar })
    }
}

/// A seed for a request without one.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
