//! Accounts, their passwords and their API keys.

use dotmesh_hub_model::credentials::{HashedPassword, KeyDigest};
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::quota::Quota;
use dotmesh_model::UserName;
use jiff::Timestamp;
use sqlx::AnyConnection;

use crate::events::{self, Event, OPERATOR};
use crate::ids::{self, UserId};
use crate::keys::{self, NewKey};
use crate::paging::Part;
use crate::{Database, DatabaseError, links, quotas, sessions};

/// An account as the administrator sees it.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name, which is also its namespace.
    pub name: UserName,
    /// When it was made.
    pub created: Timestamp,
    /// How many API keys it has.
    pub keys: u64,
    /// Whether it can log in by password.
    pub has_password: bool,
    /// How many dots are in its namespace.
    pub dots: u64,
    /// Whether it is an administrator's.
    pub is_admin: bool,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// How many bytes it stores: the packs and texts of its namespace, and its notes.
    pub stored_bytes: u64,
    /// How many bytes it may store.
    pub quota: Quota,
    /// When a session or a key of it was last used, to the hour.
    pub used: Option<Timestamp>,
}

/// The stored data that a login is checked against.
pub struct Login {
    pub user: UserId,
    /// Whether the user is an administrator.
    pub is_admin: bool,
    /// Whether the user is suspended.
    pub is_suspended: bool,
    /// `None` when the user cannot log in by password.
    pub password: Option<HashedPassword>,
}

/// Whether a new key or password ends the keys before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKeys {
    /// They keep working.
    Keep,
    /// They stop working.
    End,
}

impl OldKeys {
    /// Converts a form's choice.
    pub fn ending(ends: bool) -> Self {
        if ends { Self::End } else { Self::Keep }
    }
}

/// The data of a new account.
pub struct NewUser {
    /// Its first key.
    pub key: KeyDigest,
    /// `None` when the user cannot log in by password yet.
    pub password: Option<HashedPassword>,
    /// The digest of a link's token, by which the owner sets the password.
    pub password_link: Option<KeyDigest>,
    /// Whether it is an administrator's.
    pub is_admin: bool,
}

impl NewUser {
    /// An account for programs: with a key, without a password.
    pub fn with_key(key: KeyDigest) -> Self {
        Self {
            key,
            password: None,
            password_link: None,
            is_admin: false,
        }
    }
}

