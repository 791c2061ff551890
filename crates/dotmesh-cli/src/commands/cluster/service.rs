//! Starts and stops the daemon: as a systemd unit if systemd runs, else as a detached process.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use crate::error::{CliError, Code, Result};

/// The path of the systemd unit.
const UNIT_FILE: &str = "/etc/systemd/system/dotmeshd.service";

/// The path of the unit of the volume driver's socket.
const SOCKET_UNIT_FILE: &str = "/etc/systemd/system/dotmeshd.socket";

/// An optional file with the daemon's environment variables, one on each line.
pub const ENVIRONMENT_FILE: &str = "/etc/dotmesh/dotmeshd.env";

/// The volume driver's socket, unless another one is chosen.
pub(super) const PLUGIN_SOCKET: &str = "/run/docker/plugins/dm.sock";

/// The unit's name.
const UNIT: &str = "dotmeshd.service";

/// The name of the unit of the volume driver's socket.
const SOCKET_UNIT: &str = "dotmeshd.socket";

/// How long the daemon may take to exit.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// Whether systemd runs as this machine's init.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether the unit is installed.
pub fn has_unit() -> bool {
    Path::new(UNIT_FILE).exists()
}

/// The pid file of a daemon that runs without systemd. It is beside the socket.
pub fn pid_file(socket: &Path) -> PathBuf {
    socket.with_file_name("dotmeshd.pid")
}

/// The text of the unit.
///
/// - `Requires`: systemd makes the volume driver's socket. Without a driver there is none.
/// - `Before`: containers may need volumes, so Docker, and what starts Podman's containers, start after Dotmesh.
/// - `KillMode`: containers keep their volumes when the daemon is stopped.
pub fn unit(program: &Path, arguments: &[OsString]) -> String {
    let mut command = quoted(program.as_os_str());
    for argument in arguments {
        let _ = write!(command, " {}", quoted(argument));
    }
    let requires = match driver_of(arguments) {
        Some(_) => format!("Requires={SOCKET_UNIT}\n"),
        None => String::new(),
    };
    format!(
        "[Unit]\n\
         Description=Dotmesh: git for the state of a running app\n\
         {requires}\
         After=local-fs.target\n\
         Before=docker.service podman-restart.service\n\
         \n\
         [Service]\n\
         EnvironmentFile=-{ENVIRONMENT_FILE}\n\
         ExecStart={command}\n\
         Restart=always\n\
         RestartSec=1\n\
         KillMode=process\n\
         UMask=0077\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// The text of the unit of the volume driver's socket. `None` without a driver.
///
/// Docker waits long for a driver without a socket, and for each volume anew. At this socket it waits until the daemon
/// has opened its pool, and a daemon that cannot do so answers why. `RemoveOnStop`: nobody answers at the socket of a
/// removed service.
pub fn socket_unit(arguments: &[OsString]) -> Option<String> {
    let socket = driver_of(arguments)?;
    let socket = socket.to_string_lossy().replace('%', "%%");
    Some(format!(
        "[Unit]\n\
         Description=Docker's way to the volume driver of Dotmesh\n\
         Before=docker.service\n\
         \n\
         [Socket]\n\
         ListenStream={socket}\n\
         SocketMode=0600\n\
         RemoveOnStop=yes\n\
         \n\
         [Install]\n\
         WantedBy=sockets.target\n"
    ))
}

/// The volume driver's socket of a daemon with these arguments.
fn driver_of(arguments: &[OsString]) -> Option<PathBuf> {
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    plugin_socket(&words)
}

/// The volume driver's socket of a daemon with these arguments. `None` if it runs without the driver.
pub fn plugin_socket(words: &[String]) -> Option<PathBuf> {
    match option_of(words, "--docker-plugin") {
        None => Some(PathBuf::from(PLUGIN_SOCKET)),
        Some(path) => (path != "none").then(|| PathBuf::from(path)),
    }
}

/// Quotes a word for the `ExecStart` line of a unit.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy().replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=%$@+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Parses an environment file like systemd: one variable on each line, comments, and quotes around values.
pub fn variables_in(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            let value = value.trim();
            let bare = ['"', '\''].into_iter().find_map(|quote| {
                let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
                Some(inner)
            });
            Some((name.trim().to_owned(), bare.unwrap_or(value).to_owned()))
        })
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Installs the units, enables them at boot, and starts them.
pub async fn start_unit(program: &Path, arguments: &[OsString]) -> Result<()> {
    let write = |file: &str, text: &str| {
        let written = std::fs::write(file, text);
        written.map_err(|error| CliError::io(format!("cannot write {file}")).caused_by(error))
    };
    write(UNIT_FILE, &unit(program, arguments))?;
    // A socket cannot be started while its service runs.
    match socket_unit(arguments) {
        Some(text) => {
            write(SOCKET_UNIT_FILE, &text)?;
            systemctl(&["daemon-reload"]).await?;
            systemctl(&["enable", UNIT, SOCKET_UNIT]).await?;
            systemctl(&["stop", UNIT]).await?;
            systemctl(&["restart", SOCKET_UNIT]).await?;
        }
        None => {
            remove_file(Path::new(SOCKET_UNIT_FILE))?;
            systemctl(&["daemon-reload"]).await?;
            systemctl(&["enable", UNIT]).await?;
        }
    }
    systemctl(&["restart", UNIT]).await
}

/// Stops the units and removes them. The socket goes first, since it would start the service again.
pub async fn remove_unit() -> Result<()> {
    if Path::new(SOCKET_UNIT_FILE).exists() {
        systemctl(&["disable", "--now", SOCKET_UNIT]).await?;
    }
    systemctl(&["disable", "--now", UNIT]).await?;
    remove_file(Path::new(SOCKET_UNIT_FILE))?;
    remove_file(Path::new(UNIT_FILE))?;
    systemctl(&["daemon-reload"]).await
}

pub(super) async fn systemctl(arguments: &[&str]) -> Result<()> {
    let what = format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await;
    let output =
        output.map_err(|error| CliError::io(format!("cannot run '{what}'")).caused_by(error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CliError::new(
        Code::DaemonFailed,
        format!("'{what}' failed: {}", said.trim()),
    )
    .hint(format!("See 'journalctl -u {UNIT}'.")))
}

/// A daemon that was started without systemd and does not answer yet.
#[derive(Debug)]
pub struct Detached {
    child: Child,
    log: PathBuf,
    log_start: u64,
}

impl Detached {
    /// Starts the daemon in a session of its own. Its output goes to `dotmeshd.log` in its root.
    pub fn start(program: &Path, arguments: &[OsString], root: &Path) -> Result<Self> {
        let path = root.join("dotmeshd.log");
        let open = || {
            std::fs::create_dir_all(root)?;
            let log = File::options().create(true).append(true).open(&path)?;
            Ok((log.metadata()?.len(), log.try_clone()?, log))
        };
        let (log_start, output, errors) = open().map_err(|error: std::io::Error| {
            CliError::io(format!("cannot write to {}", path.display())).caused_by(error)
        })?;
        let dm = std::env::current_exe()
            .map_err(|error| CliError::io("cannot find 'dm' itself").caused_by(error))?;
        let variables = std::fs::read_to_string(ENVIRONMENT_FILE).unwrap_or_default();
        let child = Command::new(dm)
            .envs(variables_in(&variables))
            .args(["cluster", "run-detached", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                CliError::io(format!("cannot start {}", program.display())).caused_by(error)
            })?;
        Ok(Self {
            child,
            log: path,
            log_start,
        })
    }

    /// Fails with the end of the daemon's log if the daemon has exited.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(self.ended()),
            Err(error) => Err(CliError::io("cannot watch dotmeshd").caused_by(error)),
        }
    }

    fn ended(&self) -> CliError {
        let mut words = Vec::new();
        if let Ok(mut log) = File::open(&self.log)
            && log.seek(SeekFrom::Start(self.log_start)).is_ok()
        {
            let _ = log.read_to_end(&mut words);
        }
        let words = String::from_utf8_lossy(&words);
        // A backtrace does not help users.
        let words = words.split("Stack backtrace:").next().unwrap_or_default();
        let lines: Vec<&str> = words.trim().lines().collect();
        let last = lines[lines.len().saturating_sub(8)..].join("\n");
        CliError::new(
            Code::DaemonFailed,
            format!("dotmeshd did not start:\n{last}"),
        )
        .hint(format!("The whole log is in {}", self.log.display()))
    }
}

