//! Extractors and parsers: they turn a request's path and body into values. Every parser returns an error and never
//! panics.

mod json;
mod paging;

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::HOST;
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use dotmesh_api::hub::MAX_HASHES;
use dotmesh_api::hub_client;
use dotmesh_api::page::Reference;
use dotmesh_model::{BranchName, CommitId, DotName, ObjectHash, UserName};
use futures::StreamExt as _;

use crate::error::HttpError;
use crate::intake::Interrupted;
use crate::router_state::RouterState;
use dotmesh_hub_db::ids::{DeliveryId, DotId, NoteId, WebhookId};
use dotmesh_hub_model::limits::Pace;
use dotmesh_hub_service::HubError;
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::settings::Settings;

pub(crate) use json::{parse_json, parse_open_json};
pub(crate) use paging::{ListPage, Paging};

/// The time limit for a whole body, however fast it arrives.
const BODY_DEADLINE: Duration = Pace::DEFAULT.body;

/// The dot in a path: `{namespace}/{dot}`.
#[derive(Debug, Clone)]
pub(crate) struct DotPath(pub(crate) DotName);

/// The user in a path: `{user}`.
#[derive(Debug, Clone)]
pub(crate) struct UserPath(pub(crate) UserName);

/// The owner in a page's path: `{namespace}`.
#[derive(Debug, Clone)]
pub(crate) struct OwnerPath(pub(crate) UserName);

/// The branch in a path: `{branch}`.
#[derive(Debug, Clone)]
pub(crate) struct BranchPath(pub(crate) BranchName);

/// The tag in a path: `{tag}`.
#[derive(Debug, Clone)]
pub(crate) struct TagPath(pub(crate) BranchName);

/// The dot in a path, by its id: `{id}`. It is for deleted and offered dots, whose name may belong to another dot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DotIdPath(pub(crate) DotId);

/// The commit in a path: `{commit}`, by its full id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitPath(pub(crate) CommitId);

/// The note in a path: `{note}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotePath(pub(crate) NoteId);

/// The webhook in a path: `{webhook}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebhookPath(pub(crate) WebhookId);

/// The delivery in a path: `{delivery}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveryPath(pub(crate) DeliveryId);

/// The reference in a path: `{reference}`. It is a branch, a tag or the prefix of a commit's id, as the client wrote
/// it.
#[derive(Debug, Clone)]
pub(crate) struct RefPath(pub(crate) String);

/// Two references in a path: `{from}...{to}`.
#[derive(Debug, Clone)]
pub(crate) struct ComparePath {
    /// The old side.
    pub(crate) from: Reference,
    /// The new side.
    pub(crate) to: Reference,
}

