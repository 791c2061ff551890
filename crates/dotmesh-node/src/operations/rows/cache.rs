//! Keeps results between two commits, which never change. The folder has a limit, and the oldest results go first.

use std::path::PathBuf;
use std::time::SystemTime;

use axum::body::Bytes;
use dotmesh_api::node::DiffRows;
use dotmesh_model::CommitId;

use super::blocking;
use crate::node::Node;

/// The most that all results, and that one of them, may have, in bytes.
const MOST: u64 = 64 << 20;
const MOST_OF_ONE: usize = 8 << 20;

/// Changes when a newer version tells something else of the same commits.
const VERSION: &str = "1";

/// The place of a result.
#[derive(Clone)]
pub(super) struct Place {
    file: PathBuf,
}

/// A result that is being collected. It is dropped if it becomes too large.
#[derive(Default)]
pub(super) struct Collected {
    bytes: Vec<u8>,
    is_too_large: bool,
}

impl Collected {
    pub(super) fn add(&mut self, line: &Bytes) {
        if self.bytes.len() + line.len() > MOST_OF_ONE {
            self.is_too_large = true;
            self.bytes = Vec::new();
        }
        if !self.is_too_large {
            self.bytes.extend_from_slice(line);
        }
    }
}

/// Where the result of a comparison is, or will be.
pub(super) fn place(
    node: &Node,
    dot: &str,
    from: CommitId,
    to: CommitId,
    request: &DiffRows,
) -> Place {
    let parts = [
        VERSION.to_owned(),
        dot.to_owned(),
        from.to_string(),
        to.to_string(),
        request.target.clone().unwrap_or_default(),
        format!("{:?} {:?} {}", request.limit, request.longest, request.full),
    ];
    let name = blake3::hash(parts.join("\n").as_bytes()).to_hex();
    let file = node.config.root.join("rows").join(name.as_str());
    Place { file }
}

impl Place {
    /// The result, if it is known.
    pub(super) async fn get(&self) -> Option<Bytes> {
        let file = self.file.clone();
        let read = blocking(move || {
            let bytes = std::fs::read(&file).ok()?;
            // What is used stays.
            if let Ok(open) = std::fs::File::options().append(true).open(&file) {
                let _ = open.set_modified(now());
            }
            Some(bytes)
        });
        read.await.map(Bytes::from)
    }

    /// Keeps a result. A cache that cannot be written is none.
    pub(super) async fn put(&self, collected: Collected) {
        if collected.is_too_large {
            return;
        }
        let file = self.file.clone();
        let kept = blocking(move || {
            let folder = file.parent().ok_or(std::io::ErrorKind::NotFound)?;
            std::fs::create_dir_all(folder)?;
            let making = folder.join(format!("making-{}", crate::node::random_hex::<8>()));
            std::fs::write(&making, &collected.bytes)?;
            std::fs::rename(&making, &file)?;
            forget_oldest(folder)
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "cannot keep the result of a comparison of rows");
        }
    }
}

fn now() -> SystemTime {
    crate::node::now().into()
}

fn forget_oldest(folder: &std::path::Path) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        files.push((about.modified()?, about.len(), entry.path()));
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in files {
        if total <= MOST {
            break;
        }
        std::fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_results_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [("old", 2), ("new", 1)] {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_len(MOST / 2 + 1).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(10 - age))
                .unwrap();
        }
        forget_oldest(folder.path()).unwrap();
        assert!(!folder.path().join("old").exists());
        assert!(folder.path().join("new").exists());
    }
}
