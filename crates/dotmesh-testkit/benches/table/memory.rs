//! The same memory conditions for every tool.

use std::io;

use anyhow::{Context as _, Result};

/// More memory than any command needs, except for the largest copies.
const ENOUGH: u64 = 6 << 30;

/// The memory that stays free, so recently read pages stay in the cache.
const SPARED: u64 = 256 << 20;

/// Touches most of the free memory, and frees it again.
///
/// A virtual machine's host may take back the memory that a guest leaves free. Then the first access to a page takes
/// ten times as long as later ones. Without this warm-up, the first tool after a large deletion would pay for that.
pub(crate) fn warm_up() -> Result<()> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let free = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemFree:")?
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .context("MemFree")?;
    let mut file = tempfile::tempfile()?;
    file.set_len(ENOUGH.min((free << 10).saturating_sub(SPARED)))?;
    // Reading holes fills the cache with pages of zeros, which stay there until the file is deleted.
    io::copy(&mut file, &mut io::sink())?;
    Ok(())
}
