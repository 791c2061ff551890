//! The project's own automation: `cargo xtask ci` and `cargo xtask tidy`.

mod ci;
mod tidy;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let command = std::env::args().nth(1).unwrap_or_default();
    // Paths below are relative to the workspace.
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))?;
    match command.as_str() {
        "ci" => ci::run(),
        "tidy" => tidy::run(),
        _ => bail!("usage: cargo xtask ci|tidy"),
    }
}
