//! Finds databases in a folder by their files, at any depth. The folder's content is not trusted: no symlink is followed.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

use crate::model::{DatabaseKind, Store};

/// How deep folders are searched, and how many entries in all.
const DEEPEST: usize = 32;
const MOST_ENTRIES: usize = 2_000_000;

/// The databases of a subdot.
#[derive(Debug, Default)]
pub struct Detected {
    /// The databases, sorted by path.
    pub stores: Vec<Store>,
    /// Whether the folder has more entries than are searched.
    pub is_cut: bool,
}

/// Finds the databases below an open folder, which is the folder of a subdot.
pub fn detect(folder: &impl AsFd, subdot: &str) -> std::io::Result<Detected> {
    let mut search = Search {
        subdot,
        found: Detected::default(),
        entries: 0,
    };
    let top = open_folder(folder, b".")?;
    search.look(&top, "", 0)?;
    search.found.stores.sort();
    Ok(search.found)
}

/// Opens a folder or a file below another one, and follows no symlink.
pub fn open_below(folder: &impl AsFd, path: &str, flags: OFlags) -> std::io::Result<OwnedFd> {
    let path = if path.is_empty() { "." } else { path };
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(
        folder,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        beneath,
    )?)
}

fn open_folder(folder: &impl AsFd, name: &[u8]) -> std::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

struct Search<'a> {
    subdot: &'a str,
    found: Detected,
    entries: usize,
}

impl Search<'_> {
    fn add(&mut self, path: &str, kind: DatabaseKind, version: String) {
        self.found.stores.push(Store {
            subdot: self.subdot.to_owned(),
            path: path.to_owned(),
            kind,
            version,
        });
    }

    fn look(&mut self, folder: &OwnedFd, path: &str, depth: usize) -> std::io::Result<()> {
        let mut files: Vec<(String, bool)> = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                self.found.is_cut = true;
                return Ok(());
            }
            // A path that is no text could not be named by anybody.
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(found.st_mode)
                }
                kind => kind,
            };
            match kind {
                FileType::Directory => files.push((name.to_owned(), true)),
                FileType::RegularFile => files.push((name.to_owned(), false)),
                _ => {}
            }
        }
        let has = |name: &str, is_folder: bool| files.contains(&(name.to_owned(), is_folder));
        if has("PG_VERSION", false) && has("global", true) && has("base", true) {
            let version = first_bytes(folder, "PG_VERSION", 16);
            let version = String::from_utf8_lossy(&version).trim().to_owned();
            self.add(path, DatabaseKind::Postgres, version);
            return Ok(());
        }
        if has("ibdata1", false) && has("mysql", true) {
            let (kind, version) = mysql(folder, &has);
            self.add(path, kind, version);
            return Ok(());
        }
        let mut has_redis = has("appendonlydir", true) && has_manifest(folder);
        for (name, is_folder) in &files {
            if *is_folder {
                continue;
            }
            let first = first_bytes(folder, name, 16);
            let inner = join(path, name);
            if first == b"SQLite format 3\0" {
                self.add(&inner, DatabaseKind::Sqlite, String::new());
            }
            // A file that Redis is still writing is none of its database yet.
            has_redis |= first.starts_with(b"REDIS00") && !name.starts_with("temp-");
            has_redis |= name.ends_with(".aof") && first.starts_with(b"*");
        }
        if has_redis {
            self.add(path, DatabaseKind::Redis, String::new());
        }
        for (name, is_folder) in &files {
            let is_own = has_redis && name == "appendonlydir";
            if *is_folder && !is_own && depth < DEEPEST && !self.found.is_cut {
                // A folder that cannot be opened has nothing that could be shown.
                if let Ok(inner) = open_folder(folder, name.as_bytes()) {
                    self.look(&inner, &join(path, name), depth + 1)?;
                }
            }
        }
        Ok(())
    }
}

