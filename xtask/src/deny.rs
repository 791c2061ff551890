//! Checks licences, duplicate versions and advisories of the dependencies with `cargo deny`, by `deny.toml`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::ci::announce;

/// The checks that need nothing from the network.
const OFFLINE: [&str; 3] = ["bans", "licenses", "sources"];

/// Runs the checks. Says so if `cargo deny` is not installed. Advisories are checked if their database is there or can
/// be downloaded.
pub(crate) fn run() -> Result<()> {
    let is_installed = Command::new("cargo")
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_installed {
        announce("cargo deny is not installed: licences, duplicates and advisories stay unchecked");
        return Ok(());
    }
    check(&OFFLINE)?;
    if check(&["advisories"]).is_err() {
        ensure!(!has_advisories(), "cargo deny found advisories");
        announce("the database of advisories cannot be downloaded: advisories stay unchecked");
    }
    Ok(())
}

fn check(checks: &[&str]) -> Result<()> {
    let status = Command::new("cargo")
        .args(["deny", "--locked", "check"])
        .args(checks)
        .status()
        .context("run cargo deny")?;
    ensure!(status.success(), "cargo deny found a problem");
    Ok(())
}

/// Returns whether `cargo deny` has downloaded its database.
fn has_advisories() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(Into::into);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    home.is_some_and(|home| home.join("advisory-dbs").is_dir())
}
