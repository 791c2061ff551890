//! What MariaDB and MySQL write without a change of any table.
//!
//! Tables are in files of their own, such as `shop/orders.ibd`. A server that is stopped in order writes all rows there.

use dotmesh_sync::EntryType;

/// The files by which the folder of a server is known: the system tablespace of InnoDB, and the control file of Aria.
pub(super) const MARKS: [&str; 2] = ["ibdata1", "aria_log_control"];

/// Files in the server's folder, by their beginnings.
const BEGINNINGS: [&str; 13] = [
    "ibdata",
    "ib_logfile",
    "ib_buffer_pool",
    "ibtmp",
    "undo",
    "#ib_",
    "aria_log.",
    "aria_log_control",
    "ddl_recovery",
    "ddl_log",
    "binlog.",
    "multi-master.info",
    "tc.log",
];

/// The same, by their ends.
const ENDS: [&str; 5] = [".pid", ".err", ".sock", "-bin.index", "-bin.state"];

/// Folders with redo logs and temporary tables.
const FOLDERS: [&str; 2] = ["#innodb_redo", "#innodb_temp"];

/// Tables of the server itself: statistics, and the positions of transactions.
const OWN_TABLES: [&str; 5] = [
    "mysql/innodb_index_stats.",
    "mysql/innodb_table_stats.",
    "mysql/transaction_registry.",
    "mysql/gtid_executed.",
    "mysql/gtid_slave_pos.",
];

/// Whether the change of a path in the server's folder is bookkeeping.
pub(super) fn is_bookkeeping(path: &[u8], kind: EntryType) -> bool {
    if path.is_empty() {
        // The folder itself, whose times change with its files.
        return kind == EntryType::Directory;
    }
    let begins = |with: &&str| path.starts_with(with.as_bytes());
    if OWN_TABLES.iter().any(begins) {
        return true;
    }
    let mut names = path.split(|byte| *byte == b'/');
    let first = names.next().unwrap_or_default();
    if FOLDERS.iter().any(|folder| folder.as_bytes() == first) {
        return true;
    }
    names.next().is_none()
        && (BEGINNINGS.iter().any(begins)
            || ENDS.iter().any(|end| path.ends_with(end.as_bytes()))
            || is_numbered_log(path))
}

/// `mysql-bin.000001`
fn is_numbered_log(name: &[u8]) -> bool {
    let at = name.windows(5).position(|part| part == b"-bin.");
    at.is_some_and(|at| name[at + 5..].iter().all(u8::is_ascii_digit) && name.len() > at + 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_bookkeeping_and_tables_are_not() {
        for path in [
            "ib_logfile0",
            "#innodb_redo/#ib_redo12",
            "undo_001",
            "aria_log.00000001",
            "db-bin.000003",
            "db-bin.index",
            "host.pid",
            "mysql/innodb_table_stats.ibd",
        ] {
            assert!(is_bookkeeping(path.as_bytes(), EntryType::File), "{path}");
        }
        for path in [
            "shop/orders.ibd",
            "shop/undo_001",
            "mysql/global_priv.MAD",
            "mysql.ibd",
            "db-bin.backup",
            "notes",
        ] {
            assert!(!is_bookkeeping(path.as_bytes(), EntryType::File), "{path}");
        }
    }
}
