//! Parses the forms of pages.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use dotmesh_hub_model::limits::FORM;
use serde::de::DeserializeOwned;

use crate::error::HttpError;
use crate::extract::read_body;

/// The fields of a form, `application/x-www-form-urlencoded`.
#[derive(Debug, Clone)]
pub(crate) struct Form<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, HttpError> {
        let body = read_body(request.into_body(), FORM.most, "bytes in a form").await?;
        serde_urlencoded::from_bytes(&body)
            .map(Self)
            .map_err(|error| HttpError::malformed(format!("the form has a mistake: {error}")))
    }
}
