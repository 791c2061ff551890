//! `GET /api/v1/dots/{namespace}/{dot}/commits?head=ID&until=ID`: a commit and its ancestors, newest first.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dotmesh_api::hub::{CommitList, SealedCommit};
use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::commits::Ancestry;
use dotmesh_hub_db::ids::DotId;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::auth::{OpenDot, Viewer};
use dotmesh_hub_service::operations::sending;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::CommitId;
use dotmesh_model::left_out::{LEFT_OUT_IN_HISTORY, MAX_LEFT_OUT};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::openapi::OfLookup;

/// Commits in memory at once: a history may be longer than is good to hold.
const PAGE: u32 = 16;

/// The query.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CommitsQuery {
    /// The newest commit.
    #[param(value_type = CommitId)]
    head: String,
    /// The list ends before this commit.
    #[param(value_type = Option<CommitId>)]
    until: Option<String>,
}

/// Lists a commit and its ancestors.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/commits",
    operation_id = "list_commits",
    tag = "pulling",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath, CommitsQuery),
    responses((status = 200, description = "The commits, the newest first.", body = CommitList), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    dot: DotPath,
    query: Result<Query<CommitsQuery>, QueryRejection>,
) -> Result<Response, HttpError> {
    let line = Line::open(&hub, &viewer, &dot, query).await?;
    let turn = hub.turns.downloads.take(&line.dot.subject, 1).await?;
    let body = Body::from_stream(sending::send(turn, "a list of commits", line.json(&hub)));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// A commit of a dot that may be read, and its ancestors before another one.
pub(super) struct Line {
    pub(super) dot: OpenDot,
    id: DotId,
    pub(super) head: CommitId,
    pub(super) until: CommitId,
}

impl Line {
    pub(super) async fn open(
        hub: &Hub,
        viewer: &Viewer,
        DotPath(dot): &DotPath,
        query: Result<Query<CommitsQuery>, QueryRejection>,
    ) -> Result<Self, HttpError> {
        let dot = viewer.open(hub, dot, Action::Read).await?;
        let id = dot.existing()?;
        let Query(CommitsQuery { head, until }) = query.map_err(|_| {
            HttpError::malformed("give the newest commit of the list: ?head=COMMIT")
        })?;
        let head = commit("head", &head)?;
        let until = match until {
            Some(until) => commit("until", &until)?,
            None => CommitId::ROOT,
        };
        if head != CommitId::ROOT && !hub.database.has_commit(id, head).await? {
            let (dot, commit) = (dot.name, head);
            return Err(HubError::NoSuchCommit { dot, commit }.into());
        }
        Ok(Self {
            dot,
            id,
            head,
            until,
        })
    }

    /// The commits as the JSON of a [`CommitList`].
    pub(super) fn json(
        &self,
        hub: &Hub,
    ) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + use<> {
        json(hub.clone(), self.id, self.head, self.until)
    }
}

fn commit(what: &str, text: &str) -> Result<CommitId, HttpError> {
    text.parse()
        .map_err(|error| HttpError::malformed(format!("{what}: {error}")))
}

/// A [`dotmesh_api::hub::CommitList`] as JSON, page by page. An error on the way cuts the response, so that it does not
/// parse.
fn json(
    hub: Hub,
    dot: DotId,
    head: CommitId,
    until: CommitId,
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    let pages = stream::try_unfold(head, move |at| {
        let hub = hub.clone();
        async move {
            if at == CommitId::ROOT || at == until {
                return Ok(None);
            }
            let page = hub.database.ancestry(dot, at, until, PAGE).await;
            let page = page.and_then(non_empty).map_err(std::io::Error::other)?;
            let text = encode(&page, at == head).map_err(std::io::Error::other)?;
            Ok(Some((text, page.next)))
        }
    });
    let begin = stream::iter([Ok(Bytes::from_static(b"{\"commits\":["))]);
    let end = stream::iter([Ok(Bytes::from_static(b"]}"))]);
    begin.chain(pages).chain(end)
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
        if !(is_first && n == 0) {
            text.push(b',');
        }
        // Histories are long. The commit that was asked for says all.
        let shown = match is_first && n == 0 {
            true => MAX_LEFT_OUT,
            false => LEFT_OUT_IN_HISTORY,
        };
        let left_out = commit.left_out.clone().map(|list| list.first(shown));
        let commit = SealedCommit {
            left_out,
            ..commit.clone()
        };
        serde_json::to_writer(&mut text, &commit)?;
    }
    Ok(text.into())
}
