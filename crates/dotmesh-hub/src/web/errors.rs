//! Error pages: they say what happened, and what to do next.

use askama::Template;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::ErrorBody;
use dotmesh_hub_service::Hub;

use super::{Visit, go, render};
use crate::error::HttpError;
use crate::router_state::RouterState;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    visit: Visit,
    status: StatusCode,
    error: ErrorBody,
    /// The page of this hub that the viewer came from, such as the one with the form.
    back: Option<String>,
}

/// A text of an error as a sentence. A name at its beginning stays as it is.
pub(crate) fn sentence(text: &str) -> String {
    const BEGINNINGS: [&str; 30] = [
        "a", "an", "another", "ask", "cannot", "check", "choose", "create", "give", "invalid",
        "it", "lift", "log", "look", "make", "no", "nobody", "only", "others", "push", "several",
        "start", "that", "the", "there", "this", "too", "use", "wait", "you",
    ];
    let first = text.split(' ').next().unwrap_or_default();
    let mut sentence = text.to_owned();
    if BEGINNINGS.contains(&first)
        && let Some(letter) = sentence.get_mut(..1)
    {
        letter.make_ascii_uppercase();
    }
    if !sentence.ends_with(['.', '!', '?', '`']) {
        sentence.push('.');
    }
    sentence
}

/// The path of the page with the link or the form, if it is one of this hub.
fn came_from(headers: &HeaderMap, hub: &str) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let page = text(header::REFERER)?;
    // People may use another address than the one that the hub was told.
    let of_host = || page.split_once("://")?.1.strip_prefix(text(header::HOST)?);
    let path = page.strip_prefix(hub).or_else(of_host)?;
    let is_path = path.starts_with('/') && !path.starts_with("//");
    is_path.then(|| path.to_owned())
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
    let Some(mut error) = response.extensions().get::<ErrorBody>().cloned() else {
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
    if error.message == HttpError::NoSuchAddress.to_string() {
        // The rest of the hint is for programs.
        error.hint = Some("check the address".to_owned());
    }
    let back = came_from(&asked.headers, &visit.hub_url)
        .filter(|page| !is_get || page != asked.uri.path());
    let page = ErrorPage {
        visit,
        status,
        error,
        back,
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
