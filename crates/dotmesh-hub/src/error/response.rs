//! The one place where errors become HTTP responses.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dotmesh_api::{ErrorCode, PROBLEM_TYPE, Problem};
use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_service::HubError;

use super::HttpError;

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = self.body();
        let is_ours = matches!(self, Self::Hub(HubError::Database(DatabaseError::Busy(_))));
        if is_ours || matches!(body.code, ErrorCode::Internal | ErrorCode::NoSpace) {
            tracing::error!(error = &self as &dyn std::error::Error, "request failed");
        }
        if let Self::Moved { to } = &self
            && let Ok(to) = HeaderValue::from_str(to)
        {
            // The client must not remember the redirect for good, because another dot may get the name. `web::headers`
            // forbids caching.
            let status = StatusCode::PERMANENT_REDIRECT;
            return (status, [(header::LOCATION, to)]).into_response();
        }
        let status = match self {
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::from_u16(body.code.status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let retry_after = match &self {
            Self::Hub(error) => error.retry_after(),
            _ => None,
        };
        let problem = Problem {
            status: status.as_u16(),
            ..body.clone().into()
        };
        let kind = [(header::CONTENT_TYPE, PROBLEM_TYPE)];
        let mut response = (status, kind, Json(problem)).into_response();
        // The pages read the body from here, and render it as HTML.
        response.extensions_mut().insert(body);
        if let Some(wait) = retry_after {
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if status == StatusCode::UNAUTHORIZED {
            // The challenge does not offer Basic, although the hub accepts it. A browser would ask for a password, keep
            // it, and send it with every request.
            let scheme = HeaderValue::from_static("Bearer realm=\"dothub\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
