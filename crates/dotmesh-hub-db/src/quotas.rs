//! Quotas: how much each namespace stores, and may store.
//!
//! A namespace is charged for each pack that it has. A fork in another namespace is charged there, and a transferred
//! dot in its new namespace. The texts of a namespace's dots are charged too: commit records, database
//! summaries, events, tag messages and descriptions. A note is charged to its author.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::quota::{Quota, Usage};
use dotmesh_model::UserName;
use jiff::Timestamp;
use sqlx::AnyConnection;

use crate::events::{self, Event};
use crate::ids::{self, UserId};
use crate::{Database, DatabaseError};

/// SQL: how many bytes a user of the table `users` stores.
macro_rules! stored_by_user {
    () => {
        "CAST((SELECT coalesce(sum(p.length), 0) FROM packs p WHERE p.owner = users.id)
            + (SELECT coalesce(sum(d.texts + d.events + octet_length(d.description)), 0) FROM dots d WHERE d.owner = users.id)
            + (SELECT coalesce(sum(octet_length(t.message)), 0) FROM dots d JOIN tags t ON t.dot = d.id
               WHERE d.owner = users.id)
            + (SELECT coalesce(sum(octet_length(n.body)), 0) FROM notes n WHERE n.author = users.id) AS BIGINT)"
    };
}
pub(crate) use stored_by_user;

/// The value of the column for no limit. Null means the hub's default.
const UNLIMITED: i64 = -1;

impl Database {
    /// Returns how much a namespace stores, and may store. `default` is the hub's default quota.
    pub async fn usage(&self, owner: UserId, default: Option<u64>) -> Result<Usage, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        usage(&mut connection, owner, default).await
    }

    /// Sets a user's storage quota. Existing data is kept. `false` when there is no such account.
    pub async fn set_quota(
        &self,
        name: &UserName,
        quota: Quota,
        actor: &UserName,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let column = match quota {
            Quota::Default => None,
            Quota::Unlimited => Some(UNLIMITED),
            Quota::Bytes(bytes) => Some(i64::try_from(bytes).unwrap_or(i64::MAX)),
        };
        let done = sqlx::query("UPDATE users SET quota = $1 WHERE name = $2")
            .bind(column)
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let kind = EventKind::Quota {
            user: name.clone(),
            quota: quota.to_string(),
        };
        events::insert(&mut tx, &Event::of_hub(actor, kind), now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Returns the usage of a namespace that exceeds its quota. Called within the transaction that adds to it.
pub(crate) async fn exceeded(
    connection: &mut AnyConnection,
    owner: UserId,
    default: Option<u64>,
) -> Result<Option<Usage>, DatabaseError> {
    let usage = usage(connection, owner, default).await?;
    Ok(Some(usage).filter(Usage::is_exceeded))
}

async fn usage(
    connection: &mut AnyConnection,
    owner: UserId,
    default: Option<u64>,
) -> Result<Usage, DatabaseError> {
    let (name, quota, used): (String, Option<i64>, i64) = sqlx::query_as(concat!(
        "SELECT name, quota, ",
        stored_by_user!(),
        " FROM users WHERE id = $1"
    ))
    .bind(owner)
    .fetch_one(connection)
    .await?;
    Ok(Usage {
        owner: ids::name(&name)?,
        used: ids::unsigned(used)?,
        limit: from_column(quota)?.limit(default),
    })
}

pub(crate) fn from_column(column: Option<i64>) -> Result<Quota, DatabaseError> {
    match column {
        None => Ok(Quota::Default),
        Some(UNLIMITED) => Ok(Quota::Unlimited),
        Some(bytes) => Ok(Quota::Bytes(ids::unsigned(bytes)?)),
    }
}
