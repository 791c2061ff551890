//! Checks the requirements of Dotmesh on this machine, and tells how to meet those that are missing.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::environment::Environment;
use crate::error::{CliError, Code, Result};

/// Which requirements the machine meets.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The daemon's program.
    pub dotmeshd: Option<PathBuf>,
    /// Docker or Podman is installed, or none is wanted.
    pub docker: bool,
    /// The kernel supports btrfs.
    pub btrfs: bool,
    /// The program `mkfs.btrfs` is installed.
    pub mkfs: bool,
}

impl Machine {
    /// Checks the machine.
    pub async fn look(environment: &Environment, wants_docker: bool) -> Self {
        Self {
            dotmeshd: find_dotmeshd(environment),
            docker: !wants_docker
                || ["docker", "podman"]
                    .iter()
                    .any(|engine| environment.find_program(engine).is_some()),
            btrfs: has_btrfs().await,
            mkfs: environment.find_program("mkfs.btrfs").is_some(),
        }
    }

    /// The daemon's program, if nothing is missing. Otherwise, one error that lists everything that is missing.
    pub fn ready(&self) -> Result<&PathBuf> {
        let mut missing = Vec::new();
        let mut hints = Vec::new();
        let mut need = |present: bool, name: &'static str, hint: &'static str| {
            if !present {
                missing.push(name);
                hints.push(hint);
            }
        };
        // It is the hardest to fix, and without it nothing else helps, so it comes first.
        need(
            self.btrfs,
            "btrfs in the kernel",
            "RHEL, CentOS Stream, Rocky and Alma need another kernel, e.g. ELRepo's kernel-ml. Others: install the kernel's extra modules.",
        );
        need(
            self.dotmeshd.is_some(),
            "dotmeshd",
            "Put 'dotmeshd' beside 'dm', or into a folder of PATH.",
        );
        need(
            self.docker,
            "docker",
            "Install Docker, see https://docs.docker.com/engine/install/, or do without it: --docker-plugin none",
        );
        need(
            self.mkfs,
            "mkfs.btrfs",
            "Install it: 'apt-get install btrfs-progs', or 'dnf install btrfs-progs'.",
        );
        match &self.dotmeshd {
            Some(dotmeshd) if missing.is_empty() => Ok(dotmeshd),
            _ => {
                let list = missing.join(", ");
                let error = CliError::new(
                    Code::MachineLacks,
                    format!("this machine lacks what Dotmesh needs: {list}"),
                );
                Err(hints.into_iter().fold(error, CliError::hint))
            }
        }
    }
}

fn find_dotmeshd(environment: &Environment) -> Option<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .map(|dm| dm.with_file_name("dotmeshd"));
    beside
        .filter(|file| file.is_file())
        .or_else(|| environment.find_program("dotmeshd"))
}

pub(crate) async fn has_btrfs() -> bool {
    let known = || {
        let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        filesystems
            .lines()
            .any(|line| line.split_whitespace().last() == Some("btrfs"))
    };
    if !known() {
        // The second check below shows whether this worked.
        let mut load = Command::new("modprobe");
        load.arg("btrfs")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = load.status().await;
    }
    known()
}
