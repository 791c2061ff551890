//! Protects against cross-site request forgery.
//!
//! Instead of a token in each form, the hub checks what the browser says about a request's origin. All browsers have
//! sent `Sec-Fetch-Site` since 2023, and no script can set it. If it is missing, `Origin` decides. Cookies are also
//! `SameSite=Lax`.
//!
//! The check applies to requests with credentials too. A browser that knows Basic credentials also adds them to
//! requests of other sites.

use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::error::HttpError;

/// Refuses requests that another site made the browser send. Programs send none of these headers.
pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if safe || is_same_origin(request.headers()) {
        next.run(request).await
    } else {
        HttpError::CrossOrigin.into_response()
    }
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(ORIGIN.as_str()) else {
        // Every current browser sends one of the two headers with a form. Other programs have a key and no session.
        return headers.contains_key(AUTHORIZATION) || !headers.contains_key(COOKIE);
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && host == text(HOST.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| {
                    (
                        name.parse().expect("a name"),
                        value.parse().expect("a value"),
                    )
                })
                .collect();
            is_same_origin(&headers)
        };
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        assert!(check(&[("sec-fetch-site", "none")]));
        assert!(check(&[("origin", "https://hub"), ("host", "hub")]));
        assert!(check(&[("origin", "http://hub:81"), ("host", "hub:81")]));
        assert!(check(&[("host", "hub")]));
        let key = ("authorization", "Bearer dmk_00");
        assert!(check(&[key]));
        assert!(check(&[key, ("cookie", "a=b")]));
        assert!(check(&[key, ("sec-fetch-site", "same-origin")]));
        for elsewhere in [
            &[("sec-fetch-site", "cross-site")][..],
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "https://hub"),
                ("host", "hub"),
            ],
            &[("origin", "https://evil"), ("host", "hub")],
            &[("origin", "https://hub:81"), ("host", "hub")],
            &[("origin", "null"), ("host", "hub")],
            &[("origin", "https://hub")],
            &[("host", "hub"), ("cookie", "a=b")],
            &[key, ("sec-fetch-site", "cross-site")],
            &[key, ("sec-fetch-site", "same-site")],
            &[key, ("origin", "https://evil"), ("host", "hub")],
        ] {
            assert!(!check(elsewhere), "{elsewhere:?}");
        }
    }
}
