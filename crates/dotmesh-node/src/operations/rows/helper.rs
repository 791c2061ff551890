//! SQLite databases: a helper process opens each, without privileges, in a folder that it cannot leave.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use dotmesh_rows::model::Store;
use dotmesh_rows::{Client, RowsError, Run, adapter, detect, sqlite_client};
use rustix::fs::OFlags;

use super::{Opened, blocking, told};
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
    let client = Helper {
        top: copy.data(),
        path: store.address(),
        _copy: copy,
    };
    let asked = store.clone();
    let opened = blocking(move || adapter(&asked, Box::new(client))).await;
    let adapter = opened.map_err(|error| told(&format!("{store} cannot be opened"), &error))?;
    Ok(Opened {
        adapter: adapter.into(),
        held: None,
    })
}

/// Starts a helper for each question.
struct Helper {
    top: PathBuf,
    path: String,
    _copy: Arc<dotmesh_pool::Copy>,
}

impl Client for Helper {
    fn run(&self, run: Run) -> Result<Box<dyn Read + Send>, RowsError> {
        // The statements are a file, so that nobody has to write while the output is read.
        let mut input = tempfile_of(&run.input)?;
        std::io::Seek::rewind(&mut input)?;
        let mut command = Command::new(Path::new("/proc/self/exe"));
        command
            .arg(HELPER)
            .arg(&self.top)
            .arg(&self.path)
            .args(&run.command)
            .env_clear()
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
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
        let message = match said.trim().trim_start_matches("Error: ") {
            "" => {
                "the program that reads it was ended: it needed too much memory or time".to_owned()
            }
            said => said.to_owned(),
        };
        Err(RowsError::Failed { message }.into())
    }
}
