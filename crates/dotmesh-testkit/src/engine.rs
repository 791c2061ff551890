//! The Engine of a machine: the one of the host, or one of another release of Debian. For the latter, `scripts/engines.sh`
//! makes a minimal Debian, which is the root of the machine.

use std::path::{Path, PathBuf};
use std::{env, process};

use anyhow::{Context, bail, ensure};

/// An Engine with the Compose of the same release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The programs of the host, which `scripts/setup.sh` has installed.
    Host,
    /// Docker 20.10 and Compose 1.29, of bookworm.
    Docker20,
    /// Docker 26.1 and Compose 2.26, of trixie.
    Docker26,
    /// Docker 28.5 and Compose 2.40, of sid.
    Docker28,
    /// Podman 5.8, with Docker's client and Compose 2.40, of sid.
    Podman5,
}

/// The variable that chooses the Engine of machines for which the test names none.
const VARIABLE: &str = "DOTMESH_TEST_ENGINE";

const NAMES: [(&str, Engine); 5] = [
    ("host", Engine::Host),
    ("docker-20", Engine::Docker20),
    ("docker-26", Engine::Docker26),
    ("docker-28", Engine::Docker28),
    ("podman-5", Engine::Podman5),
];

impl Engine {
    /// The Engine that the environment chooses for the whole test run. By default that of the host.
    pub fn chosen() -> anyhow::Result<Engine> {
        let Ok(chosen) = env::var(VARIABLE) else {
            return Ok(Engine::Host);
        };
        match NAMES.iter().find(|(name, _)| *name == chosen) {
            Some((_, engine)) => Ok(*engine),
            None => bail!(
                "{VARIABLE}={chosen}: known are {}",
                NAMES.map(|(name, _)| name).join(", ")
            ),
        }
    }

    /// Whether it is Podman, which has no daemon of its own.
    pub fn is_podman(self) -> bool {
        self == Engine::Podman5
    }

    /// The root of its machines. `None` means the host's.
    pub(crate) fn root(self) -> anyhow::Result<Option<PathBuf>> {
        if self == Engine::Host {
            return Ok(None);
        }
        let named = NAMES.iter().find(|(_, engine)| *engine == self);
        let (name, _) = named.context("name the engine")?;
        root(name).map(Some)
    }

    /// The program that answers at the socket, and its arguments.
    pub(crate) fn service(self, cgroup: &str) -> (&'static str, Vec<String>) {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        if self.is_podman() {
            let service = [
                "--cgroup-manager=cgroupfs",
                "system",
                "service",
                "--time=0",
                "unix:///run/podman/podman.sock",
            ];
            return ("podman", words(&service));
        }
        let cgroup = format!("--cgroup-parent={cgroup}");
        // Docker itself chooses the storage of the prepared images, unless a test chooses another in daemon.json.
        let arguments = [
            "--log-level=warn",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            &cgroup,
        ];
        ("dockerd", words(&arguments))
    }
}

/// A root of `scripts/engines.sh`, such as `peers-sid`. It is made if it is not there yet.
pub fn root(name: &str) -> anyhow::Result<PathBuf> {
    from_script("engines.sh", name)
}

/// Runs a script of the project, which prints a path.
pub(crate) fn from_script(name: &str, argument: &str) -> anyhow::Result<PathBuf> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    let script = scripts.join(name);
    let printed = process::Command::new(&script)
        .arg(argument)
        .stderr(process::Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", script.display()))?;
    ensure!(
        printed.status.success(),
        "scripts/{name} {argument} has failed"
    );
    Ok(PathBuf::from(String::from_utf8(printed.stdout)?.trim_end()))
}
