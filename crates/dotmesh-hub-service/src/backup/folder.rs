//! The folder of a backup. Only this module writes its manifest and records, so that they survive a power failure.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use dotmesh_hub_db::Database;
use dotmesh_hub_db::dump::DumpLine;
use dotmesh_store::{PackId, PackStore, PackStoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempDir};

/// The version of the folder's layout.
pub(super) const FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";

/// The prefix of the names of scratch folders.
const SCRATCH: &str = "scratch-";

/// The compression level of zstd.
const LEVEL: i32 = 3;

/// The manifest of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the folder's layout.
    pub format: u32,
    /// The version of the program that wrote it.
    pub dothub: String,
    /// The schema version of the records: the number of the last migration.
    pub schema: i64,
    /// When the backup began. The records show an instant shortly after.
    pub time: Timestamp,
    /// The name of the file with the records.
    pub records: String,
    /// SHA-256 of that file, in hex.
    pub sha256: String,
    /// The number of rows in that file, by table.
    pub rows: BTreeMap<String, u64>,
    /// How many packs the records name.
    pub packs: u64,
    /// The packs among them that the hub itself had lost, or that were damaged there.
    pub lost: Vec<String>,
}

/// An error of a backup's folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is no backup in it.
    #[error("there is no finished backup in {}", .0.display())]
    None(PathBuf),
    /// Its manifest cannot be read.
    #[error("{} is not the manifest of a backup", path.display())]
    Manifest {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A newer program made it.
    #[error("dothub {0} made this backup, and this version cannot read all of it")]
    Newer(String),
    /// A file is not as it was written.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The packs failed.
    #[error(transparent)]
    Packs(#[from] PackStoreError),
}

/// The folder.
#[derive(Debug, Clone)]
pub struct BackupFolder {
    path: PathBuf,
}

fn during(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { verb, path, source }
}

impl BackupFolder {
    /// Opens a folder to write a backup to. If it does not exist, it is made for its owner only.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path.join("packs"))
            .map_err(during("make the folder", path))?;
        Ok(Self::at(path))
    }

    /// Opens a folder that has a backup.
    pub fn at(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path }
    }

    /// Returns the store of the packs in it.
    pub fn packs(&self) -> Result<PackStore, FolderError> {
        Ok(PackStore::local(&self.path)?)
    }

    /// Makes a folder in it for temporary files. Dropping it deletes the folder.
    pub(super) fn scratch(&self) -> Result<TempDir, FolderError> {
        let made = tempfile::Builder::new()
            .prefix(SCRATCH)
            .tempdir_in(&self.path);
        made.map_err(during("write into", &self.path))
    }

    /// Reads the manifest.
    pub fn manifest(&self) -> Result<Manifest, FolderError> {
        let path = self.path.join(MANIFEST);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::None(self.path.clone()));
            }
            Err(error) => return Err(during("read", &path)(error)),
        };
        #[derive(Deserialize)]
        struct Form {
            format: u32,
            dothub: String,
        }
        let malformed = |source| FolderError::Manifest {
            path: path.clone(),
            source,
        };
        let form: Form = serde_json::from_slice(&text).map_err(malformed)?;
        if form.format > FORMAT {
            return Err(FolderError::Newer(form.dothub));
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(malformed)?;
        if manifest.schema > Database::newest_schema() {
            return Err(FolderError::Newer(manifest.dothub));
        }
        // The manifest may only name a file of this folder.
        let is_name = |name: &str| !name.contains('/') && name.starts_with("records-");
        if is_name(&manifest.records) {
            Ok(manifest)
        } else {
            Err(FolderError::Damaged(path))
        }
    }

    /// Begins to write records.
    pub(super) fn write_records(&self) -> Result<RecordsWriter, FolderError> {
        let file = NamedTempFile::new_in(&self.path);
        let file = file.map_err(during("write into", &self.path))?;
        let zstd = zstd::Encoder::new(Hashing::new(file), LEVEL)
            .map_err(during("write into", &self.path))?;
        Ok(RecordsWriter {
            folder: self.path.clone(),
            zstd,
            rows: BTreeMap::new(),
            table: String::new(),
        })
    }

    /// Reads the records. Their hash is verified before the first record is returned.
    pub(super) fn records(
        &self,
        manifest: &Manifest,
    ) -> Result<impl Iterator<Item = Result<DumpLine, FolderError>>, FolderError> {
        let path = self.path.join(&manifest.records);
        let mut file = File::open(&path).map_err(during("read", &path))?;
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut file, &mut hashing).map_err(during("read", &path))?;
        if hex::encode(hashing.hash.finalize()) != manifest.sha256 {
            return Err(FolderError::Damaged(path));
        }
        let file = File::open(&path).map_err(during("read", &path))?;
        let zstd = zstd::Decoder::new(file).map_err(during("read", &path))?;
        let lines = BufReader::new(zstd).lines();
        Ok(lines.map(move |line| {
            let line = line.map_err(during("read", &path))?;
            serde_json::from_str(&line).map_err(|_| FolderError::Damaged(path.clone()))
        }))
    }

    /// Makes this the folder's backup, and removes the files that only the backup before it had.
    pub(super) async fn finish(
        &self,
        manifest: &Manifest,
        packs: &[PackId],
    ) -> Result<(), FolderError> {
        let path = self.path.join(MANIFEST);
        let mut text =
            serde_json::to_vec_pretty(manifest).map_err(|source| FolderError::Manifest {
                path: path.clone(),
                source,
            })?;
        text.push(b'\n');
        let mut file = NamedTempFile::new_in(&self.path).map_err(during("write", &path))?;
        file.write_all(&text).map_err(during("write", &path))?;
        keep(file, &path)?;

        let entries = std::fs::read_dir(&self.path).map_err(during("read", &self.path))?;
        for entry in entries {
            let entry = entry.map_err(during("read", &self.path))?;
            let name = entry.file_name();
            // A process that was killed left this folder behind.
            if name.to_str().is_some_and(|name| name.starts_with(SCRATCH)) {
                let path = entry.path();
                std::fs::remove_dir_all(&path).map_err(during("remove", &path))?;
                continue;
            }
            let is_old = name
                .to_str()
                .is_some_and(|name| name.starts_with("records-") && name != manifest.records);
            if is_old {
                let path = entry.path();
                std::fs::remove_file(&path).map_err(during("remove", &path))?;
            }
        }
        let store = self.packs()?;
        for (pack, _) in store.list().await? {
            if packs.binary_search(&pack).is_err() {
                store.delete(pack).await?;
            }
        }
        Ok(())
    }
}

