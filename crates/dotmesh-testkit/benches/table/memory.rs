//! The same memory for whoever is measured.

use std::io;

use anyhow::{Context as _, Result};

/// More than any single command takes, but for the largest copies.
const ENOUGH: u64 = 6 << 30;

/// What is left free, so that no page goes that was read just before.
const SPARED: u64 = 256 << 20;

/// Touches much of the memory that is free, and frees it again. A virtual machine's host may take back what a guest leaves
/// free, and then the first touch of a page takes ten times as long as any later one: whoever comes after something large was
/// deleted would pay for it.
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
    // Holes are read as pages of zeros, which stay in the cache until the file goes.
    io::copy(&mut file, &mut io::sink())?;
    Ok(())
}
