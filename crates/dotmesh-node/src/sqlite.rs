//! Opens and deletes the daemon's SQLite databases.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlitePool};

/// How long a statement waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a database, and creates the file if it doesn't exist.
pub(crate) async fn open(
    file: &Path,
    synchronous: SqliteSynchronous,
) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Keeps the WAL index in memory. As a mapped file it would cause SIGBUS when the pool is full. No other process
        // opens the database.
        .vfs("unix-excl")
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    SqlitePoolOptions::new()
        .max_connections(4)
        // When the disk is full, SQLite ends the transaction by itself, but sqlx still counts it as open. The next
        // transaction on this connection would then be a savepoint, and its rollback would keep the lock.
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
        .connect_with(options)
        .await
}

/// Deletes a database that nobody has open.
pub(crate) async fn remove(file: &Path) -> Result<(), sqlx::Error> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        match tokio::fs::remove_file(&name).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "INSERT INTO t VALUES (zeroblob(?))";

    #[tokio::test]
    async fn a_full_disk_leaves_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        let db = open(&file, SqliteSynchronous::Off).await.unwrap();
        let mut other = db.acquire().await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (bytes BLOB); PRAGMA busy_timeout = 0")
            .execute(&mut *other)
            .await
            .unwrap();

        let mut connection = db.acquire().await.unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 10")
            .execute(&mut *connection)
            .await
            .unwrap();
        let mut full = connection.begin().await.unwrap();
        let refused = sqlx::query(ADD).bind(100_000).execute(&mut *full).await;
        assert!(refused.unwrap_err().to_string().contains("full"));
        drop(full);
        connection.return_to_pool().await;

        // A transaction that is dropped without an error is rolled back as well.
        let mut connection = db.acquire().await.unwrap();
        let mut given_up = connection.begin().await.unwrap();
        let added = sqlx::query(ADD).bind(1).execute(&mut *given_up).await;
        added.unwrap();
        drop(given_up);
        connection.return_to_pool().await;

        let added = sqlx::query(ADD).bind(1).execute(&mut *other).await;
        added.unwrap();
    }
}
