//! What PostgreSQL writes by itself.
//!
//! A server that starts from a commit brings the rows of its write-ahead log into the tables, notes in them which transactions
//! were committed, removes dead rows and gathers statistics. So the bytes of a table say little, and the log says all.

use dotmesh_rows::wal;

use super::Side;

/// The file that every folder of a database cluster has.
pub(super) const MARK: &str = "PG_VERSION";

/// What only the server writes, in the cluster's folder.
const OWN: [&str; 24] = [
    "autoprewarm.blocks",
    "base",
    "current_logfiles",
    "global",
    "log",
    "logfile",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_log",
    "pg_logical",
    "pg_multixact",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_xact",
    "postmaster.opts",
    "postmaster.pid",
];

/// Whether only the server writes what is at a path in a cluster's folder. Its settings are the user's.
pub(super) fn is_own(path: &[u8]) -> bool {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    // The folder itself changes its times with its files.
    path.is_empty() || OWN.iter().any(|name| name.as_bytes() == first)
}

/// Whether nobody but the server itself has changed a cluster.
pub(super) fn is_unchanged(old: &Side<'_>, new: &Side<'_>) -> bool {
    wal::is_quiet(
        &|path| old.open(path),
        &|path| new.open(path),
        old.effort.most(),
    )
}
