//! Writes and renames that survive a power cut. All others go through this module.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::error::{During as _, PoolError};

/// Replaces a file atomically: readers see the old or the new content, even after a crash.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), PoolError> {
    step(path)?;
    let folder = path.parent().expect("a file of the pool is in a folder");
    let mut file = tempfile::NamedTempFile::new_in(folder).during("write", path)?;
    file.write_all(content).during("write", path)?;
    file.as_file().sync_all().during("write", path)?;
    file.persist(path)
        .map_err(|error| error.error)
        .during("write", path)?;
    sync_folder(folder)
}

/// Replaces a small JSON file atomically for readers. The change survives a power cut only after a later sync.
pub(crate) fn replace_soon(path: &Path, value: &impl serde::Serialize) -> Result<(), PoolError> {
    step(path)?;
    let new = path.with_extension("new");
    let bytes = serde_json::to_vec_pretty(value).expect("the pool's files have only string keys");
    std::fs::write(&new, bytes).during("write", path)?;
    std::fs::rename(&new, path).during("write", path)
}

/// Removes a file durably. A missing file is not an error.
pub(crate) fn remove(path: &Path) -> Result<(), PoolError> {
    step(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.during("delete", path)?;
            sync_folder(path.parent().expect("a file of the pool is in a folder"))
        }
    }
}

/// Renames durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), PoolError> {
    step(from)?;
    std::fs::rename(from, to).during("rename", from)?;
    sync_both(from, to)
}

/// Renames durably. Fails if the new name exists.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), PoolError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    step(from)?;
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).during("rename", from)?;
    sync_both(from, to)
}

/// Swaps two names atomically and durably.
pub(crate) fn exchange(one: &Path, other: &Path) -> Result<(), PoolError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    step(other)?;
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).during("replace", other)?;
    sync_both(one, other)
}

fn sync_both(from: &Path, to: &Path) -> Result<(), PoolError> {
    let folder = |path: &Path| {
        path.parent()
            .expect("nothing renames the pool itself")
            .to_owned()
    };
    sync_folder(&folder(to))?;
    if folder(from) != folder(to) {
        sync_folder(&folder(from))?;
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), PoolError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .during("sync", folder)
}

/// Called before each change. Tests simulate the death of the daemon here.
pub(crate) fn step(path: &Path) -> Result<(), PoolError> {
    #[cfg(feature = "testing")]
    crate::fuse::burn(path)?;
    let _ = path;
    Ok(())
}
