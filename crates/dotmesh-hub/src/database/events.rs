//! Events: the audit log, and the source of activity pages. An event is written in the same transaction as the change
//! that it reports.

use std::sync::LazyLock;

use dotmesh_api::hub::Access;
use dotmesh_model::{BranchName, CommitId, DotName, UserName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::deliveries;
use super::ids::{self, DotId};
use super::{Database, DatabaseError};
use crate::access::{self, EventClass, Forks, Telling};

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who did it.
    pub actor: UserName,
    /// The dot that it concerns, if any.
    pub dot: Option<(DotId, DotName)>,
    pub kind: EventKind,
}

/// The kind of an event, with its details. Stored as JSON, with its tag also in a column of its own. Old entries must
/// stay readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// Branches were pushed.
    Push {
        /// The branches with a new head.
        branches: Vec<PushedBranch>,
        /// How many commits were new.
        commits: u64,
        /// How many commits the hub had without their data, which this push brought.
        #[serde(default, skip_serializing_if = "is_zero")]
        filled: u64,
    },
    /// A branch was made on the hub.
    CreateBranch { branch: BranchName, head: CommitId },
    /// A branch was deleted.
    DeleteBranch { branch: BranchName, head: CommitId },
    /// A tag was made.
    CreateTag { tag: BranchName, commit: CommitId },
    /// A tag was deleted.
    DeleteTag { tag: BranchName, commit: CommitId },
    /// Someone wrote a note on a commit or a branch.
    Note {
        commit: Option<CommitId>,
        branch: Option<BranchName>,
    },
    /// Someone was granted access, or other access than before.
    Grant { user: UserName, access: Access },
    /// Someone's access was revoked.
    Revoke { user: UserName },
    /// A dot's description was changed.
    Describe,
    /// Another branch became the default branch.
    DefaultBranch { branch: BranchName },
    /// A dot was made public.
    Publish,
    /// A public dot was made private.
    Unpublish,
    /// The rule for who may fork a private dot was changed.
    AllowForks { forks: Forks },
    /// A dot got another name.
    Rename { from: DotName },
    /// A dot was offered to another user.
    Offer { user: UserName },
    /// A dot was transferred to another user.
    Transfer { from: DotName },
    /// A dot was forked from another.
    Fork { from: DotName },
    /// A dot was deleted.
    DeleteDot,
    /// A deleted dot was restored.
    RestoreDot,
    /// A branch became protected, or no longer is.
    Protect { branch: BranchName, protected: bool },
    /// A webhook was made. The event has only its number, because addresses can be secrets.
    CreateWebhook { webhook: i64 },
    /// A webhook was changed, switched on or off, or got another secret.
    ChangeWebhook { webhook: i64 },
    /// A webhook was deleted.
    DeleteWebhook { webhook: i64 },
    /// A test delivery was sent to a webhook.
    PingWebhook { webhook: i64 },
    /// Someone made an account for themselves.
    SignUp,
    /// An account was made for someone.
    AddUser { user: UserName },
    /// An account was removed.
    RemoveUser { user: UserName },
    /// Someone became an administrator, or no longer is one.
    Administrator { user: UserName, is_admin: bool },
    /// Someone was suspended, or the suspension was lifted.
    Suspend { user: UserName, is_suspended: bool },
    /// Someone's quota was changed: to `default`, `none`, or a number of bytes.
    Quota { user: UserName, quota: String },
    /// An invitation was made.
    Invite,
    /// A link to set someone's password was made.
    ResetPassword { user: UserName },
    /// An API key was made.
    CreateKey {
        name: String,
        scope: String,
        /// The key's owner, if not the actor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
    },
    /// An API key was revoked.
    RevokeKey { name: String },
    /// All API keys of someone were revoked.
    RevokeKeys { user: UserName },
    /// A password was set.
    Password {
        /// The user whose password it is, if not the actor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
    },
}

/// SQL: the kinds of the class [`EventClass::Administration`], as they are stored.
macro_rules! administration {
    () => {
        "'grant', 'revoke', 'offer', 'allow_forks', 'create_webhook', 'change_webhook', 'delete_webhook', 'ping_webhook'"
    };
}

