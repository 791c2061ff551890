//! What can go wrong with the database, told apart as far as callers act on it.

use crate::limits::Beyond;

/// A failed statement.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The disk is full.
    #[error("the disk of the database is full")]
    NoSpace(#[source] sqlx::Error),
    /// A text has what the database's texts cannot have. Only PostgreSQL refuses one, for a zero character.
    #[error("a text in the request contains a NUL character")]
    Text(#[source] sqlx::Error),
    /// It cannot be the address of one.
    #[error("this is not the address of a database: write postgres://USER@HOST/DATABASE")]
    Address,
    /// Nothing of a hub is in it, where one has to be.
    #[error("it contains no hub")]
    NoHub,
    /// A newer dothub wrote it.
    #[error("a newer version of dothub wrote it, and this version cannot read it")]
    Newer,
    /// Bringing it to this version failed.
    #[error("cannot migrate the database to this version")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// What was found was collected as garbage before it could be relied on: whoever looks again sees what is left.
    #[error("garbage collection removed objects of this push in the meantime")]
    Collected,
    /// The file of a pack that was stored is being deleted as garbage: it can be stored again when that is over.
    #[error("garbage collection is deleting a pack of this push")]
    Deleting,
    /// What a row was to refer to is not there any more: an upload that ended, a dot or a user that was removed.
    #[error("the dot or account of this request was moved or deleted in the meantime")]
    Gone(#[source] sqlx::Error),
    /// No connection was free in time, or the server is away.
    #[error("the database is overloaded, or cannot be reached")]
    Busy(#[source] sqlx::Error),
    /// A stored value is not what this program stores.
    #[error("the database holds a damaged {what}")]
    Damaged { what: &'static str },
    /// There would be more of something than is taken.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// Anything else.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
}

/// A full disk: SQLite's primary result code, and PostgreSQL's state.
const FULL: [&str; 2] = ["13", "53100"];

/// PostgreSQL's state for a character that its encoding does not have.
const NO_CHARACTER: &str = "22021";

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Busy(error);
        }
        let told = error.as_database_error();
        let code = told.and_then(sqlx::error::DatabaseError::code);
        match code.as_deref() {
            Some(code) if FULL.contains(&code) => Self::NoSpace(error),
            Some(NO_CHARACTER) => Self::Text(error),
            _ if told.is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation) => {
                Self::Gone(error)
            }
            _ => Self::Failed(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for DatabaseError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(_) => Self::Newer,
            error => Self::Migrate(error),
        }
    }
}

impl DatabaseError {
    /// Whether a row was refused because one with its name exists.
    pub(crate) fn is_duplicate(&self) -> bool {
        let Self::Failed(error) = self else {
            return false;
        };
        error
            .as_database_error()
            .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}
