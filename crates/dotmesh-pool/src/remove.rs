//! Deleting what is in the trash for good.

use std::path::Path;

use crate::driver::Driver;
use crate::error::{During as _, PoolError};

/// Deletes a folder that may be a subvolume or hold some, or a file.
pub(crate) fn remove(driver: &dyn Driver, path: &Path) -> Result<(), PoolError> {
    let kind = std::fs::symlink_metadata(path)
        .during("look at", path)?
        .file_type();
    if !kind.is_dir() {
        return std::fs::remove_file(path).during("delete", path);
    }
    if driver.is_snapshotted(path)? {
        return driver.delete(path);
    }
    for entry in std::fs::read_dir(path).during("read", path)? {
        remove(driver, &entry.during("read", path)?.path())?;
    }
    std::fs::remove_dir(path).during("delete", path)
}
