//! The hub's folder: the database, the packs, and the locks of those who use them.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dotmesh_store::{PackStore, PackStoreError};

use crate::database::{Database, DatabaseError, Opening};

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
    /// Nothing of a hub is in it, where one has to be.
    #[error("there is no hub in the folder {}", path.display())]
    NoHub { path: PathBuf },
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

/// The database's file in the folder.
const DATABASE: &str = "hub.db";

/// The packs' folder in the folder.
const OBJECTS: &str = "objects";

impl DataDir {
    /// Makes the folder if there is none; for its owner only, since it has everyone's data.
    pub fn make(path: &Path) -> Result<Self, DataDirError> {
        let this = Self {
            path: path.to_owned(),
        };
        this.make_folder(path.to_owned())?;
        Ok(this)
    }

    /// The folder of a hub that was made before. Makes nothing.
    pub fn existing(path: &Path) -> Result<Self, DataDirError> {
        let path = path.to_owned();
        // With the records elsewhere, a hub has its packs here, or nothing.
        if exists(&path.join(DATABASE))? || exists(&path.join(OBJECTS))? {
            Ok(Self { path })
        } else {
            Err(DataDirError::NoHub { path })
        }
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
    pub async fn database(&self, opening: Opening) -> Result<Database, DataDirError> {
        let no_hub = || DataDirError::NoHub {
            path: self.path.clone(),
        };
        let database = self.path.join(DATABASE);
        if opening == Opening::Existing && !exists(&database)? {
            return Err(no_hub());
        }
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
        close_to_others(&database)?;
        match Database::open(&database, opening).await {
            Err(DatabaseError::NoHub) => Err(no_hub()),
            opened => opened.map_err(|source| DataDirError::Database {
                path: database,
                source,
            }),
        }
    }

    /// Opens the packs in this folder.
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

/// Takes a database's files away from other users. Earlier versions made them as the umask said.
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

/// Whether there is such a file. A folder that this user may not look into is an error: there may be a hub in it.
fn exists(path: &Path) -> Result<bool, DataDirError> {
    path.try_exists().map_err(|source| DataDirError::Io {
        verb: "look for",
        path: path.to_owned(),
        source,
    })
}
