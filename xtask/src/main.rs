//! The project's own automation: `cargo xtask ci`, `cargo xtask tidy`, `cargo xtask fuzz` and `cargo xtask matrix`.

mod ci;
mod fuzz;
mod matrix;
mod tidy;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    // Paths below are relative to the workspace.
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))?;
    match command.as_str() {
        "ci" => ci::run(),
        "tidy" => tidy::run(),
        "fuzz" => fuzz::run_with(arguments),
        "matrix" => matrix::run(&arguments.collect::<Vec<_>>()),
        _ => bail!("usage: cargo xtask ci|tidy|fuzz [SECONDS [TARGET]]|matrix [ENGINE…]"),
    }
}
