//! Commit records. A record is written into the snapshot, and sent with the commit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::CommitId;
use crate::names::{BranchName, DotName};

/// The version of the record's format that this code writes.
pub const RECORD_VERSION: u32 = 1;

/// The largest encoded record, in bytes. Every reader refuses larger ones.
pub const MAX_RECORD_LENGTH: usize = 1 << 20;

/// An immutable, named instant of all subdots together.
///
/// The encoding is JSON. The encoded bytes are stored unchanged, because the seal covers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitRecord {
    /// The version of the record's format.
    pub version: u32,
    /// The commit's id.
    pub id: CommitId,
    /// The parent. For a dot's first commit it is 32 zeros.
    pub parent: CommitId,
    /// The branch on which it was made.
    pub branch: BranchName,
    /// The dot's name on the node where it was made. The volumes of its app have this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dot: Option<DotName>,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub time: jiff::Timestamp,
    /// The author's description.
    pub message: String,
    /// Values given with `-d key=value`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The containers that used the branch at that instant, and their images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageUse>,
    /// The version of the code, if the commit was made inside a git work tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeVersion>,
}

/// A container that used the dot, and its image.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageUse {
    /// The container's name.
    pub container: String,
    /// The image as the user named it, e.g. `redis:7`.
    pub image: String,
    /// The registry digest `name@sha256:…` if there is one, else the image's id `sha256:…`.
    pub digest: String,
    /// The container's service, according to Compose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeUse>,
    /// The volumes of the commit's branch that the container had mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountUse>,
    /// The user of the container's processes, by name or number. `root` if the container names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A service of a Compose project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MountUse {
    /// The subdot, or `__root__` for the whole dot.
    pub subdot: String,
    /// The mount point in the container.
    pub path: String,
}

/// A version of the app's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CodeVersion {
    /// The URL of the remote, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The branch. `None` if the work tree was on no branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The full commit id.
    pub commit: String,
    /// Whether the work tree had uncommitted changes.
    pub dirty: bool,
    /// The work tree's top folder on the machine where the commit was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_tree: Option<String>,
}

/// Why bytes are not a commit record.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecord {
    /// More than [`MAX_RECORD_LENGTH`] bytes.
    #[error("a commit record may have at most {MAX_RECORD_LENGTH} bytes, got {length}")]
    TooLong { length: usize },
    /// It is not JSON of the right form.
    #[error("a commit record is malformed")]
    Malformed(#[source] serde_json::Error),
    /// A newer Dotmesh wrote it.
    #[error(
        "a commit record has format version {version}, this Dotmesh reads {RECORD_VERSION}: upgrade it"
    )]
    Version { version: u32 },
    /// Its id is that of the root commit, or its parent is itself.
    #[error("a commit record claims an impossible id")]
    ImpossibleId,
}

impl CommitRecord {
    /// The bytes to store and to seal.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has only string keys")
    }

    /// Reads bytes that [`Self::encode`] or another Dotmesh wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        if bytes.len() > MAX_RECORD_LENGTH {
            return Err(InvalidRecord::TooLong {
                length: bytes.len(),
            });
        }
        // Check the version first, so that a newer record is not reported as malformed.
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
