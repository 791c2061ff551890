//! Pagination of long lists: `?limit=…&after=…` in the request, and a `Link` to the next page in the response.

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::header::{HeaderValue, LINK};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use dotmesh_hub_db::paging::Part;
use serde::Serialize;

use crate::error::HttpError;

/// The default number of entries on a page.
const DEFAULT: u32 = 100;

/// The most entries that a client may ask for.
const MOST: u32 = 1000;

/// The requested page of a list.
#[derive(Debug)]
pub(crate) struct Paging {
    path: String,
    /// The query without `after`.
    query: Vec<(String, String)>,
    limit: u32,
    after: Option<String>,
    ends_early: bool,
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct ListPage<T> {
    entries: Vec<T>,
    next: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let Ok(OriginalUri(uri)) = OriginalUri::from_request_parts(parts, state).await;
        let malformed = |_| HttpError::malformed("the query string is malformed");
        let query = uri.query().unwrap_or_default();
        let query: Vec<(String, String)> = serde_urlencoded::from_str(query).map_err(malformed)?;
        let (after, query): (Vec<_>, Vec<_>) =
            query.into_iter().partition(|(name, _)| name == "after");
        let limit = match query.iter().find(|(name, _)| name == "limit") {
            None => DEFAULT,
            Some((_, text)) => match text.parse() {
                Ok(limit @ 1..=MOST) => limit,
                _ => {
                    return Err(HttpError::malformed(
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
    /// Lowers the limit, for lists with long entries.
    #[must_use]
    pub(crate) fn at_most(mut self, limit: u32) -> Self {
        self.limit = self.limit.min(limit);
        self
    }

    /// Adds a link to the next page, even if this page has fewer entries than requested.
    #[must_use]
    pub(crate) fn ending_early(mut self) -> Self {
        self.ends_early = true;
        self
    }

    /// Returns the part of the list to query. It has one entry more than the page, which shows whether there is another
    /// page. `read` parses a key that the `name` of [`Paging::page`] returned.
    pub(crate) fn part<K>(&self, read: impl Fn(&str) -> Option<K>) -> Result<Part<K>, HttpError> {
        let wrong =
            || HttpError::malformed("`after` must be the value from the link to the next page");
        let after = self.after.as_deref();
        let after = after.map(|text| read(text).ok_or_else(wrong)).transpose()?;
        let limit = self.limit + 1;
        Ok(Part { after, limit })
    }

    /// Returns the page with the part's entries. `name` returns the key of an entry. The next page begins after the
    /// last entry's key.
    pub(crate) fn page<E, T>(
        mut self,
        mut entries: Vec<E>,
        name: impl Fn(&E) -> String,
        show: impl Fn(E) -> T,
    ) -> ListPage<T> {
        let is_more = self.ends_early || entries.len() > self.limit as usize;
        entries.truncate(self.limit as usize);
        let last = entries.last().filter(|_| is_more).map(name);
        let next = last.and_then(|last| {
            self.query.push(("after".to_owned(), last));
            let query = serde_urlencoded::to_string(&self.query).ok()?;
            Some(format!("{}?{query}", self.path))
        });
        ListPage {
            entries: entries.into_iter().map(show).collect(),
            next,
        }
    }
}

impl<T: Serialize> IntoResponse for ListPage<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.entries).into_response();
        let link = self.next.map(|next| format!("<{next}>; rel=\"next\""));
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(LINK, link);
        }
        response
    }
}
