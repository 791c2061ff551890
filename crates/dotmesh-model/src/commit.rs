//! What a commit says of itself: the record that is written into the snapshot and travels with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::CommitId;
use crate::names::{BranchName, DotName};

/// The version of the record's format that this code writes.
pub const RECORD_VERSION: u32 = 1;

/// The largest encoded record, in bytes. Larger ones are refused on every boundary.
pub const MAX_RECORD_LENGTH: usize = 1 << 20;

/// An immutable, named instant of all subdots together.
///
/// Encoded as JSON. The encoded bytes are kept as they were first written, since the seal covers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// Format version, [`RECORD_VERSION`].
    pub version: u32,
    /// The commit's id.
    pub id: CommitId,
    /// The commit before it; [`CommitId::ROOT`] for a dot's first.
    pub parent: CommitId,
    /// The branch it was made on.
    pub branch: BranchName,
    /// The dot's name on the node where it was made, which the volumes of its app have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dot: Option<DotName>,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub time: jiff::Timestamp,
    /// What it is, in its author's words.
    pub message: String,
    /// Values given with `-d key=value`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The containers that used the branch at that instant, and the images they ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageUse>,
    /// The code version it was made with, when made inside a git work tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeVersion>,
}

/// One container that used the dot, and what it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageUse {
    /// The container's name.
    pub container: String,
    /// The image as it was asked for, e.g. `redis:7`.
    pub image: String,
    /// The registry digest `name@sha256:…` where there is one, else the image's id `sha256:…`.
    pub digest: String,
    /// Where Compose says that the container comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeUse>,
    /// The volumes of the commit's branch that it had mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountUse>,
    /// The user that the container ran as, by name or number; `root` when none was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A service of a Compose project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ComposeUse {
    /// The project's name.
    pub project: String,
    /// The service's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The project's folder, where `docker compose` was run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Its Compose files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_files: Vec<String>,
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MountUse {
    /// The subdot; `__root__` for the whole dot.
    pub subdot: String,
    /// Where the container sees it.
    pub path: String,
}

/// A version of the app's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeVersion {
    /// The URL of the remote, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The branch, unless the work tree was on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The full commit id.
    pub commit: String,
    /// Whether there were changes that no commit held.
    pub dirty: bool,
    /// The work tree's top folder, on the machine where the commit was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_tree: Option<String>,
}

/// Why bytes are not a commit record.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecord {
    /// More than [`MAX_RECORD_LENGTH`] bytes.
    #[error("a commit record may have at most {MAX_RECORD_LENGTH} bytes, got {length}")]
    TooLong { length: usize },
    /// Not JSON of the right shape.
    #[error("a commit record is malformed")]
    Malformed(#[source] serde_json::Error),
    /// Written by a newer Dotmesh.
    #[error(
        "a commit record has format version {version}, this Dotmesh reads {RECORD_VERSION}: upgrade it"
    )]
    Version { version: u32 },
    /// It claims the reserved id of the root commit, or to be its own parent.
    #[error("a commit record claims an impossible id")]
    ImpossibleId,
}

impl CommitRecord {
    /// The bytes to keep and to seal.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has only string keys")
    }

    /// Reads bytes that [`Self::encode`] or another Dotmesh made.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        if bytes.len() > MAX_RECORD_LENGTH {
            return Err(InvalidRecord::TooLong {
                length: bytes.len(),
            });
        }
        // The version is looked at first, so that a newer record is not called malformed.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_slice(bytes).map_err(InvalidRecord::Malformed)?;
        if version != RECORD_VERSION {
            return Err(InvalidRecord::Version { version });
        }
        let record: Self = serde_json::from_slice(bytes).map_err(InvalidRecord::Malformed)?;
        if record.id == CommitId::ROOT || record.id == record.parent {
            return Err(InvalidRecord::ImpossibleId);
        }
        Ok(record)
    }
}

/// Checks a metadata key given by a user: it starts with a lowercase letter.
pub fn check_metadata_key(key: &str) -> Result<(), String> {
    if key.starts_with(|c: char| c.is_ascii_lowercase()) {
        Ok(())
    } else {
        Err(format!(
            "Metadata field names must start with lowercase characters: {key}"
        ))
    }
}
