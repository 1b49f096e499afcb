//! [`Body`]: a JSON body. A wrong one is refused with the name of the field.

use crate::error::ApiError;
use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use diffulex_cli::input::{Object, for_people};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// How much of a body that is refused for its size is read, in multiples of the limit.
const READ_ON: usize = 4;
/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(120);

/// A request's body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let read = read(request.into_body().into_data_stream());
        let bytes = timeout(BODY_TIME, read).await.map_err(|_| {
            let message = "the body took too long";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
        })??;
        parse(&bytes).map(Self)
    }
}

/// All bytes of a body. One that is too large is read a little further and dropped: a client that is still writing does not read an answer.
///
/// # Errors
/// Too many bytes, and an end before the last.
async fn read(mut pieces: BodyDataStream) -> Result<Vec<u8>, ApiError> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "the body ended before it was complete"))?;
        count += piece.len();
        if count <= crate::BODY_LIMIT {
            bytes.extend_from_slice(&piece);
        } else if count <= READ_ON * crate::BODY_LIMIT {
            bytes = Vec::new();
        } else {
            break;
        }
    }
    if count > crate::BODY_LIMIT {
        let message = format!("the body has more than {} bytes", crate::BODY_LIMIT);
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(bytes)
}

/// Reads JSON.
///
/// # Errors
/// 400 with the path of the field, what was found and what was expected.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() && path != "." {
            let what = for_people(&error.to_string());
            ApiError::field(path.clone(), format!("field `{path}`: {what}"))
        } else if error.is_data() {
            let what = for_people(&error.to_string());
            ApiError::new(StatusCode::BAD_REQUEST, format!("the body: {what}"))
        } else {
            ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}"))
        }
    })?;
    reader
        .end()
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
    Ok(value)
}
