//! What differs between the databases. Statements do not: `json_each`, which makes rows of a list of numbers, and `hex`
//! are SQLite's own, and PostgreSQL gets such of the same name by migrations.

use sqlx::migrate::Migrator;

static SQLITE: Migrator = sqlx::migrate!("src/database/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("src/database/migrations/postgres");

/// A database that the hub can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Brings a database to this version.
    pub(super) fn migrator(self) -> &'static Migrator {
        match self {
            Self::Sqlite => &SQLITE,
            Self::Postgres => &POSTGRES,
        }
    }

    /// How many tables tell which version a database is at: none, where no hub was ever made in it.
    pub(super) fn count_versioned(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
            Self::Postgres => "SELECT count(to_regclass('_sqlx_migrations'))",
        }
    }

    /// Begins a transaction that writes: one at a time, of all processes. What it reads stays as it is until it
    /// ends, so it can decide on that.
    ///
    /// SQLite takes the write lock at once: a transaction that reads first and asks for the lock later can be
    /// refused when another wrote in between. PostgreSQL would let several write at once; the lock of the
    /// hub's own makes the same reasoning hold there.
    pub(super) fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            // In two steps: what is read after waiting for the lock is what its last holder left.
            Self::Postgres => "BEGIN; SELECT pg_advisory_xact_lock(7234017283807667300)",
        }
    }

    /// Begins a transaction whose statements all see the same instant.
    pub(super) fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// What stands before `VALUES` where rows bring their ids.
    pub(super) fn with_ids(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "OVERRIDING SYSTEM VALUE",
        }
    }

    /// Lets the next id of a table be higher than all that it has, where that does not go by itself.
    pub(super) fn go_on_counting(self, table: &str) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(format!(
                "SELECT setval(s.name, (SELECT max(id) FROM {table}))
                 FROM (SELECT pg_get_serial_sequence('{table}', 'id') AS name) s
                 WHERE s.name IS NOT NULL AND EXISTS (SELECT 1 FROM {table})"
            )),
        }
    }

    /// What each connection begins with; it may have so many KiB of a cache.
    pub(super) fn settings(self, cache: u32) -> String {
        match self {
            // Waits for another process, such as `dothub user add`, to end its transaction. A push that was
            // acknowledged survives a power failure. The index of hashes is written to all over: what is written of it
            // comes together for some time.
            Self::Sqlite => format!(
                "PRAGMA busy_timeout = 20000;
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA foreign_keys = ON;
                 PRAGMA cache_size = -{cache};
                 PRAGMA wal_autocheckpoint = 16384"
            ),
            // A process whose machine is gone without a word does not keep the others from writing for long.
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