/// The upload in a path: `{upload}`. It is the token that the client knows.
#[derive(Debug, Clone)]
pub(crate) struct UploadPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for DotPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let namespace = segment(parts, state, "namespace").await?.parse()?;
        Ok(Self(DotName::new(
            namespace,
            &segment(parts, state, "dot").await?,
        )?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        Ok(Self(segment(parts, state, "user").await?.parse()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OwnerPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        Ok(Self(segment(parts, state, "namespace").await?.parse()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for BranchPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let branch = segment(parts, state, "branch").await?;
        Ok(Self(BranchName::from_address(&branch)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TagPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let tag = segment(parts, state, "tag").await?;
        Ok(Self(BranchName::from_address(&tag)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DotIdPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = segment(parts, state, "id").await?.parse();
        id.map(Self).map_err(|_| HttpError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CommitPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let commit = segment(parts, state, "commit").await?.parse();
        let malformed = |error| HttpError::malformed(format!("the commit in the address: {error}"));
        commit.map(Self).map_err(malformed)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NotePath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = segment(parts, state, "note").await?.parse();
        id.map(Self).map_err(|_| HttpError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = segment(parts, state, "webhook").await?.parse();
        id.map(Self).map_err(|_| HttpError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let id = segment(parts, state, "delivery").await?.parse();
        id.map(Self).map_err(|_| HttpError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RefPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        Ok(Self(segment(parts, state, "reference").await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ComparePath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let range = segment(parts, state, "range").await?;
        // No name contains two dots in a row, or begins or ends with a dot.
        let (from, to) = range.split_once("...").ok_or(HttpError::NoSuchAddress)?;
        let DotPath(dot) = DotPath::from_request_parts(parts, state).await?;
        Ok(Self {
            from: reference(&dot, from)?,
            to: reference(&dot, to)?,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UploadPath {
    type Rejection = HttpError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        Ok(Self(segment(parts, state, "upload").await?))
    }
}

/// Parses a reference. A text that cannot be one counts as an unknown reference.
pub(crate) fn reference(dot: &DotName, text: &str) -> Result<Reference, HubError> {
    text.parse().map_err(|_| HubError::NoSuchRef {
        dot: dot.clone(),
        reference: text.chars().take(80).collect(),
    })
}

async fn segment<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<String, HttpError> {
    let malformed = || HttpError::malformed("the address is malformed");
    let segments = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| malformed())?;
    let segment = segments
        .iter()
        .find(|(key, _)| *key == name)
        .ok_or_else(malformed)?;
    Ok(segment.1.to_owned())
}

/// The hub's address as the client knows it, without a slash at the end.
#[derive(Debug, Clone)]
pub(crate) struct HubUrl(pub(crate) String);

impl FromRequestParts<RouterState> for HubUrl {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(
        parts: &mut Parts,
        hub: &RouterState,
    ) -> Result<Self, Self::Rejection> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        Ok(Self(hub.settings.url_for(host)))
    }
}

/// The address of a connection's peer. The listener sets it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl FromRequestParts<RouterState> for ClientAddress {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(
        parts: &mut Parts,
        hub: &RouterState,
    ) -> Result<Self, Self::Rejection> {
        Ok(client_address(parts, &hub.settings))
    }
}

/// Returns the connection's address, or the client's address from `X-Forwarded-For` if the connection is from a trusted
/// proxy.
///
/// Each proxy appends the address that it got the request from. So the last address that is not a trusted proxy is the
/// client. The client could have forged everything before it.
pub(crate) fn client_address(parts: &Parts, settings: &Settings) -> ClientAddress {
    let peer = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
    let mut address = peer;
    let forwarded = parts.headers.get_all("x-forwarded-for").iter();
    let mut hops = forwarded
        .rev()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.rsplit(','));
    while address.is_some_and(|address| settings.is_trusted_proxy(address)) {
        match hops.next().map(|hop| hop.trim().parse::<IpAddr>()) {
            Some(Ok(hop)) => address = Some(hop.to_canonical()),
            Some(Err(_)) | None => break,
        }
    }
    address.map_or(ClientAddress::UNKNOWN, ClientAddress::from)
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_body(
    body: Body,
    limit: usize,
    what: &'static str,
) -> Result<Bytes, HttpError> {
    let read = read_parts(body, limit, what);
    tokio::time::timeout(BODY_DEADLINE, read)
        .await
        .unwrap_or(Err(HttpError::Slow))
}

async fn read_parts(body: Body, limit: usize, what: &'static str) -> Result<Bytes, HttpError> {
    let announced = body.size_hint().lower();
    let announced = usize::try_from(announced).map_or(limit, |length| length.min(limit));
    let mut stream = body.into_data_stream();
    // The kernel gives memory only to pages that are written. So capacity that is not filled costs nothing.
    let mut read = BytesMut::with_capacity(announced);
    let mut excess = 0;
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| interrupted(&error))?;
        if excess == 0 && read.len() + part.len() <= limit {
            read.extend_from_slice(&part);
            continue;
        }
        // Most clients read the response only after they have sent everything. So some more is read and dropped.
        read = BytesMut::new();
        excess += part.len();
        if excess > limit {
            break;
        }
    }
    if excess > 0 {
        Err(HubError::TooLarge { what, limit }.into())
    } else {
        Ok(read.freeze())
    }
}

/// Returns the error for a body that ended early.
fn interrupted(error: &axum::Error) -> HttpError {
    // Each layer of the body has wrapped the error.
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        match error.downcast_ref() {
            Some(Interrupted::Slow) => return HttpError::Slow,
            Some(Interrupted::NoRoom) => return HubError::Overloaded.into(),
            None => source = error.source(),
        }
    }
    HttpError::malformed("the request body was cut or is malformed")
}

/// Reads a list of hashes.
pub(crate) async fn read_hashes(body: Body) -> Result<Vec<ObjectHash>, HttpError> {
    const LIMIT: usize = MAX_HASHES * ObjectHash::LENGTH;
    let bytes = read_body(body, LIMIT, "bytes of hashes in one request").await?;
    hub_client::split(&bytes)
        .ok_or_else(|| HttpError::malformed("a list of hashes must have 32 bytes for each hash"))
}