impl Database {
    /// Creates an account on behalf of the hub's operator. `false` when the name is reserved or taken, ignoring case.
    ///
    /// One transaction stores all of it, because the key is shown only once.
    pub async fn add_user(
        &self,
        name: &UserName,
        new: &NewUser,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let Some(user) = insert(&mut tx, name, new.password.as_ref(), now).await? else {
            return Ok(false);
        };
        keys::insert(&mut tx, user, &NewKey::first(new.key.clone()), now).await?;
        let kind = EventKind::AddUser { user: name.clone() };
        events::insert(&mut tx, &Event::of_hub(&OPERATOR, kind), now).await?;
        if new.is_admin {
            set_admin(&mut tx, name, true, now).await?;
        }
        if let Some(token) = &new.password_link {
            links::insert_password_link(&mut tx, token, name, &OPERATOR, now).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Creates an account for someone who signs up. An invitation, where one is needed, is used up.
    pub async fn sign_up(
        &self,
        name: &UserName,
        password: &HashedPassword,
        invitation: Option<&KeyDigest>,
        now: Timestamp,
    ) -> Result<SignedUp, DatabaseError> {
        let mut tx = self.begin().await?;
        if let Some(digest) = invitation
            && !links::take_invitation(&mut tx, digest, now).await?
        {
            return Ok(SignedUp::NotInvited);
        }
        let Some(user) = insert(&mut tx, name, Some(password), now).await? else {
            return Ok(SignedUp::Taken);
        };
        events::insert(&mut tx, &Event::of_hub(name, EventKind::SignUp), now).await?;
        tx.commit().await?;
        Ok(SignedUp::Made(user))
    }

    /// Gives or takes the role of administrator. `false` when there is no such account.
    pub async fn set_admin(
        &self,
        name: &UserName,
        is_admin: bool,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let found = set_admin(&mut tx, name, is_admin, now).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Returns the id of an account.
    pub async fn user(&self, name: &UserName) -> Result<Option<UserId>, DatabaseError> {
        let id = sqlx::query_scalar("SELECT id FROM users WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&self.readers)
            .await?;
        Ok(id)
    }

    /// Returns the first names that begin with `prefix`, ignoring case, in order.
    pub async fn users_by_prefix(
        &self,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<UserName>, DatabaseError> {
        let prefix = prefix.to_ascii_lowercase();
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM users WHERE substr(lower(name), 1, CAST($1 AS INTEGER)) = $2
             ORDER BY name LIMIT $3",
        )
        .bind(prefix.chars().count() as i64)
        .bind(ids::text(&prefix))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        names.iter().map(|name| ids::name(name)).collect()
    }

    /// Returns the stored data that a login under this name is checked against.
    pub async fn login(&self, name: &UserName) -> Result<Option<Login>, DatabaseError> {
        let row: Option<(UserId, i64, Option<i64>, Option<String>)> =
            sqlx::query_as("SELECT id, admin, suspended, password FROM users WHERE name = $1")
                .bind(name.as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(row.map(|(user, admin, suspended, password)| Login {
            user,
            is_admin: admin != 0,
            is_suspended: suspended.is_some(),
            password: password.map(HashedPassword::from_stored),
        }))
    }

    /// Returns a part of the accounts, sorted by name.
    pub async fn accounts(&self, part: Part<UserName>) -> Result<Vec<Account>, DatabaseError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            name: String,
            created: i64,
            admin: i64,
            suspended: Option<i64>,
            key_count: i64,
            has_password: i64,
            dot_count: i64,
            stored: i64,
            last_used: Option<i64>,
            quota: Option<i64>,
        }
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT name, created, admin, suspended,
                    (SELECT count(*) FROM api_keys k WHERE k.user = users.id) AS key_count,
                    CASE WHEN password IS NULL THEN 0 ELSE 1 END AS has_password,
                    (SELECT count(*) FROM dots WHERE owner = users.id AND deleted IS NULL) AS dot_count,
                    ",
            quotas::stored_by_user!(),
            " AS stored,
                    (SELECT max(used) FROM (
                        SELECT s.used AS used FROM sessions s WHERE s.user_id = users.id
                        UNION ALL
                        SELECT k.used FROM api_keys k WHERE k.user = users.id) AS uses) AS last_used,
                    quota
             FROM users WHERE name > $1 ORDER BY name LIMIT $2"
        ))
        .bind(part.after.as_ref().map_or("", UserName::as_str))
        .bind(i64::from(part.limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Account {
                    name: ids::name(&row.name)?,
                    created: ids::time(row.created)?,
                    is_admin: row.admin != 0,
                    is_suspended: row.suspended.is_some(),
                    keys: ids::unsigned(row.key_count)?,
                    has_password: row.has_password != 0,
                    dots: ids::unsigned(row.dot_count)?,
                    stored_bytes: ids::unsigned(row.stored)?,
                    quota: quotas::from_column(row.quota)?,
                    used: row.last_used.map(ids::time).transpose()?,
                })
            })
            .collect()
    }

