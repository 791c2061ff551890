//! What can go wrong with the database, told apart as far as callers act on it.

/// A failed statement.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The disk is full.
    #[error("the disk of the database is full")]
    NoSpace(#[source] sqlx::Error),
    /// A newer dothub wrote it.
    #[error("the database was written by a newer dothub: upgrade this one")]
    Newer,
    /// Bringing it to this version failed.
    #[error("cannot bring the database to this version")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A stored value is not what this program stores.
    #[error("the database holds a damaged {what}")]
    Damaged { what: &'static str },
    /// Anything else.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
}

/// SQLite's primary result code for a full disk.
const SQLITE_FULL: &str = "13";

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        let full = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code == SQLITE_FULL);
        if full {
            Self::NoSpace(error)
        } else {
            Self::Failed(error)
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
