//! Suspended users: their logins, keys and webhooks do not work. Their dots stay, and other users can use them as
//! before.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_model::UserName;
use jiff::Timestamp;

use crate::events::{self, Event};
use crate::ids::UserId;
use crate::{Database, DatabaseError, sessions};

/// The error of a delivery that ended because the dot's owner was suspended.
const SUSPENDED: &str = "the owner of the dot was suspended before this was delivered";

impl Database {
    /// Suspends a user, or lifts the suspension. `false` when there is no such account.
    ///
    /// The user's keys and password stay, and work again afterwards. Sessions, unfinished logins of programs, links
    /// to set a password, and pending webhook deliveries end.
    pub async fn set_suspended(
        &self,
        name: &UserName,
        is_suspended: bool,
        actor: &UserName,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let changed: Option<UserId> = sqlx::query_scalar(
            "UPDATE users SET suspended = $1
             WHERE name = $2 AND (suspended IS NULL) = (CAST($1 AS BIGINT) IS NOT NULL) RETURNING id",
        )
        .bind(is_suspended.then(|| now.as_second()))
        .bind(name.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(user) = changed else {
            drop(tx);
            return Ok(self.user(name).await?.is_some());
        };
        if is_suspended {
            sessions::end_others(&mut tx, user, None).await?;
            for statement in [
                "DELETE FROM device_logins WHERE user_id = $1",
                "DELETE FROM links WHERE user_id = $1",
            ] {
                sqlx::query(statement).bind(user).execute(&mut *tx).await?;
            }
            sqlx::query(
                "UPDATE deliveries SET state = 'failed', claim = NULL, error = $1
                 WHERE state = 'pending' AND webhook IN (
                   SELECT w.id FROM webhooks w JOIN dots d ON d.id = w.dot WHERE d.owner = $2)",
            )
            .bind(SUSPENDED)
            .bind(user)
            .execute(&mut *tx)
            .await?;
        }
        let kind = EventKind::Suspend {
            user: name.clone(),
            is_suspended,
        };
        events::insert(&mut tx, &Event::of_hub(actor, kind), now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
