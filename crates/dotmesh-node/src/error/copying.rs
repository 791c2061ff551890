//! The errors of imports and exports.

use std::io;
use std::path::PathBuf;

use dotmesh_api::ErrorCode;
use dotmesh_archive::ArchiveError;
use dotmesh_model::size::format_size;
use dotmesh_model::{BranchName, DotName};

use super::POOL_FULL;

/// A failed import or export.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The request has no subdots.
    #[error("there is nothing to import")]
    Nothing,
    /// The request names a subdot twice.
    #[error("subdot {subdot} is named twice")]
    Twice { subdot: String },
    /// The request's body is not as it should be.
    #[error("the node does not understand this request: {0}")]
    Body(String),
    /// The dot has such subdots.
    #[error("branch {branch} of {dot} has these subdots already: {}", subdots.join(", "))]
    SubdotExists {
        dot: DotName,
        branch: BranchName,
        subdots: Vec<String>,
    },
    /// Docker has no such volume.
    #[error("Docker has no volume '{volume}'")]
    NoVolume { volume: String },
    /// The volume's data is not in a folder that can be copied.
    #[error("volume '{volume}' {why}")]
    NotLocal {
        volume: String,
        why: String,
        hint: String,
    },
    /// The volume's folder is not on this machine.
    #[error("the folder of volume '{volume}' is not on this machine: {}", folder.display())]
    Elsewhere {
        volume: String,
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Containers run with the volume.
    #[error("containers are using volume '{volume}': {}", containers.join(", "))]
    InUse {
        volume: String,
        containers: Vec<String>,
        can_force: bool,
    },
    /// The volume to export to has files.
    #[error("volume '{volume}' is not empty")]
    NotEmpty { volume: String },
    /// The pool has less space than the data needs.
    #[error("there is not enough space: the data has {}, and the pool has {} free", format_size(*needed), format_size(*free))]
    NoRoom { needed: u64, free: u64 },
    /// The copy failed.
    #[error("{what} cannot be copied")]
    Archive { what: String, source: ArchiveError },
}

impl CopyError {
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Nothing | Self::Twice { .. } | Self::Body(_) | Self::NotLocal { .. } => {
                ErrorCode::Invalid
            }
            Self::SubdotExists { .. } | Self::NotEmpty { .. } => ErrorCode::Exists,
            Self::NoVolume { .. } | Self::Elsewhere { .. } => ErrorCode::NotFound,
            Self::InUse { .. } => ErrorCode::InUse,
            Self::NoRoom { .. } => ErrorCode::NoSpace,
            Self::Archive { source, .. } => match source {
                ArchiveError::Disk { source, .. } => match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
                    _ => ErrorCode::Internal,
                },
                ArchiveError::Stream(_) => ErrorCode::Internal,
                ArchiveError::Cancelled => ErrorCode::Cancelled,
                _ => ErrorCode::Invalid,
            },
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::SubdotExists { .. } => {
                "Name other subdots, or import into a new dot by giving its name."
            }
            Self::NoVolume { .. } => "List the volumes with 'docker volume ls'.",
            Self::NotLocal { hint, .. } => {
                return Some(hint.clone()).filter(|hint| !hint.is_empty());
            }
            Self::Elsewhere { .. } => {
                "Run the node on the machine of the Docker Engine, or pack the volume with 'tar' in a container and use --tar."
            }
            Self::InUse {
                can_force: true, ..
            } => {
                "Stop them first. To copy the volume while they write, which may break a database's copy, add --force."
            }
            Self::InUse { .. } => "Stop them first.",
            Self::NotEmpty { .. } => "Name a new volume.",
            Self::NoRoom { .. } => POOL_FULL,
            Self::Archive { .. } if self.code() == ErrorCode::NoSpace => {
                "Nothing was changed. Free space on the disk, or raise dotmeshd's --pool-limit."
            }
            Self::Archive {
                source: ArchiveError::Compressed(with),
                ..
            } => {
                let program = if *with == "gzip" { "gunzip" } else { with };
                let options = if *with == "gzip" { "-c" } else { "-dc" };
                return Some(format!(
                    "Unpack it first: {program} {options} FILE | dm import --tar -=SUBDOT"
                ));
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
