//! The hub's records: accounts, dots, commits, branches, uploads, and where objects are.
//!
//! All SQL of the hub is in this crate, behind [`Database`]. It runs on SQLite and PostgreSQL alike, by these rules:
//!
//! - Parameters are `$1`, `$2`, …
//! - Columns are integers, texts and blobs. Booleans and times are integers.
//! - A column named `user` is quoted or qualified, because PostgreSQL has a keyword `user`.
//! - `CASE` turns a selected comparison or `EXISTS` into a number. `CAST` turns a `sum` into a `BIGINT`.
//! - The conditions of a `CROSS JOIN` are in `WHERE`. SQLite keeps the order of the tables in a `CROSS JOIN`.
//!
//! Each dialect has its own folder of migrations. A migration has the same number and meaning in both folders.

pub mod access_log;
pub mod attempts;
pub mod branches;
pub mod check;
pub mod collaborators;
pub mod commits;
pub mod databases;
pub mod deliveries;
pub mod device_logins;
mod dialect;
pub mod dot_settings;
pub mod dots;
pub mod dump;
pub mod error;
pub mod events;
pub mod facts;
pub mod finish;
pub mod forks;
pub mod garbage;
pub mod heads;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod leases;
pub mod links;
pub mod listing;
mod may_read;
pub mod names;
pub mod notes;
pub mod objects;
pub mod paging;
pub mod quotas;
pub mod repack;
mod room;
pub mod search;
pub mod sessions;
mod suspension;
pub mod tags;
pub mod totals;
pub mod transfers;
pub mod trash;
mod unique_id;
pub mod uploads;
pub mod users;
pub mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, ConnectOptions as _, Connection as _, SqlSafeStr as _, Transaction};
use tokio::sync::Semaphore;
use url::Url;

use dialect::Dialect;
pub use error::DatabaseError;

/// The number of reading connections of each process.
const READERS: u32 = 8;

/// The page cache of each reading connection, in KiB.
const READER_CACHE: u32 = 2 << 10;

/// The page cache of the writing connection, in KiB. The pages that a pack's rows touch fit into it.
const WRITER_CACHE: u32 = 16 << 10;

/// How long to wait for a reading connection, also while the database server is away.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for the writing connection. A large push may hold it for long.
const WRITE_PATIENCE: Duration = Duration::from_secs(300);

/// How long a database server may take to answer at start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The number of connectivity checks at once. More of them would only compete for the disk.
const WALKS: usize = 2;

/// The most rows in one statement. The table `numbers` has this many rows.
const ROWS_PER_STATEMENT: usize = 8192;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    dialect: Dialect,
    readers: AnyPool,
    /// A pool with one connection. Writers queue here in order, instead of polling each other's locks. Without
    /// [`Database::begin`], it runs only single statements that no other transaction's decision depends on.
    writer: AnyPool,
    walk_turns: Arc<Semaphore>,
    pack_index_cache: objects::PackIndexCache,
}

/// Whether a database must have a hub's records when it is opened, and to which schema it is migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The database must have a hub's records. They are migrated to this version.
    Existing,
    /// The database has a hub's records or is empty. It is migrated to this version.
    New,
    /// Like `New`, but migrated only up to this schema.
    NewAt(i64),
}

impl Database {
    /// Opens a SQLite database file.
    pub async fn open(path: &Path, opening: Opening) -> Result<Self, DatabaseError> {
        let url = sqlite_url(path, opening).map_err(sqlx::Error::Io)?;
        Self::start(Dialect::Sqlite, &url, opening).await
    }

