//! The project's own automation: `cargo xtask ci`, `tidy`, `deny`, `fuzz` and `matrix`.

mod ci;
mod deny;
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
        "deny" => deny::run(),
        "fuzz" => fuzz::run_with(arguments),
        "matrix" => matrix::run(&arguments.collect::<Vec<_>>()),
        _ => bail!("usage: cargo xtask ci|tidy|deny|fuzz [SECONDS [TARGET]]|matrix [ENGINE…]"),
    }
}
