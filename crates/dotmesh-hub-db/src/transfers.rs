//! Transfers of dots: a user offers a dot to another user, who takes it or does not.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::limits;
use dotmesh_hub_model::quota::Usage;
use dotmesh_model::{DotName, UserName};
use jiff::Timestamp;

use crate::events::Deed;
use crate::forks;
use crate::ids::{self, DotId, UserId};
use crate::names;
use crate::{Database, DatabaseError, quotas, room, webhooks};

/// A dot that is offered.
#[derive(Debug, Clone)]
pub struct Offer {
    pub id: DotId,
    /// Its full name, with the owner's namespace.
    pub name: DotName,
    /// When it was offered.
    pub created: Timestamp,
}

/// The result of taking an offered dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnershipTransfer {
    /// The dot belongs to the other user now.
    Done,
    /// The dot is not offered, or no longer.
    Missing,
    /// The user has a dot of that name.
    NameTaken,
    /// The user would exceed their quota.
    OverQuota(Usage),
}

impl Database {
    /// Offers a dot to a user. An earlier offer to another user ends.
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

    /// Ends a dot's offer, or only an offer to the user `to`. `false` when there was none.
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

    /// Returns the user to whom a dot is offered.
    pub async fn offered_to(&self, dot: DotId) -> Result<Option<UserName>, DatabaseError> {
        let name: Option<String> = sqlx::query_scalar(
            "SELECT u.name FROM transfers t JOIN users u ON u.id = t.user_id WHERE t.dot = $1",
        )
        .bind(dot)
        .fetch_optional(&self.readers)
        .await?;
        name.as_deref().map(ids::name).transpose()
    }

    /// Returns the dots that are offered to a user.
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

    /// Moves an offered dot into the namespace of the user to whom it is offered. The former owner becomes its
    /// maintainer. `deed` has the dot's former name, and `quota` is the hub's default.
    ///
    /// Objects are stored by namespace, so the new namespace gets rows of its own for the dot's objects. Unfinished
    /// pushes end, because they sent their objects to the old namespace.
    pub async fn transfer_dot(
        &self,
        deed: Deed<'_>,
        owner: UserId,
        to: &DotName,
        quota: Option<u64>,
    ) -> Result<OwnershipTransfer, DatabaseError> {
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
            return Ok(OwnershipTransfer::Missing);
        };
        if names::find(&mut tx, owner, to.name()).await?.is_some() {
            return Ok(OwnershipTransfer::NameTaken);
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
            return Ok(OwnershipTransfer::OverQuota(usage));
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
        Ok(OwnershipTransfer::Done)
    }
}
