//! The hub's wire types, protocol version 1. `docs/protocol.md` describes their use.

use dotmesh_model::{BranchName, CommitId, DotIdentity, DotName, LeftOut, ObjectHash, UserName};
use serde::{Deserialize, Serialize};

use crate::dots::Visibility;

/// The version of the protocol: the first segment of every path after `/api`.
pub const PROTOCOL_VERSION: u32 = 1;

/// The most hashes in one `missing` or `objects` request.
pub const MAX_HASHES: usize = 8192;

/// The largest pack that is sent in one request, in bytes.
pub const MAX_PACK_LENGTH: usize = 32 << 20;

/// The most commits that one push may add.
pub const MAX_COMMITS_PER_PUSH: usize = 10_000;

/// `GET /api/v1/version`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubVersion {
    /// Always `dothub`, so that a client can recognise a hub.
    pub server: String,
    /// The program's version.
    pub version: String,
    /// The version of the protocol.
    pub protocol: u32,
    /// Whether a push may contain commits without their data. Earlier hubs accept none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub commits_without_data: bool,
    /// Whether it stores what is in the databases of commits. Earlier hubs do not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub databases: bool,
    /// Whether it takes small pushes, and sends the first objects of a clone, in bundles. Earlier hubs do not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bundles: bool,
}

/// `GET /api/v1/user`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CurrentUser {
    /// The name of the user.
    pub name: UserName,
}

/// `POST /api/v1/logins`: asks for an API key for a program. A user approves the request in a browser.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BeginLogin {
    /// The name of the machine where the program runs, as its user knows it.
    pub client: String,
}

/// A login that waits for its user.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceLogin {
    /// A secret with which the program asks for the key.
    pub device_code: String,
    /// The code that the user types on the page.
    pub user_code: String,
    /// The path of the page where the user approves the login. It does not contain the code.
    pub verification_path: String,
    /// Seconds to wait between two requests.
    pub interval: u64,
    /// Seconds until the login expires.
    pub expires_in: u64,
}

impl std::fmt::Debug for DeviceLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceLogin({})", self.user_code)
    }
}

/// `POST /api/v1/logins/token`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceCode {
    /// The secret from the response that started the login.
    pub device_code: String,
}

impl std::fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceCode(…)")
    }
}

/// The state of a login.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LoginState {
    /// The user has not decided yet.
    Pending,
    /// The user denied the request.
    Denied,
    /// The user approved the request. The hub sends this once, and the login ends.
    Approved {
        /// The user who approved.
        user: UserName,
        /// A new API key.
        key: String,
        /// When the key expires, in seconds since 1970. Keys of earlier hubs do not expire.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<i64>,
    },
}

impl std::fmt::Debug for LoginState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pending => f.write_str("Pending"),
            Self::Denied => f.write_str("Denied"),
            Self::Approved { user, .. } => write!(f, "Approved({user})"),
        }
    }
}

/// What a user may do with a dot. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// See and clone it.
    Read,
    /// Push to it.
    Write,
    /// Describe it, look after its branches.
    Maintain,
    /// Delete it, and say who else may do what.
    Owner,
}

impl Access {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Owner => "owner",
        }
    }
}

/// `GET /api/v1/dots/{namespace}/{dot}`; `GET /api/v1/dots` is a list of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubDot {
    /// The full name.
    pub name: DotName,
    /// The identity of the dot, which a rename does not change. Earlier hubs omit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<DotIdentity>,
    /// What the caller may do.
    pub access: Access,
    /// Who else may see it. Earlier hubs omit this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Sorted by name.
    pub branches: Vec<HubBranch>,
    /// Who else may read or write it. For everybody but the owner, the list is empty.
    #[serde(default)]
    pub collaborators: Vec<Collaborator>,
    /// How many of its commits the hub has without their data. Earlier hubs have no such commits.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_data: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A branch on the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubBranch {
    /// Its name.
    pub name: BranchName,
    /// Its newest commit.
    pub head: CommitId,
}

/// A user who has access to a dot of another user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Collaborator {
    /// The user.
    pub user: UserName,
    /// Any access but `owner`.
    pub access: Access,
}

/// `PUT /api/v1/dots/{namespace}/{dot}/collaborators/{user}`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantAccess {
    /// Any access but `owner`.
    pub access: Access,
}

/// A commit with its seal, as push and pull transfer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SealedCommit {
    /// The seal: the digest over the parent's seal, the root tree and the record. See `docs/format.md`.
    pub seal: ObjectHash,
    /// The root of the commit's tree.
    pub root: ObjectHash,
    /// The commit record: the JSON text as it was first written.
    pub record: String,
    /// Items that only the node that made the commit has. The seal does not cover this list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// The commit comes without its data: the sender of a push lacks it, or the hub never received it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub without_data: bool,
}

/// For members that are sent only if they are true.
fn is_false(value: &bool) -> bool {
    !value
}

/// `GET /api/v1/dots/{namespace}/{dot}/without-data`: the commits whose data the hub lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WithoutData {
    /// The ids of the commits, in no particular order.
    pub commits: Vec<CommitId>,
}

/// `GET /api/v1/dots/{namespace}/{dot}/commits?head=ID&until=ID`: the commit and its ancestors, newest first. The list
/// ends before `until`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitList {
    /// Newest first. The list does not contain the root commit, which has no record.
    pub commits: Vec<SealedCommit>,
}

/// `GET /api/v1/dots/{namespace}/{dot}/refs/{reference}`: the commit of a full id, a branch, a tag or an id
/// prefix, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResolvedRef {
    /// The commit.
    pub commit: CommitId,
    /// The branches whose head it is, sorted by name.
    pub heads: Vec<BranchName>,
}

/// `POST /api/v1/dots/{namespace}/{dot}/uploads`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Upload {
    /// Names the upload in the requests that follow.
    pub id: String,
}

/// `POST /api/v1/dots/{namespace}/{dot}/uploads/{id}/finish`: makes a push visible in one step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FinishUpload {
    /// The commits that the hub does not have, oldest first.
    pub commits: Vec<SealedCommit>,
    /// The ref updates of the push.
    pub branches: Vec<BranchUpdate>,
}

/// One ref update. The hub refuses it unless the branch is at `old`, and `new` descends from it, or `stash` or `force`
/// is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BranchUpdate {
    /// The branch.
    pub name: BranchName,
    /// Where the client saw the branch; `null` creates it.
    pub old: Option<CommitId>,
    /// The new head of the branch.
    pub new: CommitId,
    /// Keep the old commits as a branch with this name, so that the update need not be a fast-forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stash: Option<BranchName>,
    /// Let the branch leave the old commits, so that the update need not be a fast-forward. Has no effect beside
    /// `stash`. Earlier hubs ignore it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}
