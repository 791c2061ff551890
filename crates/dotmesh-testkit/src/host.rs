//! Commands on the host, for setting machines up and taking them down.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Runs a command to its end and returns what it printed.
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

/// Like [`run`], for a command that is written without quotes or spaces inside a word.
pub(crate) fn run_words(command: &str) -> anyhow::Result<String> {
    run(&command.split_whitespace().collect::<Vec<_>>())
}

/// Namespaces, kept open by one process that lives until this value is dropped. Should the test
/// process be killed, the process sees its input end, and goes as well.
#[derive(Debug)]
pub(crate) struct Namespaces {
    unshare: Child,
}

impl Namespaces {
    /// Unshares what `flags` of unshare(1) say, and runs a shell script inside. The script prints
    /// `ready` when it has set things up, and ends when its input does.
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

    /// The process by which the namespaces are entered. With `unshare --fork` it is not itself in
    /// the new process namespace, but its children are.
    pub(crate) fn pid(&self) -> u32 {
        self.unshare.id()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // The first process of a process namespace is only gone when all others are.
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

/// Where programs are found, apart from the ones under test: the folder of declared programs that `scripts/setup.sh test`
/// makes, so that nothing else can be started. Without it, as on a system that is not Debian, the system's own folders.
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
