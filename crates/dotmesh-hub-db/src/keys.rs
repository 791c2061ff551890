//! API keys: named, limited, shown once.

use dotmesh_hub_model::access::Scope;
use dotmesh_hub_model::credentials::KeyDigest;
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_model::{DotName, UserName};
use jiff::{SignedDuration, Timestamp};

use crate::events::{self, Event};
use crate::ids::{self, DotId, KeyId, UserId};
use crate::{Database, DatabaseError};

/// How often a key's use is recorded. Recording it for every request would cost too many writes.
const USE_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// A key to be stored.
#[derive(Clone)]
pub struct NewKey {
    /// The digest of the key, which is stored in its place.
    pub digest: KeyDigest,
    /// The name that its owner gave it.
    pub name: String,
    /// The actions that it allows.
    pub scope: Scope,
    /// The only dot that it works for; `None` for all that its owner may use.
    pub dot: Option<DotId>,
    /// When it expires. `None` if it works until it is revoked.
    pub expires: Option<Timestamp>,
}

impl NewKey {
    /// The key that comes with an account.
    pub fn first(digest: KeyDigest) -> Self {
        Self {
            digest,
            name: "key".to_owned(),
            scope: Scope::Admin,
            dot: None,
            expires: None,
        }
    }
}

/// A key as its owner sees it.
#[derive(Debug, Clone)]
pub struct ListedKey {
    pub id: KeyId,
    /// The name that its owner gave it.
    pub name: String,
    /// The actions that it allows.
    pub scope: Scope,
    /// The only dot that it works for.
    pub dot: Option<DotName>,
    /// When it was made.
    pub created: Timestamp,
    /// When it expires. `None` if it works until it is revoked.
    pub expires: Option<Timestamp>,
    /// When it was last used, to the hour.
    pub used: Option<Timestamp>,
}

/// The only dot that a key works for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlyDot {
    pub id: DotId,
    /// Its present name.
    pub name: DotName,
}

/// The owner of a key, and what the key allows.
#[derive(Debug, Clone)]
pub struct KeyUser {
    pub id: UserId,
    /// The owner's name.
    pub name: UserName,
    /// Whether the owner is an administrator.
    pub is_admin: bool,
    /// Whether the owner is suspended.
    pub is_suspended: bool,
    /// The actions that the key allows.
    pub scope: Scope,
    /// The only dot that it works for.
    pub only: Option<OnlyDot>,
    /// The name that its owner gave it.
    pub key_name: String,
}

impl Database {
    /// Returns the owner of a key that works. A key works if it has not expired and was made at `oldest` or later.
    /// Its only dot, if it has one, must not be deleted.
    pub async fn key_user(
        &self,
        digest: &KeyDigest,
        oldest: Timestamp,
        now: Timestamp,
    ) -> Result<Option<KeyUser>, DatabaseError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            id: UserId,
            name: String,
            admin: i64,
            suspended: Option<i64>,
            key_id: KeyId,
            key_name: String,
            scope: String,
            used: Option<i64>,
            dot: Option<DotId>,
            namespace: Option<String>,
            dot_name: Option<String>,
        }
        let row: Option<Row> = sqlx::query_as(
            "SELECT u.id, u.name, u.admin, u.suspended, k.id AS key_id, k.name AS key_name, k.scope, k.used,
                    k.dot, o.name AS namespace, d.name AS dot_name
             FROM api_keys k JOIN users u ON u.id = k.\"user\"
             LEFT JOIN dots d ON d.id = k.dot LEFT JOIN users o ON o.id = d.owner
             WHERE k.digest = $1 AND (k.expires IS NULL OR k.expires > $2) AND k.created >= $3 AND d.deleted IS NULL",
        )
        .bind(digest.as_bytes())
        .bind(now.as_second())
        .bind(oldest.as_second())
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let used = row.used.map(ids::time).transpose()?;
        if used.is_none_or(|used| used < now - USE_INTERVAL) {
            sqlx::query("UPDATE api_keys SET used = $1 WHERE id = $2")
                .bind(now.as_second())
                .bind(row.key_id)
                .execute(&self.writer)
                .await?;
        }
        let only = row.dot.map(|id| {
            let name = only_dot(row.namespace.as_deref(), row.dot_name.as_deref())?;
            Ok::<_, DatabaseError>(OnlyDot { id, name })
        });
        Ok(Some(KeyUser {
            id: row.id,
            name: ids::name(&row.name)?,
            is_admin: row.admin != 0,
            is_suspended: row.suspended.is_some(),
            scope: ids::scope(&row.scope)?,
            only: only.transpose()?,
            key_name: row.key_name,
        }))
    }

    /// Returns a user's keys, the newest first. Expired keys are included.
    pub async fn keys(&self, user: UserId) -> Result<Vec<ListedKey>, DatabaseError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            id: KeyId,
            name: String,
            scope: String,
            created: i64,
            expires: Option<i64>,
            used: Option<i64>,
            dot: Option<DotId>,
            namespace: Option<String>,
            dot_name: Option<String>,
        }
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT k.id, k.name, k.scope, k.created, k.expires, k.used, k.dot, o.name AS namespace, d.name AS dot_name
             FROM api_keys k LEFT JOIN dots d ON d.id = k.dot LEFT JOIN users o ON o.id = d.owner
             WHERE k.\"user\" = $1 ORDER BY k.id DESC",
        )
        .bind(user)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|row| {
                let name = || only_dot(row.namespace.as_deref(), row.dot_name.as_deref());
                Ok(ListedKey {
                    id: row.id,
                    dot: row.dot.map(|_| name()).transpose()?,
                    name: row.name,
                    scope: ids::scope(&row.scope)?,
                    created: ids::time(row.created)?,
                    expires: row.expires.map(ids::time).transpose()?,
                    used: row.used.map(ids::time).transpose()?,
                })
            })
            .collect()
    }
}

impl Database {
    /// Creates a key.
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

    /// Revokes one of a user's keys. `false` when the user has no such key.
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

/// Revokes all keys of a user, and ends the logins of programs that would get one.
pub(crate) async fn end_all(
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

fn only_dot(namespace: Option<&str>, name: Option<&str>) -> Result<DotName, DatabaseError> {
    let damaged = DatabaseError::Damaged { what: "key" };
    let (namespace, name) = namespace.zip(name).ok_or(damaged)?;
    ids::dot_name(namespace, name)
}

pub(crate) async fn insert(
    connection: &mut sqlx::AnyConnection,
    user: UserId,
    key: &NewKey,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO api_keys (\"user\", digest, name, scope, created, expires, dot)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(user)
    .bind(key.digest.as_bytes())
    .bind(&key.name)
    .bind(key.scope.as_str())
    .bind(now.as_second())
    .bind(key.expires.map(Timestamp::as_second))
    .bind(key.dot)
    .execute(connection)
    .await?;
    Ok(())
}
