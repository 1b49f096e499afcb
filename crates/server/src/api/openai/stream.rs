//! Answers as server-sent events.

use super::response::{Head, finish_reason};
use crate::error::ApiError;
use crate::sse::{self, Kind, Writer};
use crate::state::{Server, Updates};
use crate::update::{Outcome, Update};
use axum::response::Response;
use futures_util::future::select_all;
use serde_json::Value;
use std::sync::Arc;

/// Several answers in the making.
struct Answers {
    server: Arc<Server>,
    head: Head,
    /// Those that are not finished, with their places.
    open: Vec<(usize, Updates)>,
    finished: Vec<Outcome>,
}

/// A response that sends every piece of text as it becomes final. `usage`: whether a chunk about tokens is the last one.
pub(super) fn respond(server: Arc<Server>, head: Head, choices: Vec<Updates>, usage: bool) -> Response {
    let open = choices.into_iter().enumerate().collect();
    let answers = Answers { server, head, open, finished: Vec::new() };
    sse::respond(Kind::Events, async move |writer| {
        if let Err(error) = write(answers, &writer, usage).await {
            // The last thing that the stream says.
            writer.data(&error.body()).await;
        }
    })
}

async fn write(mut answers: Answers, writer: &Writer, usage: bool) -> Result<(), ApiError> {
    for first in answers.open.iter().filter_map(|(index, _)| answers.head.first(*index)) {
        writer.data(&first).await;
    }
    while !answers.open.is_empty() {
        let updates = answers.open.iter_mut().map(|(_, updates)| Box::pin(updates.next()));
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
    /// What an update of the open answer number `at` is to those who read.
    fn take(&mut self, update: Update, at: usize) -> Result<Vec<Value>, ApiError> {
        let index = self.open[at].0;
        let text = |text: &str| self.head.chunk(index, Some(text), None, &Value::Null);
        match update {
            Update::Text(piece) => Ok(vec![text(&piece)]),
            Update::Done(outcome) => {
                let rest = &outcome.answer.rest;
                let mut chunks: Vec<_> = (!rest.is_empty()).then(|| text(rest)).into_iter().collect();
                let logprobs = self.head.logprobs(&self.server, &outcome)?;
                let reason = Some(finish_reason(&outcome.answer));
                chunks.push(self.head.chunk(index, None, reason, &logprobs));
                self.finished.push(*outcome);
                self.open.remove(at);
                Ok(chunks)
            }
            Update::Failed(error) => Err(ApiError::from(&*error)),
            Update::TimedOut => Err(ApiError::timed_out()),
            Update::Gone => Err(ApiError::gone()),
            Update::Pass { .. } | Update::Revealed(..) | Update::Block(_) => Ok(Vec::new()),
        }
    }
}
