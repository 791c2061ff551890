//! Two states of a folder, of which a test says what databases wrote by themselves.

use std::fs;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use super::*;

/// A dot's folder at its head and now.
struct Two {
    _folder: tempfile::TempDir,
    old: PathBuf,
    new: PathBuf,
}

impl Two {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::create_dir_all(&old).expect("a folder");
        fs::create_dir_all(&new).expect("a folder");
        Self {
            _folder: folder,
            old,
            new,
        }
    }

    fn put(top: &Path, path: &str, content: &[u8]) {
        let path = top.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    fn both(&self, path: &str, old: &[u8], new: &[u8]) {
        Self::put(&self.old, path, old);
        Self::put(&self.new, path, new);
    }

    /// The paths that were changed, without those that databases wrote by themselves.
    fn changed(&self, effort: Effort) -> Vec<String> {
        let changes = compare(&self.old, &self.new, Look::AtBytes).expect("a comparison");
        let judged = judge(&self.old, &self.new, changes, effort).all.into_iter();
        let real = judged.filter(|(_, is_bookkeeping)| !is_bookkeeping);
        real.map(|(change, _)| String::from_utf8(change.path).expect("UTF-8"))
            .collect()
    }
}

/// A file of Redis with one key, made at a time.
fn rdb(time: &str, value: &str) -> Vec<u8> {
    let string = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    [
        &b"REDIS0011\xFA"[..],
        &string("ctime"),
        &string(time),
        b"\xFE\x00\x00",
        &string("visits"),
        &string(value),
        b"\xFF12345678",
    ]
    .concat()
}

#[test]
fn postgres_writes_logs_and_control_files_by_itself_and_no_tables() {
    let two = Two::new();
    let control = |state: u8| [&[0; 16][..], &[state, 0, 0, 0]].concat();
    two.both("db/data/PG_VERSION", b"15", b"15");
    two.both("db/data/global/pg_control", &control(6), &control(1));
    for own in [
        "pg_wal/000000010000000000000001",
        "postmaster.opts",
        "pg_stat/pgstat.stat",
        "base/5/pg_internal.init",
    ] {
        two.both(&format!("db/data/{own}"), b"old", b"new");
    }
    assert_eq!(two.changed(Effort::Stopped), [""; 0]);
    let tables = [
        "db/data/base/5/16384",
        "db/data/global/1260",
        "db/data/postgresql.conf",
        "db/database/pg_wal/0",
        "uploads/logo.png",
    ];
    for table in tables {
        two.both(table, b"old", b"new");
    }
    assert_eq!(two.changed(Effort::Stopped), tables);

    // A server that was killed may have rows in its log only.
    let two = Two::new();
    two.both("db/PG_VERSION", b"15", b"15");
    two.both("db/global/pg_control", &control(6), &control(6));
    two.both("db/pg_wal/000000010000000000000001", b"old", b"new");
    assert_eq!(two.changed(Effort::Running), [""; 0]);
    let log = ["db/pg_wal/000000010000000000000001"];
    assert_eq!(two.changed(Effort::Stopped), log);
}

/// A page of a table with one row of some bits and one value.
fn page(noted: u8, bits: u16, value: u8) -> Vec<u8> {
    let mut page = vec![0; 8192];
    page[..8].fill(noted);
    page[12..14].copy_from_slice(&28_u16.to_ne_bytes());
    page[16..18].copy_from_slice(&8192_u16.to_ne_bytes());
    let pointer = 8000_u32 | 1 << 15 | 32 << 17;
    page[24..28].copy_from_slice(&pointer.to_ne_bytes());
    page[8020..8022].copy_from_slice(&bits.to_ne_bytes());
    page[8030] = value;
    page
}

#[test]
fn what_a_reader_notes_in_a_table_of_postgres_is_no_change() {
    let two = Two::new();
    two.both("db/PG_VERSION", b"15", b"15");
    let control = [&[0; 16][..], &[1, 0, 0, 0]].concat();
    two.both("db/global/pg_control", &control, &control);
    let table = |old: &[u8], new: &[u8]| two.both("db/base/5/16384", old, new);
    table(&page(1, 0x0002, 7), &page(2, 0x0902, 7));
    two.both("db/base/5/16384_vm", b"old", b"new");
    assert_eq!(two.changed(Effort::Stopped), [""; 0]);
    for changed in [page(2, 0x0902, 8), page(2, 0x0903, 7)] {
        table(&page(1, 0x0002, 7), &changed);
        assert_eq!(two.changed(Effort::Stopped), ["db/base/5/16384"]);
    }
    table(&page(1, 0, 7), &[page(1, 0, 7), page(1, 0, 7)].concat());
    assert_eq!(two.changed(Effort::Stopped), ["db/base/5/16384"]);
}

#[test]
fn a_segment_of_a_log_is_used_again_under_another_name() {
    let two = Two::new();
    two.both("db/PG_VERSION", b"15", b"15");
    two.both("db/pg_wal/1", b"1", b"1");
    let moved = |from: &str, path: &str| PathChange {
        path: path.as_bytes().to_vec(),
        kind: EntryType::File,
        what: What::Moved {
            from: from.as_bytes().to_vec(),
        },
        before: 1,
        after: 1,
    };
    let changes = vec![
        moved("db/pg_wal/1", "db/pg_wal/2"),
        moved("file", "db/pg_wal/2"),
    ];
    let judged = judge(&two.old, &two.new, changes, Effort::Running).all;
    assert_eq!((judged[0].1, judged[1].1), (true, false));
}

