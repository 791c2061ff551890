//! Tells what PostgreSQL writes by itself, at each start and stop, from changes of its tables.

use std::collections::BTreeSet;
use std::path::Path;

use dotmesh_model::volume::Folder;
use dotmesh_sync::{EntryType, Look, PathChange, What, compare};

use super::blocking;
use crate::node::Node;
use crate::registry::Dot;

/// The file that every folder of a database cluster has.
const MARK: &str = "PG_VERSION";

/// How deep below the dot's folder such folders are looked for: `SUBDOT` or `SUBDOT/data`, for example.
const DEPTH: usize = 3;

/// What is written without a change of any table: in the cluster's folder.
const BOOKKEEPING: [&str; 13] = [
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_multixact",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
    "pg_xact",
];

/// The same: files beside these folders.
const FILES: [&str; 3] = ["logfile", "postmaster.opts", "postmaster.pid"];

/// Whether everything that changed since the commit is such bookkeeping. Of a dot without PostgreSQL, nothing is compared.
pub(super) async fn is_all(node: &Node, dot: &Dot) -> bool {
    let Ok(current) = dot.current() else {
        return false;
    };
    let old = node.pool.commit_data(&dot.name, current.head);
    let new = node
        .pool
        .volume_path(&dot.name, &dot.current, &Folder::Root);
    let look = blocking(move || {
        let mut clusters = BTreeSet::new();
        // A snapshot does not change, so no container can lead this anywhere.
        find_clusters(&old, Path::new(""), DEPTH, &mut clusters);
        if clusters.is_empty() {
            return Ok(false);
        }
        let changes = compare(&old, &new, Look::AtTimes)?;
        let of_cluster = |change: &PathChange| {
            let mut clusters = clusters.iter();
            clusters.any(|cluster| is_bookkeeping(change, cluster))
        };
        Ok::<_, dotmesh_sync::DiskError>(!changes.is_empty() && changes.iter().all(of_cluster))
    });
    look.await.unwrap_or(false)
}

/// The folders of database clusters, from the dot's folder.
fn find_clusters(top: &Path, at: &Path, depth: usize, found: &mut BTreeSet<Vec<u8>>) {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = top.join(at);
    if std::fs::symlink_metadata(folder.join(MARK)).is_ok_and(|mark| mark.is_file()) {
        found.insert(at.as_os_str().as_bytes().to_vec());
        return;
    }
    if depth == 0 {
        return;
    }
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_clusters(top, &at.join(entry.file_name()), depth - 1, found);
        }
    }
}

/// Whether a change in a cluster's folder is bookkeeping. A new or a missing table is none, nor is a changed one.
fn is_bookkeeping(change: &PathChange, cluster: &[u8]) -> bool {
    let within = |path: &[u8]| {
        let Some(path) = path.strip_prefix(cluster) else {
            return false;
        };
        let Some(path) = path.strip_prefix(b"/") else {
            // The folder itself, whose times change with its files.
            return path.is_empty() && change.kind == EntryType::Directory;
        };
        let mut names = path.split(|byte| *byte == b'/');
        let first = names.next().unwrap_or_default();
        let last = names.next_back();
        let is_one_of = |names: &[&str]| names.iter().any(|name| name.as_bytes() == first);
        match last {
            None => is_one_of(&FILES) || is_one_of(&BOOKKEEPING) || first == b"global",
            // Caches of the catalogue are removed and written at a start. Beside the control file are tables.
            Some(b"pg_internal.init") => true,
            Some(b"pg_control") => first == b"global",
            Some(_) => is_one_of(&BOOKKEEPING),
        }
    };
    match &change.what {
        What::Moved { from } => within(from) && within(&change.path),
        What::Added | What::Removed | What::Modified => within(&change.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modified(path: &str) -> PathChange {
        PathChange {
            path: path.as_bytes().to_vec(),
            kind: EntryType::File,
            what: What::Modified,
            before: 1,
            after: 1,
        }
    }

    #[test]
    fn logs_and_control_files_are_bookkeeping_and_tables_are_not() {
        for path in [
            "db/data/pg_wal/000000010000000000000001",
            "db/data/global/pg_control",
            "db/data/postmaster.pid",
            "db/data/pg_stat/pgstat.stat",
            "db/data/base/5/pg_internal.init",
        ] {
            assert!(is_bookkeeping(&modified(path), b"db/data"), "{path}");
        }
        for path in [
            "db/data/base/5/16384",
            "db/data/global/1260",
            "db/data/postgresql.conf",
            "db/database/pg_wal/0",
            "db/pg_wal/0",
            "uploads/logo.png",
        ] {
            assert!(!is_bookkeeping(&modified(path), b"db/data"), "{path}");
        }
        // A segment of the log is used again under another name.
        let moved = |from: &str| PathChange {
            what: What::Moved {
                from: from.as_bytes().to_vec(),
            },
            ..modified("db/data/pg_wal/000000010000000000000002")
        };
        assert!(is_bookkeeping(
            &moved("db/data/pg_wal/000000010000000000000001"),
            b"db/data"
        ));
        assert!(!is_bookkeeping(&moved("uploads/file"), b"db/data"));
    }

    #[test]
    fn clusters_are_found_in_a_subdot_and_in_its_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        for cluster in ["plain", "official/data", "debian/15/main", "a/b/c/too-deep"] {
            let path = folder.path().join(cluster);
            std::fs::create_dir_all(&path).expect("a folder");
            std::fs::write(path.join(MARK), "15\n").expect("a file");
        }
        let mut found = BTreeSet::new();
        find_clusters(folder.path(), Path::new(""), DEPTH, &mut found);
        let found: Vec<_> = found
            .iter()
            .map(|path| String::from_utf8_lossy(path))
            .collect();
        assert_eq!(found, ["debian/15/main", "official/data", "plain"]);
    }
}
