//! A few mebibytes that the daemon lends to itself in a full pool: its registry needs some to start with.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::{FallocateFlags, fallocate};

use super::inner::Inner;
use crate::error::{During as _, PoolError};

/// How large the reserve is, in bytes.
const RESERVE: u64 = 16 << 20;

/// The reserve is lent when less than this is free …
const LITTLE: u64 = 8 << 20;

/// … and made when there is more than this.
const AMPLE: u64 = 128 << 20;

impl Inner {
    /// Makes the reserve when there is room for it.
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

    /// Makes the reserve free space when there is little else.
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