#[test]
fn redis_writes_the_same_data_again() {
    let two = Two::new();
    two.both("redis/dump.rdb", &rdb("1", "one"), &rdb("2", "one"));
    Two::put(&two.new, "redis/temp-17.rdb", b"REDIS");
    assert_eq!(two.changed(Effort::Glance), [""; 0]);
    Two::put(&two.new, "redis/dump.rdb", &rdb("2", "two"));
    let changed = ["redis/dump.rdb", "redis/temp-17.rdb"];
    assert_eq!(two.changed(Effort::Stopped), changed);

    // With an append-only file, the other file is not read at a start.
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    let log = |two: &Two, name: &str, old: &[u8], new: &[u8]| {
        two.both(&format!("redis/appendonlydir/{name}"), old, new);
    };
    let manifest = manifest.as_bytes();
    log(&two, "appendonly.aof.manifest", manifest, manifest);
    log(
        &two,
        "appendonly.aof.1.base.rdb",
        &rdb("1", "one"),
        &rdb("1", "one"),
    );
    log(&two, "appendonly.aof.1.incr.aof", b"SET", b"SET");
    assert_eq!(two.changed(Effort::Stopped), [""; 0]);
    log(&two, "appendonly.aof.1.incr.aof", b"SET", b"SETSET");
    assert_eq!(two.changed(Effort::Stopped).len(), 3);
    // A folder that a link leads to is not read.
    fs::rename(two.new.join("redis"), two.new.join("elsewhere")).expect("a rename");
    std::os::unix::fs::symlink("elsewhere", two.new.join("redis")).expect("a link");
    assert!(two.changed(Effort::Stopped).len() >= 4);
}

#[test]
fn mariadb_writes_logs_by_itself_and_no_tables() {
    let two = Two::new();
    two.both("sql/aria_log_control", b"old", b"new");
    two.both("sql/ib_logfile0", b"old", b"new");
    assert_eq!(two.changed(Effort::Stopped), [""; 0]);
    two.both("sql/shop/orders.ibd", b"old", b"new");
    two.both("files/ib_logfile0", b"old", b"new");
    let changed = ["files/ib_logfile0", "sql/shop/orders.ibd"];
    assert_eq!(two.changed(Effort::Stopped), changed);
}

async fn open(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    let options = options.create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal);
    options.connect().await.expect("a database")
}

async fn run(database: &mut SqliteConnection, line: &'static str) {
    sqlx::query(line)
        .execute(database)
        .await
        .expect("an answer");
}

#[tokio::test]
async fn sqlite_moves_its_log_into_the_database() {
    let two = Two::new();
    let live = two.new.join("app/data.db");
    fs::create_dir_all(two.old.join("app")).expect("a folder");
    fs::create_dir_all(two.new.join("app")).expect("a folder");
    let mut database = open(&live).await;
    run(&mut database, "CREATE TABLE visits (number INTEGER)").await;
    run(&mut database, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    for _ in 0..3 {
        run(&mut database, "INSERT INTO visits VALUES (1)").await;
    }
    // As a commit finds it, with the last rows in the log only.
    for name in ["data.db", "data.db-wal", "data.db-shm"] {
        fs::copy(
            two.new.join("app").join(name),
            two.old.join("app").join(name),
        )
        .expect("a copy");
    }
    run(&mut database, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    database.close().await.expect("an end");
    let compared = compare(&two.old, &two.new, Look::AtBytes).expect("a comparison");
    assert!(compared.len() >= 2, "{compared:?}");
    assert_eq!(two.changed(Effort::Stopped), [""; 0]);

    let mut database = open(&live).await;
    run(&mut database, "INSERT INTO visits VALUES (2)").await;
    assert!(
        two.changed(Effort::Running)
            .contains(&"app/data.db-wal".to_owned())
    );
    database.close().await.expect("an end");
    assert!(
        two.changed(Effort::Stopped)
            .contains(&"app/data.db".to_owned())
    );
}

#[test]
fn clusters_are_found_in_a_subdot_and_in_its_folders() {
    let two = Two::new();
    for cluster in ["plain", "official/data", "debian/15/main", "a/b/c/too-deep"] {
        Two::put(&two.old, &format!("{cluster}/PG_VERSION"), b"15\n");
    }
    Two::put(&two.old, "plain/base/5/PG_VERSION", b"15\n");
    let changed = [
        "plain/base/5/1259",
        "official/data/global/1260",
        "official/other",
        "debian/15/main/postgresql.conf",
        "a/b/c/too-deep/base/5/1259",
        "else/file",
    ];
    let changes = changed.map(|path| PathChange {
        path: path.into(),
        kind: EntryType::File,
        what: What::Modified,
        before: 1,
        after: 1,
    });
    let found = marked(&two.old, &changes, postgres::MARK);
    let found: Vec<_> = found
        .iter()
        .map(|path| String::from_utf8_lossy(path))
        .collect();
    assert_eq!(found, ["debian/15/main", "official/data", "plain"]);
    assert!(has_databases(&two.old) && !has_databases(&two.new));
}
