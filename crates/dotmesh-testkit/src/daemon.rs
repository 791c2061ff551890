//! A long-running program in a machine. Tests stop, kill and restart it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::net::UnixStream;
use tokio::process::Child;

use crate::machine::Machine;
use crate::wait::wait_for;

const STARTS_IN: Duration = Duration::from_secs(90);
const STOPS_IN: Duration = Duration::from_secs(60);

/// Runs until it is stopped or the machine ends. Dropping the handle does not stop it.
#[derive(Debug)]
pub struct Daemon {
    machine: Machine,
    program: String,
    arguments: Vec<String>,
    running: Option<Running>,
}

/// `entered` is the process on the host that waits for the program. `pid` is the program's process id inside the
/// machine.
#[derive(Debug)]
struct Running {
    entered: Child,
    pid: String,
}

impl Daemon {
    pub(crate) async fn start(
        machine: Machine,
        program: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Daemon> {
        let arguments = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        let mut daemon = Daemon {
            machine,
            program: program.to_owned(),
            arguments,
            running: None,
        };
        daemon.start_again().await?;
        Ok(daemon)
    }

    /// Starts the program again, after it was stopped, was killed or ended.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        if self.is_running() {
            bail!(
                "{} is already running on {}",
                self.program,
                self.machine.name()
            );
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let pid_file = self.machine.path("/run/testkit").join(self.file_name());
        let _ = fs::remove_file(&pid_file);
        let mut command = self.machine.command("sh");
        command
            .args(["-c", r#"echo $$ >"/run/testkit/$0.new"; mv "/run/testkit/$0.new" "/run/testkit/$0"; exec "$@""#])
            .arg(self.file_name())
            .arg(&self.program)
            .args(&self.arguments)
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null());
        let entered = command.spawn().context("start nsenter")?;
        let pid = wait_for(
            &format!("{} to start", self.program),
            STARTS_IN,
            async || Ok(fs::read_to_string(&pid_file)?.trim_end().to_owned()),
        )
        .await?;
        self.running = Some(Running { entered, pid });
        Ok(())
    }

    /// Stops the program with SIGTERM and starts it again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.terminate().await?;
        self.start_again().await
    }

    /// Sends SIGTERM to the program, and waits until it has ended.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal("TERM").await
    }

    /// Sends SIGKILL to the program, and waits until it has ended.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        self.signal("KILL").await
    }

    async fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        ensure!(self.is_running(), "{} is not running", self.describe());
        let mut running = self.running.take().context("is running")?;
        // The program may be ending by itself at this moment.
        let _ = self
            .machine
            .run(&format!("kill -{signal} {}", running.pid))
            .await;
        match tokio::time::timeout(STOPS_IN, running.entered.wait()).await {
            Ok(status) => status.map(|_| ()).context("wait for the program"),
            Err(_) => {
                let description = self.describe();
                self.running = Some(running);
                bail!("{description} did not end within {STOPS_IN:?} of SIG{signal}")
            }
        }
    }

    /// The program's process id inside its machine.
    pub fn pid(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.pid.as_str())
    }

    /// Whether the program has been started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.running
            .as_mut()
            .is_some_and(|running| matches!(running.entered.try_wait(), Ok(None)))
    }

    /// Waits until the program accepts connections on a unix socket.
    pub async fn wait_for_socket(&mut self, socket: impl AsRef<Path>) -> anyhow::Result<()> {
        let outside = self.machine.path(&socket);
        let what = format!(
            "{} to listen on {}",
            self.program,
            socket.as_ref().display()
        );
        self.wait_until(&what, STARTS_IN, async || {
            UnixStream::connect(&outside)
                .await
                .map(|_| ())
                .context("connect")
        })
        .await
    }

    /// Waits for a condition. If the program ends before, it fails at once and shows the log.
    pub async fn wait_until(
        &mut self,
        what: &str,
        timeout: Duration,
        mut probe: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let waited = wait_for(what, timeout, async || {
            let seen = probe().await;
            if seen.is_err() && !self.is_running() {
                return Ok(Err(()));
            }
            seen.map(Ok)
        });
        match waited.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) => bail!("{} has ended; its log:\n{}", self.describe(), self.log()),
            Err(late) => Err(late.context(format!("log of {}:\n{}", self.describe(), self.log()))),
        }
    }

    /// Everything that the program has printed so far, over all its starts.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.machine.log_path(&self.file_name())
    }

    fn file_name(&self) -> String {
        self.program.replace('/', "_")
    }

    fn describe(&self) -> String {
        format!("{} on {}", self.program, self.machine.name())
    }
}
