//! From a request's path and body to values: every parser answers with an error, never a panic.

mod json;
mod paging;

use std::error::Error;
use std::fmt;
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
use dotmesh_model::{BranchName, DotName, ObjectHash, UserName};
use futures::StreamExt as _;

use crate::database::ids::{DeliveryId, DotId, NoteId, WebhookId};
use crate::error::HubError;
use crate::intake::Interrupted;
use crate::limits::Pace;
use crate::rate_limit::Subject;
use crate::settings::Settings;
use crate::state::Hub;

pub use json::{parse_json, parse_open_json};
pub use paging::{Page, Paging};

/// How long all of a body may take, however fast it is.
const BODY_DEADLINE: Duration = Pace::DEFAULT.body;

/// The dot in a path: `{namespace}/{dot}`.
#[derive(Debug, Clone)]
pub struct DotPath(pub DotName);

/// The user in a path: `{user}`.
#[derive(Debug, Clone)]
pub struct UserPath(pub UserName);

/// The owner in a page's path: `{namespace}`.
#[derive(Debug, Clone)]
pub struct OwnerPath(pub UserName);

/// The branch in a path: `{branch}`.
#[derive(Debug, Clone)]
pub struct BranchPath(pub BranchName);

/// The tag in a path: `{tag}`.
#[derive(Debug, Clone)]
pub struct TagPath(pub BranchName);

/// The dot in a path that has no name at present: `{id}`.
#[derive(Debug, Clone, Copy)]
pub struct DotIdPath(pub DotId);

/// The note in a path: `{note}`.
#[derive(Debug, Clone, Copy)]
pub struct NotePath(pub NoteId);

/// The webhook in a path: `{webhook}`.
#[derive(Debug, Clone, Copy)]
pub struct WebhookPath(pub WebhookId);

/// The delivery in a path: `{delivery}`.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryPath(pub DeliveryId);

/// The reference in a path: `{reference}`, a branch, a tag or the beginning of a commit's id, as it was written.
#[derive(Debug, Clone)]
pub struct RefPath(pub String);

/// Two references in a path: `{from}...{to}`.
#[derive(Debug, Clone)]
pub struct ComparePath {
    /// What was.
    pub from: Reference,
    /// What is.
    pub to: Reference,
}

