//! Streams as response bodies.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;

/// How long a stream of events is silent before it sends a keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pieces that wait for a slow reader.
const WAITING: usize = 16;

/// What a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events.
    Events,
    /// JSON, one object a line.
    Lines,
}

/// Where a stream is written to.
pub(crate) struct Writer {
    kind: Kind,
    pieces: Sender<String>,
}

impl Writer {
    /// Writes a line, or an event without a name. Waits for a slow reader; if the reader is gone, the data is dropped.
    pub(crate) async fn data(&self, data: &impl ToString) {
        let data = data.to_string();
        self.piece(if self.kind == Kind::Events { format!("data: {data}\n\n") } else { data + "\n" }).await;
    }

    /// Writes an event with a name.
    pub(crate) async fn event(&self, name: &str, data: &impl ToString) {
        self.piece(format!("event: {name}\ndata: {}\n\n", data.to_string())).await;
    }

    async fn piece(&self, piece: String) {
        // The reader is gone: `respond` is about to drop the task that writes.
        let _ = self.pieces.send(piece).await;
    }
}

/// A response that is written by `write`, which is dropped as soon as the reader is gone.
pub(crate) fn respond<F: Future<Output = ()> + Send + 'static>(
    kind: Kind,
    write: impl FnOnce(Writer) -> F,
) -> Response {
    let (pieces, receiver) = channel::<String>(WAITING);
    let reader = pieces.clone();
    let writing = write(Writer { kind, pieces });
    tokio::spawn(async move {
        tokio::select! {
            () = writing => {}
            () = reader.closed() => {}
        }
    });
    let body = stream::unfold(receiver, move |mut receiver| async move {
        let piece = match timeout(KEEP_ALIVE, receiver.recv()).await {
            Ok(piece) => piece?,
            Err(_) if kind == Kind::Events => ": still here\n\n".into(),
            // An empty line is not an object, but JSON readers skip it.
            Err(_) => "\n".into(),
        };
        Some((Ok::<_, Infallible>(Bytes::from(piece)), receiver))
    });
    let content = match kind {
        Kind::Events => "text/event-stream",
        Kind::Lines => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // For proxies that buffer a response before they pass it on.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}
