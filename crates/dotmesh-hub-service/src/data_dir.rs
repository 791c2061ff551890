//! The hub's data folder: the database, the packs, and the locks that guard them.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dotmesh_hub_db::{Database, DatabaseError, Opening};
use dotmesh_store::{PackStore, PackStoreError};

#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

/// The lock that a server holds, so that each folder has only one server.
#[derive(Debug)]
#[must_use = "another server can start as soon as it is dropped"]
pub struct ServeLock {
    _file: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file or folder in it cannot be created or opened.
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The folder must contain a hub, but does not.
    #[error("there is no hub in the folder {}", path.display())]
    NoHub { path: PathBuf },
    /// Another server uses the folder.
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

/// The name of the database's file.
const DATABASE: &str = "hub.db";

/// The name of the folder for packs.
const OBJECTS: &str = "objects";

impl DataDir {
    /// Creates the folder if it does not exist. Only its owner may access it, because it holds everyone's data.
    pub fn make(path: &Path) -> Result<Self, DataDirError> {
        let this = Self {
            path: path.to_owned(),
        };
        this.make_folder(path.to_owned())?;
        Ok(this)
    }

    /// Opens the folder of an existing hub. It creates nothing.
    pub fn existing(path: &Path) -> Result<Self, DataDirError> {
        let path = path.to_owned();
        // With the database in PostgreSQL, the folder contains only packs. With the packs in S3 too, it contains
        // neither.
        if exists(&path.join(DATABASE))? || exists(&path.join(OBJECTS))? {
            Ok(Self { path })
        } else {
            Err(DataDirError::NoHub { path })
        }
    }

    /// Takes the lock of the folder's only server.
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
    pub async fn database(&self, opening: Opening) -> Result<Database, DataDirError> {
        let no_hub = || DataDirError::NoHub {
            path: self.path.clone(),
        };
        let database = self.path.join(DATABASE);
        if opening == Opening::Existing && !exists(&database)? {
            return Err(no_hub());
        }
        let (file, path) = self.lock_file("migrate.lock")?;
        // Two processes that start at the same time must not migrate the database at the same time.
        let _lock = tokio::task::spawn_blocking(move || file.lock().map(|()| file))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| DataDirError::Io {
                verb: "lock",
                path,
                source,
            })?;
        close_to_others(&database)?;
        match Database::open(&database, opening).await {
            Err(DatabaseError::NoHub) => Err(no_hub()),
            opened => opened.map_err(|source| DataDirError::Database {
                path: database,
                source,
            }),
        }
    }

    /// Opens the pack store in this folder.
    pub fn packs(&self, opening: Opening) -> Result<PackStore, DataDirError> {
        let folder = self.path.join(OBJECTS);
        match opening {
            Opening::New | Opening::NewAt(_) => self.make_folder(folder.clone())?,
            Opening::Existing if exists(&folder)? => {}
            Opening::Existing => {
                let path = self.path.clone();
                return Err(DataDirError::NoHub { path });
            }
        }
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

/// Closes the database's files to other users. Earlier versions created them with the mode that the umask gave.
fn close_to_others(database: &Path) -> Result<(), DataDirError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        let owner_only = Permissions::from_mode(0o600);
        match std::fs::set_permissions(&path, owner_only) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let (verb, path) = ("close to other users", path.into());
                return Err(DataDirError::Io { verb, path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns whether a file exists. A folder that this user may not read is an error, because a hub may be in it.
fn exists(path: &Path) -> Result<bool, DataDirError> {
    path.try_exists().map_err(|source| DataDirError::Io {
        verb: "look for",
        path: path.to_owned(),
        source,
    })
}
