//! Errors of the pool.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on the pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Neither the pool nor the disk below it has space left.
    #[error("the pool is full: cannot {doing}")]
    Full { doing: &'static str },
    /// A call to the operating system failed.
    #[error("cannot {doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A folder or file of the pool has unexpected content.
    #[error("{path} is damaged: {problem}")]
    Damaged { path: PathBuf, problem: String },
    /// The filesystem no longer accepts writes.
    #[error("the pool at {path} is read-only")]
    ReadOnly { path: PathBuf },
    /// A subvolume that a container created inside cannot be deleted.
    #[error("cannot delete {path}: the subvolume {inside} in it cannot be deleted")]
    Kept {
        path: PathBuf,
        /// The path of that subvolume in `path`.
        inside: String,
        #[source]
        source: io::Error,
    },
    /// A newer Dotmesh created the pool.
    #[error(
        "the pool at {path} has format version {version}, but this Dotmesh reads version {known}: upgrade Dotmesh"
    )]
    NewerFormat {
        path: PathBuf,
        version: u32,
        known: u32,
    },
    /// The place that the user named cannot hold a pool.
    #[error("{path} cannot hold a pool: {problem}")]
    UnusablePlace { path: PathBuf, problem: String },
    /// The kernel cannot mount btrfs.
    #[error(
        "this kernel does not support btrfs, and Dotmesh needs it; the kernels of RHEL, CentOS Stream, Rocky and Alma are built without it"
    )]
    NoBtrfs,
    /// A program that the pool needs failed or is not installed.
    #[error("{program} failed: {output}")]
    Program {
        program: &'static str,
        output: String,
    },
    /// The base of a comparison is newer than the snapshot.
    #[error("cannot compare {snapshot} with {base}: the base is the newer of the two")]
    NotALine { base: PathBuf, snapshot: PathBuf },
    /// Something that is not in the log of a dot has changed the dot.
    #[error("the dot has changed since the {what}")]
    NotAsLeft { what: String },
    /// An operation is no longer in the log.
    #[error("the log no longer contains operation {number}")]
    Forgotten { number: u64 },
    /// Another dot now has the name of a deleted dot.
    #[error("another dot is called {dot} now")]
    NameTaken { dot: String },
    /// A symlink or a file is in the place of a subdot's folder. Only a container can have created it.
    #[error("{path} is not a folder: something inside the dot replaced it")]
    NotAFolder { path: PathBuf },
}

impl PoolError {
    /// The message, followed by the messages of its causes.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// Adds the attempted action to an I/O error. A full disk becomes [`PoolError::Full`].
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { doing },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }
}

/// `result.during("create", &path)?`
pub(crate) trait During<T> {
    fn during(self, doing: &'static str, path: &Path) -> Result<T, PoolError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, doing: &'static str, path: &Path) -> Result<T, PoolError> {
        self.map_err(|error| PoolError::io(doing, path)(error.into()))
    }
}
