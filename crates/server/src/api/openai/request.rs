//! What requests of this API say. A field that is not known is refused by name; one that is known but not supported
//! is accepted only with the value that has no effect.

use crate::bound::{ResponseFormat, one_of};
use crate::error::ApiError;
use crate::fields::{ChatMessage, OneOrMany, Sampling};
use crate::openapi::Diffusion;
use crate::state::Wishes;
use crate::tools::{self, Choice};
use diffulex::Model;
use diffulex::json::Value as Json;
use diffulex::tensor::TokenId;
use diffulex::text::grammar::Form;
use diffulex::text_model::Prompt;
use diffulex_cli::decoding::DecodingArgs;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A request for a chat.
pub(crate) struct Chat {
    pub(crate) messages: Vec<ChatMessage>,
    /// What the template is given.
    pub(crate) tools: Vec<Json>,
    /// As they were given.
    pub(crate) given: Vec<Value>,
    pub(crate) choice: Choice,
    pub(crate) options: Options,
}

/// What is said about a request as a whole.
pub(crate) struct Options {
    pub(crate) model: Option<String>,
    pub(crate) wishes: Wishes,
    pub(crate) n: usize,
    /// Whether the probabilities of tokens are wanted, and of how many others at their positions.
    pub(crate) logprobs: Option<usize>,
    pub(crate) stream: bool,
    /// Whether a stream ends with a chunk about tokens.
    pub(crate) usage: bool,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    /// Chunks are not padded, whatever this says.
    #[serde(default)]
    #[allow(dead_code, reason = "accepted, and of no effect")]
    include_obfuscation: Option<bool>,
}

/// Fields of both kinds of requests.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            model: Option<String>,
            stream: Option<bool>,
            stream_options: Option<StreamOptions>,
            temperature: Option<f32>,
            top_p: Option<f32>,
            top_k: Option<i64>,
            seed: Option<i64>,
            stop: Option<OneOrMany>,
            n: Option<i64>,
            max_tokens: Option<i64>,
            #[schema(value_type = Option<Diffusion>)]
            diffusion: Option<DecodingArgs>,
            regex: Option<String>,
            grammar: Option<String>,
            frequency_penalty: Option<f64>,
            presence_penalty: Option<f64>,
            #[schema(value_type = Option<Object>)]
            logit_bias: Option<serde_json::Map<String, Value>>,
            #[allow(dead_code, reason = "who asks has no effect")]
            user: Option<String>,
            $($(#[$of])* $field: $type,)*
        }

        impl $name {
            fn options(
                &mut self,
                max_tokens: Option<i64>,
                logprobs: Option<usize>,
                forms: [(&'static str, Option<Form>); 2],
            ) -> Result<Options, ApiError> {
                neutral("frequency_penalty", self.frequency_penalty.is_none_or(|x| x == 0.0), "0")?;
                neutral("presence_penalty", self.presence_penalty.is_none_or(|x| x == 0.0), "0")?;
                neutral("logit_bias", self.logit_bias.as_ref().is_none_or(serde_json::Map::is_empty), "{}")?;
                let [format, call] = forms;
                let stream = self.stream.unwrap_or(false);
                if self.stream_options.is_some() && !stream {
                    return Err(ApiError::field("stream_options", "given without `stream`"));
                }
                let sampling = Sampling {
                    temperature: self.temperature,
                    top_p: self.top_p,
                    top_k: self.top_k,
                    seed: self.seed,
                    stop: self.stop.take(),
                    max_tokens,
                    diffusion: self.diffusion.take(),
                    grammar: one_of([
                        format,
                        call,
                        ("regex", self.regex.take().map(Form::Regex)),
                        ("grammar", self.grammar.take().map(Form::Lark)),
                    ])?,
                };
                let n = usize::try_from(self.n.unwrap_or(1)).unwrap_or(0);
                let usage = self.stream_options.take().unwrap_or_default().include_usage;
                let model = self.model.take();
                Ok(Options { model, wishes: sampling.read()?, n, logprobs, stream, usage })
            }
        }
    };
}

/// The most tokens whose probabilities are reported for a position.
const MAX_OTHERS: usize = 20;

/// How many tokens a field requests.
///
/// # Errors
/// Less than 0 or more than [`MAX_OTHERS`].
fn others(field: &str, count: i64) -> Result<usize, ApiError> {
    let count = usize::try_from(count).ok().filter(|&count| count <= MAX_OTHERS).ok_or(count);
    count.map_err(|count| ApiError::field(field, format!("{count} given, 0 to {MAX_OTHERS} expected")))
}

/// Requires that a field has no effect.
fn neutral(field: &str, holds: bool, value: &str) -> Result<(), ApiError> {
    if holds { Ok(()) } else { Err(ApiError::unsupported(field, format!("only {value} is supported"))) }
}

request! {
    /// The body of `/v1/chat/completions`.
    ChatRequest {
        messages: Vec<ChatMessage>,
        max_completion_tokens: Option<i64>,
        logprobs: Option<bool>,
        top_logprobs: Option<i64>,
        response_format: Option<ResponseFormat>,
        tools: Option<Vec<Value>>,
        tool_choice: Option<Value>,
        functions: Option<Vec<Value>>,
        parallel_tool_calls: Option<bool>,
        store: Option<bool>,
        #[allow(dead_code, reason = "nothing is stored that it could belong to")]
        metadata: Option<Value>,
        #[allow(dead_code, reason = "there is one tier")]
        service_tier: Option<String>,
        #[allow(dead_code, reason = "prefixes are shared without a key")]
        prompt_cache_key: Option<String>,
        #[allow(dead_code, reason = "who asks has no effect")]
        safety_identifier: Option<String>,
        modalities: Option<Vec<String>>,
    }
}

impl ChatRequest {
    /// # Errors
    /// A field that requests what is not supported.
    pub(crate) fn split(mut self) -> Result<Chat, ApiError> {
        if self.functions.as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(ApiError::unsupported("functions", "`tools` replaced them"));
        }
        let given = self.tools.take().unwrap_or_default();
        let mut tools = tools::tools(&given)?;
        let choice = Choice::read(self.tool_choice.take().as_ref(), &given)?;
        if choice == Choice::None {
            tools.clear();
        }
        // A required call is a single one.
        if !tools.is_empty() && !choice.is_required() {
            let field = "parallel_tool_calls";
            neutral(
                field,
                self.parallel_tool_calls.unwrap_or(true),
                "true, or a `tool_choice` that requires a call,",
            )?;
        }
        neutral("store", !self.store.unwrap_or(false), "false")?;
        let modalities = self.modalities.take().unwrap_or_default();
        neutral("modalities", modalities.iter().all(|kind| kind == "text"), "[\"text\"]")?;
        let top = self.top_logprobs.map(|count| others("top_logprobs", count)).transpose()?;
        let logprobs = match (self.logprobs.unwrap_or(false), top) {
            (true, top) => Some(top.unwrap_or(0)),
            (false, None | Some(0)) => None,
            (false, Some(_)) => {
                return Err(ApiError::field("top_logprobs", "given without `logprobs`: true"));
            }
        };
        if self.max_tokens.is_some() && self.max_completion_tokens.is_some() {
            let message = "given together with `max_tokens`, which it replaces";
            return Err(ApiError::field("max_completion_tokens", message));
        }
        let max_tokens = self.max_completion_tokens.or(self.max_tokens);
        let format = self.response_format.take().and_then(ResponseFormat::form);
        let forms = [("response_format", format), ("tool_choice", choice.form(&given)?)];
        let options = self.options(max_tokens, logprobs, forms)?;
        Ok(Chat { messages: self.messages, tools, given, choice, options })
    }
}

