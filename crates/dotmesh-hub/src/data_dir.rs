//! The hub's folder: the database, the packs, and the locks of those who use them.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use dotmesh_store::{PackStore, PackStoreError};

use crate::database::{Database, DatabaseError};

/// The folder.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

/// Held while serving: one server for each folder.
#[derive(Debug)]
#[must_use = "another server can start as soon as it is dropped"]
pub struct ServeLock {
    _file: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file or folder in it cannot be made or opened.
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another server has it.
    #[error("another dothub serves {}", path.display())]
    InUse { path: PathBuf },
    /// Its database cannot be used.
    #[error("cannot use the database {}", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: DatabaseError,
    },
    /// Its packs cannot be used.
    #[error(transparent)]
    Packs(#[from] PackStoreError),
}

impl DataDir {
    /// Makes the folder if there is none; for its owner only, since it has everyone's data.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let this = Self {
            path: path.to_owned(),
        };
        this.make_folder(path.to_owned())?;
        Ok(this)
    }

    /// Takes the place of its one server.
    pub fn lock(&self) -> Result<ServeLock, DataDirError> {
        let (file, path) = self.lock_file("serve.lock")?;
        match file.try_lock() {
            Ok(()) => Ok(ServeLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse {
                path: self.path.clone(),
            }),
            Err(TryLockError::Error(source)) => Err(DataDirError::Io {
                verb: "lock",
                path,
                source,
            }),
        }
    }

    /// Opens the database. A server may have it open at the same time.
    pub async fn database(&self) -> Result<Database, DataDirError> {
        self.database_at(None).await
    }

    /// Opens it, but brings it no further than to a schema.
    pub async fn database_at(&self, schema: Option<i64>) -> Result<Database, DataDirError> {
        let (file, path) = self.lock_file("migrate.lock")?;
        // Two that start at the same time do not bring it to this version at the same time.
        let _lock = tokio::task::spawn_blocking(move || file.lock().map(|()| file))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| DataDirError::Io {
                verb: "lock",
                path,
                source,
            })?;
        let path = self.path.join("hub.db");
        Database::open_at(&path, schema)
            .await
            .map_err(|source| DataDirError::Database { path, source })
    }

    /// Opens the packs in this folder.
    pub fn packs(&self) -> Result<PackStore, DataDirError> {
        let folder = self.path.join("objects");
        self.make_folder(folder.clone())?;
        Ok(PackStore::local(&folder)?)
    }

    fn make_folder(&self, path: PathBuf) -> Result<(), DataDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| DataDirError::Io {
                verb: "make the folder",
                path,
                source,
            })
    }

    fn lock_file(&self, name: &str) -> Result<(File, PathBuf), DataDirError> {
        let path = self.path.join(name);
        match File::options().create(true).append(true).open(&path) {
            Ok(file) => Ok((file, path)),
            Err(source) => Err(DataDirError::Io {
                verb: "open",
                path,
                source,
            }),
        }
    }
}
