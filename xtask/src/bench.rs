//! `make bench`: measures side by side in one run and prints one table of ratios.

use anyhow::{Result, bail};

/// Not there yet.
pub(crate) fn run() -> Result<()> {
    bail!("no benchmarks yet")
}
