//! Two states of a folder, of which a test says what databases wrote by themselves.

use std::fs;

use dotmesh_sync::EntryType;
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
fn settings_of_postgres_are_the_users() {
    for own in [
        "",
        "base/5/16384",
        "base/5/pg_internal.init",
        "global/pg_control",
        "log/postgresql.log",
        "pg_wal/000000010000000000000001",
        "postmaster.opts",
    ] {
        assert!(postgres::is_own(own.as_bytes()), "{own}");
    }
    for path in [
        "postgresql.conf",
        "pg_hba.conf",
        "postgresql.auto.conf",
        "base.tar",
    ] {
        assert!(!postgres::is_own(path.as_bytes()), "{path}");
    }
}

/// Real logs are read in the tests of `dotmesh-rows` and in `e2e/databases.rs`.
#[test]
fn a_cluster_of_postgres_whose_log_proves_nothing_has_changed() {
    let two = Two::new();
    two.both("db/data/PG_VERSION", b"15", b"15");
    let files = [
        "db/data/base/5/16384",
        "db/data/global/pg_control",
        "db/data/pg_wal/000000010000000000000001",
    ];
    for file in files {
        two.both(file, b"old", b"new");
    }
    for effort in [Effort::Glance, Effort::Decision] {
        assert_eq!(two.changed(effort), files);
    }
}

#[test]
fn redis_writes_the_same_data_again() {
    let two = Two::new();
    two.both("redis/dump.rdb", &rdb("1", "one"), &rdb("2", "one"));
    Two::put(&two.new, "redis/temp-17.rdb", b"REDIS");
    assert_eq!(two.changed(Effort::Glance), [""; 0]);
    Two::put(&two.new, "redis/dump.rdb", &rdb("2", "two"));
    let changed = ["redis/dump.rdb", "redis/temp-17.rdb"];
    assert_eq!(two.changed(Effort::Decision), changed);

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
    assert_eq!(two.changed(Effort::Decision), [""; 0]);
    log(&two, "appendonly.aof.1.incr.aof", b"SET", b"SETSET");
    assert_eq!(two.changed(Effort::Decision).len(), 3);
    // A folder that a link leads to is not read.
    fs::rename(two.new.join("redis"), two.new.join("elsewhere")).expect("a rename");
    std::os::unix::fs::symlink("elsewhere", two.new.join("redis")).expect("a link");
    assert!(two.changed(Effort::Decision).len() >= 4);
}

#[test]
fn mariadb_writes_logs_by_itself_and_no_tables() {
    let two = Two::new();
    two.both("sql/aria_log_control", b"old", b"new");
    two.both("sql/ib_logfile0", b"old", b"new");
    assert_eq!(two.changed(Effort::Decision), [""; 0]);
    two.both("sql/shop/orders.ibd", b"old", b"new");
    two.both("files/ib_logfile0", b"old", b"new");
    let changed = ["files/ib_logfile0", "sql/shop/orders.ibd"];
    assert_eq!(two.changed(Effort::Decision), changed);
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
    assert_eq!(two.changed(Effort::Decision), [""; 0]);

    let mut database = open(&live).await;
    run(&mut database, "INSERT INTO visits VALUES (2)").await;
    assert!(
        two.changed(Effort::Decision)
            .contains(&"app/data.db-wal".to_owned())
    );
    database.close().await.expect("an end");
    assert!(
        two.changed(Effort::Decision)
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
