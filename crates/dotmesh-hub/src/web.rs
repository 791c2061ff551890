//! The common parts of all pages: the visit, the layout, assets, headers, forms, and the formats of values.

pub(crate) mod assets;
pub(crate) mod branch_rows;
pub(crate) mod chart;
pub(crate) mod commands;
pub(crate) mod databases;
pub(crate) mod errors;
pub(crate) mod etag;
pub(crate) mod form;
pub(crate) mod guard;
pub(crate) mod headers;
pub(crate) mod highlight;
pub(crate) mod markdown;
pub(crate) mod pictures;
pub(crate) mod query;
pub(crate) mod shown_event;
pub(crate) mod tree_address;
pub(crate) mod visit;

use std::fmt;

use askama::Template;
use axum::response::{Html, IntoResponse, Redirect, Response};

pub(crate) use visit::Visit;

use crate::error::HttpError;

/// The response of a page.
pub(crate) type Page = Result<Response, HttpError>;

/// The number of a list's page: `?page=2`. The first page is 1.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
pub(crate) struct PageNumber {
    page: Option<u32>,
}

impl PageNumber {
    pub(crate) fn number(self) -> u32 {
        self.page.unwrap_or(1).max(1)
    }

    /// Returns the number of the next page, if there are more entries.
    pub(crate) fn next(self, is_more: bool) -> Option<u32> {
        is_more.then(|| self.number().saturating_add(1))
    }
}

/// The size limit of a page, in bytes. Each list on a page has its own limit, so this one only catches mistakes.
const MAX_PAGE: usize = 8 << 20;

/// Renders a page.
pub(crate) fn render(template: &impl Template) -> Page {
    let mut page = Bounded(String::new());
    match template.render_into(&mut page) {
        Ok(()) => Ok(Html(page.0).into_response()),
        Err(_) if page.0.len() >= MAX_PAGE => Err(HttpError::LongPage),
        Err(error) => Err(HttpError::Page(error)),
    }
}

/// A buffer that fails when the page is too large.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_PAGE - self.0.len();
        let end = text.floor_char_boundary(room.min(text.len()));
        self.0.push_str(&text[..end]);
        if end < text.len() {
            // Fill the rest with spaces. A character that doesn't fit could leave some bytes free, and `render` checks
            // for a full buffer.
            self.0
                .extend(std::iter::repeat_n(' ', MAX_PAGE - self.0.len()));
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Answers a form: redirects the browser to the next page.
pub(crate) fn go(to: &str) -> Page {
    Ok(Redirect::to(to).into_response())
}
