//! Measures the size of a directory without reading its files.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use dotmesh_store::tree::MAX_DEPTH;
use rustix::fs::FileType;

use crate::disk::{self, DiskError};

/// The sum of the sizes of a directory's files, in bytes.
pub async fn measure(directory: &Path) -> Result<u64, DiskError> {
    let directory = directory.to_owned();
    let measure = tokio::task::spawn_blocking(move || {
        let root = disk::open_root(&directory)?;
        let sum = rustix::fs::fstat(&root)
            .and_then(|stat| sum_sizes(root.as_fd(), stat.st_dev, 0, &mut HashSet::new()));
        sum.map_err(|errno| DiskError::new("measure", b"", errno))
    });
    measure
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn sum_sizes(
    directory: BorrowedFd<'_>,
    device: u64,
    depth: usize,
    links: &mut HashSet<u64>,
) -> rustix::io::Result<u64> {
    let mut sum: u64 = 0;
    for name in disk::names(directory)? {
        let stat = disk::stat(directory, name.as_bytes())?;
        match disk::file_type(&stat) {
            FileType::Directory if stat.st_dev == device && depth < MAX_DEPTH => {
                let below = disk::open_directory(directory, name.as_bytes())?;
                sum = sum.saturating_add(sum_sizes(below.as_fd(), device, depth + 1, links)?);
            }
            FileType::RegularFile if stat.st_nlink == 1 || links.insert(stat.st_ino) => {
                sum = sum.saturating_add(disk::size(&stat));
            }
            _ => {}
        }
    }
    Ok(sum)
}
