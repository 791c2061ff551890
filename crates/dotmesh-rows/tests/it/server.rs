//! Servers on copies of data, as the node starts them in containers, and a client that runs programs here.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use dotmesh_rows::model::{Kind, Store};
use dotmesh_rows::{Adapter, Client, DATA, RowsError, Run, adapter, recipe};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The programs of the newest PostgreSQL that Debian installed.
pub(crate) fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is there");
    let versions = versions.flatten().map(|entry| entry.path());
    let newest = versions.max_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.parse::<u32>().unwrap_or(0)
    });
    newest.expect("PostgreSQL is there").join("bin")
}

/// A program as the user `postgres`, since PostgreSQL refuses to run as root.
pub(crate) fn as_postgres(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .arg(program);
            command
        }
        false => Command::new(program),
    };
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs().display()));
    command
}

pub(crate) fn own(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let done = Command::new("chown")
            .args(["-R", "postgres:"])
            .arg(path)
            .status();
        assert!(done.expect("chown").success());
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A server that the recipe has started on a copy.
pub(crate) struct Opened {
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) store: Store,
    server: Child,
    kind: Kind,
    _folder: TempDir,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let ending = match self.kind {
            Kind::Postgres => Signal::QUIT,
            _ => Signal::KILL,
        };
        signal(&self.server, ending);
        let _ = self.server.wait();
    }
}

/// Starts a server on data, which it may change.
pub(crate) fn open(data: &Path, kind: Kind, version: &str) -> Opened {
    let folder = tempfile::tempdir().expect("a folder");
    own(folder.path());
    own(data);
    let store = Store {
        subdot: "db".to_owned(),
        path: String::new(),
        kind,
        version: version.to_owned(),
    };
    let recipe = recipe(&store);
    let local = Local {
        data: data.display().to_string(),
        tmp: folder.path().display().to_string(),
    };
    let log = File::create(folder.path().join("log")).expect("a log");
    let server = as_postgres("sh")
        .args(["-c", &local.here(&recipe.script)])
        .current_dir(folder.path())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("a server");
    let mut output = Vec::new();
    let waited = local
        .run(recipe.wait)
        .expect("it waits")
        .read_to_end(&mut output);
    waited.expect("the server answers");
    let adapter = adapter(&store, Box::new(local)).expect("the server is asked");
    Opened {
        adapter,
        store,
        server,
        kind,
        _folder: folder,
    }
}

/// Runs programs here. The paths of a container stand for folders.
struct Local {
    data: String,
    tmp: String,
}

impl Local {
    fn here(&self, text: &str) -> String {
        text.replace("/tmp", &self.tmp).replace(DATA, &self.data)
    }
}

impl Client for Local {
    fn run(&self, run: Run) -> Result<Box<dyn Read + Send>, RowsError> {
        let mut words = run.command.iter().map(|word| self.here(word));
        let mut input = tempfile::tempfile()?;
        input.write_all(&run.input)?;
        io::Seek::rewind(&mut input)?;
        let said = Arc::new(tempfile::tempfile()?);
        let child = as_postgres(words.next().unwrap_or_default())
            .args(words)
            .envs(run.environment)
            .current_dir(&self.tmp)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(said.try_clone()?)
            .spawn()?;
        Ok(Box::new(Output { child, said }))
    }
}

struct Output {
    child: Child,
    said: Arc<File>,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .child
            .stdout
            .as_mut()
            .expect("its output")
            .read(buffer)?;
        if count == 0 && !self.child.wait()?.success() {
            let mut message = String::new();
            let mut said = &*self.said;
            io::Seek::rewind(&mut said)?;
            said.read_to_string(&mut message)?;
            return Err(RowsError::Failed { message }.into());
        }
        Ok(count)
    }
}