    /// Sets or replaces someone's password on behalf of the hub's operator, and ends the user's sessions. `false`
    /// when there is no such account.
    pub async fn set_password(
        &self,
        name: &UserName,
        password: &HashedPassword,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let Some(user) = find(&mut tx, name).await? else {
            return Ok(false);
        };
        set_password(&mut tx, user, password, None).await?;
        let user = Some(name.clone());
        let event = Event::of_hub(&OPERATOR, EventKind::Password { user });
        events::insert(&mut tx, &event, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Changes a user's own password, and ends all the user's sessions except the present one.
    pub async fn change_password(
        &self,
        user: UserId,
        name: &UserName,
        password: &HashedPassword,
        session: Option<&KeyDigest>,
        keys: OldKeys,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        set_password(&mut tx, user, password, session).await?;
        if keys == OldKeys::End {
            keys::end_all(&mut tx, user, name, name, now).await?;
        }
        let event = Event::of_hub(name, EventKind::Password { user: None });
        events::insert(&mut tx, &event, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Adds an API key on behalf of the hub's operator. `false` when there is no such account.
    pub async fn add_key(
        &self,
        name: &UserName,
        key: &KeyDigest,
        old: OldKeys,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let Some(user) = find(&mut tx, name).await? else {
            return Ok(false);
        };
        if old == OldKeys::End {
            keys::end_all(&mut tx, user, name, &OPERATOR, now).await?;
        }
        let key = NewKey::first(key.clone());
        keys::insert(&mut tx, user, &key, now).await?;
        let kind = EventKind::CreateKey {
            name: key.name,
            scope: key.scope.as_str().to_owned(),
            user: Some(name.clone()),
        };
        events::insert(&mut tx, &Event::of_hub(&OPERATOR, kind), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Removes an account with everything in its namespace. Its pushes to the dots of others stay there.
    ///
    /// If the account has dots and `dots` is [`OwnedDots::Keep`], nothing is removed, and the number of dots is returned.
    pub async fn remove_user(
        &self,
        name: &UserName,
        dots: OwnedDots,
        now: Timestamp,
    ) -> Result<Removal, DatabaseError> {
        let mut tx = self.begin().await?;
        let Some(user) = find(&mut tx, name).await? else {
            return Ok(Removal::NoSuchUser);
        };
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM dots WHERE owner = $1")
            .bind(user)
            .fetch_one(&mut *tx)
            .await?;
        if count > 0 && dots == OwnedDots::Keep {
            return Ok(Removal::HasDots {
                count: ids::unsigned(count)?,
            });
        }
        // Rows that refer to others go first.
        for statement in [
            r#"DELETE FROM uploads WHERE owner = $1 OR "user" = $1"#,
            "DELETE FROM dots WHERE owner = $1",
            "DELETE FROM objects WHERE owner = $1",
            "DELETE FROM packs WHERE owner = $1",
            "DELETE FROM users WHERE id = $1",
        ] {
            sqlx::query(statement).bind(user).execute(&mut *tx).await?;
        }
        let kind = EventKind::RemoveUser { user: name.clone() };
        events::insert(&mut tx, &Event::of_hub(&OPERATOR, kind), now).await?;
        tx.commit().await?;
        Ok(Removal::Removed)
    }
}

/// Creates an account. `None` when the name is reserved or taken, ignoring case.
async fn insert(
    connection: &mut AnyConnection,
    name: &UserName,
    password: Option<&HashedPassword>,
    now: Timestamp,
) -> Result<Option<UserId>, DatabaseError> {
    if is_reserved(name) {
        return Ok(None);
    }
    let inserted = sqlx::query_scalar(
        "INSERT INTO users (name, password, created) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(name.as_str())
    .bind(password.map(HashedPassword::as_str))
    .bind(now.as_second())
    .fetch_one(connection)
    .await
    .map_err(DatabaseError::from);
    match inserted {
        Ok(user) => Ok(Some(user)),
        Err(error) if error.is_duplicate() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives or takes the role of administrator. `false` when there is no such account.
async fn set_admin(
    connection: &mut AnyConnection,
    name: &UserName,
    is_admin: bool,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let done = sqlx::query("UPDATE users SET admin = $1 WHERE name = $2")
        .bind(i64::from(is_admin))
        .bind(name.as_str())
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let kind = EventKind::Administrator {
        user: name.clone(),
        is_admin,
    };
    events::insert(connection, &Event::of_hub(&OPERATOR, kind), now).await?;
    Ok(true)
}

/// Names that no user may have: paths of the hub itself, and `dothub`, the operator's name in the audit log.
const RESERVED: [&str; 5] = ["api", "dothub", "healthz", "metrics", "readyz"];

fn is_reserved(name: &UserName) -> bool {
    RESERVED
        .iter()
        .any(|reserved| name.as_str().eq_ignore_ascii_case(reserved))
}

async fn find(
    connection: &mut AnyConnection,
    name: &UserName,
) -> Result<Option<UserId>, DatabaseError> {
    let user = sqlx::query_scalar("SELECT id FROM users WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(user)
}

/// Sets a password. This ends the user's sessions except `session`, and all links to set the user's password.
pub(crate) async fn set_password(
    connection: &mut AnyConnection,
    user: UserId,
    password: &HashedPassword,
    session: Option<&KeyDigest>,
) -> Result<(), DatabaseError> {
    sqlx::query("UPDATE users SET password = $1 WHERE id = $2")
        .bind(password.as_str())
        .bind(user)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM links WHERE user_id = $1")
        .bind(user)
        .execute(&mut *connection)
        .await?;
    sessions::end_others(connection, user, session).await
}

/// The result of a sign-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedUp {
    /// The account was created.
    Made(UserId),
    /// The name is reserved or taken, ignoring case.
    Taken,
    /// The invitation was used, has expired, or never existed.
    NotInvited,
}

/// Whether the removal of an account may delete its dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnedDots {
    /// The dots are kept. An account with dots is not removed.
    Keep,
    /// The dots are deleted with the account.
    Delete,
}

/// The result of removing an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// There was no such account.
    NoSuchUser,
    /// It has dots, so it stays.
    HasDots {
        /// How many, including deleted dots that are not purged yet.
        count: u64,
    },
}