impl EventKind {
    /// Returns the class of the event, which decides which readers of the dot are told of it.
    pub fn class(&self) -> EventClass {
        match self {
            Self::Rename { .. } | Self::Transfer { .. } => EventClass::FormerName,
            Self::Fork { .. } => EventClass::Origin,
            Self::Grant { .. }
            | Self::AllowForks { .. }
            | Self::Revoke { .. }
            | Self::Offer { .. }
            | Self::CreateWebhook { .. }
            | Self::ChangeWebhook { .. }
            | Self::DeleteWebhook { .. }
            | Self::PingWebhook { .. } => EventClass::Administration,
            Self::Push { .. }
            | Self::CreateBranch { .. }
            | Self::DeleteBranch { .. }
            | Self::CreateTag { .. }
            | Self::DeleteTag { .. }
            | Self::Note { .. }
            | Self::Describe
            | Self::DefaultBranch { .. }
            | Self::Publish
            | Self::Unpublish
            | Self::DeleteDot
            | Self::RestoreDot
            | Self::Protect { .. }
            // These concern no dot.
            | Self::SignUp
            | Self::AddUser { .. }
            | Self::RemoveUser { .. }
            | Self::Administrator { .. }
            | Self::Suspend { .. }
            | Self::Quota { .. }
            | Self::Invite
            | Self::ResetPassword { .. }
            | Self::CreateKey { .. }
            | Self::RevokeKey { .. }
            | Self::RevokeKeys { .. }
            | Self::Password { .. } => EventClass::Content,
        }
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The actor of events from the hub's command line. No account has this name.
pub static OPERATOR: LazyLock<UserName> =
    LazyLock::new(|| "dothub".parse().expect("is in the grammar"));

/// An action on a dot: who does it, and when.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    pub actor: &'a UserName,
    pub dot: DotId,
    /// The dot's name.
    pub name: &'a DotName,
    pub now: Timestamp,
}

impl Deed<'_> {
    pub(super) async fn log(
        &self,
        connection: &mut sqlx::AnyConnection,
        kind: EventKind,
    ) -> Result<i64, DatabaseError> {
        let event = Event {
            actor: self.actor.clone(),
            dot: Some((self.dot, self.name.clone())),
            kind,
        };
        insert(connection, &event, self.now).await
    }
}

impl Event {
    /// Makes an event that concerns no dot.
    pub fn of_hub(actor: &UserName, kind: EventKind) -> Self {
        Self {
            actor: actor.clone(),
            dot: None,
            kind,
        }
    }
}

/// A branch that a push has created or updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedBranch {
    pub name: BranchName,
    /// Its new head.
    pub head: CommitId,
    /// Whether the push created it.
    pub is_new: bool,
}

/// A stored event. The users and dots that it names may be gone.
#[derive(Debug, Clone)]
pub struct PastEvent {
    /// Its number: later events have greater ones.
    pub id: i64,
    pub time: Timestamp,
    pub actor: UserName,
    /// The dot's name at that time.
    pub dot: Option<DotName>,
    pub kind: EventKind,
}

/// A row: id, time, actor, the dot's name, and what happened as JSON.
pub(super) type EventRow = (i64, i64, String, Option<String>, String);

impl PastEvent {
    pub(super) fn from_row(
        (id, time, actor, dot, detail): EventRow,
    ) -> Result<Self, DatabaseError> {
        Ok(Self {
            id,
            time: ids::time(time)?,
            actor: ids::name(&actor)?,
            dot: dot.as_deref().map(ids::name).transpose()?,
            kind: serde_json::from_str(&detail)
                .map_err(|_| DatabaseError::Damaged { what: "event" })?,
        })
    }
}

/// The events to read.
#[derive(Debug, Clone, Copy)]
pub enum EventsOf {
    /// All events of the hub.
    Hub,
    /// The events of a dot that someone with this access is told of.
    Dot(DotId, Access),
}

/// Whether someone with this access is told of every event of a dot, as the number that SQL statements take.
fn is_told_all(access: Access) -> i64 {
    let telling = access::tell(EventClass::Administration, access, false);
    i64::from(telling != Telling::Nothing)
}

