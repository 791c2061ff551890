//! The write-ahead log of a real server tells whether anybody but the server has changed something.

use std::fs::File;

use dotmesh_rows::wal::is_quiet;
use tempfile::TempDir;

use crate::quick::Live;
use crate::server::{Programs, here, in_root};

const MOST: u64 = 1 << 30;

/// In MiB, as usual.
const SEGMENT: u32 = 16;

fn is_unchanged(old: &TempDir, new: &TempDir) -> bool {
    let open = |folder: &TempDir, path: &str| File::open(folder.path().join(path)).ok();
    is_quiet(&|path| open(old, path), &|path| open(new, path), MOST)
}

/// What a server does by itself.
const OWN: [&str; 5] = [
    "CHECKPOINT;",
    "SELECT count(*) FROM keyed; SELECT count(*) FROM heap;",
    "VACUUM FREEZE;",
    "ANALYZE;",
    "BEGIN; LOCK heap IN ACCESS EXCLUSIVE MODE; ROLLBACK;",
];

/// What people do.
const CHANGES: [&str; 14] = [
    "INSERT INTO heap VALUES (1, 'one');",
    "UPDATE heap SET b = b WHERE a = 1;",
    "DELETE FROM heap WHERE a = 1;",
    "COPY heap (a) FROM PROGRAM 'seq 100';",
    "TRUNCATE heap;",
    "CREATE TABLE new (a int);",
    "CREATE INDEX ON heap (a);",
    "ALTER TABLE heap ADD COLUMN c int;",
    "SELECT nextval('counter');",
    "CREATE DATABASE other;",
    "CREATE ROLE somebody;",
    "SELECT lo_from_bytea(0, 'bytes');",
    "INSERT INTO passing VALUES (1);",
    "BEGIN; INSERT INTO heap VALUES (2, 'two'); PREPARE TRANSACTION 'two';",
];

fn tells_changes(programs: &'static Programs) {
    let mut live = Live::start_with(programs, SEGMENT);
    live.sessions[0].run(
        "SET synchronous_commit = on;
         CREATE SEQUENCE counter; CREATE UNLOGGED TABLE passing (a int);
         DELETE FROM keyed WHERE id > 2000; UPDATE heap SET b = 'y' WHERE a = 2;",
    );
    // Rows that are in the log only, as a commit finds them.
    let head = live.copy();
    assert!(is_unchanged(&head, &head));
    live.crash();
    live.sessions[0].run("SET synchronous_commit = on;");
    assert!(is_unchanged(&head, &live.copy()), "recovered");
    for own in OWN {
        live.sessions[0].run(own);
        assert!(is_unchanged(&head, &live.copy()), "{own}");
    }
    live.restart();
    assert!(is_unchanged(&head, &live.copy()), "restarted");
    live.sessions[0].run("SET synchronous_commit = on;");

    let mut before = live.copy();
    for change in CHANGES {
        live.sessions[0].run(change);
        // Also what the server need not write at once.
        live.sessions[0].run("SELECT pg_switch_wal();");
        let after = live.copy();
        assert!(!is_unchanged(&before, &after), "{change}");
        before = after;
    }
}

#[test]
fn a_log_tells_changes_from_a_restart() {
    tells_changes(here());
}

#[test]
fn a_log_of_postgresql_17_tells_changes_from_a_restart() {
    tells_changes(in_root("databases-13"));
}

#[test]
fn a_log_of_the_newest_postgresql_tells_changes_from_a_restart() {
    tells_changes(in_root("databases-sid"));
}

/// The rows of a transaction can be in the files before it is committed. Then the commit is the change.
#[test]
fn a_commit_of_older_rows_is_a_change() {
    let mut live = Live::start_with(here(), SEGMENT);
    live.sessions[0].run("BEGIN; INSERT INTO heap VALUES (1, 'one');");
    live.sessions[1].run("CHECKPOINT;");
    let head = live.copy();
    live.sessions[0].run("LOCK still IN ACCESS EXCLUSIVE MODE;");
    assert!(is_unchanged(&head, &live.copy()));
    live.sessions[0].run("COMMIT; SET synchronous_commit = on; CHECKPOINT;");
    assert!(!is_unchanged(&head, &live.copy()));
}

/// A state that does not come from the other one, and a log with a hole, prove nothing.
#[test]
fn a_log_that_cannot_be_followed_is_a_change() {
    let mut live = Live::start_with(here(), SEGMENT);
    let head = live.copy();
    live.sessions[0].run("INSERT INTO heap VALUES (1, 'one');");
    live.sessions[0].run("SET synchronous_commit = on; CHECKPOINT;");
    let later = live.copy();
    assert!(!is_unchanged(&later, &head));
    let other = Live::start_with(here(), SEGMENT);
    assert!(!is_unchanged(&head, &other.copy()));
    let log = std::fs::read_dir(later.path().join("pg_wal")).expect("the log");
    for file in log.flatten() {
        let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
        if is_file {
            std::fs::write(file.path(), vec![0; 16 << 20]).expect("a hole");
        }
    }
    assert!(!is_unchanged(&head, &later));
}
