//! Deleting for good: a subvolume, a file, or a plain folder with some of these in it.

use std::io::ErrorKind;
use std::path::Path;

use crate::driver::Driver;
use crate::error::{During as _, PoolError};

/// Deletes a folder that may be a subvolume or hold some, or a file. Fine if it is gone already.
///
/// Plain folders are the pool's own, and no deeper than its layout: containers write into subvolumes only. What
/// cannot be deleted keeps nothing beside it; the first error is returned.
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

/// Somebody else may delete the same.
fn gone(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
