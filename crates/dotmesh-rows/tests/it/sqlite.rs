//! The SQLite client: crafted files, and what it refuses.

use dotmesh_rows::sqlite_client::open;

#[test]
fn a_file_can_neither_reach_others_nor_call_what_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    rusqlite::Connection::open(&path)
        .and_then(|db| db.execute_batch("CREATE TABLE t (a); CREATE VIEW v AS SELECT load_extension('x') FROM t; INSERT INTO t VALUES (1)"))
        .expect("a database");
    let db = open(path.to_str().expect("a path")).expect("it opens");
    for refused in [
        "ATTACH 'other' AS o",
        "SELECT * FROM v",
        "SELECT load_extension('x')",
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema",
    ] {
        assert!(db.execute_batch(refused).is_err(), "{refused}");
    }
    let count: i64 = db
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(count, 1);
    let linked = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &linked).expect("a link");
    assert!(open(linked.to_str().expect("a path")).is_err());
}
