//! The hub's records: accounts, dots, commits, branches, uploads, and where objects lie.
//!
//! All SQL of the hub is in this folder, behind [`Database`]. Migrations are kept by dialect, so that
//! another database gets a folder beside `migrations/sqlite`.

pub mod collaborators;
pub mod commits;
pub mod dots;
pub mod error;
pub mod events;
pub mod facts;
pub mod finish;
pub mod ids;
pub mod keys;
pub mod listing;
pub mod objects;
pub mod sessions;
pub mod tags;
pub mod uploads;
pub mod users;
pub mod walk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};
use tokio::sync::Semaphore;

pub use error::DatabaseError;

/// A statement that changes something takes the write lock at once: a transaction that reads first and
/// asks for the lock later can be refused when another wrote in between.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// How long to wait for another process, such as `dothub user add`, to end its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

const READERS: u32 = 8;

/// Walks at once; more of them would only share the disk.
const WALKS: usize = 2;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    readers: SqlitePool,
    /// One connection: writers queue here in order, instead of polling each other's locks.
    writer: SqlitePool,
    walk_turns: Arc<Semaphore>,
}

impl Database {
    /// Opens the database, makes it if there is none, and brings it to this version.
    pub async fn open(path: &Path) -> Result<Self, DatabaseError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A push that was acknowledged survives a power failure.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // In KiB. The index of hashes is hit all over.
            .pragma("cache_size", "-4096")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                // Writers wait behind a large push.
                .acquire_timeout(Duration::from_secs(300))
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(options.clone())
        };
        let database = Self {
            readers: pool(READERS),
            writer: pool(1),
            walk_turns: Arc::new(Semaphore::new(WALKS)),
        };
        sqlx::migrate!("src/database/migrations/sqlite")
            .run(&database.writer)
            .await?;
        Ok(database)
    }

    /// Waits for running statements and closes the files.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, DatabaseError> {
        Ok(self.writer.begin_with(BEGIN_WRITE).await?)
    }
}
