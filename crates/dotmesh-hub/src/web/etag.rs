//! Entity tags: a client that has a response already doesn't get it again.

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

/// The size limit of a response with an entity tag, in bytes. Longer responses are sent without one.
const MAX_LENGTH: u64 = 4 << 20;

/// Returns whether a tag is in an `If-None-Match` header.
pub(crate) fn has(tags: &str, tag: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

/// Adds an `ETag` to JSON responses of `GET` requests. Answers 304 to a client that has the response already.
pub(crate) async fn add(request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    if !is_get || response.status() != StatusCode::OK || !is_short_json(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, MAX_LENGTH as usize).await else {
        // The body is in memory, so this cannot fail.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    let known = known.as_ref().and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| has(tags, &tag)) {
        let mut answer = StatusCode::NOT_MODIFIED.into_response();
        for name in [header::ETAG, header::LINK] {
            if let Some(value) = parts.headers.get(&name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        return answer;
    }
    Response::from_parts(parts, Body::from(body))
}

fn is_short_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let length = response.body().size_hint().exact();
    kind.is_some_and(|kind| kind == "application/json")
        && length.is_some_and(|length| length <= MAX_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn versions_are_found_in_a_list() {
        assert!(has("W/\"a\", \"b\"", "\"a\"") && has("*", "\"a\"") && !has("\"ab\"", "\"a\""));
    }
}
