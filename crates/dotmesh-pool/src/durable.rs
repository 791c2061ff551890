//! The one place that makes files and renames survive a power cut.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::error::{During as _, PoolError};

/// Replaces a file as a whole: readers see the old content or the new, and after a crash too.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), PoolError> {
    let folder = path.parent().expect("a file of the pool is in a folder");
    let mut file = tempfile::NamedTempFile::new_in(folder).during("write", path)?;
    file.write_all(content).during("write", path)?;
    file.as_file().sync_all().during("write", path)?;
    file.persist(path)
        .map_err(|error| error.error)
        .during("write", path)?;
    sync_folder(folder)
}

/// Renames, and returns when the new name is safe.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), PoolError> {
    std::fs::rename(from, to).during("rename", from)?;
    sync_both(from, to)
}

/// Swaps two names in one step.
pub(crate) fn exchange(one: &Path, other: &Path) -> Result<(), PoolError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
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
