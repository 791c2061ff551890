//! Long lists in pages: `?limit=…&after=…`, and in the answer a `Link` to the next one.

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::header::{HeaderValue, LINK};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::database::paging::Part;
use crate::error::HubError;

/// How many entries a page has when nobody says.
const DEFAULT: u32 = 100;

/// The most that one may ask for.
const MOST: u32 = 1000;

/// Which page of a list is asked for.
#[derive(Debug)]
pub struct Paging {
    path: String,
    /// All of the query but `after`.
    query: Vec<(String, String)>,
    limit: u32,
    after: Option<String>,
    ends_early: bool,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<T> {
    entries: Vec<T>,
    next: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let Ok(OriginalUri(uri)) = OriginalUri::from_request_parts(parts, state).await;
        let malformed = |_| HubError::malformed("the query string is malformed");
        let query = uri.query().unwrap_or_default();
        let query: Vec<(String, String)> = serde_urlencoded::from_str(query).map_err(malformed)?;
        let (after, query): (Vec<_>, Vec<_>) =
            query.into_iter().partition(|(name, _)| name == "after");
        let limit = match query.iter().find(|(name, _)| name == "limit") {
            None => DEFAULT,
            Some((_, text)) => match text.parse() {
                Ok(limit @ 1..=MOST) => limit,
                _ => {
                    return Err(HubError::malformed(
                        "`limit` must be a number from 1 to 1000",
                    ));
                }
            },
        };
        Ok(Self {
            path: uri.path().to_owned(),
            query,
            limit,
            after: after.into_iter().next().map(|(_, value)| value),
            ends_early: false,
        })
    }
}

impl Paging {
    /// With no more entries on a page than this, whatever was asked for: where each may be long.
    #[must_use]
    pub fn at_most(mut self, limit: u32) -> Self {
        self.limit = self.limit.min(limit);
        self
    }

    /// With another page, though this one has fewer entries than were asked for.
    #[must_use]
    pub fn ending_early(mut self) -> Self {
        self.ends_early = true;
        self
    }

    /// The part of the list, with one entry more than the page has: that says whether there is another page. `read` reads
    /// what [`Paging::page`] was told of an entry.
    pub fn part<K>(&self, read: impl Fn(&str) -> Option<K>) -> Result<Part<K>, HubError> {
        let wrong =
            || HubError::malformed("`after` must be the value from the link to the next page");
        let after = self.after.as_deref();
        let after = after.map(|text| read(text).ok_or_else(wrong)).transpose()?;
        let limit = self.limit + 1;
        Ok(Part { after, limit })
    }

    /// The page, of the entries of the part. `name` says after what the next page begins.
    pub fn page<E, T>(
        mut self,
        mut entries: Vec<E>,
        name: impl Fn(&E) -> String,
        show: impl Fn(E) -> T,
    ) -> Page<T> {
        let is_more = self.ends_early || entries.len() > self.limit as usize;
        entries.truncate(self.limit as usize);
        let last = entries.last().filter(|_| is_more).map(name);
        let next = last.and_then(|last| {
            self.query.push(("after".to_owned(), last));
            let query = serde_urlencoded::to_string(&self.query).ok()?;
            Some(format!("{}?{query}", self.path))
        });
        Page {
            entries: entries.into_iter().map(show).collect(),
            next,
        }
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.entries).into_response();
        let link = self.next.map(|next| format!("<{next}>; rel=\"next\""));
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(LINK, link);
        }
        response
    }
}
