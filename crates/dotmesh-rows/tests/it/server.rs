//! Servers on copies of data, as the node starts them in containers, and a client that runs programs here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use dotmesh_rows::model::{DatabaseKind, Store};
use dotmesh_rows::{Adapter, Client, DATA, RowsError, Run, adapter, recipe};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The programs of servers, all of one release of Debian.
pub(crate) struct Programs {
    /// The folder of PostgreSQL's programs.
    postgres: PathBuf,
    /// Which PostgreSQL it is.
    pub(crate) version: String,
    /// The user and the group of servers, since PostgreSQL refuses to run as root.
    owner: String,
    /// A process in the root where the programs are. `None` means that they are on this machine.
    holder: Option<Child>,
}

/// Those of this machine.
pub(crate) fn here() -> &'static Programs {
    static HERE: OnceLock<Programs> = OnceLock::new();
    HERE.get_or_init(|| Programs::of(Path::new("/"), None))
}

/// Those of a root that `scripts/engines.sh` makes.
pub(crate) fn in_root(name: &str) -> &'static Programs {
    static ROOTS: Mutex<BTreeMap<String, &'static Programs>> = Mutex::new(BTreeMap::new());
    let mut roots = ROOTS.lock().expect("the roots");
    roots.entry(name.to_owned()).or_insert_with(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/engines.sh");
        let made = Command::new(script)
            .arg(name)
            .stderr(Stdio::inherit())
            .output();
        let made = made.expect("engines.sh");
        assert!(made.status.success(), "engines.sh {name}");
        let root = String::from_utf8(made.stdout).expect("a path");
        let root = Path::new(root.trim_end());
        Box::leak(Box::new(Programs::of(root, Some(hold(root)))))
    })
}

/// Starts a process that has the root as its own, with the folder of temporary files. It ends with this one.
fn hold(root: &Path) -> Child {
    let mounts = "mkdir -p \"$1$2\"; mount --rbind /dev \"$1/dev\"; mount -t proc proc \"$1/proc\"
        mount --bind \"$2\" \"$1$2\"; exec chroot \"$1\" /bin/sh -c 'PATH=/usr/bin:/bin; echo ready; exec cat'";
    let mut holder = Command::new("unshare")
        .args([
            "--mount",
            "--propagation=private",
            "sh",
            "-euc",
            mounts,
            "sh",
        ])
        .arg(root)
        .arg(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut ready = [0; 6];
    let output = holder.stdout.as_mut().expect("its output");
    output.read_exact(&mut ready).expect("the root is mounted");
    holder
}

impl Programs {
    /// Finds the newest PostgreSQL below a root.
    fn of(root: &Path, holder: Option<Child>) -> Self {
        let versions = std::fs::read_dir(root.join("usr/lib/postgresql"));
        let names = versions
            .expect("PostgreSQL is there")
            .flatten()
            .map(|entry| entry.file_name());
        let numbers = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
        let version = numbers.max().expect("a version").to_string();
        let users = std::fs::read_to_string(root.join("etc/passwd")).expect("users");
        let user = users.lines().find(|line| line.starts_with("postgres:"));
        let fields: Vec<&str> = user.expect("the user postgres").split(':').collect();
        Self {
            postgres: Path::new("/usr/lib/postgresql").join(&version).join("bin"),
            version,
            owner: format!("{}:{}", fields[2], fields[3]),
            holder,
        }
    }

    /// A program as the user of servers.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let (user, group) = self.owner.split_once(':').expect("two ids");
        let mut command;
        let path = match &self.holder {
            Some(holder) => {
                command = Command::new("nsenter");
                command.args(["--mount", "--root", "--wd"]).args([
                    format!("--target={}", holder.id()),
                    format!("--setuid={user}"),
                    format!("--setgid={group}"),
                ]);
                "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()
            }
            None => {
                command = Command::new("setpriv");
                command
                    .arg("--clear-groups")
                    .args([format!("--reuid={user}"), format!("--regid={group}")]);
                std::env::var("PATH").unwrap_or_default()
            }
        };
        command.arg(program);
        command.env("PATH", format!("{}:{path}", self.postgres.display()));
        command
    }

    pub(crate) fn own(&self, path: &Path) {
        let done = Command::new("chown")
            .args(["-R", &self.owner])
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
    kind: DatabaseKind,
    _folder: TempDir,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let ending = match self.kind {
            DatabaseKind::Postgres => Signal::QUIT,
            _ => Signal::KILL,
        };
        signal(&self.server, ending);
        let _ = self.server.wait();
    }
}

/// A temporary folder whose path has no dot, since MySQL does not find its files below hidden folders.
pub(crate) fn plain_folder() -> TempDir {
    let made = tempfile::Builder::new().prefix("rows-").tempdir();
    made.expect("a folder")
}

/// Starts a server on data, which it may change.
pub(crate) fn open(programs: &'static Programs, data: &Path, kind: DatabaseKind) -> Opened {
    let folder = tempfile::tempdir().expect("a folder");
    programs.own(folder.path());
    programs.own(data);
    let version = match kind {
        DatabaseKind::Postgres => programs.version.as_str(),
        _ => "",
    };
    let store = Store {
        subdot: "db".to_owned(),
        path: String::new(),
        kind,
        version: version.to_owned(),
    };
    let recipe = recipe(&store);
    let local = Local {
        programs,
        data: data.display().to_string(),
        tmp: folder.path().display().to_string(),
    };
    let log = File::create(folder.path().join("log")).expect("a log");
    let server = programs
        .command("sh")
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
    let said = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    waited.unwrap_or_else(|error| panic!("the server does not answer: {error}: {}", said()));
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
    programs: &'static Programs,
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
        let child = self
            .programs
            .command(words.next().unwrap_or_default())
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
