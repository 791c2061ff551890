//! Why an archive cannot be read or written.

use std::io;

/// A failed archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes are no archive, or a damaged one.
    #[error("this is not a tar archive that can be read: {0}")]
    Malformed(String),
    /// The bytes are compressed.
    #[error("the archive is compressed with {0}")]
    Compressed(&'static str),
    /// The archive has no end.
    #[error("the archive is incomplete: it ends in the middle")]
    EndsEarly,
    /// An entry would do harm.
    #[error("the archive's entry '{name}' is refused: {why}")]
    Refused { name: String, why: &'static str },
    /// The archive's stream cannot be read or written.
    #[error("cannot read or write the archive")]
    Stream(#[source] io::Error),
    /// A file cannot be read or written.
    #[error("cannot {doing} '{name}'")]
    Disk {
        doing: &'static str,
        name: String,
        #[source]
        source: io::Error,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl ArchiveError {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    pub(crate) fn refused(name: &[u8], why: &'static str) -> Self {
        let name = shown(name);
        Self::Refused { name, why }
    }
}

/// Names what failed on disk.
pub(crate) trait OnDisk<T> {
    fn on_disk(self, doing: &'static str, name: &[u8]) -> Result<T, ArchiveError>;
}

impl<T, E: Into<io::Error>> OnDisk<T> for Result<T, E> {
    fn on_disk(self, doing: &'static str, name: &[u8]) -> Result<T, ArchiveError> {
        self.map_err(|source| ArchiveError::Disk {
            doing,
            name: shown(name),
            source: source.into(),
        })
    }
}

/// A name for people.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
