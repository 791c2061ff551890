//! Error pages: they say what happened, and what to do next.

use askama::Template;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::ErrorBody;
use dotmesh_hub_service::Hub;

use super::{Visit, go, render};
use crate::router_state::RouterState;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    visit: Visit,
    status: StatusCode,
    error: ErrorBody,
}

/// Renders an error as a page for browsers. If a login is needed, it redirects to the login, which leads back
/// afterwards.
pub(crate) async fn as_pages(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let is_get = parts.method == Method::GET;
    let accept = parts.headers.get(header::ACCEPT);
    let is_browser = accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if !is_browser {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let mut asked = parts.clone();
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let Some(error) = response.extensions().get::<ErrorBody>().cloned() else {
        return response;
    };
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED && asked.headers.contains_key(header::AUTHORIZATION) {
        // A request with credentials needs no login page. A visit would check its password again.
        return response;
    }
    if status == StatusCode::UNAUTHORIZED && is_get {
        let path = asked.uri.path_and_query();
        let path = path.map_or("/", PathAndQuery::as_str);
        let query = serde_urlencoded::to_string([("to", path)]).unwrap_or_default();
        return go(&format!("/-/login?{query}")).unwrap_or(response);
    }
    // If the viewer is unknown, no page can be rendered, so the plain error is sent.
    let Ok(visit) = Visit::from_request_parts(&mut asked, &RouterState(hub)).await else {
        return response;
    };
    let page = ErrorPage {
        visit,
        status,
        error,
    };
    match render(&page) {
        Ok(mut page) => {
            if let Some(wait) = response.headers_mut().remove(header::RETRY_AFTER) {
                page.headers_mut().insert(header::RETRY_AFTER, wait);
            }
            (status, page).into_response()
        }
        Err(_) => response,
    }
}
