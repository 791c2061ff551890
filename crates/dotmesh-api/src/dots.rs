//! The wire types for actions on a hub's dots: settings, forks, tags, notes, the trash, search.

use dotmesh_model::{BranchName, CommitId, DotName, UserName};
use serde::{Deserialize, Serialize};

/// Who may see a dot besides its owner and those who were given access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Nobody.
    Private,
    /// Everybody, logged in or not.
    Public,
}

impl Visibility {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

impl std::str::FromStr for Visibility {
    type Err = UnknownVisibility;

    fn from_str(text: &str) -> Result<Self, UnknownVisibility> {
        [Self::Private, Self::Public]
            .into_iter()
            .find(|visibility| visibility.as_str() == text)
            .ok_or(UnknownVisibility)
    }
}

/// A text that is no visibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a dot is private or public")]
pub struct UnknownVisibility;

/// Who may fork a private dot, besides its owner. Everybody may fork a public dot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Forks {
    /// Who may read it.
    AnyoneWhoReads,
    /// Who may push to it.
    #[default]
    Writers,
    /// Nobody.
    Nobody,
}

impl Forks {
    /// All values, the most open first.
    pub const ALL: [Self; 3] = [Self::AnyoneWhoReads, Self::Writers, Self::Nobody];

    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnyoneWhoReads => "anyone-who-reads",
            Self::Writers => "writers",
            Self::Nobody => "nobody",
        }
    }
}

/// `GET DOT/settings`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DotSettings {
    /// Markdown.
    pub description: String,
    /// The default branch, which pages show first.
    pub default_branch: BranchName,
    /// Who may see it.
    pub visibility: Visibility,
    /// Who may fork it while it is private. Earlier hubs omit this, and let every reader fork it.
    #[serde(default)]
    pub forks: Forks,
    /// Branches that only fast-forward, and cannot be deleted. They need not exist yet.
    pub protected: Vec<BranchName>,
    /// The dot that it was forked from, if that dot exists and the caller may see it.
    pub forked_from: Option<DotName>,
}

/// `PATCH DOT/settings`: a member that is absent stays unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeSettings {
    /// Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A branch that the dot has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<BranchName>,
    /// Only the owner can change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Makes the dot public even if its branches have files that look like secrets. Otherwise this is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secrets: bool,
    /// Only the owner can change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forks: Option<Forks>,
}

/// `POST DOT/rename`, `POST DOT/fork`, `POST offers/{id}`: the new name of a dot, without its namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewName {
    /// The part after the namespace.
    pub name: String,
}

/// `PUT DOT/offer`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OfferDot {
    /// Who may take it.
    pub user: UserName,
}

/// A dot that is deleted, or that another user offers. `GET trash` and `GET offers` are lists of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitingDot {
    /// The id of the dot in this list.
    pub id: String,
    /// Its name, or its name before it was deleted.
    pub name: DotName,
    /// Since when, in seconds since 1970.
    pub since: i64,
}

/// `PUT DOT/branches/{branch}`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateBranch {
    /// A branch, a tag or a commit.
    pub at: String,
}

/// `PUT DOT/tags/{tag}`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateTag {
    /// A branch, a tag or a commit.
    pub at: String,
    /// What the tag is for.
    #[serde(default)]
    pub message: String,
}

/// A tag. `GET DOT/tags` is a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubTag {
    /// Its name.
    pub name: BranchName,
    /// The commit.
    pub commit: CommitId,
    /// What the tag is for.
    pub message: String,
    /// Who made it.
    pub author: UserName,
    /// When, in seconds since 1970.
    pub created: i64,
}

/// What a note is on: one of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema, utoipa::IntoParams),
    into_params(parameter_in = Query)
)]
pub struct NoteTarget {
    /// A branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// A commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
}

/// `POST DOT/notes`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WriteNote {
    /// The branch to write on, if it is not a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// The commit to write on, if it is not a branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// Markdown.
    pub body: String,
}

/// A note. `GET DOT/notes?branch=` and `?commit=` are lists of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubNote {
    /// The id of the note, for deleting it.
    pub id: String,
    /// Who wrote it.
    pub author: UserName,
    /// When, in seconds since 1970.
    pub created: i64,
    /// Markdown.
    pub body: String,
}

/// `GET search?q=&in=&page=`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchResults {
    /// The results, the newest or the most similar first.
    pub found: Vec<Found>,
    /// Whether another page follows.
    pub more: bool,
}

/// A search result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Found {
    /// The dot.
    pub dot: DotName,
    /// The branch or the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<BranchName>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The description or the message.
    pub text: String,
}
