//! SQLite databases: a helper process opens each, without privileges, in a folder that it cannot leave.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use axum::body::Bytes;
use dotmesh_rows::model::Store;
use dotmesh_rows::{Client, RowsError, Run, adapter, detect, sqlite_client};
use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::{Opened, Place, blocking, told};
use crate::engine::throwaway::{Piece, Typed};
use crate::error::NodeError;

/// The word after which this program is the helper.
pub const HELPER: &str = "sqlite-client";

/// The first of the user ids that helpers have. Nobody else has them.
const FIRST_USER: u32 = 1_900_000_000;

/// The most that is kept of what the helper says about its failure, in bytes.
const MOST_SAID: u64 = 16 << 10;

/// The helper: `FOLDER PATH MODE`. The statements are its input.
pub fn help(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut next = || arguments.next().context("an argument is missing");
    let (top, path, mode) = (next()?, next()?, next()?);
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
    if file.is_empty() {
        bail!("the path names no file");
    }
    // It ends with the daemon.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let top = File::open(&top).context("open the copy")?;
    let folder = detect::open_below(&top, folder, OFlags::DIRECTORY).context("open the folder")?;
    drop(top);
    sqlite_client::confine(&folder, file, FIRST_USER + std::process::id())
        .context("give up privileges")?;
    drop(folder);
    sqlite_client::run(file, &mode).map_err(|message| anyhow!(message))
}

/// Opens a database.
pub(super) async fn open(
    copy: Arc<dotmesh_pool::Copy>,
    store: &Store,
) -> Result<Opened, NodeError> {
    let helper = Helper {
        top: copy.data(),
        path: store.address(),
        _copy: copy,
    };
    let (asked, client) = (store.clone(), helper.clone());
    let opened = blocking(move || adapter(&asked, Box::new(client))).await;
    let adapter = opened.map_err(|error| told(&format!("{store} cannot be opened"), &error))?;
    Ok(Opened {
        adapter: adapter.into(),
        place: Place::Helper(helper),
    })
}

/// Starts a helper for each question.
#[derive(Clone)]
pub(super) struct Helper {
    top: PathBuf,
    path: String,
    _copy: Arc<dotmesh_pool::Copy>,
}

impl Helper {
    fn command(&self, run: &Run) -> Command {
        let mut command = Command::new(Path::new("/proc/self/exe"));
        command
            .arg(HELPER)
            .arg(&self.top)
            .arg(&self.path)
            .args(&run.command)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a helper that reads while it runs. It ends when nobody reads its output any more.
    pub(super) fn session(
        &self,
        run: &Run,
        mut typed: mpsc::Receiver<Typed>,
    ) -> mpsc::Receiver<Piece> {
        let (pieces, receiver) = mpsc::channel(4);
        let mut command = tokio::process::Command::from(self.command(run));
        command.stdin(Stdio::piped()).kill_on_drop(true);
        let helper = self.clone();
        tokio::spawn(async move {
            let talk = async {
                let mut child = command.spawn().map_err(|error| error.to_string())?;
                let (input, output) = (child.stdin.take(), child.stdout.take());
                let writing = async move {
                    let mut input = input?;
                    while let Some(one) = typed.recv().await {
                        if let Typed::Bytes(bytes) = one {
                            input.write_all(&bytes).await.ok()?;
                        }
                    }
                    Some(())
                };
                let reading = async {
                    let mut output = output.ok_or("the helper has no output")?;
                    let mut buffer = vec![0; 32 << 10];
                    loop {
                        let count = output.read(&mut buffer).await;
                        let count = count.map_err(|error| error.to_string())?;
                        if count == 0 {
                            return Ok::<_, String>(());
                        }
                        let piece = Bytes::copy_from_slice(&buffer[..count]);
                        let _ = pieces.send(Ok(piece)).await;
                    }
                };
                let (mut reading, mut writing) = (std::pin::pin!(reading), std::pin::pin!(writing));
                tokio::select! {
                    read = &mut reading => read?,
                    _ = &mut writing => reading.await?,
                }
                let ended = child.wait_with_output().await;
                let ended = ended.map_err(|error| error.to_string())?;
                match ended.status.success() {
                    true => Ok(Bytes::new()),
                    false => Err(reason(&String::from_utf8_lossy(&ended.stderr))),
                }
            };
            let last = tokio::select! {
                last = talk => last,
                () = pieces.closed() => return,
            };
            let _ = pieces.send(last).await;
            drop(helper);
        });
        receiver
    }
}

/// Why a helper has failed, from what it said.
fn reason(said: &str) -> String {
    match said.trim().trim_start_matches("Error: ") {
        "" => "the program that reads it was ended: it needed too much memory or time".to_owned(),
        said => said.to_owned(),
    }
}

impl Client for Helper {
    fn run(&self, run: Run) -> Result<Box<dyn Read + Send>, RowsError> {
        // The statements are a file, so that nobody has to write while the output is read.
        let mut input = tempfile_of(&run.input)?;
        std::io::Seek::rewind(&mut input)?;
        let child = self
            .command(&run)
            .stdin(input)
            .spawn()
            .map_err(|error| RowsError::Client(error.to_string()))?;
        Ok(Box::new(Output {
            child,
            is_whole: false,
        }))
    }
}

/// A file without a name that has these bytes.
fn tempfile_of(bytes: &[u8]) -> std::io::Result<File> {
    use std::io::Write as _;
    let memory = rustix::fs::memfd_create("statements", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    Ok(file)
}

/// The output of a helper, which ends when nobody reads any more.
struct Output {
    child: Child,
    is_whole: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.is_whole {
            return Ok(0);
        }
        let count = match &mut self.child.stdout {
            Some(output) => output.read(buffer)?,
            None => 0,
        };
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        self.is_whole = true;
        // It says at most a line, so it never waits for somebody to read this.
        let mut said = String::new();
        if let Some(errors) = &mut self.child.stderr {
            let _ = errors.take(MOST_SAID).read_to_string(&mut said);
        }
        let ended = self.child.wait()?;
        if ended.success() {
            return Ok(0);
        }
        let message = reason(&said);
        Err(RowsError::Failed { message }.into())
    }
}
