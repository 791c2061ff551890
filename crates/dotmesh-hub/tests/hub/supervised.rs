//! Servers that tests start. Each stops with the process that started it, however that ends.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

/// Waits for the end of its input, which comes when no process holds the pipe any more.
///
/// It stops the server with QUIT, because a shell's background process ignores INT.
const SUPERVISOR: &str = r#"
trap '' INT TERM HUP
folder=$1
shift
"$@" &
cat >/dev/null
kill -QUIT $!
wait
rm -rf "$folder"
"#;

/// The server stops when this value is dropped.
pub(crate) struct Supervised {
    child: Child,
    folder: PathBuf,
}

/// The output on which a server reports that it is ready, and the search for that line.
#[derive(Clone, Copy)]
pub(crate) enum Says {
    Out(fn(&str) -> Option<String>),
    Error(fn(&str) -> Option<String>),
}

impl Supervised {
    /// Starts a server whose files are in `folder`, and waits for the line with its details.
    pub(crate) fn start(folder: PathBuf, server: &Command, says: Says) -> (Self, String) {
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(&folder)
            .arg(server.get_program())
            .args(server.get_args())
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in server.get_envs() {
            command.env(name, value.unwrap());
        }
        let mut child = command.spawn().unwrap();
        let out: ChildStdout = child.stdout.take().unwrap();
        let error: ChildStderr = child.stderr.take().unwrap();
        let said = match says {
            Says::Out(find) => (wait_for(out, find), drain(error)).0,
            Says::Error(find) => (wait_for(error, find), drain(out)).0,
        };
        let said = said.unwrap_or_else(|all| panic!("{server:?} did not start:\n{all}"));
        (Self { child, folder }, said)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Reads until the line is found. Returns all output if it is not.
fn wait_for(
    output: impl Read + Send + 'static,
    find: fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut output = BufReader::new(output);
    let mut all = String::new();
    loop {
        let start = all.len();
        if output.read_line(&mut all).unwrap_or(0) == 0 {
            return Err(all);
        }
        if let Some(found) = find(&all[start..]) {
            drain(output);
            return Ok(found);
        }
    }
}

/// Discards the rest of the output, so the pipe never fills up.
fn drain(mut output: impl Read + Send + 'static) {
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
}
