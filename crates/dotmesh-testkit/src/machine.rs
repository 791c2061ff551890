//! A machine: a set of namespaces that acts like a separate computer.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::daemon::Daemon;
use crate::engine::Engine;
use crate::folder::Folder;
use crate::host::{self, Namespaces};
use crate::link::{Cable, Link};
use crate::network::Network;
use crate::output::Output;

const UNSHARE: &[&str] = &[
    "--net",
    "--mount",
    "--pid",
    "--uts",
    "--ipc",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation=private",
];

/// The script of a machine's first process. The machine has its own /run, /etc, /var/lib and home folder, or a whole
/// root of its own. Databases and disk images are not on the overlays, because overlays do not support them. The shell
/// stays the parent of `cat`, so that it also reaps orphaned processes. It unmounts the disk images that others have
/// mounted, because these would otherwise stay busy as long as the machine lives. Any of these mounts may vanish meanwhile.
const BOOT: &str = r#"
    folder=$1 name=$2 root=$3 built=$4 cgroup=$5
    ip link set lo up
    hostname "$name"
    awk '$1 ~ "^/dev/loop" { print $2 }' /proc/mounts | xargs -r umount -l 2>/dev/null || :
    overlay() {
        mkdir -p "$folder/$2" "$folder/work/$2" "$3"
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$folder/$2,workdir=$folder/work/$2" "$3"
    }
    # Podman refuses a hierarchy of control groups of both versions, so it gets those of the first, below its own group.
    own_cgroups() {
        mount -t tmpfs -o mode=755 tmpfs "$1/sys/fs/cgroup"
        awk '$3 == "cgroup" { print $2 }' /proc/mounts | sort -u | while read -r controller; do
            mkdir -p "$controller$cgroup" "$1$controller"
            if [ -e "$controller/cpuset.cpus" ]; then
                for part in cpuset.cpus cpuset.mems; do
                    cat "$controller/$part" >"$controller${cgroup%/*}/$part"
                    cat "$controller/$part" >"$controller$cgroup/$part"
                done
            fi
            mount --bind "$controller$cgroup" "$1$controller"
        done
    }
    if [ -n "$root" ]; then
        new=$folder/new
        overlay "$root" root "$new"
        for kept in "$folder" "$built"; do
            mkdir -p "$new$kept"
            mount --rbind "$kept" "$new$kept"
        done
        mount --rbind /dev "$new/dev"
        mount -t proc proc "$new/proc"
        mount -t sysfs sysfs "$new/sys"
        if [ -n "$cgroup" ] && grep -q ' cgroup rw' /proc/mounts; then
            own_cgroups "$new"
        else
            mount --rbind /sys/fs/cgroup "$new/sys/fs/cgroup"
        fi
        mkdir "$new/host"
        cd "$new"
        pivot_root . host
        cd /
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        umount -l /host
        rmdir /host
    else
        overlay /etc etc /etc
        overlay /var/lib var/lib /var/lib
    fi
    mkdir -p "$folder/home"
    for data in docker dotmesh containers; do
        mkdir -p "$folder/$data" "/var/lib/$data"
        mount --bind "$folder/$data" "/var/lib/$data"
    done
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/lock /run/testkit
    echo "127.0.0.1 localhost $name" >/etc/hosts
    mount --make-rshared /
    echo ready
    cat >/dev/null
    exit
"#;

const DOCKER_SOCKET: &str = "/run/docker.sock";
/// Docker waits long for a missing volume driver.
const DOCKER_STARTS_IN: Duration = Duration::from_secs(150);

/// A machine with its own network, processes, mounts, home folder and Docker Engine. Clones are handles to the same
/// machine. It ends when the last of them, and of the handles of its daemons, is dropped.
#[derive(Clone, Debug)]
pub struct Machine {
    parts: Arc<Parts>,
    docker: Arc<Mutex<Option<Daemon>>>,
}

/// The fields are dropped in this order: first the processes, then their files.
#[derive(Debug)]
struct Parts {
    name: String,
    engine: Engine,
    address: Ipv4Addr,
    cable: Option<Cable>,
    namespaces: Namespaces,
    folder: Folder,
    network: Network,
}

