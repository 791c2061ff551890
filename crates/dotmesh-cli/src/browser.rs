//! Opens a page in the user's browser.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::environment::Environment;

/// If the desktop's opener fails, it fails within this time. One that still runs counts as a success.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens a page. Returns `false` if no browser can be started.
pub async fn open(environment: &Environment, url: &str) -> bool {
    // By convention, BROWSER is a list of commands separated by colons. They are tried in order.
    for command in environment.browser.iter().flat_map(|list| list.split(':')) {
        if run(command, url).await {
            return true;
        }
    }
    match desktop(environment) {
        Some(program) => start(&program, url).await,
        None => false,
    }
}

/// Splits a command into words, and puts the URL in place of `%s`, or at the end.
pub fn words(command: &str, url: &str) -> Vec<String> {
    let mut words: Vec<String> = command
        .split_whitespace()
        .map(|word| word.replace("%s", url))
        .collect();
    if !command.contains("%s") && !words.is_empty() {
        words.push(url.to_owned());
    }
    words
}

/// Runs the user's browser and waits until it exits: it may be a text browser in this terminal.
async fn run(command: &str, url: &str) -> bool {
    let words = words(command, url);
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    let status = Command::new(program).args(arguments).status().await;
    status.is_ok_and(|status| status.success())
}

/// The program that opens the desktop's default browser. `None` without a desktop.
fn desktop(environment: &Environment) -> Option<PathBuf> {
    let name = match (cfg!(target_os = "macos"), environment.has_display) {
        (true, _) => "open",
        (false, true) => "xdg-open",
        (false, false) => return None,
    };
    environment.find_program(name)
}

/// Starts the program and leaves it running: it may be the browser itself.
async fn start(program: &Path, url: &str) -> bool {
    let child = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // In its own process group, the browser does not get the Ctrl-C that is meant for `dm`.
        .process_group(0)
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(ended) => ended.is_ok_and(|status| status.success()),
        Err(_) => true,
    }
}
