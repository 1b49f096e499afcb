//! [`ApiError`]: the answer to a request that cannot be served.

use crate::queue::Refused;
use crate::worker;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use diffulex::Error;
use serde_json::{Value, json};

/// Seconds after which a client may try again when the queue is full.
const RETRY_AFTER: u64 = 2;

/// A refusal, in the form of OpenAI's API.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The field of the request.
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    /// A field of the request has an impossible value.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { param: Some(param.into()), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// A field requests something that this server does not do.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self { code: Some("unsupported_value"), ..Self::field(param, message) }
    }

    pub(crate) fn timed_out() -> Self {
        let message =
            "the request took longer than the server allows (--timeout), or the server is shutting down";
        Self { code: Some("timeout"), ..Self::new(StatusCode::GATEWAY_TIMEOUT, message) }
    }

    /// The engine's thread ended while the request waited.
    pub(crate) fn gone() -> Self {
        let message = "the engine ended before the answer was finished";
        Self { code: Some("engine_failed"), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The body, in the form of OpenAI's API.
    pub(crate) fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        } })
    }

    /// The same error in the form of Ollama's API.
    pub(crate) fn plain(&self) -> Response {
        let body = json!({ "error": self.message });
        self.with_headers((self.status, Json(body)).into_response())
    }

    fn with_headers(&self, mut response: Response) -> Response {
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.with_headers((self.status, Json(self.body())).into_response())
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for ApiError {
    fn from(error: &Error) -> Self {
        let message = error.to_string();
        if !worker::is_of_request(error) {
            return Self::new(StatusCode::INTERNAL_SERVER_ERROR, message);
        }
        let (param, code) = match error {
            Error::Option { name, .. } => (Some(name.replace('-', "_")), None),
            Error::Capacity { .. } => (Some("messages".into()), Some("context_length_exceeded")),
            _ => (None, None),
        };
        Self { param, code, ..Self::new(StatusCode::BAD_REQUEST, message) }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full(waiting) => {
                let message =
                    format!("{waiting} requests are already waiting; try again in {RETRY_AFTER} seconds");
                Self { code: Some("queue_full"), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
            }
            Refused::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server is shutting down and takes no new requests",
            ),
        }
    }
}
