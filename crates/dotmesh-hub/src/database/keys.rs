//! API keys: named, limited, shown once.

use dotmesh_model::UserName;
use jiff::{SignedDuration, Timestamp};

use super::events::{self, Event, EventKind};
use super::ids::{self, KeyId, UserId};
use super::{Database, DatabaseError};
use crate::access::Scope;
use crate::credentials::KeyDigest;

/// A key's use is written down once in so long: a request is not worth a write.
const USE_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// A key to be stored.
#[derive(Clone)]
pub struct NewKey {
    /// What is stored of it.
    pub digest: KeyDigest,
    /// What its owner calls it.
    pub name: String,
    /// What it is good for.
    pub scope: Scope,
    /// Until when; `None` for as long as it is not revoked.
    pub expires: Option<Timestamp>,
}

impl NewKey {
    /// The key that comes with an account.
    pub fn first(digest: KeyDigest) -> Self {
        Self {
            digest,
            name: "key".to_owned(),
            scope: Scope::Admin,
            expires: None,
        }
    }
}

/// A key as its owner sees it.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// Its row.
    pub id: KeyId,
    /// What its owner calls it.
    pub name: String,
    /// What it is good for.
    pub scope: Scope,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it works.
    pub expires: Option<Timestamp>,
    /// When it was last used, to the hour.
    pub used: Option<Timestamp>,
}

/// Whose key it is, and what it is good for.
#[derive(Debug, Clone)]
pub struct KeyUser {
    /// The account.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// Whether it is an administrator's.
    pub is_admin: bool,
    /// What the key is good for.
    pub scope: Scope,
    /// What its owner calls it.
    pub key_name: String,
}

impl Database {
    /// Whose key this is, if it is one and has not expired.
    pub async fn key_user(
        &self,
        digest: &KeyDigest,
        now: Timestamp,
    ) -> Result<Option<KeyUser>, DatabaseError> {
        type Row = (UserId, String, i64, KeyId, String, String, Option<i64>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT u.id, u.name, u.admin, k.id, k.name, k.scope, k.used
             FROM api_keys k JOIN users u ON u.id = k.\"user\"
             WHERE k.digest = $1 AND (k.expires IS NULL OR k.expires > $2)",
        )
        .bind(digest.as_bytes())
        .bind(now.as_second())
        .fetch_optional(&self.readers)
        .await?;
        let Some((id, name, admin, key, key_name, scope, used)) = row else {
            return Ok(None);
        };
        let used = used.map(ids::time).transpose()?;
        if used.is_none_or(|used| used < now - USE_INTERVAL) {
            sqlx::query("UPDATE api_keys SET used = $1 WHERE id = $2")
                .bind(now.as_second())
                .bind(key)
                .execute(&self.writer)
                .await?;
        }
        Ok(Some(KeyUser {
            id,
            name: ids::name(&name)?,
            is_admin: admin != 0,
            scope: ids::scope(&scope)?,
            key_name,
        }))
    }

    /// A user's keys, the newest first; expired ones too.
    pub async fn keys(&self, user: UserId) -> Result<Vec<ListedKey>, DatabaseError> {
        type Row = (KeyId, String, String, i64, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, scope, created, expires, used FROM api_keys
             WHERE \"user\" = $1 ORDER BY id DESC",
        )
        .bind(user)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(id, name, scope, created, expires, used)| {
                Ok(ListedKey {
                    id,
                    name,
                    scope: ids::scope(&scope)?,
                    created: ids::time(created)?,
                    expires: expires.map(ids::time).transpose()?,
                    used: used.map(ids::time).transpose()?,
                })
            })
            .collect()
    }
}

impl Database {
    /// Makes a key.
    pub async fn create_key(
        &self,
        user: UserId,
        actor: &UserName,
        key: &NewKey,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, user, key, now).await?;
        let kind = EventKind::CreateKey {
            name: key.name.clone(),
            scope: key.scope.as_str().to_owned(),
            user: None,
        };
        events::insert(&mut tx, &Event::of_hub(actor, kind), now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends one of a user's keys. `false` when it is none of theirs.
    pub async fn revoke_key(
        &self,
        user: UserId,
        actor: &UserName,
        key: KeyId,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let name: Option<String> = sqlx::query_scalar(
            r#"DELETE FROM api_keys WHERE id = $1 AND "user" = $2 RETURNING name"#,
        )
        .bind(key)
        .bind(user)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(name) = name else { return Ok(false) };
        let event = Event::of_hub(actor, EventKind::RevokeKey { name });
        events::insert(&mut tx, &event, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Ends all keys of a user, and the logins of programs that would get one.
pub(super) async fn end_all(
    connection: &mut sqlx::AnyConnection,
    user: UserId,
    name: &UserName,
    actor: &UserName,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    for statement in [
        r#"DELETE FROM api_keys WHERE "user" = $1"#,
        "DELETE FROM device_logins WHERE user_id = $1",
    ] {
        let statement = sqlx::query(statement).bind(user);
        statement.execute(&mut *connection).await?;
    }
    let kind = EventKind::RevokeKeys { user: name.clone() };
    events::insert(connection, &Event::of_hub(actor, kind), now).await?;
    Ok(())
}

pub(super) async fn insert(
    connection: &mut sqlx::AnyConnection,
    user: UserId,
    key: &NewKey,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO api_keys (\"user\", digest, name, scope, created, expires)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(user)
    .bind(key.digest.as_bytes())
    .bind(&key.name)
    .bind(key.scope.as_str())
    .bind(now.as_second())
    .bind(key.expires.map(Timestamp::as_second))
    .execute(connection)
    .await?;
    Ok(())
}
