//! The errors of the hub's services: one enum, with a code and a hint for each. The crate `dotmesh-hub` turns them into
//! HTTP responses.
//!
//! The message of a client's error says what failed, why, and what to do next. An internal error is logged, and the
//! client sees a fixed text.

mod words;

use std::time::Duration;

use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_browse::{ReadError, TreeError};
use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_model::access::{Forks, Scope};
use dotmesh_hub_model::database_summary::BadSummary;
use dotmesh_hub_model::limits::Beyond;
use dotmesh_hub_model::quota::Usage;
use dotmesh_hub_model::show;
use dotmesh_model::{
    BranchName, CommitId, DotName, InvalidName, InvalidRecord, ObjectHash, UserName,
};
use dotmesh_store::{InvalidObject, PackError, PackStoreError};

use self::words::{at_least, full, list, more, whereabouts};
use crate::chain::ChainError;
use crate::ref_updates::RefUpdateError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The request has no credentials.
    #[error("this needs a login")]
    LoginNeeded,
    /// The credentials are wrong or malformed.
    #[error("the user name, the API key or the password is wrong")]
    LoginWrong,
    /// An administrator has suspended the account. Only a user who has authenticated learns this.
    #[error("this account is suspended")]
    Suspended,
    /// The dot does not exist, or the user may not know that it exists.
    #[error("there is no dot {0} that you may see", dot.full())]
    NoSuchDot { dot: DotName },
    /// The user has read access only.
    #[error("{user} may read {0}, but not push to it", dot.full())]
    ReadOnly { user: UserName, dot: DotName },
    /// The user is neither owner nor collaborator. Or the dot does not exist, and its namespace is not the user's.
    #[error("{user} may not push to {0}", dot.full())]
    Closed { user: UserName, dot: DotName },
    /// Only maintainers may do this.
    #[error("only maintainers of {0} may do this", dot.full())]
    MaintainersOnly { dot: DotName },
    /// The owner does not let this user fork the dot.
    #[error("you cannot fork {}: its settings allow forks by {}", dot.full(), show::forks(forks))]
    NoForks { dot: DotName, forks: Forks },
    /// The dot would become public with files that look like secrets.
    #[error(
        "files in {} look like secrets: {}{}",
        dot.full(),
        first.join(", "),
        if *count > first.len() { ", …" } else { "" }
    )]
    LooksSecret {
        dot: DotName,
        count: usize,
        first: Vec<String>,
    },
    /// The key has a narrower scope.
    #[error("this API key may not do that: it needs the scope {}", needed.as_str())]
    NarrowKey { needed: Scope },
    /// The key works for another dot only.
    #[error("this API key works only for the dot {}", dot.full())]
    KeyOfAnotherDot { dot: DotName },
    /// Only an administrator may do this.
    #[error("only an administrator of this hub may do this")]
    AdministratorsOnly,
    /// Users cannot sign up by themselves.
    #[error("nobody can sign up to this hub")]
    SignUpClosed,
    /// An invitation is needed.
    #[error(
        "you need an invitation to sign up to this hub: one that nobody has used and that has not expired"
    )]
    NotInvited,
    /// A link to set a password that was used, has expired, or never existed.
    #[error("this link does not work: it was used, or it has expired")]
    LinkUsed,
    /// Only the owner may do this.
    #[error("only the owner of {0} may do this", dot.full())]
    OwnerOnly { dot: DotName },
    /// The user to grant access to does not exist.
    #[error("there is no user {user} on this hub")]
    NoSuchUser { user: UserName },
    /// The user to revoke access from has none.
    #[error("cannot revoke access: {user} has no access to {0}", dot.full())]
    NoSuchCollaborator { user: UserName, dot: DotName },
    /// Nobody can grant owner's access, or change the owner's access.
    #[error(
        "a dot has exactly one owner: choose another user, or give read, write or maintain access"
    )]
    OwnerIsFixed,
    /// The dot has no such commit.
    #[error("{0} has no commit {commit}", dot.full())]
    NoSuchCommit { dot: DotName, commit: CommitId },
    /// The request needs the data of a commit, but the commit was pushed without it.
    #[error("the hub does not have the data of commit {} of {}: it was pushed without its data", commit.short(), dot.full())]
    WithoutData { dot: DotName, commit: CommitId },
    /// The hub has no database summary of the commit.
    #[error("the hub was not told what is in the databases of commit {} of {}", commit.short(), dot.full())]
    NoDatabases { dot: DotName, commit: CommitId },
    /// The hub has another database summary of the commit.
    #[error("the hub has another database summary of commit {} of {}", commit.short(), dot.full())]
    HasDatabases { dot: DotName, commit: CommitId },
    /// A database summary that the hub does not take.
    #[error(transparent)]
    Summary(#[from] BadSummary),
    /// The request needs a commit, but the branch has none.
    #[error("this branch of {0} has no commits yet", dot.full())]
    NothingCommitted { dot: DotName },
    /// The dot has no such branch.
    #[error("{0} has no branch {branch}", dot.full())]
    NoSuchBranch { dot: DotName, branch: BranchName },
    /// The reference is no branch, tag or commit.
    #[error("{0} has no branch, tag or commit '{reference}'", dot.full())]
    NoSuchRef { dot: DotName, reference: String },
    /// Several commits' ids begin with this prefix.
    #[error("several commits of {0} begin with {reference}", dot.full())]
    AmbiguousRef { dot: DotName, reference: String },
    /// The dot has no such objects.
    #[error("{0} has no object {first}{1}", dot.full(), more(*count))]
    NoSuchObjects {
        dot: DotName,
        count: usize,
        first: ObjectHash,
    },
    /// The upload is unknown, expired or finished, or belongs to another user or dot.
    #[error("there is no such upload: it was finished, or it has expired")]
    NoSuchUpload,
    /// A name that violates the grammar.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The client named a dot and gave an identity, and they are of different dots.
    #[error("{0} is not the dot that you mean: that dot {1}", dot.full(), whereabouts(now.as_ref()))]
    AnotherDot {
        dot: DotName,
        /// The present name of the dot that the client meant.
        now: Option<DotName>,
    },
    /// A push to a dot's former name whose commits have no history in common with the dot.
    #[error(
        "{0} is called {1} now, and has no commit in common with your push",
        dot.full(),
        now.full()
    )]
    Unrelated { dot: DotName, now: DotName },
    /// A push that was to create a dot, which another push created first.
    #[error("another push created {0} in the meantime", dot.full())]
    MadeMeanwhile { dot: DotName },
    /// The name is taken by another dot.
    #[error("you already have a dot {}", dot.full())]
    DotExists { dot: DotName },
    /// The name is taken by another branch or tag.
    #[error("{0} already has a {what} {name}", dot.full())]
    NameTaken {
        dot: DotName,
        what: &'static str,
        name: BranchName,
    },
    /// The dot has no such tag.
    #[error("{0} has no tag {tag}", dot.full())]
    NoSuchTag { dot: DotName, tag: BranchName },
    /// The dot has no such note.
    #[error("{0} has no such note", dot.full())]
    NoSuchNote { dot: DotName },
    /// The dot has no such webhook.
    #[error("{0} has no such webhook", dot.full())]
    NoSuchWebhook { dot: DotName },
    /// The webhook has no such delivery.
    #[error("there is no such delivery: the hub keeps deliveries for four weeks")]
    NoSuchDelivery,
    /// The webhook is switched off, so it delivers nothing.
    #[error("the webhook is switched off")]
    WebhookOff,
    /// Only the note's author and maintainers may do this.
    #[error("another user wrote this note")]
    NoteOfOther,
    /// The default branch cannot be deleted.
    #[error("{branch} is the default branch of {0}", dot.full())]
    DefaultBranch { dot: DotName, branch: BranchName },
    /// The branch is protected.
    #[error("the branch {branch} of {0} is protected", dot.full())]
    ProtectedBranch { dot: DotName, branch: BranchName },
    /// No such deleted dot belongs to the user.
    #[error("you have no such deleted dot: it was restored, or deleted permanently")]
    NoSuchDeletedDot,
    /// The offer was withdrawn, or never existed.
    #[error("this dot is not offered to you: the offer may have been withdrawn")]
    NoSuchOffer,
    /// The request is malformed.
    #[error("{reason}")]
    Malformed { reason: String },
    /// The namespace has reached its quota.
    #[error("{}", full(usage, *is_own))]
    OverQuota {
        usage: Usage,
        /// Whether the namespace is the caller's.
        is_own: bool,
    },
    /// More than a limit allows.
    #[error("too many {what}: the limit is {limit}")]
    TooLarge { what: &'static str, limit: usize },
    /// More than a limit of `limits.rs` on what users write.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// Too many attempts.
    #[error("too many {what} in a short time")]
    TooMany { what: &'static str },
    /// Too many wrong passwords.
    #[error("too many wrong passwords for this user name")]
    TooManyPasswords { retry_after: Duration },
    /// Too many requests per second.
    #[error("too many requests in a short time")]
    TooFast { retry_after: Duration },
    /// The hub has more work than it can do in time.
    #[error("the hub is overloaded, and did not process this request")]
    Overloaded,
    /// The login of a program is unknown, expired or completed.
    #[error("there is no such login: it was used, or it has expired")]
    NoSuchLogin,
    /// The bytes are not a pack, or a damaged one.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// An object that violates the format.
    #[error("the object {hash} has an invalid format")]
    InvalidObject {
        hash: ObjectHash,
        #[source]
        source: InvalidObject,
    },
    /// An object is referred to as another kind than its own.
    #[error("the object {hash} is of another kind than a reference to it says")]
    WrongKind { hash: ObjectHash },
    /// The commits do not match their seals, or do not form a chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A branch cannot be updated as requested.
    #[error(transparent)]
    RefUpdates(#[from] RefUpdateError),
    /// The content of a commit cannot be shown as requested.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Objects that the push did not send, and that it may not refer to.
    #[error("the push is incomplete, because it lacks {}{count} objects of its commits: {}", at_least(*capped), list(first))]
    Incomplete {
        count: usize,
        capped: bool,
        first: Vec<ObjectHash>,
    },
    /// Delta bases that the push may not refer to.
    #[error("the push lacks {count} delta bases, such as {first}")]
    NoBase { count: usize, first: ObjectHash },
    /// The dot changed during each attempt to finish the push.
    #[error("others are pushing to {0} at this moment", dot.full())]
    Busy { dot: DotName },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The pack store failed.
    #[error(transparent)]
    Store(#[from] PackStoreError),
    /// A stored commit record is malformed.
    #[error("a stored commit record is damaged")]
    Record(#[from] InvalidRecord),
    /// A task of the server panicked or was cancelled.
    #[error("a task of the server ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl From<ReadError<HubError>> for HubError {
    fn from(error: ReadError<HubError>) -> Self {
        match error {
            ReadError::Tree(error) => Self::Tree(error),
            ReadError::Source(error) => error,
        }
    }
}

const PUSH_AGAIN: &str = "push again";

impl HubError {
    /// Returns an error for a malformed request.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed {
            reason: reason.into(),
        }
    }

    /// Returns an error for a namespace that has reached its quota. `is_own` says whether it is the caller's namespace.
    pub fn over_quota(usage: Usage, is_own: bool) -> Self {
        Self::OverQuota { usage, is_own }
    }

    /// Returns what the client is told.
    pub fn body(&self) -> ErrorBody {
        let code = self.code();
        match code {
            ErrorCode::Internal if self.is_damage() => {
                return ErrorBody::new(
                    code,
                    "a part of this data is lost or damaged in the hub's store",
                )
                .hint("tell the hub's administrator: the log names the part, and a backup may contain it");
            }
            ErrorCode::Internal => {
                return ErrorBody::new(code, "the hub failed, and has logged why");
            }
            ErrorCode::NoSpace if !matches!(self, Self::OverQuota { .. }) => {
                return ErrorBody::new(code, "the hub has no space left").hint(
                    "tell the hub's administrator, and push again later: the hub keeps what was sent",
                );
            }
            _ => {}
        }
        let mut body = ErrorBody::new(code, self.to_string());
        if let Self::AnotherDot { now, .. } = self {
            body.moved_to.clone_from(now);
        } else if let Self::Unrelated { now, .. } = self {
            body.moved_to = Some(now.clone());
        }
        match self.hint() {
            Some(hint) => body.hint(hint),
            None => body,
        }
    }

    /// Returns whether stored data is missing or damaged.
    fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Store(PackStoreError::NotFound { .. } | PackStoreError::Damaged { .. })
                | Self::Tree(TreeError::Missing { .. } | TreeError::Malformed { .. })
                | Self::Database(DatabaseError::Damaged { .. })
                | Self::Record(_)
        )
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::LoginNeeded | Self::LoginWrong => ErrorCode::Unauthorized,
            Self::ReadOnly { .. }
            | Self::Closed { .. }
            | Self::MaintainersOnly { .. }
            | Self::NoForks { .. }
            | Self::LooksSecret { .. }
            | Self::NarrowKey { .. }
            | Self::KeyOfAnotherDot { .. }
            | Self::Suspended
            | Self::AdministratorsOnly
            | Self::SignUpClosed
            | Self::NotInvited
            | Self::NoteOfOther
            | Self::DefaultBranch { .. }
            | Self::ProtectedBranch { .. }
            | Self::OwnerOnly { .. } => ErrorCode::Forbidden,
            Self::HasDatabases { .. }
            | Self::DotExists { .. }
            | Self::NameTaken { .. }
            | Self::MadeMeanwhile { .. } => ErrorCode::Exists,
            Self::AnotherDot { .. } | Self::Unrelated { .. } => ErrorCode::AnotherDot,
            Self::WithoutData { .. } => ErrorCode::Absent,
            Self::NoSuchDot { .. }
            | Self::NoSuchUser { .. }
            | Self::NoSuchCollaborator { .. }
            | Self::NoSuchCommit { .. }
            | Self::NothingCommitted { .. }
            | Self::NoSuchBranch { .. }
            | Self::NoSuchRef { .. }
            | Self::NoSuchObjects { .. }
            | Self::NoDatabases { .. }
            | Self::NoSuchTag { .. }
            | Self::NoSuchNote { .. }
            | Self::NoSuchWebhook { .. }
            | Self::NoSuchDelivery
            | Self::NoSuchDeletedDot
            | Self::NoSuchOffer
            | Self::NoSuchUpload
            | Self::Database(DatabaseError::Gone(_))
            | Self::NoSuchLogin
            | Self::LinkUsed => ErrorCode::NotFound,
            Self::TooMany { .. }
            | Self::TooManyPasswords { .. }
            | Self::TooFast { .. }
            | Self::Overloaded
            | Self::Database(DatabaseError::Busy(_)) => ErrorCode::TooMany,
            Self::OwnerIsFixed
            | Self::AmbiguousRef { .. }
            | Self::Name(_)
            | Self::Malformed { .. }
            | Self::Summary(BadSummary::Malformed(_) | BadSummary::Version(_))
            | Self::WebhookOff
            | Self::Database(DatabaseError::Text(_)) => ErrorCode::Invalid,
            Self::OverQuota { .. } => ErrorCode::NoSpace,
            Self::TooLarge { .. }
            | Self::Beyond(_)
            | Self::Summary(BadSummary::Beyond(_))
            | Self::Database(DatabaseError::Beyond(_))
            | Self::Pack(PackError::TooLong { .. }) => ErrorCode::TooLarge,
            Self::Pack(PackError::NoBase { .. }) => ErrorCode::Incomplete,
            Self::Pack(_) | Self::InvalidObject { .. } | Self::WrongKind { .. } => {
                ErrorCode::Corrupt
            }
            Self::Chain(error) => error.code(),
            Self::RefUpdates(error) => error.code(),
            Self::Tree(
                TreeError::NoSuchPath { .. }
                | TreeError::NotAFolder { .. }
                | TreeError::NotAFile { .. }
                | TreeError::BadPath,
            ) => ErrorCode::NotFound,
            Self::Tree(TreeError::Inconsistent { .. }) => ErrorCode::Corrupt,
            Self::Tree(TreeError::Missing { .. } | TreeError::Malformed { .. }) => {
                ErrorCode::Internal
            }
            Self::Incomplete { .. } | Self::NoBase { .. } => ErrorCode::Incomplete,
            Self::Busy { .. } => ErrorCode::Behind,
            Self::Database(DatabaseError::NoSpace(_)) => ErrorCode::NoSpace,
            Self::Store(error) if is_full(error) => ErrorCode::NoSpace,
            Self::Database(_) | Self::Store(_) | Self::Task(_) | Self::Record(_) => {
                ErrorCode::Internal
            }
        }
    }

    /// Returns how long the client should wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { .. } => Some(Duration::from_secs(600)),
            Self::Overloaded | Self::Database(DatabaseError::Busy(_)) => {
                Some(Duration::from_secs(5))
            }
            Self::TooManyPasswords { retry_after } | Self::TooFast { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::LoginNeeded => "log in with `dm login`; other programs send an API key",
            Self::LoginWrong => {
                "log in again with `dm login`, because the key may have expired; an administrator can \
                 also create a key: `dothub user key NAME`"
            }
            Self::NoSuchDot { .. } => "check the name, or ask its owner for access",
            Self::NothingCommitted { .. } => {
                "commit to it and push: `dm commit -m MESSAGE`, then `dm push`"
            }
            Self::WithoutData { .. } => {
                "run `dm push` for its branch on a machine that has the data"
            }
            Self::ReadOnly { .. } => "ask its owner for write access",
            Self::MaintainersOnly { .. } => "ask its owner for maintain access",
            Self::NoForks { .. } => "ask its owner to change that setting",
            Self::LooksSecret { .. } => {
                "remove them and push again; or publish them on purpose: tick the box beside the button, or send `allow_secrets`"
            }
            Self::DotExists { .. } => "choose another name, or rename that one first",
            Self::NameTaken { .. } => "choose another name",
            Self::AnotherDot { now: Some(_), .. } => "use its present name",
            Self::AnotherDot { now: None, .. } => {
                "ask its former owner; to use this dot anyway, send the request without the identity of the other dot"
            }
            Self::Unrelated { .. } => "push to a name that no dot has had, or to its present name",
            Self::OverQuota { is_own: true, .. } => {
                "delete dots that nobody needs, which frees space after seven days, or ask the hub's administrator for a larger \
                 quota; then try again: the hub keeps what a push has sent"
            }
            Self::OverQuota { usage, .. } => {
                return Some(format!(
                    "ask {} to free space, then push again: the hub keeps what was sent",
                    usage.owner
                ));
            }
            Self::Beyond(Beyond(limit))
            | Self::Summary(BadSummary::Beyond(Beyond(limit)))
            | Self::Database(DatabaseError::Beyond(Beyond(limit))) => limit.next,
            Self::NoDatabases { .. } => {
                "whoever may push to the dot can send a database summary to this address"
            }
            Self::HasDatabases { .. } => "a maintainer can delete it first",
            Self::WebhookOff => "switch it on first",
            Self::NoteOfOther => "a maintainer of the dot can delete it",
            Self::DefaultBranch { .. } => "make another branch the default first",
            Self::ProtectedBranch { .. } => "lift its protection first, in the dot's settings",
            Self::Suspended => "ask the hub's administrator",
            Self::KeyOfAnotherDot { .. } => "create a key for this in the hub's settings",
            Self::NarrowKey { .. } => "create a key with that scope in the hub's settings",
            Self::AmbiguousRef { .. } => "give more digits",
            Self::NoSuchRef { .. } => "the dot's page lists its branches and tags",
            Self::Closed { user, .. } => {
                return Some(format!(
                    "create new dots in your own namespace, {user}/…; to push to a dot of another user, ask its owner for write access"
                ));
            }
            Self::NoSuchUser { .. } => {
                "the hub's administrator can create accounts: `dothub user add NAME`"
            }
            Self::NoSuchUpload
            | Self::Incomplete { .. }
            | Self::Busy { .. }
            | Self::MadeMeanwhile { .. } => PUSH_AGAIN,
            Self::Database(DatabaseError::Gone(_)) => "look where it is now, then try again",
            Self::SignUpClosed => "ask its administrator for an account",
            Self::NotInvited => "ask an administrator of this hub for one",
            Self::LinkUsed => "ask an administrator of this hub for another one",
            Self::TooMany { .. } => "wait ten minutes, then try again",
            Self::TooManyPasswords { .. } => {
                "wait 15 minutes, or log in with an API key, which this limit does not affect"
            }
            Self::Overloaded | Self::Database(DatabaseError::Busy(_)) => {
                "wait a moment, then try again"
            }
            Self::TooFast { .. } => "wait a moment, then send requests more slowly",
            Self::NoSuchLogin => "start again with `dm login`",
            Self::NoBase { .. } | Self::Pack(PackError::NoBase { .. }) => {
                "send the pack without deltas"
            }
            Self::Pack(PackError::WrongHash { .. } | PackError::BadCompression { .. }) => {
                PUSH_AGAIN
            }
            Self::Pack(PackError::NotAPack)
            | Self::InvalidObject {
                source: InvalidObject::UnknownVersion { .. },
                ..
            } => {
                "your dm may be newer than the hub: ask the hub's administrator to upgrade the hub"
            }
            Self::RefUpdates(error) => return error.hint(),
            Self::Chain(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Returns whether a full disk caused the error.
fn is_full(error: &PackStoreError) -> bool {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    })
    .filter_map(|error| error.downcast_ref::<std::io::Error>())
    .any(|error| {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(error.kind(), StorageFull | QuotaExceeded)
    })
}
