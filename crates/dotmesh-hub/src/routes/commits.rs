//! `GET /api/v1/dots/{namespace}/{dot}/commits?head=ID`: a commit and its ancestors, newest first.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dotmesh_api::hub::CommitList;
use dotmesh_model::CommitId;
use futures::{StreamExt as _, stream};
use serde::Deserialize;

use crate::access::Action;
use crate::auth::Caller;
use crate::database::DatabaseError;
use crate::database::commits::Ancestry;
use crate::database::ids::DotId;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::state::Hub;

/// Commits in memory at once: a history may be longer than is good to hold.
const PAGE: u32 = 64;

/// The query.
#[derive(Debug, Deserialize)]
pub struct From {
    head: String,
}

/// Lists them.
pub async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    query: Result<Query<From>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, HubError> {
    let dot = caller.open(&hub, &dot, Action::Read).await?;
    let id = dot.existing()?;
    let Query(From { head }) =
        query.map_err(|_| HubError::malformed("say from where: ?head=COMMIT"))?;
    let head: CommitId = head
        .parse()
        .map_err(|error| HubError::malformed(format!("head: {error}")))?;
    if head == CommitId::ROOT {
        return Ok(axum::Json(CommitList {
            commits: Vec::new(),
        })
        .into_response());
    }
    let first = hub.database.ancestry(id, head, PAGE).await?;
    if first.commits.is_empty() {
        return Err(HubError::NoSuchCommit {
            dot: dot.name,
            commit: head,
        });
    }
    let body = Body::from_stream(json(hub, id, first));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// A [`CommitList`] as JSON, page by page. An error on the way cuts the response, so that it does not
/// parse.
fn json(
    hub: Hub,
    dot: DotId,
    first: Ancestry,
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    let pages = stream::try_unfold(Some((first, true)), move |page| {
        let hub = hub.clone();
        async move {
            let Some((page, is_first)) = page else {
                return Ok(None);
            };
            let text = encode(&page, is_first).map_err(std::io::Error::other)?;
            let next = if page.next == CommitId::ROOT {
                None
            } else {
                let next = hub
                    .database
                    .ancestry(dot, page.next, PAGE)
                    .await
                    .and_then(non_empty);
                let next = next.inspect_err(|error| {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "a list of commits was cut");
                });
                Some((next.map_err(std::io::Error::other)?, false))
            };
            Ok(Some((text, next)))
        }
    });
    pages.chain(stream::iter([Ok(Bytes::from_static(b"]}"))]))
}

/// A line of commits never ends before the root commit; the dot may have been deleted meanwhile.
fn non_empty(page: Ancestry) -> Result<Ancestry, DatabaseError> {
    if page.commits.is_empty() {
        Err(DatabaseError::Damaged {
            what: "line of commits",
        })
    } else {
        Ok(page)
    }
}

fn encode(page: &Ancestry, is_first: bool) -> serde_json::Result<Bytes> {
    let mut text = Vec::new();
    for (n, commit) in page.commits.iter().enumerate() {
        let before: &[u8] = if is_first && n == 0 {
            b"{\"commits\":["
        } else {
            b","
        };
        text.extend_from_slice(before);
        serde_json::to_writer(&mut text, commit)?;
    }
    Ok(text.into())
}
