//! `/OWNER/DOT/raw/REF/PATH`: the bytes of a file, or a range of them.
//!
//! A file in a dot may be a page or a picture that attacks its viewer. So the response is never active content of the
//! hub's own origin. It is sandboxed, has one of a few media types, and forbids browsers to guess another.

use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use dotmesh_browse::content::FileBytes;
use dotmesh_browse::file_type::{self, FileType};
use dotmesh_browse::{TreeError, TreePath};
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::operations::sending;
use dotmesh_store::EntryName;
use serde::Deserialize;

use crate::error::HttpError;
use crate::web::query::Query;
use crate::web::tree_address::{OpenCommit, TreeAddress};
use crate::web::{Page, Visit, etag};

/// A response of up to this many bytes from a file's beginning is sent at once, without a turn for downloads.
const SMALL: u64 = 256 << 10;

/// Forbids scripts, forms, frames, cookies, and loading anything.
const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'";

#[derive(Debug, Deserialize)]
pub(crate) struct Options {
    /// If present, the browser stores the file instead of showing it.
    download: Option<String>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    at: TreeAddress,
    Query(options): Query<Options>,
    headers: HeaderMap,
) -> Page {
    let open = at.open(&hub, &visit).await?;
    let file = open.reader.file(open.root(), &at.path).await?;
    let name = at.path.last();
    let name = name.ok_or(TreeError::NotAFile {
        path: at.path.clone(),
    })?;
    audit::download(
        &hub,
        &open.dot,
        visit.viewer.caller.as_ref(),
        "file by file",
    )
    .await?;
    let tag = format!("\"{}\"", file.tag());
    let beginning = open
        .reader
        .beginning(file, file_type::BEGINNING_LENGTH)
        .await?;
    let kind = FileType::of(name, &beginning, file.size);

    let asked = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let mut response = if asked(header::IF_NONE_MATCH).is_some_and(|tags| etag::has(tags, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // A range of another version of the file is ignored.
        let if_range = asked(header::IF_RANGE).is_none_or(|known| known == tag);
        let range = asked(header::RANGE).filter(|_| if_range);
        match range.map_or(Asked::All, |text| parse_range(text, file.size)) {
            Asked::Beyond => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                let range = format!("bytes */{}", file.size);
                insert(&mut response, header::CONTENT_RANGE, &range);
                response
            }
            Asked::All => {
                let body = body(&hub, &open, file, 0..file.size).await?;
                sized(StatusCode::OK, body, file.size)
            }
            Asked::Range(range) => {
                let body = body(&hub, &open, file, range.clone()).await?;
                let length = range.end - range.start;
                let mut response = sized(StatusCode::PARTIAL_CONTENT, body, length);
                let range = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
                insert(&mut response, header::CONTENT_RANGE, &range);
                response
            }
        }
    };
    let (content_type, is_shown) = match kind {
        FileType::Image(image) => (image.content_type(), true),
        FileType::Text | FileType::Markdown => ("text/plain; charset=utf-8", true),
        FileType::Binary => ("application/octet-stream", false),
    };
    let disposition = disposition(is_shown && options.download.is_none(), name);
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::ETAG, &tag),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CONTENT_DISPOSITION, &disposition),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        insert(&mut response, name, value);
    }
    Ok(response)
}

async fn body(
    hub: &Hub,
    open: &OpenCommit,
    file: FileBytes,
    range: Range<u64>,
) -> Result<Body, HttpError> {
    let length = range.end - range.start;
    if length <= SMALL && range.start == 0 {
        return Ok(open.reader.beginning(file, length as usize).await?.into());
    }
    let turn = hub.turns.downloads.take(&open.dot.subject, 1).await?;
    let parts = open.reader.content(file, range);
    Ok(Body::from_stream(sending::send(turn, "a file", parts)))
}

fn sized(status: StatusCode, body: Body, length: u64) -> Response {
    let mut response = (status, body).into_response();
    insert(&mut response, header::CONTENT_LENGTH, &length.to_string());
    response
}

/// Sets a header. All values here are ASCII.
fn insert(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Returns whether the browser shows or stores the file, with the file's name.
pub(super) fn disposition(is_shown: bool, name: &EntryName) -> String {
    let kind = if is_shown { "inline" } else { "attachment" };
    let name = TreePath::from(name.clone()).address();
    format!("{kind}; filename*=UTF-8''{name}")
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Range(Range<u64>),
    Beyond,
}

/// Parses a range. Several ranges, or an invalid one, are answered with the whole file, which HTTP allows.
fn parse_range(text: &str, size: u64) -> Asked {
    let parsed = || {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let range = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
            (Some(first), None) if last.is_empty() => first..size,
            (None, Some(last)) if first.is_empty() => size.saturating_sub(last)..size,
            _ => return None,
        };
        Some(range)
    };
    match parsed() {
        None => Asked::All,
        Some(range) if range.is_empty() => Asked::Beyond,
        Some(range) => Asked::Range(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, wanted) in [
            ("bytes=0-0", Asked::Range(0..1)),
            ("bytes=3-", Asked::Range(3..10)),
            ("bytes=3-99", Asked::Range(3..10)),
            ("bytes=-4", Asked::Range(6..10)),
            ("bytes=-99", Asked::Range(0..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=99999999999999999999999-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-4", Asked::All),
            ("bytes=a-", Asked::All),
            ("bytes=-", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("bytes=0-1,3-4", Asked::All),
            ("lines=0-1", Asked::All),
        ] {
            assert_eq!(parse_range(text, 10), wanted, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Asked::Beyond);
    }
}