/// Writes records, one line each.
pub(super) struct RecordsWriter {
    folder: PathBuf,
    zstd: zstd::Encoder<'static, Hashing<NamedTempFile>>,
    rows: BTreeMap<String, u64>,
    table: String,
}

/// Records that are safe on disk.
pub(super) struct WrittenRecords {
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) rows: BTreeMap<String, u64>,
}

/// A writer that hashes the bytes that it passes on.
struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W> Hashing<W> {
    fn new(out: W) -> Self {
        let hash = Sha256::new();
        Self { out, hash }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl RecordsWriter {
    /// Returns the table whose rows are being written.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    pub(super) fn write(&mut self, line: &DumpLine) -> Result<(), FolderError> {
        match line {
            DumpLine::Table { table, .. } => {
                self.table.clone_from(table);
                self.rows.insert(table.clone(), 0);
            }
            DumpLine::Row(_) => *self.rows.entry(self.table.clone()).or_default() += 1,
        }
        serde_json::to_writer(&mut self.zstd, line)
            .map_err(io::Error::from)
            .and_then(|()| self.zstd.write_all(b"\n"))
            .map_err(during("write into", &self.folder))
    }

    pub(super) fn finish(self) -> Result<WrittenRecords, FolderError> {
        let failed = during("write into", &self.folder);
        let Hashing { out: file, hash } = self.zstd.finish().map_err(failed)?;
        let sha256 = hex::encode(hash.finalize());
        let name = format!("records-{}.jsonl.zst", &sha256[..16]);
        keep(file, &self.folder.join(&name))?;
        Ok(WrittenRecords {
            name,
            sha256,
            rows: self.rows,
        })
    }
}

/// Gives a file its final name. After a power failure, the file is complete or does not exist.
fn keep(file: NamedTempFile, path: &Path) -> Result<(), FolderError> {
    file.as_file().sync_all().map_err(during("write", path))?;
    file.persist(path)
        .map_err(|error| during("write", path)(error.error))?;
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(during("write", folder))
}
