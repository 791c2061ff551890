//! What all pages share: who looks, the layout's parts, assets, headers, forms, and how things are shown.

pub mod assets;
pub mod chart;
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

use askama::Template;
use axum::response::{Html, IntoResponse, Redirect, Response};

pub use visit::Visit;

use crate::error::HubError;

/// A page as it is answered.
pub type Page = Result<Response, HubError>;

/// Renders a page.
pub fn render(template: &impl Template) -> Page {
    Ok(Html(template.render()?).into_response())
}

/// Answers a form: the browser gets the page to look at next.
pub fn go(to: &str) -> Page {
    Ok(Redirect::to(to).into_response())
}
