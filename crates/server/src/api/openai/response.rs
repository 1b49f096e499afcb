//! What answers of this API look like.

use crate::api::{new_id, now};
use crate::error::ApiError;
use crate::state::Server;
use crate::tools::{Call, Calls};
use crate::update::Outcome;
use diffulex::engine::StopReason;
use diffulex::tensor::TokenId;
use diffulex::text_model::Answer;
use serde_json::{Map, Value, json};

/// Which of the two kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completion,
}

/// What all parts of an answer carry.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    id: String,
    created: i64,
    model: String,
    shape: Shape,
    /// Whether the probabilities of tokens are reported, and of how many others.
    logprobs: Option<usize>,
    /// What answers may call.
    pub(super) calls: Calls,
}

/// Why an answer ended, in the terms of this API.
pub(crate) fn finish_reason(answer: &Answer) -> &'static str {
    match answer.generation.stop {
        _ if answer.stopped_by_string => "stop",
        StopReason::Stop(_) => "stop",
        StopReason::Length | StopReason::Cancelled => "length",
    }
}

impl Head {
    pub(crate) fn new(server: &Server, shape: Shape, logprobs: Option<usize>, calls: Calls) -> Self {
        let id = new_id(if shape == Shape::Chat { "chatcmpl" } else { "cmpl" });
        Self { id, created: now(), model: server.config.name.clone(), shape, logprobs, calls }
    }

    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": format!("diffulex-{}", env!("CARGO_PKG_VERSION")), "choices": choices,
        })
    }

    /// A finished answer.
    ///
    /// # Errors
    /// What the tokenizer cannot decode.
    pub(crate) fn whole(
        &self,
        server: &Server,
        outcomes: &[Outcome],
        prompt_tokens: usize,
    ) -> Result<Value, ApiError> {
        let mut choices = Vec::new();
        for (index, outcome) in outcomes.iter().enumerate() {
            let (text, reason) = (&outcome.answer.text, finish_reason(&outcome.answer));
            let logprobs = self.logprobs(server, outcome)?;
            choices.push(match self.shape {
                Shape::Chat => {
                    let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
                    let called = self.calls.split(text).filter(|_| reason == "stop");
                    let reason = if called.is_some() { "tool_calls" } else { reason };
                    if let Some((said, calls)) = called {
                        message["content"] = if said.is_empty() { Value::Null } else { said.into() };
                        message["tool_calls"] = calls.iter().map(Call::with_id).collect();
                    }
                    json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason })
                }
                Shape::Completion => {
                    json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason })
                }
            });
        }
        let object = if self.shape == Shape::Chat { "chat.completion" } else { "text_completion" };
        let mut whole = self.envelope(object, Value::from(choices));
        whole["usage"] = usage(outcomes.iter(), prompt_tokens);
        Ok(whole)
    }

    /// A part of a stream: text, or the end.
    pub(crate) fn chunk(
        &self,
        index: usize,
        text: Option<&str>,
        reason: Option<&str>,
        logprobs: &Value,
    ) -> Value {
        let choice = match self.shape {
            Shape::Chat => {
                let delta = text.map_or_else(|| json!({}), |text| json!({ "content": text }));
                json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason })
            }
            Shape::Completion => json!({
                "index": index, "text": text.unwrap_or_default(), "logprobs": logprobs, "finish_reason": reason,
            }),
        };
        self.envelope(self.chunk_object(), json!([choice]))
    }

    /// The part of a stream that calls tools.
    pub(crate) fn calls_chunk(&self, index: usize, calls: &[Call]) -> Value {
        let numbered = calls.iter().map(Call::with_id).enumerate().map(|(at, mut call)| {
            call["index"] = at.into();
            call
        });
        let delta = json!({ "tool_calls": numbered.collect::<Vec<_>>() });
        let choice = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null });
        self.envelope(self.chunk_object(), json!([choice]))
    }

    /// The first part of a choice, which says who speaks.
    pub(crate) fn first(&self, index: usize) -> Option<Value> {
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        let choice = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null });
        (self.shape == Shape::Chat).then(|| self.envelope(self.chunk_object(), json!([choice])))
    }

    /// The last part, if tokens are wanted.
    pub(crate) fn usage_chunk(&self, outcomes: &[Outcome]) -> Value {
        let mut chunk = self.envelope(self.chunk_object(), json!([]));
        let prompt_tokens = outcomes.first().map_or(0, |outcome| outcome.prompt_tokens);
        chunk["usage"] = usage(outcomes.iter(), prompt_tokens);
        chunk
    }

    fn chunk_object(&self) -> &'static str {
        if self.shape == Shape::Chat { "chat.completion.chunk" } else { "text_completion" }
    }

    /// The logarithms of the probabilities that the tokens of the answer had when they were revealed; null if they are not wanted.
    ///
    /// # Errors
    /// What the tokenizer cannot decode.
    pub(crate) fn logprobs(&self, server: &Server, outcome: &Outcome) -> Result<Value, ApiError> {
        let Some(others) = self.logprobs else { return Ok(Value::Null) };
        let answer = &outcome.answer;
        let first = answer.generation.canvas.len().min(outcome.prompt_tokens);
        let tokenizer = server.model.tokenizer()?;
        let told = |id: TokenId, probability: f64| -> Result<Told, ApiError> {
            // JSON has no infinity; the smallest number means the same.
            Ok(Told { text: tokenizer.decode(&[id], false)?, logprob: probability.ln().max(-9999.0) })
        };
        let mut tokens = Vec::new();
        for (i, &id) in answer.generation.tokens.iter().take(answer.counted).enumerate() {
            let at = first + i;
            let own = told(id, outcome.scores.get(at).copied().flatten().unwrap_or(1.0))?;
            let best = match outcome.alternatives.get(&at).filter(|best| !best.is_empty()) {
                Some(best) => best.iter().map(|kept| told(kept.token, kept.probability)).collect(),
                // Nothing else was possible.
                None => Ok(vec![own.clone()]),
            };
            tokens.push((own, if others == 0 { Vec::new() } else { best? }));
        }
        Ok(match self.shape {
            Shape::Chat => {
                let entry = |(own, best): &(Told, Vec<Told>)| {
                    let mut entry = own.entry();
                    entry["top_logprobs"] = best.iter().map(Told::entry).collect();
                    entry
                };
                json!({ "content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null })
            }
            Shape::Completion => {
                let best = |(_, best): &(Told, Vec<Told>)| -> Map<String, Value> {
                    // If tokens are written alike, the most probable one counts.
                    let entries = best.iter().rev().map(|told| (told.text.clone(), told.logprob.into()));
                    entries.collect()
                };
                let best: Vec<_> = tokens.iter().map(best).collect();
                let texts: Vec<_> = tokens.iter().map(|(own, _)| &own.text).collect();
                let logs: Vec<_> = tokens.iter().map(|(own, _)| own.logprob).collect();
                let best = if others == 0 { Value::Null } else { json!(best) };
                json!({ "tokens": texts, "token_logprobs": logs, "top_logprobs": best })
            }
        })
    }
}

/// A token, and the logarithm of its probability.
#[derive(Clone)]
struct Told {
    text: String,
    logprob: f64,
}

impl Told {
    fn entry(&self) -> Value {
        json!({ "token": self.text, "logprob": self.logprob, "bytes": self.text.as_bytes() })
    }
}

/// Counts of tokens, and the measures of this kind of model.
fn usage<'o>(outcomes: impl Iterator<Item = &'o Outcome>, prompt_tokens: usize) -> Value {
    let (mut new, mut cached, mut forwards) = (0, 0, 0);
    for outcome in outcomes {
        new += outcome.answer.counted;
        cached = cached.max(outcome.cached);
        forwards += outcome.answer.generation.decode_passes();
    }
    json!({
        "prompt_tokens": prompt_tokens, "completion_tokens": new, "total_tokens": prompt_tokens + new,
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": { "forward_passes": forwards },
    })
}
