//! A socket of this machine that leads to a node elsewhere. Each connection is carried by a command of its own, such as
//! `ssh HOST dm dial-stdio`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use dotmesh_api::{ErrorBody, ErrorCode, Problem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::error::{CliError, Result};
use crate::node_address::NodeAddress;

/// The socket, until this value is dropped.
#[derive(Debug)]
pub struct Tunnel {
    folder: tempfile::TempDir,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct End {
    address: NodeAddress,
    image: String,
    /// Whether the node was found to be there.
    checked: OnceCell<()>,
}

impl Tunnel {
    /// Opens it. Nothing is reached yet.
    pub fn open(address: NodeAddress, image: &str) -> Result<Self> {
        let failed =
            |error| CliError::io("cannot make a socket for the connection").caused_by(error);
        // Nobody else may enter this folder.
        let folder = tempfile::tempdir().map_err(failed)?;
        let listener = UnixListener::bind(folder.path().join("node")).map_err(failed)?;
        let end = Arc::new(End {
            address,
            image: image.to_owned(),
            checked: OnceCell::new(),
        });
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let end = Arc::clone(&end);
                tokio::spawn(async move { end.carry(client).await });
            }
        });
        Ok(Self { folder, accepting })
    }

    /// The path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("node")
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl End {
    /// Carries a connection until one side closes it. If the other side never answers, the client gets the reason.
    async fn carry(&self, mut client: UnixStream) {
        let found = self.checked.get_or_try_init(|| self.check()).await;
        let told = match found.and_then(|()| self.start()) {
            Ok(child) => relay(child, &mut client).await,
            Err(reason) => {
                // An answer that comes before the request is none to an HTTP client.
                let _ = client.read(&mut [0; 1024]).await;
                Err(reason)
            }
        };
        if let Err(reason) = told {
            let message = format!(
                "cannot reach the Dotmesh node at {}: {reason}",
                self.address
            );
            let body = ErrorBody::new(ErrorCode::Unreachable, message)
                .hint(self.address.advice(&self.image));
            let body = serde_json::to_string(&Problem::from(body)).unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
    }

    async fn check(&self) -> std::result::Result<(), String> {
        let Some(mut command) = self.address.check() else {
            return Ok(());
        };
        let output = command.stdin(Stdio::null()).output().await;
        let output = output.map_err(|error| cannot_run(&command, &error))?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            "true" => Ok(()),
            "false" => Err("the plugin is disabled".to_owned()),
            _ => Err(said(&output.stderr)),
        }
    }

    /// Starts the command of a connection.
    fn start(&self) -> std::result::Result<Child, String> {
        let Some(mut command) = self.address.dial(&self.image) else {
            return Err("it has a socket here".to_owned());
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
            .spawn()
            .map_err(|error| cannot_run(&command, &error))
    }
}

/// Carries bytes between a command and the client, until one of them closes the connection.
async fn relay(mut child: Child, client: &mut UnixStream) -> std::result::Result<(), String> {
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("its input and output are missing".to_owned());
    };
    let (mut from_client, mut to_client) = client.split();
    let mut complaint = Vec::new();
    let upwards = async {
        let _ = tokio::io::copy(&mut from_client, &mut stdin).await;
        drop(stdin);
        // The other side ends the connection.
        std::future::pending::<()>().await;
    };
    let downwards = async {
        let (count, _) = tokio::join!(
            tokio::io::copy(&mut stdout, &mut to_client),
            stderr.read_to_end(&mut complaint)
        );
        count.unwrap_or(1)
    };
    let count = tokio::select! {
        () = upwards => 0,
        count = downwards => count,
    };
    if count > 0 {
        return Ok(());
    }
    Err(said(&complaint))
}

fn cannot_run(command: &Command, error: &std::io::Error) -> String {
    let program = Path::new(command.as_std().get_program());
    format!("cannot run '{}': {error}", program.display())
}

/// The last line that a program wrote to standard error. Docker's client adds where to find help.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let is_reason = |line: &&str| {
        !line.trim().is_empty() && !line.starts_with("See '") && !line.starts_with("Run '")
    };
    let last = text.lines().rev().find(is_reason);
    last.unwrap_or("the connection was closed")
        .trim()
        .to_owned()
}
