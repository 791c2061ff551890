//! Extractors and parsers: they turn a request's path and body into values. Every parser returns an error and never
//! panics.

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

use crate::error::HubError;
use crate::intake::Interrupted;
use crate::rate_limit::Subject;
use crate::settings::Settings;
use crate::state::Hub;
use dotmesh_hub_db::ids::{DeliveryId, DotId, NoteId, WebhookId};
use dotmesh_hub_model::limits::Pace;

pub use json::{parse_json, parse_open_json};
pub use paging::{ListPage, Paging};

/// The time limit for a whole body, however fast it arrives.
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

/// The dot in a path, by its id: `{id}`. It is for deleted and offered dots, whose name may belong to another dot.
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

/// The reference in a path: `{reference}`. It is a branch, a tag or the prefix of a commit's id, as the client wrote
/// it.
#[derive(Debug, Clone)]
pub struct RefPath(pub String);

/// Two references in a path: `{from}...{to}`.
#[derive(Debug, Clone)]
pub struct ComparePath {
    /// The old side.
    pub from: Reference,
    /// The new side.
    pub to: Reference,
}

/// The upload in a path: `{upload}`. It is the token that the client knows.
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
        // No name contains two dots in a row, or begins or ends with a dot.
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

/// Parses a reference. A text that cannot be one counts as an unknown reference.
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

/// The hub's address as the client knows it, without a slash at the end.
#[derive(Debug, Clone)]
pub struct HubUrl(pub String);

impl FromRequestParts<Hub> for HubUrl {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Self::Rejection> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        Ok(Self(hub.settings.url_for(host)))
    }
}

/// The address of a connection's peer. The listener sets it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The address of a request's client, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(Option<IpAddr>);

impl FromRequestParts<Hub> for ClientAddress {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts, &hub.settings))
    }
}

impl ClientAddress {
    /// No known address.
    pub const UNKNOWN: Self = Self(None);

    /// Returns the connection's address, or the client's address from `X-Forwarded-For` if the connection is from a
    /// trusted proxy.
    ///
    /// Each proxy appends the address that it got the request from. So the last address that is not a trusted proxy is
    /// the client. The client could have forged everything before it.
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

    /// Returns the subject of the limits for a request without a login.
    pub fn subject(&self) -> Subject {
        Subject::Network(self.network())
    }

    /// Returns the network that counts as one client, as [`network`] says.
    pub fn network(&self) -> String {
        self.0.map_or_else(|| self.to_string(), network)
    }
}

/// Returns the network that counts as one client: an IPv4 address, or the /64 network of an IPv6 address.
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
        Err(HubError::TooLarge { what, limit })
    } else {
        Ok(read.freeze())
    }
}

/// Returns the error for a body that ended early.
fn interrupted(error: &axum::Error) -> HubError {
    // Each layer of the body has wrapped the error.
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
