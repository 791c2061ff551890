//! What a node finds when it looks at itself, for `dm doctor`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::HubLogin;
use crate::error::ErrorBody;

/// `POST /v1/checkup`: looks at the pool, at Docker and at hubs. The answer is a [`Report`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checkup {
    /// The hubs to reach.
    #[serde(default)]
    pub hubs: Vec<HubLogin>,
}

/// What a node found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    /// The pool, or why it cannot be looked at.
    #[serde(with = "looked")]
    #[cfg_attr(feature = "openapi", schema(value_type = Looked<PoolReport>))]
    pub pool: Result<PoolReport, ErrorBody>,
    /// The Docker Engine: the number of its containers, or why the daemon does not reach it.
    #[serde(with = "looked")]
    #[cfg_attr(feature = "openapi", schema(value_type = Looked<u64>))]
    pub docker: Result<u64, ErrorBody>,
    /// Which Engine it is, if the daemon reaches it.
    #[serde(default)]
    pub engine: Option<EngineReport>,
    /// The volume driver, unless the daemon serves none.
    pub plugin: Option<PluginReport>,
    /// The hubs, in the order of the request.
    pub hubs: Vec<HubReport>,
}

/// How a [`Result`] of a look is written: an object with the member `found` or `failed`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Looked<T> {
    /// What was found.
    Found(T),
    /// Why nothing was found.
    Failed(ErrorBody),
}

mod looked {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{ErrorBody, Looked};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        looked: &Result<T, ErrorBody>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let looked = match looked {
            Ok(found) => Looked::Found(found),
            Err(error) => Looked::Failed(error.clone()),
        };
        looked.serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Result<T, ErrorBody>, D::Error> {
        Ok(match Looked::deserialize(deserializer)? {
            Looked::Found(found) => Ok(found),
            Looked::Failed(error) => Err(error),
        })
    }
}

/// The state of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolReport {
    /// The file, the device or the folder that it is on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub place: PathBuf,
    /// The bytes of the filesystem.
    pub total: u64,
    /// The bytes that can be written.
    pub free: u64,
    /// Whether btrfs refuses writes.
    pub read_only: bool,
    /// The disk below, if the pool is in a file.
    pub disk: Option<DiskReport>,
}

/// The disk that a pool's file is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskReport {
    /// The free bytes.
    pub free: u64,
    /// The bytes that the pool leaves free.
    pub reserve: u64,
}

/// The Engine of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngineReport {
    /// `Docker` or `Podman`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The id that it made for itself. Podman has none.
    #[serde(default)]
    pub id: Option<String>,
    /// The Engine's own volumes that have the name of a dot's volume, but are none.
    pub local_volumes: Vec<String>,
}

/// The Docker volume driver of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PluginReport {
    /// Its name.
    pub driver: String,
    /// The socket that Docker looks for.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub socket: PathBuf,
    /// Whether the socket is there.
    pub exists: bool,
}

/// How a hub answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubReport {
    /// The hub's version, or why the daemon does not reach it.
    #[serde(with = "looked")]
    #[cfg_attr(feature = "openapi", schema(value_type = Looked<String>))]
    pub version: Result<String, ErrorBody>,
    /// Why the hub refuses the login, if it does.
    pub refused: Option<ErrorBody>,
    /// The seconds that the hub's clock is ahead of this machine's.
    pub clock_ahead: Option<i64>,
}