/// A prompt as it is, without the chat template.
pub(crate) enum Text {
    Words(String),
    Ids(Vec<TokenId>),
}

impl Text {
    /// # Errors
    /// An empty prompt, ids that are not tokens, and no tokenizer.
    pub(crate) fn prompt(&self, model: &Model) -> Result<Prompt, ApiError> {
        let prompt = match self {
            Self::Words(text) => model.prompt_with(text, None, true)?,
            Self::Ids(ids) => {
                model.check_ids("prompt", ids)?;
                // The answer is text, as for a prompt of words.
                Prompt { as_ids: false, ..Prompt::of_ids(ids.clone())? }
            }
        };
        Ok(prompt)
    }
}

/// One prompt or several, as text or as ids.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a string, a list of strings, a list of ids or a list of lists of ids expected"
)]
enum Prompts {
    Text(String),
    #[schema(value_type = Vec<u32>)]
    Ids(Vec<TokenId>),
    Texts(Vec<String>),
    #[schema(value_type = Vec<Vec<u32>>)]
    ManyIds(Vec<Vec<TokenId>>),
}

request! {
    /// The body of `/v1/completions`.
    CompletionRequest {
        prompt: Prompts,
        suffix: Option<String>,
        echo: Option<bool>,
        best_of: Option<i64>,
        logprobs: Option<i64>,
    }
}

impl CompletionRequest {
    /// # Errors
    /// A field that requests what is not supported.
    pub(crate) fn split(mut self) -> Result<(Vec<Text>, Options), ApiError> {
        neutral("echo", !self.echo.unwrap_or(false), "false")?;
        neutral(
            "best_of",
            self.best_of.is_none_or(|best| Some(best) == self.n.or(Some(1))),
            "the value of `n`",
        )?;
        if self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::unsupported("suffix", "/v1/infill fills text in between"));
        }
        let logprobs = self.logprobs.map(|count| others("logprobs", count)).transpose()?;
        let options = self.options(self.max_tokens, logprobs, [("", None), ("", None)])?;
        let texts: Vec<_> = match self.prompt {
            Prompts::Text(text) => vec![Text::Words(text)],
            Prompts::Ids(ids) => vec![Text::Ids(ids)],
            Prompts::Texts(texts) => texts.into_iter().map(Text::Words).collect(),
            Prompts::ManyIds(lists) => lists.into_iter().map(Text::Ids).collect(),
        };
        if texts.is_empty() {
            return Err(ApiError::field("prompt", "an empty list given, at least one prompt expected"));
        }
        Ok((texts, options))
    }
}
