//! Compares two states of a folder of Redis or Valkey.
//!
//! A server writes `dump.rdb` when it stops, also if nothing changed. With an append-only file it reads only that at its
//! start, so `dump.rdb` doesn't count then.

use std::io::{BufReader, Read as _};

use super::Side;
use super::rdb::{self, DataDigest};

const SNAPSHOT: &str = "dump.rdb";
/// The append-only file, in a folder since Redis 7.
const LOGS: &str = "appendonlydir";
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";
const OLDER_LOG: &str = "appendonly.aof";

/// The folder that a changed file belongs to, if it is one of the files of a server.
pub(super) fn folder(path: &[u8]) -> Option<&[u8]> {
    let (folder, name) = split(path);
    let (above, log_folder) = split(folder);
    let is_temporary =
        name.starts_with(b"temp-") && (name.ends_with(b".rdb") || name.ends_with(b".aof"));
    if log_folder == LOGS.as_bytes() {
        Some(above)
    } else if is_temporary
        || [SNAPSHOT, LOGS, OLDER_LOG]
            .iter()
            .any(|own| own.as_bytes() == name)
    {
        Some(folder)
    } else {
        None
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Whether a server reads the same data from both states of the folder.
pub(super) fn same(old: &Side<'_>, new: &Side<'_>) -> bool {
    match (Data::of(old), Data::of(new)) {
        (Some(old), Some(new)) => old == new,
        _ => false,
    }
}

/// What a server reads at its start.
#[derive(Debug, PartialEq, Eq)]
struct Data {
    snapshot: DataDigest,
    /// The hash of the commands that it then runs again. `None` if there are none.
    commands: Option<blake3::Hash>,
}

impl Data {
    /// `None` if a file cannot be read, or is larger than what is read.
    fn of(side: &Side<'_>) -> Option<Self> {
        if side.exists(MANIFEST) {
            return Self::listed(side);
        }
        if side.exists(OLDER_LOG) {
            return Some(Self {
                snapshot: DataDigest::default(),
                commands: hash(side, &[OLDER_LOG.to_owned()])?,
            });
        }
        let snapshot = match side.exists(SNAPSHOT) {
            true => rdb::digest(BufReader::new(side.open(SNAPSHOT)?))?,
            false => DataDigest::default(),
        };
        Some(Self {
            snapshot,
            commands: None,
        })
    }

    /// The files that the manifest lists. A line is `file NAME seq NUMBER type b`, where `b` is the base, `i` are commands
    /// that came after it, and `h` is not used any more.
    fn listed(side: &Side<'_>) -> Option<Self> {
        let mut manifest = String::new();
        side.open(MANIFEST)?.read_to_string(&mut manifest).ok()?;
        let mut snapshot = DataDigest::default();
        let mut logs = Vec::new();
        for line in manifest.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["file", name, "seq", _, "type", kind, ..] = words[..] else {
                return None;
            };
            let path = format!("{LOGS}/{name}");
            match kind {
                "b" if name.ends_with(".rdb") => {
                    snapshot = rdb::digest(BufReader::new(side.open(&path)?))?;
                }
                "b" | "i" => logs.push(path),
                _ => {}
            }
        }
        Some(Self {
            snapshot,
            commands: hash(side, &logs)?,
        })
    }
}

/// The hash of some files, one after the other. `Some(None)` if they are empty.
fn hash(side: &Side<'_>, files: &[String]) -> Option<Option<blake3::Hash>> {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update_reader(side.open(file)?).ok()?;
    }
    Some((hasher.count() > 0).then(|| hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_server_name_their_folder() {
        for (path, expected) in [
            ("redis/dump.rdb", "redis"),
            (
                "redis/data/appendonlydir/appendonly.aof.1.incr.aof",
                "redis/data",
            ),
            ("redis/appendonlydir", "redis"),
            ("redis/temp-17.rdb", "redis"),
            ("dump.rdb", ""),
        ] {
            let expected = Some(expected.as_bytes());
            assert_eq!(folder(path.as_bytes()), expected, "{path}");
        }
        for path in ["redis/users.acl", "redis/dump.rdb/file", "temp-of-mine"] {
            assert_eq!(folder(path.as_bytes()), None, "{path}");
        }
    }
}
