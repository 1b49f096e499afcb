//! [`Body`]: a JSON body, refused with the name of the field that is wrong.

use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use diffulex_cli::input::{Object, for_people};
use serde::de::DeserializeOwned;

/// A request's body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.into_response().status();
            let message = match status {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    format!("the body has more than {} bytes", crate::BODY_LIMIT)
                }
                _ => "the body ended before it was complete".into(),
            };
            ApiError::new(status, message)
        })?;
        parse(&bytes).map(Self)
    }
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
