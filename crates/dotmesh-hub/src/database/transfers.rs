//! Dots are offered to other users, who take them or do not.

use dotmesh_model::{DotName, UserName};
use jiff::Timestamp;

use super::events::{Deed, EventKind};
use super::forks;
use super::ids::{self, DotId, UserId};
use super::names;
use super::{Database, DatabaseError, quotas, room, webhooks};
use crate::limits;
use crate::quota::Usage;

/// A dot that is offered.
#[derive(Debug, Clone)]
pub struct Offer {
    /// What it is called.
    pub id: DotId,
    /// Its name with who owns it.
    pub name: DotName,
    /// Since when.
    pub created: Timestamp,
}

/// What came of taking an offered dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// It is the other user's.
    Done,
    /// It is not offered, or no longer.
    Missing,
    /// The user has a dot of that name.
    NameTaken,
    /// The user would have more than they may.
    OverQuota(Usage),
}

impl Database {
    /// Offers a dot to a user, and to nobody else any more.
    pub async fn offer_dot(
        &self,
        deed: Deed<'_>,
        user: UserId,
        name: &UserName,
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        let count = "SELECT count(*) FROM transfers WHERE user_id = $1";
        room::for_one_more(&mut tx, &limits::OFFERS_TO_USER, count, user.0).await?;
        sqlx::query(
            "INSERT INTO transfers (dot, user_id, created) VALUES ($1, $2, $3)
             ON CONFLICT (dot) DO UPDATE SET user_id = excluded.user_id, created = excluded.created",
        )
        .bind(deed.dot)
        .bind(user)
        .bind(deed.now.as_second())
        .execute(&mut *tx)
        .await?;
        deed.log(&mut tx, EventKind::Offer { user: name.clone() })
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends a dot's offer, or only that to a user. `false` when there was none.
    pub async fn end_offer(&self, dot: DotId, to: Option<UserId>) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let done =
            sqlx::query("DELETE FROM transfers WHERE dot = $1 AND user_id = coalesce($2, user_id)")
                .bind(dot)
                .bind(to)
                .execute(&mut *tx)
                .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// To whom a dot is offered.
    pub async fn offered_to(&self, dot: DotId) -> Result<Option<UserName>, DatabaseError> {
        let name: Option<String> = sqlx::query_scalar(
            "SELECT u.name FROM transfers t JOIN users u ON u.id = t.user_id WHERE t.dot = $1",
        )
        .bind(dot)
        .fetch_optional(&self.readers)
        .await?;
        name.as_deref().map(ids::name).transpose()
    }

    /// What is offered to a user.
    pub async fn offers(&self, user: UserId) -> Result<Vec<Offer>, DatabaseError> {
        let rows: Vec<(DotId, String, String, i64)> = sqlx::query_as(
            "SELECT d.id, o.name, d.name, t.created FROM transfers t
             JOIN dots d ON d.id = t.dot JOIN users o ON o.id = d.owner
             WHERE t.user_id = $1 AND d.deleted IS NULL ORDER BY t.created, d.id",
        )
        .bind(user)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(id, namespace, name, created)| {
                Ok(Offer {
                    id,
                    name: ids::dot_name(&namespace, &name)?,
                    created: ids::time(created)?,
                })
            })
            .collect()
    }

    /// Moves an offered dot into the namespace of who it is offered to; who had it becomes its maintainer. `deed`
    /// has the name that it had, `quota` is the hub's default.
    ///
    /// Objects are stored by namespace: the new one gets rows of its own for those that the dot has. Unfinished
    /// pushes end, as what they have sent is in the old one.
    pub async fn transfer_dot(
        &self,
        deed: Deed<'_>,
        owner: UserId,
        to: &DotName,
        quota: Option<u64>,
    ) -> Result<Transfer, DatabaseError> {
        let mut tx = self.begin().await?;
        let from: Option<UserId> = sqlx::query_scalar(
            "SELECT d.owner FROM transfers t JOIN dots d ON d.id = t.dot
             JOIN users o ON o.id = d.owner
             WHERE t.dot = $1 AND t.user_id = $2 AND d.deleted IS NULL AND d.name = $3 AND o.name = $4",
        )
        .bind(deed.dot)
        .bind(owner)
        .bind(deed.name.name())
        .bind(deed.name.namespace.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(from) = from else {
            return Ok(Transfer::Missing);
        };
        if names::find(&mut tx, owner, to.name()).await?.is_some() {
            return Ok(Transfer::NameTaken);
        }
        names::leave(&mut tx, deed, from).await?;
        names::room_for_dot(&mut tx, owner).await?;
        names::take(&mut tx, owner, to.name()).await?;
        sqlx::query("DELETE FROM uploads WHERE owner = $1 AND dot = $2")
            .bind(from)
            .bind(deed.name.name())
            .execute(&mut *tx)
            .await?;
        forks::copy_objects(&mut tx, deed.dot, deed.dot, owner).await?;
        forks::drop_objects(&mut tx, deed.dot, from).await?;
        sqlx::query("UPDATE dots SET owner = $1, name = $2 WHERE id = $3")
            .bind(owner)
            .bind(to.name())
            .bind(deed.dot)
            .execute(&mut *tx)
            .await?;
        if let Some(usage) = quotas::exceeded(&mut tx, owner, quota).await? {
            return Ok(Transfer::OverQuota(usage));
        }
        for statement in [
            r#"DELETE FROM collaborators WHERE dot = $1 AND "user" = $2"#,
            "DELETE FROM transfers WHERE dot = $1 AND user_id = $2",
        ] {
            sqlx::query(statement)
                .bind(deed.dot)
                .bind(owner)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(
            r#"INSERT INTO collaborators (dot, "user", access) VALUES ($1, $2, 'maintain')"#,
        )
        .bind(deed.dot)
        .bind(from)
        .execute(&mut *tx)
        .await?;
        webhooks::switch_off(&mut tx, deed.dot).await?;
        let kind = EventKind::Transfer {
            from: deed.name.clone(),
        };
        names::log(&mut tx, deed, to, kind).await?;
        tx.commit().await?;
        Ok(Transfer::Done)
    }
}
