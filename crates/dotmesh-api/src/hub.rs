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
    /// Always `dothub`: how a client knows that it talks to a hub.
    pub server: String,
    /// The program's version.
    pub version: String,
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// Whether a push may have commits without their data. Earlier hubs take none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub commits_without_data: bool,
}

/// `GET /api/v1/user`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CurrentUser {
    /// Whose key it is.
    pub name: UserName,
}

/// `POST /api/v1/logins`: asks for a key for a program, which a user approves in a browser.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BeginLogin {
    /// Where the program runs, as its user would know it: a machine's name.
    pub client: String,
}

/// A login that waits for its user.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceLogin {
    /// What the key is asked for with: a secret.
    pub device_code: String,
    /// What the user types on the page.
    pub user_code: String,
    /// The page to approve it on, from the hub's address on. It does not have the code in it.
    pub verification_path: String,
    /// Seconds to wait between two questions.
    pub interval: u64,
    /// Seconds until it ends.
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
    /// As the login was begun with.
    pub device_code: String,
}

impl std::fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceCode(…)")
    }
}

/// What became of a login.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LoginState {
    /// Its user has not decided.
    Pending,
    /// Its user said no.
    Denied,
    /// Its user said yes. This is told once: the login has ended.
    Approved {
        /// Who that is.
        user: UserName,
        /// A new API key.
        key: String,
        /// Until when it works, in seconds since 1970. Keys of earlier hubs do not expire.
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

/// What a user may do with a dot. Each includes those before it.
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
    /// Which dot it is, whatever it is called. Earlier hubs do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<DotIdentity>,
    /// What the caller may do.
    pub access: Access,
    /// Who else may see it. Earlier hubs do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Sorted by name.
    pub branches: Vec<HubBranch>,
    /// Who else may read or write it. Shown to the owner only; else empty.
    #[serde(default)]
    pub collaborators: Vec<Collaborator>,
    /// How many of its commits are here without their data. Earlier hubs have no such commits.
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

/// A user who was given access to another's dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Collaborator {
    /// Who.
    pub user: UserName,
    /// Any but [`Access::Owner`].
    pub access: Access,
}

/// `PUT /api/v1/dots/{namespace}/{dot}/collaborators/{user}`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantAccess {
    /// Any but [`Access::Owner`].
    pub access: Access,
}

/// A commit with its seal, as it is pushed and pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SealedCommit {
    /// The seal: the digest over the parent's seal, the root tree and the record. See `docs/format.md`.
    pub seal: ObjectHash,
    /// The root of the commit's tree.
    pub root: ObjectHash,
    /// The commit record: the JSON text as it was first written.
    pub record: String,
    /// What is in the commit where it was made, and not in its tree. No seal covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// The commit comes without its data: the sender of a push does not have it, or the hub was never sent it.
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
    /// Their ids, in no order.
    pub commits: Vec<CommitId>,
}

/// `GET /api/v1/dots/{namespace}/{dot}/commits?head=ID&until=ID`: the commit and its ancestors, newest first, without
/// `until` and those before it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitList {
    /// Newest first. Without the root commit, which has no record.
    pub commits: Vec<SealedCommit>,
}

/// `GET /api/v1/dots/{namespace}/{dot}/refs/{reference}`: what a commit's id, a branch, a tag or the first digits of
/// an id stand for, looked for in this order.
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
    /// Where the branches shall point afterwards.
    pub branches: Vec<BranchUpdate>,
}

/// One branch's move. Refused unless the branch is at `old`, and `new` descends from it or `stash` is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BranchUpdate {
    /// The branch.
    pub name: BranchName,
    /// Where the client saw it; `None` creates it.
    pub old: Option<CommitId>,
    /// Where it shall be.
    pub new: CommitId,
    /// Keep the old line as a branch of this name, and let the branch go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stash: Option<BranchName>,
}
