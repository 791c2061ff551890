//! Runs commands on the host that set up machines and remove them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Runs a command until it ends, and returns its output.
pub(crate) fn run<S: AsRef<OsStr>>(command: &[S]) -> anyhow::Result<String> {
    let shown = || {
        let words: Vec<_> = command
            .iter()
            .map(|word| word.as_ref().to_string_lossy())
            .collect();
        words.join(" ")
    };
    let output = Command::new(&command[0])
        .args(&command[1..])
        .output()
        .with_context(|| format!("start `{}`", shown()))?;
    if !output.status.success() {
        bail!(
            "`{}`: {}: {}",
            shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`run`], for a command line whose words contain no quotes or spaces.
pub(crate) fn run_words(command: &str) -> anyhow::Result<String> {
    run(&command.split_whitespace().collect::<Vec<_>>())
}

/// Namespaces that one process keeps open until this value is dropped. If the test process is killed, the input of that
/// process ends, and so it ends too.
#[derive(Debug)]
pub(crate) struct Namespaces {
    unshare: Child,
}

impl Namespaces {
    /// Creates the namespaces that the `flags` of unshare(1) name, and runs a shell script inside. The script must
    /// print `ready` when it has set things up, and end when its input ends.
    pub(crate) fn start(
        flags: &[&str],
        script: &str,
        arguments: &[&OsStr],
    ) -> anyhow::Result<Self> {
        let unshare = Command::new("unshare")
            .args(flags)
            .args(["--", "sh", "-euc", script, "sh"])
            .args(arguments)
            .env_clear()
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        let mut started = Namespaces { unshare };
        let stdout = started.unshare.stdout.take().context("output of unshare")?;
        let mut answer = String::new();
        BufReader::new(stdout).read_line(&mut answer)?;
        if answer != "ready\n" {
            let mut stderr = started.unshare.stderr.take().context("errors of unshare")?;
            let mut reason = String::new();
            stderr.read_to_string(&mut reason)?;
            bail!("cannot set up namespaces: {}", reason.trim_end());
        }
        Ok(started)
    }

    /// The process through which others enter the namespaces. With `unshare --fork`, its children are in the new
    /// process namespace, but the process itself is not.
    pub(crate) fn pid(&self) -> u32 {
        self.unshare.id()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // The first process of a process namespace ends only after all others.
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

/// The search path for programs other than those under test. It is the folder of declared programs that
/// `scripts/setup.sh test` makes, so no other program can be started. If there is no such folder, as on a system that
/// is not Debian, it is the system's own folders.
pub(crate) fn search_path() -> OsString {
    let declared = env::current_exe()
        .ok()
        .and_then(|test| Some(test.ancestors().nth(3)?.join("tools/path")));
    match declared {
        Some(folder) if folder.is_dir() => folder.into_os_string(),
        _ => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
    }
}

pub(crate) fn require_root() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this test makes machines of namespaces, which only root may: run it as root, \
         for instance with `sudo -E cargo test`"
    );
    Ok(())
}
