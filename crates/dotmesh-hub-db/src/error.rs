//! The errors of the database, distinguished as far as callers act on them.

use dotmesh_hub_model::limits::Beyond;

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The disk is full.
    #[error("the disk of the database is full")]
    NoSpace(#[source] sqlx::Error),
    /// A text has a character that the database cannot store. Only PostgreSQL refuses one: the zero character.
    #[error("a text in the request contains a NUL character")]
    Text(#[source] sqlx::Error),
    /// The address is not that of a database.
    #[error("this is not the address of a database: write postgres://USER@HOST/DATABASE")]
    Address,
    /// The database must have a hub's records, but has none.
    #[error("it contains no hub")]
    NoHub,
    /// A newer dothub wrote the database.
    #[error("a newer version of dothub wrote it, and this version cannot read it")]
    Newer,
    /// A migration to this version failed.
    #[error("cannot migrate the database to this version")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Garbage collection removed an object before the caller could rely on it. A new lookup finds the objects that
    /// are left.
    #[error("garbage collection removed objects of this push in the meantime")]
    Collected,
    /// The file of a stored pack is being deleted as garbage. The pack can be stored again once the deletion has
    /// ended.
    #[error("garbage collection is deleting a pack of this push")]
    Deleting,
    /// A row would refer to something that no longer exists: an ended upload, a removed dot or a removed user.
    #[error("the dot or account of this request was moved or deleted in the meantime")]
    Gone(#[source] sqlx::Error),
    /// No connection was free in time, or the server is away.
    #[error("the database is overloaded, or cannot be reached")]
    Busy(#[source] sqlx::Error),
    /// A stored value is not what this program stores.
    #[error("the database holds a damaged {what}")]
    Damaged { what: &'static str },
    /// A limit would be exceeded.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// Anything else.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
}

/// The codes for a full disk: SQLite's primary result code, and PostgreSQL's SQLSTATE.
const FULL: [&str; 2] = ["13", "53100"];

/// PostgreSQL's SQLSTATE for a character that its encoding does not have.
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
    /// Whether a row violates a unique constraint, such as that of a name.
    pub(crate) fn is_duplicate(&self) -> bool {
        let Self::Failed(error) = self else {
            return false;
        };
        error
            .as_database_error()
            .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}