/// The upload in a path: `{upload}`, as the client names it.
#[derive(Debug, Clone)]
pub struct UploadPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for DotPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let namespace = segment(parts, state, "namespace").await?.parse()?;
        Ok(Self(DotName::new(
            namespace,
            &segment(parts, state, "dot").await?,
        )?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        Ok(Self(segment(parts, state, "user").await?.parse()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OwnerPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        Ok(Self(segment(parts, state, "namespace").await?.parse()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for BranchPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let branch = segment(parts, state, "branch").await?;
        Ok(Self(BranchName::from_address(&branch)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TagPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let tag = segment(parts, state, "tag").await?;
        Ok(Self(BranchName::from_address(&tag)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DotIdPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let id = segment(parts, state, "id").await?.parse();
        id.map(Self).map_err(|_| HubError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NotePath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let id = segment(parts, state, "note").await?.parse();
        id.map(Self).map_err(|_| HubError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let id = segment(parts, state, "webhook").await?.parse();
        id.map(Self).map_err(|_| HubError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let id = segment(parts, state, "delivery").await?.parse();
        id.map(Self).map_err(|_| HubError::NoSuchAddress)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RefPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        Ok(Self(segment(parts, state, "reference").await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ComparePath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        let range = segment(parts, state, "range").await?;
        // No name has two dots in a row, or one at an end.
        let (from, to) = range.split_once("...").ok_or(HubError::NoSuchAddress)?;
        let DotPath(dot) = DotPath::from_request_parts(parts, state).await?;
        Ok(Self {
            from: reference(&dot, from)?,
            to: reference(&dot, to)?,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UploadPath {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HubError> {
        Ok(Self(segment(parts, state, "upload").await?))
    }
}

/// Reads a name or the digits of an id. What cannot be one stands for nothing.
pub fn reference(dot: &DotName, text: &str) -> Result<Reference, HubError> {
    text.parse().map_err(|_| HubError::NoSuchRef {
        dot: dot.clone(),
        reference: text.chars().take(80).collect(),
    })
}

async fn segment<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<String, HubError> {
    let malformed = || HubError::malformed("the address is malformed");
    let segments = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| malformed())?;
    let segment = segments
        .iter()
        .find(|(key, _)| *key == name)
        .ok_or_else(malformed)?;
    Ok(segment.1.to_owned())
}

/// The hub's address as who sends a request knows it, without a slash at the end.
#[derive(Debug, Clone)]
pub struct HubUrl(pub String);

impl FromRequestParts<Hub> for HubUrl {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Self::Rejection> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        Ok(Self(hub.settings.url_for(host)))
    }
}

/// Where a connection comes from: what the listener knows of it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Where a request comes from, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(Option<IpAddr>);

impl FromRequestParts<Hub> for ClientAddress {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts, &hub.settings))
    }
}

impl ClientAddress {
    /// Where nobody knows.
    pub const UNKNOWN: Self = Self(None);

    /// The connection's, or what the hub's own proxies say: each adds whom it got the request from, so the last one
    /// that is none of them is the client. What stands before it the client could have made up.
    pub fn of(parts: &Parts, settings: &Settings) -> Self {
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
        Self(address)
    }

    /// Whose share it takes where nobody is logged in.
    pub fn subject(&self) -> Subject {
        Subject::Network(self.network())
    }

    /// What belongs to one user, as [`network`] says.
    pub fn network(&self) -> String {
        self.0.map_or_else(|| self.to_string(), network)
    }
}

/// What belongs to one user: the address, of version 6 the network that it is in.
pub fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        IpAddr::V4(address) => address.to_string(),
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("an unknown address"),
        }
    }
}

/// Reads a whole body of at most `limit` bytes.
pub async fn read_body(body: Body, limit: usize, what: &'static str) -> Result<Bytes, HubError> {
    let read = read_parts(body, limit, what);
    tokio::time::timeout(BODY_DEADLINE, read)
        .await
        .unwrap_or(Err(HubError::Slow))
}

async fn read_parts(body: Body, limit: usize, what: &'static str) -> Result<Bytes, HubError> {
    let announced = body.size_hint().lower();
    let announced = usize::try_from(announced).map_or(limit, |length| length.min(limit));
    let mut stream = body.into_data_stream();
    // What is not sent is not touched, and takes no memory.
    let mut read = BytesMut::with_capacity(announced);
    let mut excess = 0;
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| interrupted(&error))?;
        if excess == 0 && read.len() + part.len() <= limit {
            read.extend_from_slice(&part);
            continue;
        }
        // Most clients see an answer only when all they sent was taken: some more is read, not kept.
        read = BytesMut::new();
        excess += part.len();
        if excess > limit {
            break;
        }
    }
    if excess > 0 {
        Err(HubError::TooLarge { what, limit })
    } else {
        Ok(read.freeze())
    }
}

/// Why a body ended before its end.
fn interrupted(error: &axum::Error) -> HubError {
    // Each layer of bodies has put it into an error of its own.
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        match error.downcast_ref() {
            Some(Interrupted::Slow) => return HubError::Slow,
            Some(Interrupted::NoRoom) => return HubError::Overloaded,
            None => source = error.source(),
        }
    }
    HubError::malformed("the request body was cut or is malformed")
}

/// Reads a list of hashes.
pub async fn read_hashes(body: Body) -> Result<Vec<ObjectHash>, HubError> {
    const LIMIT: usize = MAX_HASHES * ObjectHash::LENGTH;
    let bytes = read_body(body, LIMIT, "bytes of hashes in one request").await?;
    hub_client::split(&bytes)
        .ok_or_else(|| HubError::malformed("a list of hashes must have 32 bytes for each hash"))
}
