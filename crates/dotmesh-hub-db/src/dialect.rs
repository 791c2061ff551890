//! The differences between the databases. Statements are the same for both, except the search of commit messages.
//! They use SQLite's functions `hex` and `json_each`, which makes rows of a list of numbers. Migrations define both
//! functions for PostgreSQL.

use sqlx::migrate::Migrator;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// A kind of database that the hub can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Returns the migrations, which bring a database to this version.
    pub(crate) fn migrator(self) -> &'static Migrator {
        match self {
            Self::Sqlite => &SQLITE,
            Self::Postgres => &POSTGRES,
        }
    }

    /// Returns the query that counts the tables with a record of migrations. The count is 0 if no hub was ever made
    /// in the database.
    pub(crate) fn count_versioned(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
            Self::Postgres => "SELECT count(to_regclass('_sqlx_migrations'))",
        }
    }

    /// Returns the statement that begins a writing transaction. Only one runs at a time, across all processes. The
    /// data that it reads does not change until it ends, so it can base decisions on this data.
    ///
    /// SQLite takes the write lock at once. SQLite can refuse a transaction that reads first and asks for the lock
    /// later, if another transaction wrote in between. PostgreSQL would let several transactions write at once, so
    /// they take a lock of the hub's own.
    pub(crate) fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            // Two steps: a statement after the wait for the lock sees the changes of the last holder.
            Self::Postgres => "BEGIN; SELECT pg_advisory_xact_lock(7234017283807667300)",
        }
    }

    /// Returns the statement that begins a transaction in which all statements see the same instant.
    pub(crate) fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Returns the clause before `VALUES` for rows that have their own ids.
    pub(crate) fn with_ids(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "OVERRIDING SYSTEM VALUE",
        }
    }

    /// Returns the statement that makes the next id of a table greater than all its ids. `None` if the database does
    /// this by itself.
    pub(crate) fn go_on_counting(self, table: &str) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(format!(
                "SELECT setval(s.name, (SELECT max(id) FROM {table}))
                 FROM (SELECT pg_get_serial_sequence('{table}', 'id') AS name) s
                 WHERE s.name IS NOT NULL AND EXISTS (SELECT 1 FROM {table})"
            )),
        }
    }

    /// Returns the settings of a new connection. Its page cache may have `cache` KiB.
    pub(crate) fn settings(self, cache: u32) -> String {
        match self {
            // A connection waits for another process, such as `dothub user add`, to end its transaction. A push that
            // was acknowledged survives a power failure. Writes to the index of hashes are scattered, so the WAL
            // collects them for some time before a checkpoint.
            Self::Sqlite => format!(
                "PRAGMA busy_timeout = 20000;
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA foreign_keys = ON;
                 PRAGMA cache_size = -{cache};
                 PRAGMA wal_autocheckpoint = 16384"
            ),
            // If a machine is lost without notice, its process's open transaction must not block other writers for
            // long.
            Self::Postgres => "SET idle_in_transaction_session_timeout = '60s'".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{POSTGRES, SQLITE};

    #[test]
    fn migrations_are_numbered_alike_and_no_number_is_there_twice() {
        let [sqlite, postgres] = [&SQLITE, &POSTGRES].map(|migrator| {
            let migrations = migrator.iter();
            let named = migrations.map(|migration| (migration.version, &migration.description));
            named.collect::<Vec<_>>()
        });
        assert_eq!(sqlite, postgres);
        assert!(
            sqlite.is_sorted_by(|one, next| one.0 < next.0),
            "{sqlite:?}"
        );
    }
}
