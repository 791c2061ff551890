//! Data that becomes subdots, and subdots that become other data.

use dotmesh_model::{BranchName, CodeVersion, CommitId, SubdotName};
use serde::{Deserialize, Serialize};

use super::TransferProgress;
use crate::error::ErrorBody;

/// The first line of `POST /v1/dots/{namespace}/{dot}/imports`.
///
/// If there is no such dot, it is made, with a first commit. Otherwise the subdots become uncommitted changes of its current
/// branch. All subdots appear together, or none.
///
/// After this line come the archives of the subdots without a volume, in the order of `subdots`, each in pieces: the length as
/// four bytes, the most significant first, then that many bytes. A piece without bytes ends an archive. A piece has at most
/// 1 MiB. Send them once the response has begun.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Import {
    /// What to import.
    pub subdots: Vec<ImportSubdot>,
    /// The message of a new dot's first commit.
    pub message: String,
    /// The author of that commit.
    pub author: String,
    /// The version of the code that belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeVersion>,
    /// Copies volumes also while containers use them. The copy may then be of no use to a database.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Only checks whether the import could begin. Archives are not sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// For a check: the ids of containers that will be stopped before the import.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopping: Vec<String>,
}

/// A new subdot and its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportSubdot {
    /// The subdot. The dot must not have it yet.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub subdot: SubdotName,
    /// The local Docker volume to copy. `null` means an archive in the body: a `tar` archive that is not compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// About how many bytes an archive has. The import is refused at once if the pool has less space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// An event of an import. The last one is `Done` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImportEvent {
    /// The progress so far.
    Progress(TransferProgress),
    /// The import, or its check, succeeded.
    Done(ImportOutcome),
    /// It failed. Nothing was imported.
    Failed(ErrorBody),
}

/// What an import did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportOutcome {
    /// The branch that has the subdots. `null` after a check.
    #[serde(default)]
    pub branch: Option<BranchName>,
    /// The first commit of a new dot.
    #[serde(default)]
    pub commit: Option<CommitId>,
    /// How much each subdot has, in the order of the request.
    #[serde(default)]
    pub subdots: Vec<CopiedFiles>,
}

/// How much was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CopiedFiles {
    /// The files, folders and links.
    pub entries: u64,
    /// The bytes of the files, without holes.
    pub bytes: u64,
    /// The number of sockets and devices, which are not copied.
    #[serde(default)]
    pub left_out: u64,
    /// The names of the first ones.
    #[serde(default)]
    pub first_left_out: Vec<String>,
}

/// The query of `GET /v1/dots/{namespace}/{dot}/archive`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct ArchiveQuery {
    /// The commit, by any of its names.
    pub revision: String,
    /// The subdot. `None` means all of them, each as a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub subdot: Option<SubdotName>,
}

/// `POST /v1/dots/{namespace}/{dot}/exports`: copies a subdot of a commit into a local Docker volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Export {
    /// The commit, by any of its names.
    pub revision: String,
    /// The subdot.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub subdot: SubdotName,
    /// The volume. It is made, or must be empty.
    pub volume: String,
}

/// An event of an export. The last one is `Done` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExportEvent {
    /// The progress so far.
    Progress(TransferProgress),
    /// The export succeeded.
    Done(CopiedFiles),
    /// It failed. A volume that was made for it is removed again.
    Failed(ErrorBody),
}