impl Database {
    /// Writes an event that is not part of another transaction.
    pub async fn log_event(&self, event: &Event, now: Timestamp) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, event, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Returns the newest events with numbers below `before`, newest first.
    pub async fn events(
        &self,
        of: EventsOf,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PastEvent>, DatabaseError> {
        let before = before.unwrap_or(i64::MAX);
        let query = match of {
            EventsOf::Hub => sqlx::query_as(
                "SELECT id, time, actor, dot_name, detail FROM events
                 WHERE id < $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(before)
            .bind(i64::from(limit)),
            EventsOf::Dot(dot, access) => sqlx::query_as(concat!(
                "SELECT id, time, actor, dot_name, detail FROM events
                 WHERE dot = $3 AND id < $1 AND ($4 = 1 OR kind NOT IN (",
                administration!(),
                ")) ORDER BY id DESC LIMIT $2",
            ))
            .bind(before)
            .bind(i64::from(limit))
            .bind(dot)
            .bind(is_told_all(access)),
        };
        let rows: Vec<EventRow> = query.fetch_all(&self.readers).await?;
        rows.into_iter().map(PastEvent::from_row).collect()
    }
}

impl Database {
    /// Returns how many events a dot had in each week of 7 days since `from`, by the number of the week. Weeks
    /// without events are left out. Events that someone with this access is not told of do not count.
    pub async fn events_by_week(
        &self,
        dot: DotId,
        access: Access,
        from: Timestamp,
    ) -> Result<Vec<(i64, u64)>, DatabaseError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(concat!(
            "SELECT (time - $2) / 604800, count(*) FROM events
             WHERE dot = $1 AND time >= $2 AND ($3 = 1 OR kind NOT IN (",
            administration!(),
            ")) GROUP BY 1 ORDER BY 1",
        ))
        .bind(dot)
        .bind(from.as_second())
        .bind(is_told_all(access))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(week, count)| Ok((week, ids::unsigned(count)?)))
            .collect()
    }

    /// Returns the number of a dot's last event that someone with this access is told of. 0 when there is none.
    pub async fn newest_event(&self, dot: DotId, access: Access) -> Result<i64, DatabaseError> {
        let id: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT id FROM events WHERE dot = $1 AND ($2 = 1 OR kind NOT IN (",
            administration!(),
            ")) ORDER BY id DESC LIMIT 1",
        ))
        .bind(dot)
        .bind(is_told_all(access))
        .fetch_optional(&self.readers)
        .await?;
        Ok(id.unwrap_or(0))
    }

    /// Returns the number of the last event, and the dots with an event after number `after`.
    pub async fn changed_dots(&self, after: i64) -> Result<(i64, Vec<DotId>), DatabaseError> {
        let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM events")
            .fetch_one(&self.readers)
            .await?;
        if newest <= after {
            return Ok((newest, Vec::new()));
        }
        let dots = sqlx::query_scalar(
            "SELECT DISTINCT dot FROM events WHERE id > $1 AND id <= $2 AND dot IS NOT NULL",
        )
        .bind(after)
        .bind(newest)
        .fetch_all(&self.readers)
        .await?;
        Ok((newest, dots))
    }
}

/// Writes an event, queues its webhook deliveries, and returns its number.
pub(super) async fn insert(
    connection: &mut sqlx::AnyConnection,
    event: &Event,
    now: Timestamp,
) -> Result<i64, DatabaseError> {
    let damaged = || DatabaseError::Damaged { what: "event" };
    let detail = serde_json::to_value(&event.kind).map_err(|_| damaged())?;
    let kind = detail["kind"].as_str().ok_or_else(damaged)?;
    let id = sqlx::query_scalar(
        "INSERT INTO events (time, actor, dot, dot_name, kind, detail) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id",
    )
    .bind(now.as_second())
    .bind(event.actor.as_str())
    .bind(event.dot.as_ref().map(|(id, _)| *id))
    .bind(event.dot.as_ref().map(|(_, name)| name.full()))
    .bind(kind)
    .bind(detail.to_string())
    .fetch_one(&mut *connection)
    .await?;
    if let Some((dot, _)) = event.dot {
        deliveries::enqueue(connection, dot, id, &event.kind, now).await?;
    }
    Ok(id)
}
