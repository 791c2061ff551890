//! Permanent deletion of a subvolume, a file, or a plain folder that contains them.

use std::io::ErrorKind;
use std::path::Path;

use crate::driver::Driver;
use crate::error::{During as _, PoolError};

/// Deletes a file, a subvolume, or a plain folder that may contain subvolumes. A missing path is not an error.
///
/// Plain folders belong to the pool and are no deeper than its layout, since containers write into subvolumes only. If
/// an entry cannot be deleted, the others still are, and the first error is returned.
pub(crate) fn remove(driver: &dyn Driver, path: &Path) -> Result<(), PoolError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.during("look at", path)?,
    };
    if !metadata.is_dir() {
        return gone(std::fs::remove_file(path)).during("delete", path);
    }
    if driver.is_snapshotted(path)? {
        return driver.delete(path);
    }
    let mut done = Ok(());
    for entry in std::fs::read_dir(path).during("read", path)? {
        done = done.and(remove(driver, &entry.during("read", path)?.path()));
    }
    done?;
    gone(std::fs::remove_dir(path)).during("delete", path)
}

/// Accepts that another process has deleted the file already.
fn gone(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
