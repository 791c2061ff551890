//! Parses what stands after the `?` of a page's address.

use std::error::Error as _;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::HttpError;

/// The values after the `?` of an address.
#[derive(Debug, Clone)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(values)| Self(values))
            .map_err(|rejection| {
                let why = rejection.source().map(|source| format!(": {source}"));
                let why = why.unwrap_or_default();
                HttpError::malformed(format!("the address has a mistake after its '?'{why}"))
            })
    }
}
