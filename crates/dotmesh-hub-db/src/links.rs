//! One-time links, to make an account or to set a forgotten password. Their tokens are stored as digests.

use dotmesh_hub_model::credentials::{HashedPassword, KeyDigest};
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_model::UserName;
use jiff::{SignedDuration, Timestamp};

use crate::events::{self, Event};
use crate::ids::{self, UserId};
use crate::users::{self, OldKeys};
use crate::{Database, DatabaseError, keys};

/// How long an invitation can be used.
pub const INVITATION_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a link to set a password can be used.
pub const PASSWORD_LINK_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

impl Database {
    /// Adds an invitation. The holder of its token can make one account.
    pub async fn add_invitation(
        &self,
        digest: &KeyDigest,
        actor: &UserName,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO links (digest, purpose, created, expires) VALUES ($1, 'invitation', $2, $3)",
        )
        .bind(digest.as_bytes())
        .bind(now.as_second())
        .bind((now + INVITATION_LIFETIME).as_second())
        .execute(&mut *tx)
        .await?;
        events::insert(&mut tx, &Event::of_hub(actor, EventKind::Invite), now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether an invitation can be used.
    pub async fn has_invitation(
        &self,
        digest: &KeyDigest,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM links WHERE digest = $1 AND purpose = 'invitation' AND expires > $2",
        )
        .bind(digest.as_bytes())
        .bind(now.as_second())
        .fetch_one(&self.readers)
        .await?;
        Ok(count > 0)
    }

    /// Adds a link with which the holder of its token can set a user's password. `false` when there is no such user.
    pub async fn add_password_link(
        &self,
        digest: &KeyDigest,
        user: &UserName,
        actor: &UserName,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let found = insert_password_link(&mut tx, digest, user, actor, now).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Returns the user whose password a link sets. `None` when the link cannot be used.
    pub async fn password_link(
        &self,
        digest: &KeyDigest,
        now: Timestamp,
    ) -> Result<Option<UserName>, DatabaseError> {
        let name: Option<String> = sqlx::query_scalar(
            "SELECT u.name FROM links l JOIN users u ON u.id = l.user_id
             WHERE l.digest = $1 AND l.purpose = 'password' AND l.expires > $2",
        )
        .bind(digest.as_bytes())
        .bind(now.as_second())
        .fetch_optional(&self.readers)
        .await?;
        name.as_deref().map(ids::name).transpose()
    }

    /// Sets the password of a link's user, ends the user's sessions, and uses the link up. `None` when the link
    /// cannot be used.
    pub async fn use_password_link(
        &self,
        digest: &KeyDigest,
        password: &HashedPassword,
        keys: OldKeys,
        now: Timestamp,
    ) -> Result<Option<UserId>, DatabaseError> {
        let mut tx = self.begin().await?;
        let user: Option<UserId> = sqlx::query_scalar(
            "DELETE FROM links WHERE digest = $1 AND purpose = 'password' AND expires > $2
             RETURNING user_id",
        )
        .bind(digest.as_bytes())
        .bind(now.as_second())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(user) = user else { return Ok(None) };
        let name: String = sqlx::query_scalar("SELECT name FROM users WHERE id = $1")
            .bind(user)
            .fetch_one(&mut *tx)
            .await?;
        let name = ids::name(&name)?;
        users::set_password(&mut tx, user, password, None).await?;
        if keys == OldKeys::End {
            keys::end_all(&mut tx, user, &name, &name, now).await?;
        }
        let event = Event::of_hub(&name, EventKind::Password { user: None });
        events::insert(&mut tx, &event, now).await?;
        tx.commit().await?;
        Ok(Some(user))
    }

    /// Removes the links that were not used in time.
    pub async fn expire_links(&self, now: Timestamp) -> Result<(), DatabaseError> {
        sqlx::query("DELETE FROM links WHERE expires <= $1")
            .bind(now.as_second())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Adds a link to set a user's password. `false` when there is no such user.
pub(crate) async fn insert_password_link(
    connection: &mut sqlx::AnyConnection,
    digest: &KeyDigest,
    user: &UserName,
    actor: &UserName,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let inserted = sqlx::query(
        "INSERT INTO links (digest, purpose, user_id, created, expires)
         SELECT $1, 'password', id, $2, $3 FROM users WHERE name = $4",
    )
    .bind(digest.as_bytes())
    .bind(now.as_second())
    .bind((now + PASSWORD_LINK_LIFETIME).as_second())
    .bind(user.as_str())
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    let user = user.clone();
    let event = Event::of_hub(actor, EventKind::ResetPassword { user });
    events::insert(connection, &event, now).await?;
    Ok(true)
}

/// Uses an invitation up. `false` when it cannot be used.
pub(crate) async fn take_invitation(
    connection: &mut sqlx::AnyConnection,
    digest: &KeyDigest,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let done = sqlx::query(
        "DELETE FROM links WHERE digest = $1 AND purpose = 'invitation' AND expires > $2",
    )
    .bind(digest.as_bytes())
    .bind(now.as_second())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