impl Machine {
    /// Starts a machine in its own network. For several machines that reach each other, use [`Network::machine`].
    pub async fn start(name: &str) -> anyhow::Result<Machine> {
        Network::start().await?.machine(name).await
    }

    pub(crate) async fn start_in(
        network: Network,
        engine: Engine,
        name: &str,
    ) -> anyhow::Result<Machine> {
        let machine = Machine::boot(network, engine, name, None).await?;
        let parts = machine.parts.clone();
        tokio::task::spawn_blocking(move || parts.folder.prepare_images(parts.engine))
            .await?
            .context("copy the prepared images")?;
        machine.start_docker().await?;
        Ok(machine)
    }

    /// Starts a machine in which nothing runs yet.
    pub(crate) async fn boot(
        network: Network,
        engine: Engine,
        name: &str,
        link: Option<Link>,
    ) -> anyhow::Result<Machine> {
        let name = name.to_owned();
        let start = move || Parts::start(network, engine, name, link);
        let parts = tokio::task::spawn_blocking(start).await??;
        Ok(Machine {
            parts: Arc::new(parts),
            docker: Arc::default(),
        })
    }

    /// The name with which the machine was started. It is also the host name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// The address of the machine for the host and for other machines of its network.
    pub fn address(&self) -> Ipv4Addr {
        self.parts.address
    }

    /// The machine's Engine.
    pub fn engine(&self) -> Engine {
        self.parts.engine
    }

    /// Changes the speed of the cable of a [`Network::distant_machine`].
    pub fn set_link(&self, link: Link) -> anyhow::Result<()> {
        let cable = self.parts.cable.as_ref();
        cable.context("the machine has no cable")?.set(link);
        Ok(())
    }

    /// The network of the machine.
    pub fn network(&self) -> &Network {
        &self.parts.network
    }

    /// The path at which the test itself finds a file or socket of the machine.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let root = PathBuf::from(format!("/proc/{}/root", self.parts.namespaces.pid()));
        root.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// The home folder. Commands run there. It has the same path inside and outside.
    pub fn home(&self) -> PathBuf {
        self.parts.folder.path().join("home")
    }

