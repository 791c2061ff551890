//! Shows a page to the user.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::environment::Environment;

/// A program that opens pages in a desktop's browser has failed by then, if it does.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens a page. `false` when there is no browser that would.
pub async fn open(environment: &Environment, url: &str) -> bool {
    // As is the custom: several, in the order in which to try.
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

/// The words of a command with the address in them.
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

/// Runs what the user chose to its end: it may be a browser for this very terminal.
async fn run(command: &str, url: &str) -> bool {
    let words = words(command, url);
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    let status = Command::new(program).args(arguments).status().await;
    status.is_ok_and(|status| status.success())
}

/// The program that knows the desktop's browser, where there is a desktop.
fn desktop(environment: &Environment) -> Option<PathBuf> {
    let name = match (cfg!(target_os = "macos"), environment.has_display) {
        (true, _) => "open",
        (false, true) => "xdg-open",
        (false, false) => return None,
    };
    environment.find_program(name)
}

/// Starts it, and leaves it running: it may be the browser itself.
async fn start(program: &Path, url: &str) -> bool {
    let child = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // An interruption of `dm` is none of the browser's.
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