/// The pid of the daemon at a socket, from the pid file. `None` if that process has exited.
pub fn read_pid(socket: &Path) -> Option<u32> {
    let pid = std::fs::read_to_string(pid_file(socket))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    is_dotmeshd(pid).then_some(pid)
}

/// Whether the process is a `dotmeshd`. The kernel reuses pids, so another process may have this pid now.
fn is_dotmeshd(pid: u32) -> bool {
    // This reads the command line, as a daemon that restarted itself has another name in `comm`.
    let program = words_of(pid).and_then(|words| words.into_iter().next());
    program.is_some_and(|program| Path::new(&program).ends_with("dotmeshd"))
}

/// The command line of a process: the program and its arguments.
pub fn words_of(pid: u32) -> Option<Vec<String>> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words.split(|b| *b == 0);
    Some(
        words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
    )
}

/// The command line in the installed unit.
pub fn words_of_unit() -> Option<Vec<String>> {
    words_in(&std::fs::read_to_string(UNIT_FILE).ok()?)
}

/// The command line in a unit's text, as the function `unit` writes it.
pub fn words_in(unit: &str) -> Option<Vec<String>> {
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))?;
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut letters = command.chars().peekable();
    while let Some(letter) = letters.next() {
        let word = words.last_mut()?;
        match letter {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            '\\' => word.extend(letters.next()),
            '%' | '$' => {
                letters.next_if_eq(&letter);
                word.push(letter);
            }
            _ => word.push(letter),
        }
    }
    Some(words)
}

/// The value of an option in a command line.
pub fn option_of(words: &[String], option: &str) -> Option<String> {
    let joined = format!("{option}=");
    words
        .iter()
        .enumerate()
        .find_map(|(i, word)| match word.strip_prefix(&joined) {
            Some(value) => Some(value.to_owned()),
            None => (word == option).then(|| words.get(i + 1).cloned())?,
        })
}

/// Sends SIGTERM to the daemon, and waits until it has exited.
pub async fn stop_process(pid: u32) -> Result<()> {
    let failed = |why: &str| {
        CliError::new(
            Code::DaemonFailed,
            format!("dotmeshd (process {pid}) {why}"),
        )
        .hint(format!(
            "Find out what it does, or kill it with 'kill -9 {pid}' and try again."
        ))
    };
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = raw
        .filter(|_| is_dotmeshd(pid))
        .ok_or_else(|| failed("is not the daemon"))?;
    match rustix::process::kill_process(process, Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(failed("cannot be stopped").caused_by(error)),
    }
    let gone = async {
        while is_dotmeshd(pid) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(STOPS_WITHIN, gone)
        .await
        .map_err(|_| failed("does not exit"))
}

/// Removes a file, if it exists.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CliError::io(format!("cannot remove {}", path.display())).caused_by(error))
        }
        _ => Ok(()),
    }
}
