//! Accounts, their passwords and their API keys.

use dotmesh_model::UserName;
use jiff::Timestamp;

use super::ids::{self, UserId};
use super::keys::{self, NewKey};
use super::{Database, DatabaseError};
use crate::credentials::{HashedPassword, KeyDigest};

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
}

/// What a login is compared with.
pub struct Login {
    /// Whose.
    pub user: UserId,
    /// Whether it is an administrator's.
    pub is_admin: bool,
    /// `None` when there is no login by password.
    pub password: Option<HashedPassword>,
}

/// Whether a key ends the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKeys {
    /// They keep working.
    Keep,
    /// They stop working.
    End,
}

impl Database {
    /// Makes an account with its first key. `false` when the name, in whatever case, is taken.
    pub async fn add_user(
        &self,
        name: &UserName,
        password: Option<&HashedPassword>,
        key: &KeyDigest,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let inserted = sqlx::query_scalar(
            "INSERT INTO users (name, password, created) VALUES ($1, $2, $3) RETURNING id",
        )
        .bind(name.as_str())
        .bind(password.map(HashedPassword::as_str))
        .bind(now.as_second())
        .fetch_one(&mut *tx)
        .await
        .map_err(DatabaseError::from);
        let user = match inserted {
            Ok(user) => user,
            Err(error) if error.is_duplicate() => return Ok(false),
            Err(error) => return Err(error),
        };
        keys::insert(&mut tx, user, &NewKey::first(key.clone()), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The id of an account.
    pub async fn user(&self, name: &UserName) -> Result<Option<UserId>, DatabaseError> {
        let id = sqlx::query_scalar("SELECT id FROM users WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&self.readers)
            .await?;
        Ok(id)
    }

    /// What to compare a login of this name with.
    pub async fn login(&self, name: &UserName) -> Result<Option<Login>, DatabaseError> {
        let row: Option<(UserId, i64, Option<String>)> =
            sqlx::query_as("SELECT id, admin, password FROM users WHERE name = $1")
                .bind(name.as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(row.map(|(user, admin, password)| Login {
            user,
            is_admin: admin != 0,
            password: password.map(HashedPassword::from_stored),
        }))
    }

    /// Every account, by name.
    pub async fn accounts(&self) -> Result<Vec<Account>, DatabaseError> {
        let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT name, created,
                    (SELECT count(*) FROM api_keys k WHERE k.user = users.id),
                    CASE WHEN password IS NULL THEN 0 ELSE 1 END,
                    (SELECT count(*) FROM dots WHERE owner = users.id)
             FROM users ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(name, created, keys, has_password, dots)| {
                Ok(Account {
                    name: ids::name(&name)?,
                    created: ids::time(created)?,
                    keys: ids::unsigned(keys)?,
                    has_password: has_password != 0,
                    dots: ids::unsigned(dots)?,
                })
            })
            .collect()
    }

    /// Sets or replaces the password. `false` when there is no such account.
    pub async fn set_password(
        &self,
        name: &UserName,
        password: &HashedPassword,
    ) -> Result<bool, DatabaseError> {
        let done = sqlx::query("UPDATE users SET password = $1 WHERE name = $2")
            .bind(password.as_str())
            .bind(name.as_str())
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Adds an API key. `false` when there is no such account.
    pub async fn add_key(
        &self,
        name: &UserName,
        key: &KeyDigest,
        old: OldKeys,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let user: Option<UserId> = sqlx::query_scalar("SELECT id FROM users WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(user) = user else { return Ok(false) };
        if old == OldKeys::End {
            sqlx::query(r#"DELETE FROM api_keys WHERE "user" = $1"#)
                .bind(user)
                .execute(&mut *tx)
                .await?;
        }
        keys::insert(&mut tx, user, &NewKey::first(key.clone()), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Removes an account with everything in its namespace. What it pushed to others' dots stays there.
    ///
    /// Fails with the number of dots when there are any and `with_dots` does not say that they may go.
    pub async fn remove_user(&self, name: &UserName, dots: Dots) -> Result<Removal, DatabaseError> {
        let mut tx = self.begin().await?;
        let user: Option<UserId> = sqlx::query_scalar("SELECT id FROM users WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(user) = user else {
            return Ok(Removal::NoSuchUser);
        };
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM dots WHERE owner = $1")
            .bind(user)
            .fetch_one(&mut *tx)
            .await?;
        if count > 0 && dots == Dots::Keep {
            return Ok(Removal::HasDots {
                count: ids::unsigned(count)?,
            });
        }
        // From the leaves of the references to their root.
        for statement in [
            r#"DELETE FROM uploads WHERE owner = $1 OR "user" = $1"#,
            "DELETE FROM dots WHERE owner = $1",
            "DELETE FROM objects WHERE owner = $1",
            "DELETE FROM packs WHERE owner = $1",
            "DELETE FROM users WHERE id = $1",
        ] {
            sqlx::query(statement).bind(user).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(Removal::Removed)
    }
}

/// Whether an account's removal may take its dots along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dots {
    /// It may not.
    Keep,
    /// It may.
    Delete,
}

/// What came of removing an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// There was none.
    NoSuchUser,
    /// It has dots, so it stays.
    HasDots {
        /// How many.
        count: u64,
    },
}
