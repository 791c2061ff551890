//! Unpacks a folder's archive while it arrives.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Unpacks an archive of one folder. Returns that folder's path in `to`, or `None` if the archive's first entry is no
/// folder.
pub(super) fn unpack(archive: impl Read, to: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_unpack_xattrs(true);
    let mut top = None;
    // Set a folder's times and permissions last, when nothing more is written to it.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let is_folder = entry.header().entry_type().is_dir();
        if top.is_none() {
            if !is_folder {
                return Ok(None);
            }
            top = Some(entry.path()?.into_owned());
        }
        // `unpack_in` never leaves `to`, whatever links the archive has.
        if is_folder {
            entry.unpack_in(to)?;
            folders.push(entry);
        } else {
            entry.unpack_in(to)?;
        }
    }
    for folder in folders.iter_mut().rev() {
        folder.unpack_in(to)?;
    }
    Ok(top)
}