fn join(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}/{name}"),
    }
}

fn first_bytes(folder: &OwnedFd, name: &str, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    if let Ok(file) = open_below(folder, name, flags) {
        let _ = File::from(file).take(count).read_to_end(&mut bytes);
    }
    bytes
}

/// Both write the same names. What only one of them writes decides.
fn mysql(folder: &OwnedFd, has: &dyn Fn(&str, bool) -> bool) -> (DatabaseKind, String) {
    for name in ["mariadb_upgrade_info", "mysql_upgrade_info"] {
        let text = String::from_utf8_lossy(&first_bytes(folder, name, 64))
            .trim()
            .to_owned();
        if text.to_lowercase().contains("maria") {
            let version = text.split('-').next().unwrap_or_default();
            return (DatabaseKind::Mariadb, version.to_owned());
        }
    }
    if has("aria_log_control", false) {
        return (DatabaseKind::Mariadb, String::new());
    }
    let version = match has("mysql.ibd", false) {
        true => history_version(folder).unwrap_or_else(|| "8".to_owned()),
        false => String::new(),
    };
    (DatabaseKind::Mysql, version)
}

/// The version that wrote last. MySQL keeps this history from version 8.4 on.
fn history_version(folder: &OwnedFd) -> Option<String> {
    let history = first_bytes(folder, "mysql_upgrade_history", 64 << 10);
    let history: serde_json::Value = serde_json::from_slice(&history).ok()?;
    let last = history.get("upgrade_history")?.as_array()?.last()?;
    let version = last.get("version")?.as_str()?;
    let is_plain = |letter: char| letter.is_ascii_digit() || letter == '.';
    let digits: String = version.chars().take_while(|one| is_plain(*one)).collect();
    (!digits.is_empty() && digits.len() < 20).then_some(digits)
}

fn has_manifest(folder: &OwnedFd) -> bool {
    let Ok(inner) = open_folder(folder, b"appendonlydir") else {
        return false;
    };
    let Ok(entries) = Dir::read_from(&inner) else {
        return false;
    };
    entries.flatten().any(|entry| {
        std::ffi::OsStr::from_bytes(entry.file_name().to_bytes())
            .as_bytes()
            .ends_with(b".manifest")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn databases_are_found_by_their_content_at_any_depth() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        };
        make("a/17/PG_VERSION", b"17\n");
        make("a/17/global/pg_control", b"");
        make("a/17/base/1/PG_VERSION", b"17\n");
        make("b/ibdata1", b"");
        make("b/mysql/db.frm", b"");
        make("b/aria_log_control", b"");
        make("c/ibdata1", b"");
        make("c/mysql/x", b"");
        make("c/mysql.ibd", b"");
        make("c9/ibdata1", b"");
        make("c9/mysql/x", b"");
        make("c9/mysql.ibd", b"");
        make(
            "c9/mysql_upgrade_history",
            b"{\"file_format\":\"1\",\"upgrade_history\":[{\"version\":\"8.4.2\"},{\"version\":\"9.7.4-2\",\"maturity\":\"LTS\"}]}",
        );
        make("d/my.dump", b"REDIS0011");
        make("e/appendonlydir/appendonly.aof.manifest", b"file");
        make("f/deep/er/any.name", b"SQLite format 3\0rest");
        make("f/deep/er/fake.db", b"nothing");
        std::os::unix::fs::symlink("..", folder.path().join("f/up")).expect("a link");
        let open = File::open(folder.path()).expect("the folder");
        let found = detect(&open, "s").expect("databases");
        let told: Vec<_> = found.stores.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "s/a/17 (PostgreSQL 17)",
                "s/b (MariaDB)",
                "s/c (MySQL 8)",
                "s/c9 (MySQL 9.7.4)",
                "s/d (Redis)",
                "s/e (Redis)",
                "s/f/deep/er/any.name (SQLite)"
            ]
        );
    }
}
