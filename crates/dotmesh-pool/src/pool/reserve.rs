//! A reserve of 16 MiB, which the daemon frees when the pool is full. Its registry needs some space to start.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::{FallocateFlags, fallocate};

use super::inner::Inner;
use crate::error::{During as _, PoolError};

/// The size of the reserve, in bytes.
const RESERVE: u64 = 16 << 20;

/// The reserve is freed when fewer than this many bytes are free.
const LITTLE: u64 = 8 << 20;

/// The reserve is created when at least this many bytes are free.
const AMPLE: u64 = 128 << 20;

impl Inner {
    /// Creates the reserve if the pool has enough free space.
    pub(super) fn keep_reserve(&self) -> Result<(), PoolError> {
        let path = self.layout.reserve();
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == RESERVE)
            || self.driver.space()?.free < AMPLE
        {
            return Ok(());
        }
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).during("create", &path)?;
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE).during("reserve space in", &path)
    }

    /// Frees the reserve if the pool has little other free space.
    pub(super) fn lend_reserve(&self) -> Result<(), PoolError> {
        let path = self.layout.reserve();
        if self.driver.space()?.free >= LITTLE || !path.exists() {
            return Ok(());
        }
        let file = File::options().write(true).open(&path);
        let file = file.during("open", &path)?;
        file.set_len(0).during("shrink", &path)?;
        self.driver.reclaim()
    }
}
