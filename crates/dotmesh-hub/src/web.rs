//! What all pages share: who looks, the layout's parts, assets, headers, forms, and how things are shown.

pub mod assets;
pub mod chart;
pub mod commands;
pub mod errors;
pub mod etag;
pub mod form;
pub mod guard;
pub mod headers;
pub mod highlight;
pub mod markdown;
pub mod show;
pub mod shown_event;
pub mod tree_address;
pub mod visit;

use std::fmt;

use askama::Template;
use axum::response::{Html, IntoResponse, Redirect, Response};

pub use visit::Visit;

use crate::error::HubError;

/// A page as it is answered.
pub type Page = Result<Response, HubError>;

/// Which page of a list: `?page=2`. The first is 1.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
pub struct PageNumber {
    page: Option<u32>,
}

impl PageNumber {
    /// It.
    pub fn number(self) -> u32 {
        self.page.unwrap_or(1).max(1)
    }

    /// The next one, if there is more.
    pub fn next(self, is_more: bool) -> Option<u32> {
        is_more.then(|| self.number().saturating_add(1))
    }
}

/// The largest page, in bytes. Every list on a page has its own bound; this one is for what was forgotten.
const MAX_PAGE: usize = 8 << 20;

/// Renders a page.
pub fn render(template: &impl Template) -> Page {
    let mut page = Bounded(String::new());
    match template.render_into(&mut page) {
        Ok(()) => Ok(Html(page.0).into_response()),
        Err(_) if page.0.len() >= MAX_PAGE => Err(HubError::LongPage),
        Err(error) => Err(error.into()),
    }
}

/// A page that fails once it is too large.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_PAGE - self.0.len();
        let end = text.floor_char_boundary(room.min(text.len()));
        self.0.push_str(&text[..end]);
        if end < text.len() {
            // The last characters may not fit one by one.
            self.0
                .extend(std::iter::repeat_n(' ', MAX_PAGE - self.0.len()));
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Answers a form: the browser gets the page to look at next.
pub fn go(to: &str) -> Page {
    Ok(Redirect::to(to).into_response())
}