    /// Connects to a PostgreSQL database, which must exist.
    pub async fn connect(url: &str, opening: Opening) -> Result<Self, DatabaseError> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(DatabaseError::Address);
        }
        Self::start(Dialect::Postgres, url, opening).await
    }

    async fn start(dialect: Dialect, url: &str, opening: Opening) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let options: AnyConnectOptions = url.parse().map_err(|_| DatabaseError::Address)?;
        // The pool would retry again and again. This single connection reports an error at start at once.
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect());
        let mut connection = connecting
            .await
            .map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
        let settings = dialect.settings(WRITER_CACHE);
        sqlx::raw_sql(sqlx::AssertSqlSafe(settings))
            .execute(&mut connection)
            .await?;
        if opening == Opening::Existing {
            let count = sqlx::query_scalar::<_, i64>(dialect.count_versioned());
            if count.fetch_one(&mut connection).await? == 0 {
                connection.close().await?;
                return Err(DatabaseError::NoHub);
            }
        }
        match opening {
            Opening::NewAt(schema) => dialect.migrator().run_to(schema, &mut connection).await?,
            Opening::New | Opening::Existing => dialect.migrator().run(&mut connection).await?,
        }
        connection.close().await?;

        let pool = |connections: u32, patience: Duration, cache: u32| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(patience)
                .idle_timeout(None)
                .max_lifetime(None)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        let settings = sqlx::AssertSqlSafe(dialect.settings(cache));
                        let settings = sqlx::raw_sql(settings);
                        settings.execute(connection).await.map(drop)
                    })
                })
                // When the disk is full, SQLite ends the transaction by itself. sqlx still counts it as open, so the
                // pool drops such a connection.
                .before_acquire(|connection, _| {
                    let usable = !connection.is_in_transaction();
                    Box::pin(async move { Ok(usable) })
                })
                .connect_lazy_with(options.clone())
        };
        Ok(Self {
            dialect,
            readers: pool(READERS, READ_PATIENCE, READER_CACHE),
            writer: pool(1, WRITE_PATIENCE, WRITER_CACHE),
            walk_turns: Arc::new(Semaphore::new(WALKS)),
            pack_index_cache: Default::default(),
        })
    }

    /// Migrates the database to this version, from whatever schema it was opened at.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        let mut connection = self.writer.acquire().await?;
        Ok(self.dialect.migrator().run(&mut *connection).await?)
    }

    /// Returns the schema number of this version.
    pub fn newest_schema() -> i64 {
        // Both dialects have the same numbers.
        let migrations = Dialect::Sqlite.migrator().iter();
        let versions = migrations.map(|migration| migration.version);
        versions.max().unwrap_or_default()
    }

    /// Waits for running statements and closes the connections.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a transaction that writes.
    async fn begin(&self) -> Result<Transaction<'static, Any>, DatabaseError> {
        begin(&self.writer, self.dialect.begin_write()).await
    }

    /// Begins a transaction that reads everything as of one instant.
    async fn begin_read(&self) -> Result<Transaction<'static, Any>, DatabaseError> {
        begin(&self.readers, self.dialect.begin_read()).await
    }
}

/// Begins a transaction. If the caller's future is dropped meanwhile, the spawned task still begins the transaction,
/// which is then rolled back. Otherwise sqlx, which tracks only transactions that it has seen begin, would return the
/// connection to the pool in the middle of one.
async fn begin(
    pool: &AnyPool,
    statement: &'static str,
) -> Result<Transaction<'static, Any>, DatabaseError> {
    let connection = pool.acquire().await?;
    let begun = tokio::spawn(Transaction::begin(
        connection,
        Some(statement.into_sql_str()),
    ));
    match begun.await {
        Ok(begun) => Ok(begun?),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The process is ending.
        Err(_) => Err(sqlx::Error::PoolClosed.into()),
    }
}

/// Returns the URL of a SQLite file. Any characters may be in its path.
fn sqlite_url(path: &Path, opening: Opening) -> std::io::Result<String> {
    let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let folder = path.parent().ok_or_else(invalid)?.canonicalize()?;
    let path = folder.join(path.file_name().ok_or_else(invalid)?);
    let url = Url::from_file_path(path).map_err(|()| invalid())?;
    let mode = match opening {
        Opening::Existing => "rw",
        Opening::New | Opening::NewAt(_) => "rwc",
    };
    Ok(format!("sqlite://{}?mode={mode}", url.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A statement's changes may be larger than the memory for them. SQLite then writes them to a temporary file.
    #[tokio::test]
    async fn a_statement_may_change_many_pages() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hub.db");
        let database = Database::open(&path, Opening::New)
            .await
            .expect("a database");
        let mut tx = database.begin().await.expect("a transaction");
        let make = "CREATE TABLE wide (value BLOB UNIQUE)";
        sqlx::query(make).execute(&mut *tx).await.expect("a table");
        for _ in 0..6 {
            let fill = "INSERT INTO wide SELECT randomblob(400) FROM numbers";
            let filled = sqlx::query(fill).execute(&mut *tx).await;
            assert_eq!(filled.expect("a statement").rows_affected(), 8192);
        }
        tx.commit().await.expect("a commit");
    }
}
