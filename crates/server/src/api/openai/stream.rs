//! Answers as server-sent events.

use super::response::{Head, finish_reason};
use crate::error::ApiError;
use crate::sse::{self, Kind, Writer};
use crate::state::{Server, Updates};
use crate::tools::Held;
use crate::update::{Outcome, Update};
use axum::response::Response;
use futures_util::future::select_all;
use serde_json::Value;
use std::sync::Arc;

/// Several answers in progress.
struct Answers {
    server: Arc<Server>,
    head: Head,
    /// Those that are not finished, with their places, and the text of theirs that may become a call.
    open: Vec<(usize, Updates, Held)>,
    finished: Vec<Outcome>,
}

/// A response that sends every piece of text as it becomes final. `usage`: whether a chunk about tokens is the last one.
pub(super) fn respond(server: Arc<Server>, head: Head, choices: Vec<Updates>, usage: bool) -> Response {
    let open = choices.into_iter().enumerate().map(|(at, updates)| (at, updates, Held::default())).collect();
    let answers = Answers { server, head, open, finished: Vec::new() };
    sse::respond(Kind::Events, async move |writer| {
        if let Err(error) = write(answers, &writer, usage).await {
            // The last thing that the stream says.
            writer.data(&error.body()).await;
        }
    })
}

async fn write(mut answers: Answers, writer: &Writer, usage: bool) -> Result<(), ApiError> {
    for first in answers.open.iter().filter_map(|(index, ..)| answers.head.first(*index)) {
        writer.data(&first).await;
    }
    while !answers.open.is_empty() {
        let updates = answers.open.iter_mut().map(|(_, updates, _)| Box::pin(updates.next()));
        let (update, at, _) = select_all(updates).await;
        for chunk in answers.take(update, at)? {
            writer.data(&chunk).await;
        }
    }
    if usage {
        writer.data(&answers.head.usage_chunk(&answers.finished)).await;
    }
    writer.data(&"[DONE]").await;
    Ok(())
}

impl Answers {
    /// What readers are told of an update of the open answer number `at`.
    fn take(&mut self, update: Update, at: usize) -> Result<Vec<Value>, ApiError> {
        let (index, _, held) = &mut self.open[at];
        let index = *index;
        let text = |text: &str| self.head.chunk(index, Some(text), None, &Value::Null);
        let chunk = |piece: String| (!piece.is_empty()).then(|| text(&piece));
        match update {
            Update::Text(piece) => Ok(chunk(held.push(&self.head.calls, &piece)).into_iter().collect()),
            Update::Done(outcome) => {
                let mut reason = finish_reason(&outcome.answer);
                let called = self.head.calls.split(&outcome.answer.text).filter(|_| reason == "stop");
                let mut chunks: Vec<_> =
                    chunk(held.push(&self.head.calls, &outcome.answer.rest)).into_iter().collect();
                match called {
                    Some((said, calls)) => {
                        chunks.extend(chunk(held.up_to(&said)));
                        chunks.push(self.head.calls_chunk(index, &calls));
                        reason = "tool_calls";
                    }
                    None => chunks.extend(chunk(held.rest())),
                }
                let logprobs = self.head.logprobs(&self.server, &outcome)?;
                chunks.push(self.head.chunk(index, None, Some(reason), &logprobs));
                self.finished.push(*outcome);
                self.open.remove(at);
                Ok(chunks)
            }
            Update::Failed(error) => Err(ApiError::from(&*error)),
            Update::TimedOut => Err(ApiError::timed_out()),
            Update::Gone => Err(ApiError::gone()),
            Update::Pass { .. } | Update::Revealed(..) | Update::Block(_) | Update::Decided(..) => {
                Ok(Vec::new())
            }
        }
    }
}