    /// Prepares a program to run in the machine, in its home folder, with a clean environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_in(self.home(), program)
    }

    /// Like [`Self::command`], in another folder.
    pub fn command_in(&self, folder: impl AsRef<Path>, program: impl AsRef<OsStr>) -> Command {
        let mut chdir = OsString::from("--chdir=");
        chdir.push(folder.as_ref());
        let pid = self.parts.namespaces.pid();
        let mut command = Command::new("nsenter");
        command
            .args([
                "--mount",
                "--net",
                "--uts",
                "--ipc",
                "--target",
                &pid.to_string(),
            ])
            .arg(format!("--pid=/proc/{pid}/ns/pid_for_children"))
            .args([OsStr::new("env"), &chdir, program.as_ref()])
            .env_clear()
            .env("PATH", search_path(self.engine()))
            .env("HOME", self.home())
            .env("USER", "root")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell command line in the machine's home folder.
    pub async fn run(&self, line: &str) -> Output {
        self.run_in(self.home(), line).await
    }

    /// Runs a shell command line in another folder.
    pub async fn run_in(&self, folder: impl AsRef<Path>, line: &str) -> Output {
        let mut command = self.command_in(folder, "sh");
        command.args(["-c", line]);
        self.output(command, &format!("[{}] {line}", self.name()))
            .await
    }

    async fn output(&self, mut command: Command, shown: &str) -> Output {
        #[expect(
            clippy::expect_used,
            reason = "nsenter is there: the machine was started with it"
        )]
        let output = command.output().await.expect("start nsenter");
        Output {
            command: shown.to_owned(),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a program that continues to run. Its output is in [`Daemon::log`].
    pub async fn spawn_daemon(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Daemon> {
        Daemon::start(self.clone(), program, arguments).await
    }

    /// Starts the Engine, and waits until it answers.
    pub async fn start_docker(&self) -> anyhow::Result<()> {
        let mut docker = self.docker.lock().await;
        ensure!(
            docker.is_none(),
            "Docker is already running on {}",
            self.name()
        );
        let (program, arguments) = self.engine().service(&self.parts.folder.cgroup());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if self.engine().is_podman() {
            // What Debian's package podman-docker does.
            let link = "mkdir -p /run/podman && ln -sfT podman/podman.sock /run/docker.sock";
            self.run(link).await.success();
        }
        // This handle does not own the engine, because the machine owns the engine's handle.
        let unowned = Machine {
            parts: self.parts.clone(),
            docker: Arc::default(),
        };
        let mut engine = Daemon::start(unowned, program, &arguments).await?;
        let socket = self.path(DOCKER_SOCKET);
        engine
            .wait_until("Docker to answer", DOCKER_STARTS_IN, async || {
                ping(&socket).await
            })
            .await?;
        *docker = Some(engine);
        Ok(())
    }

    /// Stops the Engine in an orderly way. Docker also stops its containers.
    pub async fn stop_docker(&self) -> anyhow::Result<()> {
        let engine = self.docker.lock().await.take();
        engine
            .with_context(|| format!("Docker is not running on {}", self.name()))?
            .terminate()
            .await
    }

    /// Kills the Docker Engine. Its containers continue to run.
    pub async fn kill9_docker(&self) -> anyhow::Result<()> {
        let engine = self.docker.lock().await.take();
        engine
            .with_context(|| format!("Docker is not running on {}", self.name()))?
            .kill9()
            .await
    }

    pub(crate) fn log_path(&self, program: &str) -> PathBuf {
        self.parts.folder.path().join("log").join(program)
    }
}

impl Parts {
    fn start(
        network: Network,
        engine: Engine,
        name: String,
        link: Option<Link>,
    ) -> anyhow::Result<Parts> {
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        ensure!(
            plain && !name.is_empty(),
            "a machine's name has a-z, 0-9 and -, unlike {name:?}"
        );
        let folder = Folder::create(&name)?;
        fs::create_dir(folder.path().join("log"))?;
        let root = engine.root()?.unwrap_or_default();
        let built = built().context("find the folder of the built programs")?;
        let cgroup = match engine.is_podman() {
            true => folder.cgroup(),
            false => String::new(),
        };
        let arguments = [
            folder.path().as_os_str(),
            OsStr::new(&name),
            root.as_os_str(),
            built.as_os_str(),
            OsStr::new(&cgroup),
        ];
        let namespaces = Namespaces::start(UNSHARE, BOOT, &arguments)
            .with_context(|| format!("start machine {name}"))?;
        let (address, cable) = network.plug_in(&namespaces, link)?;
        Ok(Parts {
            name,
            engine,
            address,
            cable,
            namespaces,
            folder,
            network,
        })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if thread::panicking() {
            show_logs(&self.name, &self.folder.path().join("log"));
        }
    }
}

/// Prints the last lines of every log, so that the cause of a failed test can be found.
#[expect(
    clippy::print_stderr,
    reason = "the test harness shows it with the failure"
)]
fn show_logs(machine: &str, logs: &Path) {
    for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
        let log = fs::read(entry.path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(40)..];
        eprintln!(
            "--- [{machine}] {}\n{}",
            entry.file_name().to_string_lossy(),
            last.join("\n")
        );
    }
}

/// The folder of the programs that were built together with the running test.
fn built() -> Option<PathBuf> {
    let test = env::current_exe().ok()?;
    Some(test.ancestors().nth(2)?.to_owned())
}

/// The search path in the machine. The built programs come first.
fn search_path(engine: Engine) -> OsString {
    let mut path = OsString::new();
    if let Some(built) = built() {
        path.push(built);
        path.push(":");
    }
    match engine {
        Engine::Host => path.push(host::search_path()),
        _ => path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    }
    path
}

async fn ping(docker: &Path) -> anyhow::Result<()> {
    let mut connection = UnixStream::connect(docker).await.context("connect")?;
    connection.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    ensure!(answer.ends_with("OK"), "{answer}");
    Ok(())
}
