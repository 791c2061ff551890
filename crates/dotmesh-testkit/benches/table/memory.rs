//! The same memory for whoever is measured.

use std::fs::File;
use std::io;

use anyhow::{Context as _, Result};

/// Fills the memory that is free with pages of a cache. A virtual machine's host may take back what is free for long, and
/// then the first touch takes ten times as long as any later one: whoever comes first would pay for it.
pub(crate) fn fill() -> Result<File> {
    const SPARED: u64 = 1 << 30;
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
    file.set_len((free << 10).saturating_sub(SPARED))?;
    // Holes are read as pages of zeros.
    io::copy(&mut file, &mut io::sink())?;
    Ok(file)
}
